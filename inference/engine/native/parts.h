// Work cut into parts for the threads of the pool.

#pragma once

#include <algorithm>
#include <cstdint>

#include "pool.h"

struct Range {
    int64_t first, last;
};

namespace {

// With fewer numbers than these, waking the threads takes longer than they save.
constexpr int64_t kWorthThreads = 16384;

// `count` items as parts for `threads` threads: a large one for each, which is read from memory in one go, and then
// small ones, with which those that are early make up for those that are late.
class Parts {
  public:
    Parts(int64_t count, int64_t threads) : count_(count), threads_(threads), large_(count * 5 / 8 / threads) {
        if (threads == 1) large_ = count;
        const int64_t left = count - large_ * threads;
        small_ = std::max<int64_t>(1, (left + 4 * threads - 1) / (4 * threads));
        size_ = (large_ > 0 ? threads : 0) + (left + small_ - 1) / small_;
    }
    int64_t size() const { return size_; }
    Range operator[](int64_t part) const {
        if (large_ > 0 && part < threads_) return {part * large_, (part + 1) * large_};
        const int64_t first = large_ * threads_ + (part - (large_ > 0 ? threads_ : 0)) * small_;
        return {first, std::min(count_, first + small_)};
    }

  private:
    int64_t count_, threads_, large_, small_, size_;
};

// Calls function(range) for parts of `count` items, which are `numbers` numbers in all.
template <typename Function>
void for_each_part(int64_t count, int64_t numbers, int64_t threads, Function function) {
    if (numbers < kWorthThreads) threads = 1;
    const Parts parts(count, threads);
    pool::for_each(parts.size(), threads, [&](int64_t part) { function(parts[part]); });
}

// The rows `rows` of a linear layer's call.
template <typename Call>
Call with_rows(Call call, Range rows) {
    call.rows = rows.last - rows.first;
    call.x += rows.first * call.depth;
    call.out += rows.first * call.width;
    return call;
}

}  // namespace
