// How a linear layer on tile registers cuts its work, in any weight format.
//
// Some panels at a time meet all row tiles. They come from memory with the first one; the others find them in the
// core's cache, and all of them fetch the next panels meanwhile.
//
// A format is a class `Layer`:
//
//     int64_t width, chunks;                      // output channels; tiles of weights in a panel
//     const void* panel_at(int64_t panel) const;  // its weights
//     struct Inputs { int64_t rows; ... };        // a row tile, in the form that `block` takes
//
//     // Fills the rows of a row tile, `[rows][width]`, from channel `16 * panel` on, for P panels.
//     template <int P>
//     void block(tiles::Registers&, const Inputs& x, int64_t panel, tiles::Fetch&, float* out) const;

#pragma once

#include <algorithm>
#include <cstdint>

#include "constants.h"
#include "finish.h"
#include "panels.h"
#include "parts.h"
#include "tiles.h"

namespace tiles {

constexpr int kPanelsTogether = 2;

// What is fetched early, a part of it with each chunk of each row tile: the weights of the next panels, and the lines
// where the results of the next row tile go, which a core has to own before it writes them.
class Fetch {
  public:
    // To fetch `lines` lines of weights in `times` times, if that is not too many at a time.
    Fetch(const void* weights, int64_t lines, int64_t times)
        : weights_(static_cast<const char*>(weights)), lines_(std::min(kMostLines, (lines + times - 1) / times)) {}

    // The next row tile's results, of two panels: `rows` rows, `width` numbers apart, in `times` times.
    void begin_results(const float* results, int64_t rows, int64_t width, int64_t times) {
        results_ = results;
        width_ = width;
        rows_left_ = rows;
        rows_ = (rows + times - 1) / times;
    }

    void next() {
        for (int64_t i = 0; i < lines_; ++i) __builtin_prefetch(weights_ + i * kRowBytes, 0, 2);
        weights_ += lines_ * kRowBytes;
        for (int64_t i = 0; i < std::min(rows_, rows_left_); ++i, results_ += width_) {
            __builtin_prefetch(results_, 1, 2);
            __builtin_prefetch(results_ + kPanel, 1, 2);
        }
        rows_left_ -= rows_;
    }

  private:
    // More would occupy the buffers through which a core reads its inputs.
    static constexpr int64_t kMostLines = 32;

    const char* weights_;
    int64_t lines_;
    const float* results_ = nullptr;
    int64_t rows_ = 0, rows_left_ = 0, width_ = 0;
};

// Calls fill(row, place, size) for each row: the `place`-th of the `size` rows of its tile. Rows and not tiles are
// divided among the threads, because a decode step has few tiles.
template <typename Fill>
void for_each_row(const RowTiles& row_tiles, int64_t depth, int64_t threads, Fill fill) {
    for_each_part(row_tiles.rows, row_tiles.rows * depth, threads, [&](Range part) {
        int64_t tile = 0;
        for (int64_t row = part.first; row < part.last; ++row) {
            while (row_tiles.first(tile + 1) <= row) ++tile;
            fill(row, row - row_tiles.first(tile), row_tiles.size(tile));
        }
    });
}

// inputs(tile): the Inputs of a row tile.
template <typename Layer, typename MakeInputs>
void multiply(const Layer& layer, const RowTiles& row_tiles, int64_t threads, float* out, const Finish& finish,
              MakeInputs inputs) {
    const int64_t panels = (layer.width + kPanel - 1) / kPanel;
    const Parts parts((panels + kPanelsTogether - 1) / kPanelsTogether, threads);
    pool::for_each(parts.size(), threads, [&](int64_t part) {
        Registers registers;
        const int64_t last = std::min(panels, parts[part].last * kPanelsTogether);
        for (int64_t first = parts[part].first * kPanelsTogether; first < last; first += kPanelsTogether) {
            const int64_t end = std::min(last, first + kPanelsTogether);
            const int64_t lines = (std::min(panels, end + kPanelsTogether) - end) * layer.chunks * kRows;
            Fetch fetch(layer.panel_at(end), lines, row_tiles.count * layer.chunks);
            for (int64_t tile = 0; tile < row_tiles.count; ++tile) {
                const auto x = inputs(tile);
                float* const to = out + row_tiles.first(tile) * layer.width;
                const bool last_tile = tile + 1 == row_tiles.count;
                const float* next = last_tile ? out + end * kPanel : to + x.rows * layer.width + first * kPanel;
                fetch.begin_results(next, row_tiles.size(last_tile ? 0 : tile + 1), layer.width, layer.chunks);
                registers.configure(static_cast<int>(x.rows));
                for_each_constant<kPanelsTogether>([&](auto p) {
                    if (end - first == p + 1) layer.template block<p + 1>(registers, x, first, fetch, to);
                });
            }
            finish({0, row_tiles.rows}, channels_of({first, end}, layer.width));
        }
    });
}

// Calls multiply(call, row_tiles, finish) for blocks of the rows of `whole`, whose inputs stay in a core's own cache.
template <typename Call, typename Multiply>
void for_each_block(const Call& whole, const Finish& finish, Multiply multiply) {
    constexpr int64_t kBlockNumbers = 1 << 19;
    const int64_t most = std::max<int64_t>(4, kBlockNumbers / (whole.depth * kRows)) * kRows;
    for (int64_t first = 0; first < whole.rows; first += most) {
        const Call call = with_rows(whole, {first, std::min(whole.rows, first + most)});
        multiply(call, RowTiles(call.rows, kRows, kRows), finish.from(first));
    }
}

}  // namespace tiles
