// The bfloat16 linear layer on tile registers.
//
// A product of tiles adds the first numbers of 16 pairs, and apart from them the second ones; then both sums, and what
// comes out to the sum so far. So its bits are not those of the instruction for vectors, and a CPU with tiles computes
// any number of rows on them.

#pragma once

#include <algorithm>

#include "bfloat16_pairs.h"
#include "cache_lines.h"
#include "constants.h"
#include "tile_blocks.h"
#include "tiles.h"

namespace {

struct TiledLayer {
    static constexpr int kPanelsTogether = 4;      // that meet all row tiles before the next ones
    static constexpr int64_t kChunksTogether = 8;  // of those panels, which then stay in the first cache
    static constexpr int kSumsFloats = tiles::kRows * kPanel;

    const Pair* weights;  // [panels][chunks][16][16 channels]
    const float* bias;
    int64_t chunks, width;

    // A row tile.
    struct Inputs {
        const Pair* rounded;  // [chunks][rows][16]
        int64_t rows;
    };

    const Pair* chunk_at(int64_t panel, int64_t chunk) const {
        return weights + (panel * chunks + chunk) * tiles::kRows * kPanel;
    }

    // Multiplies the chunks of `range` of a row tile and P panels. The sums start from the bias, wait in `sofar`, [P],
    // for the next range, and go to `out`, `[rows][width]`, after the last one.
    template <int P>
    void tile(tiles::Registers& registers, const Inputs& x, int64_t panel, Range range, tiles::Fetch& fetch,
              float* sofar, float* out) const {
        for_each_constant<P>([&](auto p) {
            if (range.first == 0) {
                registers.load<tiles::kSums + p>(bias + (panel + p) * kPanel, 0);
            } else {
                registers.load<tiles::kSums + p>(sofar + p * kSumsFloats);
            }
        });
        for (int64_t chunk = range.first; chunk < range.last; ++chunk) {
            registers.load<tiles::kInputs>(x.rounded + chunk * x.rows * kPanel);
            for_each_constant<P>([&](auto p) {
                constexpr int kWeights = tiles::kWeights + p % 2;
                registers.load<kWeights>(chunk_at(panel + p, chunk));
                registers.add_bfloat16_products<tiles::kSums + p, tiles::kInputs, kWeights>();
            });
            fetch.next();
        }
        for_each_constant<P>([&](auto p) {
            float* const waiting = sofar + p * kSumsFloats;
            float* const to = out + (panel + p) * kPanel;
            const int64_t left = width - (panel + p) * kPanel;
            if (range.last == chunks && left >= kPanel) {
                registers.store<tiles::kSums + p>(to, width * static_cast<int64_t>(sizeof(float)));
                return;
            }
            registers.store<tiles::kSums + p>(waiting);
            if (range.last < chunks) return;
            for (int64_t r = 0; r < x.rows; ++r) std::copy_n(waiting + r * kPanel, left, to + r * width);
        });
    }

    // inputs(tile): of each row tile.
    template <typename MakeInputs>
    void multiply(int64_t rows, int64_t threads, float* out, const Finish& finish, MakeInputs inputs) const {
        const int64_t panels = (width + kPanel - 1) / kPanel, row_tiles = (rows + tiles::kRows - 1) / tiles::kRows;
        const Parts parts((panels + kPanelsTogether - 1) / kPanelsTogether, threads);
        pool::for_each(parts.size(), threads, [&](int64_t part) {
            thread_local Lines<float> memory;
            float* const sofar = memory.of(row_tiles * kPanelsTogether * kSumsFloats);
            tiles::Registers registers;
            const int64_t last = std::min(panels, parts[part].last * kPanelsTogether);
            for (int64_t first = parts[part].first * kPanelsTogether; first < last; first += kPanelsTogether) {
                const int64_t end = std::min(last, first + kPanelsTogether);
                const int64_t lines = (std::min(panels, end + kPanelsTogether) - end) * chunks * tiles::kRows;
                const int64_t times = std::max<int64_t>(1, row_tiles - 1) * chunks;
                tiles::Fetch fetch(chunk_at(end, 0));
                // As in int8_tiles.h: the first row tile reads from memory, the others fetch the next panels.
                for (const Range some : {Range{0, 1}, Range{1, row_tiles}}) {
                    for (int64_t chunk = 0; chunk < chunks; chunk += kChunksTogether) {
                        const Range range{chunk, std::min(chunks, chunk + kChunksTogether)};
                        for (int64_t tile = some.first; tile < some.last; ++tile) {
                            const Inputs x = inputs(tile);
                            registers.configure(static_cast<int>(x.rows));
                            float* const waiting = sofar + tile * kPanelsTogether * kSumsFloats;
                            for_each_constant<kPanelsTogether>([&](auto p) {
                                if (end - first == p + 1) {
                                    this->tile<p + 1>(registers, x, first, range, fetch, waiting,
                                                      out + tile * tiles::kRows * width);
                                }
                            });
                        }
                    }
                    fetch.begin(lines, times);
                }
                finish({0, rows}, channels_of({first, end}, width));
            }
        });
    }
};

}  // namespace
