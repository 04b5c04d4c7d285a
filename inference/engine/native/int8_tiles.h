// The 8-bit linear layer on tile registers, for many rows.
//
// It computes what the layer of int8_linear.cpp does, with the same bits: sums of products of a quantisation group are
// exact, and the groups are added in the same order with the same instruction.

#pragma once

#include "cache_lines.h"
#include "int8_vnni.h"
#include "panels.h"
#include "tiles.h"

namespace {

struct TiledLayer {
    static constexpr int64_t kPanelsTogether = 4;   // that meet all row tiles before the next ones
    static constexpr int64_t kGroupsTogether = 16;  // of those panels, which then stay in the first cache
    static constexpr int64_t kAhead = 8;            // groups, that a panel is fetched ahead where it is read once
    static constexpr int64_t kBehind = 2;           // groups, that sums are converted after they are multiplied

    const uint8_t* weights;
    const float *scales, *bias;
    int64_t groups, width;

    // A row tile, quantised.
    struct Inputs {
        const int8_t* levels;      // [groups][rows][64]
        const float* scales;       // [rows][scales_stride]
        const float* corrections;  // [rows]
        int64_t scales_stride;
    };

    // Weights that are fetched with each group.
    struct Fetch {
        const uint8_t* from;
        int64_t lines;
    };

    const uint8_t* panel_at(int64_t panel) const { return weights + panel * groups * tiles::kBytes; }

    // Adds the groups of `range` for R rows of a panel to `totals`, `[R][16]`, which the first range begins and the
    // last one turns into results.
    template <int R>
    void tile(tiles::Registers& registers, const Inputs& x, int64_t panel, Range range, Fetch fetch, float* sofar,
              float* out) const {
        alignas(64) int32_t sums[4][R][kPanel];
        const uint8_t* weight = panel_at(panel);
        Totals totals[R][kVectors];
        UNROLLED
        for (int r = 0; r < R; ++r) {
            UNROLLED
            for (int v = 0; v < kVectors; ++v) {
                if (range.first == 0) {
                    totals[r][v] = first_totals(x.corrections[r]);
                } else {
                    totals[r][v] = *reinterpret_cast<const Totals*>(sofar + r * kPanel + v * kLanes);
                }
            }
        }
        // The sums of a group are converted while the next ones are multiplied.
        for (int64_t group = range.first; group < range.last + kBehind; ++group) {
            if (group < range.last) {
                registers.zero<tiles::kSums>();
                registers.load<tiles::kInputs>(x.levels + group * R * tiles::kRowBytes);
                registers.load<tiles::kWeights>(weight + group * tiles::kBytes);
                registers.add_int8_products<tiles::kSums, tiles::kInputs, tiles::kWeights>();
                for (int64_t i = 0; i < fetch.lines; ++i) __builtin_prefetch(fetch.from + i * tiles::kRowBytes, 0, 2);
                fetch.from += fetch.lines * tiles::kRowBytes;
            }
            if (group >= range.first + kBehind) {
                const float* scale = x.scales + group - kBehind;
                UNROLLED
                for (int r = 0; r < R; ++r) {
                    UNROLLED
                    for (int v = 0; v < kVectors; ++v) {
                        const Sums* from = reinterpret_cast<const Sums*>(sums[(group - kBehind) % 4][r] + v * kLanes);
                        add_group(totals[r][v], *from, scale[r * x.scales_stride]);
                    }
                }
            }
            if (group < range.last) registers.store<tiles::kSums>(sums[group % 4]);
        }
        if (range.last < groups) {
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

    using TileFunction = void (TiledLayer::*)(tiles::Registers&, const Inputs&, int64_t, Range, Fetch, float*,
                                              float*) const;

    template <int... R>
    static constexpr auto by_rows(std::integer_sequence<int, R...>) {
        return std::array<TileFunction, sizeof...(R)>{&TiledLayer::tile<R + 1>...};
    }

    // inputs(tile): of each row tile.
    template <typename MakeInputs>
    void multiply(int64_t rows, int64_t threads, float* out, MakeInputs inputs) const {
        static constexpr auto kByRows = by_rows(std::make_integer_sequence<int, tiles::kRows>{});
        const int64_t panels = (width + kPanel - 1) / kPanel, row_tiles = (rows + tiles::kRows - 1) / tiles::kRows;
        const int64_t together = row_tiles > 1 ? kPanelsTogether : 1;
        const int64_t groups_together = row_tiles > 1 ? kGroupsTogether : groups;
        const Parts parts((panels + together - 1) / together, threads);
        pool::for_each(parts.size(), threads, [&](int64_t part) {
            thread_local Lines<float> memory;
            float* const totals = memory.of(row_tiles * together * tiles::kRows * kPanel);
            tiles::Registers registers;
            const int64_t last = std::min(panels, parts[part].last * together);
            for (int64_t first = parts[part].first * together; first < last; first += together) {
                const int64_t end = std::min(last, first + together);
                const int64_t lines = (std::min(panels, end + together) - end) * groups * tiles::kRows;
                const int64_t times = row_tiles * (end - first) * groups;
                Fetch fetch{panel_at(first) + kAhead * tiles::kBytes, tiles::kRows};
                if (row_tiles > 1) fetch = {panel_at(end), (lines + times - 1) / times};
                for (int64_t group = 0; group < groups; group += groups_together) {
                    const Range range{group, std::min(groups, group + groups_together)};
                    for (int64_t tile = 0; tile < row_tiles; ++tile) {
                        const int64_t row = tile * tiles::kRows, size = std::min<int64_t>(tiles::kRows, rows - row);
                        registers.configure(static_cast<int>(size), static_cast<int>(size));
                        const Inputs x = inputs(tile);
                        for (int64_t panel = first; panel < end; ++panel) {
                            float* const sofar = totals + (tile * together + panel - first) * tiles::kRows * kPanel;
                            (this->*kByRows[size - 1])(registers, x, panel, range, fetch, sofar, out + row * width);
                            fetch.from += (range.last - range.first) * fetch.lines * tiles::kRowBytes;
                        }
                    }
                }
            }
        });
    }
};

}  // namespace
