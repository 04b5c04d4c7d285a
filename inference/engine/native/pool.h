// Threads that share the work of a kernel, and for which nobody waits that has none of it.
//
// OpenMP ends a loop when all of its threads have arrived. Where another program (or this one's own HTTP threads) has
// taken a CPU, that is when the scheduler lets the missing thread run again: milliseconds, for a loop of a tenth of
// one. Here each thread takes the next part that nobody has; the caller takes what is left, and waits for parts that
// others have begun, and for no thread that has not come.

#pragma once

#include <cstdint>

namespace pool {

using Work = void (*)(void* context, int64_t part);

// Calls work(context, part) once for each part of [0, parts), on up to `threads` threads, this one among them; one
// that is called while another call is at work does all of it on its own thread.
void run(int64_t parts, int64_t threads, Work work, void* context);

template <typename Function>
void for_each(int64_t parts, int64_t threads, Function function) {
    run(parts, threads, [](void* context, int64_t part) { (*static_cast<Function*>(context))(part); }, &function);
}

}  // namespace pool
