// How a linear layer cuts its work, in any weight format.
//
// Weights `[out, in]` are kept in panels of 16 output channels, `[panel][in][16]`, so that a panel is read from
// memory from its first byte to its last, once. A tile is some rows of the input times some panels, its sums held
// in registers (Goto and van de Geijn, 2008, "Anatomy of High-Performance Matrix Multiplication"). Each sum goes
// over the inputs in their order, one fused multiply-add after the other: how many rows a tile has, and how the
// panels are shared among threads, changes no bit of it.
//
// A format is a class `Layer`:
//
//     static constexpr int kMostRows;                  // of a tile
//     static constexpr int kManyRows;                  // of a tile where the rows need several
//     static constexpr int panels_in_tile(int rows);   // at the most; 1 or more
//     int64_t width;                                   // output channels
//     struct Inputs;                                   // a row tile, in the form that `tile` takes
//
//     // Fills R rows of `out`, `[R][width]`, from channel `16 * panel` on; more: another tile follows.
//     template <int R, int P> void tile(const Inputs& x, int64_t panel, bool more, float* out) const;

#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <utility>

#include "finish.h"
#include "parts.h"
#include "vectors.h"

namespace {

constexpr int kPanel = 16;
constexpr int kVectors = kPanel / kLanes;  // in a row of a panel

// How far ahead of row `k` of a panel of `depth` rows to fetch weights of `Bytes` bytes, in rows: about as long as
// memory takes to answer, and that is more rows for smaller weights, and for a tile that takes longer for each. After
// the panel's end comes the panel that takes its place in the next tile, if there is a next tile. Measured on Zen 5;
// far less or more costs a tenth.
template <int R, int P, int Bytes = 4>
int64_t rows_ahead(int64_t k, int64_t depth, bool more) {
    constexpr int64_t kAhead = R > 4 ? 128 : 96 / Bytes;
    if (k + kAhead < depth) return kAhead;
    return more ? kAhead + (P - 1) * depth : 0;
}

// How near to the core fetched weights are kept. Those of a single row are read once in a step, and the last cache
// holds a few of them. If each line took its place there, none would be left when the next step reads it; if none does,
// those that are there stay. Measured on Zen 5, with 32 MB of cache: a step in 8 or 4 bits takes a twelfth less.
constexpr int kReadOnce = 0, kReadAgain = 3;
template <int R>
constexpr int kept_in_cache() {
    return R == 1 ? kReadOnce : kReadAgain;
}

// The channels of some panels.
inline Range channels_of(Range panels, int64_t width) {
    return {panels.first * kPanel, std::min(width, panels.last * kPanel)};
}

// The rows of a step, cut into row tiles that are as even as can be.
struct RowTiles {
    int64_t rows;
    int64_t count;

    // One tile for up to `most` rows, and otherwise tiles of up to `many`; none for no rows.
    RowTiles(int64_t all, int64_t most, int64_t many)
        : rows(all), count(all > most ? (all + many - 1) / many : all > 0) {}
    int64_t first(int64_t tile) const { return rows * tile / count; }
    int64_t size(int64_t tile) const { return first(tile + 1) - first(tile); }
};

// Calls fill(row, place, size) for each row: the `place`-th of the `size` rows of its tile.
template <typename Fill>
void for_each_row(const RowTiles& tiles, int64_t depth, int64_t threads, Fill fill) {
    for_each_part(tiles.count, tiles.rows * depth, threads, [&](Range part) {
        for (int64_t tile = part.first; tile < part.last; ++tile) {
            const int64_t size = tiles.size(tile);
            for (int64_t r = 0; r < size; ++r) fill(tiles.first(tile) + r, r, size);
        }
    });
}

template <typename Layer, int R>
void multiply_panels(const Layer& layer, const typename Layer::Inputs& x, Range panels, float* out) {
    constexpr int P = Layer::panels_in_tile(R);
    int64_t panel = panels.first;
    for (; panel + P <= panels.last; panel += P) {
        layer.template tile<R, P>(x, panel, panel + 2 * P <= panels.last, out);
    }
    if constexpr (P > 2) {
        for (; panel + 2 <= panels.last; panel += 2) layer.template tile<R, 2>(x, panel, false, out);
    }
    for (; panel < panels.last; ++panel) layer.template tile<R, 1>(x, panel, false, out);
}

template <typename Layer, int... R>
constexpr auto multiply_by_rows(std::integer_sequence<int, R...>) {
    return std::array{multiply_panels<Layer, R + 1>...};
}

// Multiplies every row tile with every panel. Where there are several row tiles, a tile's panels at a time meet all of
// them, and stay in the cache meanwhile.
//
// inputs(tile, next): the Inputs of a row tile, of which `next` are the panels that follow.
template <typename Layer, typename MakeInputs>
void multiply(const Layer& layer, const RowTiles& tiles, int64_t threads, float* out, const Finish& finish,
              MakeInputs inputs) {
    static constexpr auto kByRows = multiply_by_rows<Layer>(std::make_integer_sequence<int, Layer::kMostRows>{});
    const int64_t panels = (layer.width + kPanel - 1) / kPanel;
    const int64_t together = Layer::panels_in_tile(static_cast<int>(tiles.count > 1 ? Layer::kManyRows : tiles.rows));
    const Parts parts((panels + together - 1) / together, threads);
    pool::for_each(parts.size(), threads, [&](int64_t part) {
        const Range all{parts[part].first * together, std::min(panels, parts[part].last * together)};
        const int64_t step = tiles.count > 1 ? together : all.last - all.first;
        for (int64_t panel = all.first; panel < all.last; panel += step) {
            const Range now{panel, std::min(all.last, panel + step)};
            const Range next{now.last, std::min(panels, now.last + together)};
            for (int64_t tile = 0; tile < tiles.count; ++tile) {
                kByRows[tiles.size(tile) - 1](layer, inputs(tile, next), now, out + tiles.first(tile) * layer.width);
            }
            finish({0, tiles.rows}, channels_of(now, layer.width));
        }
    });
}

}  // namespace
