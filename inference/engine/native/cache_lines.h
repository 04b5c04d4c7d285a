// Memory for numbers that begins with a cache line.

#pragma once

#include <cstdint>
#include <vector>

namespace {

// Grows to what is asked for, and keeps nothing of what it held.
template <typename Number>
class Lines {
  public:
    Number* of(int64_t numbers) {
        constexpr int64_t kLine = 64;
        const size_t needed = numbers * sizeof(Number) + kLine;
        if (memory_.size() < needed) memory_.resize(needed);
        return reinterpret_cast<Number*>((reinterpret_cast<uintptr_t>(memory_.data()) + kLine - 1) / kLine * kLine);
    }

  private:
    std::vector<char> memory_;
};

}  // namespace
