// The 8-bit linear layer on tile registers, for many rows.
//
// It computes what the layer of int8_linear.cpp does, with the same bits: sums of products of a quantisation group are
// exact, and the groups are added in the same order with the same instruction.

#pragma once

#include <array>

#include "cache_lines.h"
#include "constants.h"
#include "int8_x86.h"
#include "panels.h"
#include "tile_blocks.h"
#include "tiles.h"

namespace {

struct TiledLayer {
    static constexpr int kPanelsTogether = 2;      // that meet all row tiles before the next ones
    static constexpr int64_t kChunksTogether = 8;  // of those panels, which then stay in the first cache
    static constexpr int kSumsNumbers = tiles::kRows * kPanel;

    const uint8_t* weights;
    const float *scales, *bias;
    int64_t chunks, width, group_chunks;

    // A row tile, quantised.
    struct Inputs {
        const int8_t* levels;      // [chunks][rows][64]
        const float* scales;       // [rows][scales_stride]
        const float* corrections;  // [rows]
        int64_t scales_stride;
    };

    int64_t groups() const { return (chunks + group_chunks - 1) / group_chunks; }
    const uint8_t* chunk_at(int64_t panel, int64_t chunk) const {
        return weights + (panel * chunks + chunk) * tiles::kBytes;
    }

    // The sums of the groups of `range` for a row tile and P panels: [groups][P][rows][16].
    template <int P>
    void sum_groups(tiles::Registers& registers, const int8_t* levels, int64_t rows, int64_t panel, Range range,
                    tiles::Fetch& fetch, int32_t* sums) const {
        for (int64_t group = range.first; group < range.last; ++group) {
            for_each_constant<P>([&](auto p) { registers.zero<tiles::kSums + p>(); });
            const int64_t first = group * group_chunks, last = std::min(chunks, first + group_chunks);
            for (int64_t chunk = first; chunk < last; ++chunk) {
                registers.load<tiles::kInputs>(levels + chunk * rows * tiles::kRowBytes);
                for_each_constant<P>([&](auto p) {
                    constexpr int kWeights = tiles::kWeights + p % 2;
                    registers.load<kWeights>(chunk_at(panel + p, chunk));
                    registers.add_int8_products<tiles::kSums + p, tiles::kInputs, kWeights>();
                });
                fetch.next();
            }
            for_each_constant<P>([&](auto p) { registers.store<tiles::kSums + p>(sums + p * kSumsNumbers); });
            sums += P * kSumsNumbers;
        }
    }

    // Adds the sums of the groups of `range` for R rows of a panel to `totals`, `[R][16]`, which the first range begins
    // and the last one turns into results.
    template <int R>
    void add_groups(const Inputs& x, int64_t panel, Range range, const int32_t* sums, int64_t stride, float* sofar,
                    float* out) const {
        Totals totals[R][kVectors];
        UNROLLED
        for (int r = 0; r < R; ++r) {
            UNROLLED
            for (int v = 0; v < kVectors; ++v) {
                if (range.first == 0) {
                    totals[r][v] = broadcast(x.corrections[r]);
                } else {
                    totals[r][v] = *reinterpret_cast<const Totals*>(sofar + r * kPanel + v * kLanes);
                }
            }
        }
        for (int64_t group = range.first; group < range.last; ++group, sums += stride) {
            UNROLLED
            for (int r = 0; r < R; ++r) {
                UNROLLED
                for (int v = 0; v < kVectors; ++v) {
                    const Sums* from = reinterpret_cast<const Sums*>(sums + r * kPanel + v * kLanes);
                    add_group(totals[r][v], *from, broadcast(x.scales[r * x.scales_stride + group]));
                }
            }
        }
        if (range.last < groups()) {
            UNROLLED
            for (int r = 0; r < R; ++r) {
                UNROLLED
                for (int v = 0; v < kVectors; ++v) {
                    *reinterpret_cast<Totals*>(sofar + r * kPanel + v * kLanes) = totals[r][v];
                }
            }
            return;
        }
        UNROLLED
        for (int v = 0; v < kVectors; ++v) {
            const int64_t first = panel * kPanel + v * kLanes;
            const Channels channels(scales + first, bias + first, width - first);
            UNROLLED
            for (int r = 0; r < R; ++r) channels.write(totals[r][v], out + r * width + first);
        }
    }

    using AddFunction = void (TiledLayer::*)(const Inputs&, int64_t, Range, const int32_t*, int64_t, float*,
                                             float*) const;

    template <int... R>
    static constexpr auto by_rows(std::integer_sequence<int, R...>) {
        return std::array<AddFunction, sizeof...(R)>{&TiledLayer::add_groups<R + 1>...};
    }

    // inputs(tile): of each row tile.
    template <typename MakeInputs>
    void multiply(int64_t rows, int64_t threads, float* out, const Finish& finish, MakeInputs inputs) const {
        static constexpr auto kByRows = by_rows(std::make_integer_sequence<int, tiles::kRows>{});
        const int64_t panels = (width + kPanel - 1) / kPanel, row_tiles = (rows + tiles::kRows - 1) / tiles::kRows;
        const int64_t groups_together = kChunksTogether / group_chunks;
        const Parts parts((panels + kPanelsTogether - 1) / kPanelsTogether, threads);
        pool::for_each(parts.size(), threads, [&](int64_t part) {
            thread_local Lines<float> memory;
            float* const totals = memory.of(row_tiles * kPanelsTogether * kSumsNumbers);
            alignas(64) int32_t sums[kChunksTogether * kPanelsTogether * kSumsNumbers];
            tiles::Registers registers;
            const int64_t last = std::min(panels, parts[part].last * kPanelsTogether);
            for (int64_t first = parts[part].first * kPanelsTogether; first < last; first += kPanelsTogether) {
                const int64_t end = std::min(last, first + kPanelsTogether);
                const int64_t lines = (std::min(panels, end + kPanelsTogether) - end) * chunks * tiles::kRows;
                const int64_t times = std::max<int64_t>(1, row_tiles - 1) * chunks;
                tiles::Fetch fetch(chunk_at(end, 0));
                // The first row tile reads the panels from memory, as fast as that answers. The others find them in the
                // core's cache, and fetch the next panels meanwhile.
                for (const Range some : {Range{0, 1}, Range{1, row_tiles}}) {
                    for (int64_t group = 0; group < groups(); group += groups_together) {
                        const Range range{group, std::min(groups(), group + groups_together)};
                        for (int64_t tile = some.first; tile < some.last; ++tile) {
                            const int64_t row = tile * tiles::kRows, size = tiles::rows_of_tile(row, rows);
                            registers.configure(static_cast<int>(size));
                            const Inputs x = inputs(tile);
                            for_each_constant<kPanelsTogether>([&](auto p) {
                                if (end - first == p + 1) {
                                    sum_groups<p + 1>(registers, x.levels, size, first, range, fetch, sums);
                                }
                            });
                            for (int64_t panel = first; panel < end; ++panel) {
                                float* const sofar = totals + (tile * kPanelsTogether + panel - first) * kSumsNumbers;
                                (this->*kByRows[size - 1])(x, panel, range, sums + (panel - first) * kSumsNumbers,
                                                           (end - first) * kSumsNumbers, sofar, out + row * width);
                            }
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
