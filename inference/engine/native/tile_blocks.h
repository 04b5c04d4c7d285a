// The rows of a linear layer on tile registers: in tiles of 16, and in blocks that a core's own cache holds.

#pragma once

#include <algorithm>
#include <cstdint>

#include "finish.h"
#include "parts.h"
#include "tiles.h"

namespace tiles {

// Cache lines that are fetched at a time, with a chunk of a row tile: more would occupy the buffers through which a
// core reads its inputs.
constexpr int64_t kMostFetched = 8;

// The weights of the next panels, of which each chunk of each row tile fetches the same number of cache lines.
class Fetch {
  public:
    explicit Fetch(const void* from) : from_(static_cast<const char*>(from)) {}

    // To fetch `lines` lines in `times` times, if that is not too many at a time. Before, nothing is fetched.
    void begin(int64_t lines, int64_t times) { lines_ = std::min(kMostFetched, (lines + times - 1) / times); }

    void next() {
        for (int64_t i = 0; i < lines_; ++i) __builtin_prefetch(from_ + i * kRowBytes, 0, 2);
        from_ += lines_ * kRowBytes;
    }

  private:
    const char* from_;
    int64_t lines_ = 0;
};

// How many rows the row tile that begins with `row` has.
inline int64_t rows_of_tile(int64_t row, int64_t rows) { return std::min<int64_t>(kRows, rows - row); }

// Calls fill(row, place, size) for each row: the `place`-th of the `size` rows of its tile.
template <typename Fill>
void for_each_row(int64_t rows, int64_t depth, int64_t threads, Fill fill) {
    for_each_part(rows, rows * depth, threads, [&](Range part) {
        for (int64_t row = part.first; row < part.last; ++row) {
            const int64_t place = row % kRows;
            fill(row, place, rows_of_tile(row - place, rows));
        }
    });
}

// Calls multiply(call, finish) for blocks of the rows of `whole`, whose inputs stay in a core's own cache.
template <typename Call, typename Multiply>
void for_each_block(const Call& whole, const Finish& finish, Multiply multiply) {
    constexpr int64_t kBlockNumbers = 1 << 20;
    const int64_t most = std::max<int64_t>(4, kBlockNumbers / (whole.depth * kRows)) * kRows;
    for (int64_t first = 0; first < whole.rows; first += most) {
        multiply(with_rows(whole, {first, std::min(whole.rows, first + most)}), finish.from(first));
    }
}

}  // namespace tiles
