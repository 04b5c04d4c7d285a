// The 8-bit linear layer on tile registers, for many rows.
//
// It computes what the layer of int8_linear.cpp does, with the same bits: sums of products of a quantisation group are
// exact, and the groups are added in the same order with the same instruction.

#pragma once

#include <array>

#include "constants.h"
#include "int8_x86.h"
#include "panels.h"
#include "tile_blocks.h"
#include "tiles.h"

namespace {

struct TiledLayer {
    const uint8_t* weights;
    const float *scales, *bias;
    int64_t chunks, width, group_chunks;

    // A row tile, quantised.
    struct Inputs {
        const int8_t* levels;      // [chunks][rows][64]
        const float* scales;       // [rows][scales_stride]
        const float* corrections;  // [rows]
        int64_t scales_stride, rows;
    };

    // Exact sums, and what is added up of them: of a row tile and a panel.
    struct alignas(64) TileSums {
        int32_t numbers[tiles::kRows][kPanel];
    };
    struct TileTotals {
        Totals rows[tiles::kRows];
    };

    const uint8_t* panel_at(int64_t panel) const { return weights + panel * chunks * tiles::kBytes; }

    template <int P>
    void block(tiles::Registers& registers, const Inputs& x, int64_t panel, tiles::Fetch& fetch, float* out) const {
        static constexpr auto kByRows = by_rows(std::make_integer_sequence<int, tiles::kRows>{});
        TileSums sums[P];
        TileTotals totals[P];
        for (int64_t chunk = 0, group = 0; chunk < chunks; chunk += group_chunks, ++group) {
            sum_group<P>(registers, x, panel, {chunk, std::min(chunks, chunk + group_chunks)}, fetch, sums);
            for (int p = 0; p < P; ++p) {
                (this->*kByRows[x.rows - 1])(x, group, sums[p], totals[p], panel + p, out);
            }
        }
    }

    template <int P>
    void sum_group(tiles::Registers& registers, const Inputs& x, int64_t panel, Range group, tiles::Fetch& fetch,
                   TileSums (&sums)[P]) const {
        const int8_t* levels = x.levels + group.first * x.rows * tiles::kRowBytes;
        const uint8_t* panels[P];
        for (int p = 0; p < P; ++p) panels[p] = panel_at(panel + p) + group.first * tiles::kBytes;
        for_each_constant<P>([&](auto p) { registers.zero<tiles::kSums + p>(); });
        for (int64_t chunk = group.first; chunk < group.last; ++chunk, levels += x.rows * tiles::kRowBytes) {
            registers.load<tiles::kInputs>(levels);
            for_each_constant<P>([&](auto p) {
                registers.load<tiles::kWeights>(panels[p]);
                registers.add_int8_products<tiles::kSums + p, tiles::kInputs, tiles::kWeights>();
                panels[p] += tiles::kBytes;
            });
            fetch.next();
        }
        for_each_constant<P>([&](auto p) { registers.store<tiles::kSums + p>(&sums[p]); });
    }

    // Adds the sums of group `group` for R rows of a panel. The first group begins the totals, and the last one turns
    // them into results, from `out` on.
    template <int R>
    void add_sums(const Inputs& x, int64_t group, const TileSums& sums, TileTotals& sofar, int64_t panel,
                  float* out) const {
        Totals totals[R];
        UNROLLED
        for (int r = 0; r < R; ++r) {
            totals[r] = group == 0 ? broadcast(x.corrections[r]) : sofar.rows[r];
            add_group(totals[r], *reinterpret_cast<const Sums*>(sums.numbers[r]),
                      broadcast(x.scales[r * x.scales_stride + group]));
        }
        if ((group + 1) * group_chunks < chunks) {
            UNROLLED
            for (int r = 0; r < R; ++r) sofar.rows[r] = totals[r];
            return;
        }
        const int64_t channel = panel * kPanel;
        const Channels channels(scales + channel, bias + channel, width - channel);
        UNROLLED
        for (int r = 0; r < R; ++r) channels.write(totals[r], out + r * width + channel);
    }

    using AddFunction = void (TiledLayer::*)(const Inputs&, int64_t, const TileSums&, TileTotals&, int64_t,
                                             float*) const;

    template <int... R>
    static constexpr auto by_rows(std::integer_sequence<int, R...>) {
        return std::array<AddFunction, sizeof...(R)>{&TiledLayer::add_sums<R + 1>...};
    }
};

}  // namespace
