// Threads that share the work of a kernel. The caller never waits for a thread that has not started on a part.
//
// OpenMP ends a loop when all of its threads have arrived. If another program (or this one's own HTTP threads) has
// taken a CPU, that is when the scheduler lets the missing thread run again: milliseconds, for a loop of a tenth of
// one. Here each thread takes the next part that is free. The caller takes parts as well, and at the end waits only for
// those that other threads have begun.

#pragma once

#include <cstdint>

namespace pool {

using Work = void (*)(void* context, int64_t part);

// Calls work(context, part) once for each part of [0, parts), on up to `threads` threads including the calling one. A
// call that comes while another one is running does all of its parts on its own thread.
void run(int64_t parts, int64_t threads, Work work, void* context);

template <typename Function>
void for_each(int64_t parts, int64_t threads, Function function) {
    run(parts, threads, [](void* context, int64_t part) { (*static_cast<Function*>(context))(part); }, &function);
}

}  // namespace pool
