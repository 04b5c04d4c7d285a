// How the kernels of linear layers cut their work.
//
// Weights `[out, in]` are kept in panels of 16 output channels, `[panel][in][16]`, so that a panel is read from
// memory from its first byte to its last, once. A tile is some rows of the input times some panels, its sums held
// in registers (Goto and van de Geijn, 2008, "Anatomy of High-Performance Matrix Multiplication"). Each sum goes
// over the inputs in their order, one fused multiply-add after the other: how many rows a tile has, and how the
// panels are shared among threads, changes no bit of it.

#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <utility>
#include <vector>

#include "pool.h"
#include "vectors.h"

namespace {

constexpr int kPanel = 16;
constexpr int kVectors = kPanel / kLanes;  // in a row of a panel

// How far ahead of row `k` of a panel of `depth` rows to fetch weights, in rows: about as long as memory takes to
// answer, and that is more rows for a tile that takes longer for each. Beyond the panel's end comes the panel that
// is next in the same place of a tile, if there is a next tile. Measured on Zen 5; far less or more costs a tenth.
template <int R, int P>
int64_t rows_ahead(int64_t k, int64_t depth, bool more) {
    constexpr int64_t kAhead = R > 4 ? 128 : 24;
    if (k + kAhead < depth) return kAhead;
    return more ? kAhead + (P - 1) * depth : 0;
}

// The rows of a step, cut into blocks that are as even as can be.
struct Blocks {
    int64_t rows;
    int64_t count;

    // One block for up to `most` rows, and else blocks of up to `many`.
    Blocks(int64_t all, int64_t most, int64_t many) : rows(all), count(all > most ? (all + many - 1) / many : 1) {}
    int64_t first(int64_t block) const { return rows * block / count; }
    int64_t size(int64_t block) const { return first(block + 1) - first(block); }
};

struct Share {
    int64_t first, last;
};

// `count` things as parts for `threads` threads: a large one for each, which is read from memory in one go, and then
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
    Share operator[](int64_t part) const {
        if (large_ > 0 && part < threads_) return {part * large_, (part + 1) * large_};
        const int64_t first = large_ * threads_ + (part - (large_ > 0 ? threads_ : 0)) * small_;
        return {first, std::min(count_, first + small_)};
    }

  private:
    int64_t count_, threads_, large_, small_, size_;
};

// Calls function(block, share) for every block of rows and every panel. Where there are several blocks, `together`
// panels at a time for all of them: they stay in the cache meanwhile.
template <typename Function>
void for_each_share(const Blocks& blocks, int64_t panels, int64_t together, int64_t threads, Function function) {
    const Parts parts((panels + together - 1) / together, threads);
    pool::for_each(parts.size(), threads, [&](int64_t part) {
        const Share all{parts[part].first * together, std::min(panels, parts[part].last * together)};
        const int64_t step = blocks.count > 1 ? together : all.last - all.first;
        for (int64_t panel = all.first; panel < all.last; panel += step) {
            const Share share{panel, std::min(all.last, panel + step)};
            for (int64_t block = 0; block < blocks.count; ++block) function(block, share);
        }
    });
}

// Fewer numbers than these are not worth the threads' while.
constexpr int64_t kWorthThreads = 16384;

}  // namespace
