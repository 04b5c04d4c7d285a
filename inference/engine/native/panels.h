// How the kernels of linear layers cut their work.
//
// Weights `[out, in]` are kept in panels of 16 output channels, `[panel][in][16]`, so that a panel is read from
// memory from its first byte to its last, once. A tile is some rows of the input times some panels, its sums held
// in registers (Goto and van de Geijn, 2008, "Anatomy of High-Performance Matrix Multiplication"). Each sum goes
// over the inputs in their order, one fused multiply-add after the other: how many rows a tile has, and how the
// panels are shared among threads, changes no bit of it.

#pragma once

#include <omp.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <utility>
#include <vector>

namespace {

#if defined(__AVX512F__)
constexpr int kLanes = 16, kRegisters = 32;
#elif defined(__AVX__)
constexpr int kLanes = 8, kRegisters = 16;
#elif defined(__aarch64__)
constexpr int kLanes = 4, kRegisters = 32;
#else
constexpr int kLanes = 4, kRegisters = 16;
#endif

constexpr int kPanel = 16;
constexpr int kVectors = kPanel / kLanes;  // in a row of a panel

// The panels of a tile of so many rows: sums, one row of weights and one input fit the registers.
constexpr int panels_in_tile(int rows) { return std::min(4, (kRegisters - 1) / (kVectors * (rows + 1))); }

constexpr int most_rows() {
    int rows = 1;
    while (rows < 16 && panels_in_tile(rows + 1) > 0) ++rows;
    return rows;
}
constexpr int kMostRows = most_rows();

// Rows of a tile where there are many: two panels then share each input that is read, if registers allow.
constexpr int many_rows() {
    int rows = kMostRows;
    while (rows > 4 && panels_in_tile(rows) < 2) --rows;
    return panels_in_tile(rows) < 2 ? kMostRows : rows;
}
constexpr int kManyRows = many_rows();

// How far ahead of row `k` of a panel of `depth` rows to fetch weights, in rows: about as long as memory takes to
// answer, and that is more rows for a tile that takes longer for each. Beyond the panel's end comes the panel that
// is next in the same place of a tile. Measured on Zen 5; far less or more costs a tenth.
template <int R, int P>
int64_t rows_ahead(int64_t k, int64_t depth) {
    constexpr int64_t kAhead = R > 4 ? 128 : 24;
    return k + kAhead < depth ? kAhead : kAhead + (P - 1) * depth;
}

// Before the loops over a tile: only when they are unrolled early does the compiler keep its sums in registers.
#define UNROLLED _Pragma("GCC unroll 64")

// The rows of a step, cut into blocks that are as even as can be.
struct Blocks {
    int64_t rows;
    int64_t count;

    explicit Blocks(int64_t all) : rows(all), count(1) {
        if (all > kMostRows) count = (all + kManyRows - 1) / kManyRows;
    }
    int64_t first(int64_t block) const { return rows * block / count; }
    int64_t size(int64_t block) const { return first(block + 1) - first(block); }
};

struct Share {
    int64_t first, last;
};

// This thread's part of `count` things.
inline Share share_of(int64_t count) {
    const int64_t threads = omp_get_num_threads(), thread = omp_get_thread_num();
    return {count * thread / threads, count * (thread + 1) / threads};
}

}  // namespace
