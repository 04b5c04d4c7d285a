// The bfloat16 linear layer on tile registers.
//
// A product of tiles adds the first numbers of 16 pairs, and apart from them the second ones; then both sums, and what
// comes out to the sum so far. So its bits are not those of the instruction for vectors, and a CPU with tiles computes
// any number of rows on them.

#pragma once

#include <algorithm>

#include "bfloat16_pairs.h"
#include "constants.h"
#include "tile_blocks.h"
#include "tiles.h"

namespace {

struct TiledLayer {
    const Pair* weights;  // [panels][chunks][16][16 channels]
    const float* bias;
    int64_t chunks, width;

    // A row tile.
    struct Inputs {
        const Pair* rounded;  // [chunks][rows][16]
        int64_t rows;
    };

    const Pair* panel_at(int64_t panel) const { return weights + panel * chunks * tiles::kRows * kPanel; }

    template <int P>
    void block(tiles::Registers& registers, const Inputs& x, int64_t panel, tiles::Fetch& fetch, float* out) const {
        const Pair *inputs = x.rounded, *panels[P];
        for (int p = 0; p < P; ++p) panels[p] = panel_at(panel + p);
        for_each_constant<P>([&](auto p) { registers.load<tiles::kSums + p>(bias + (panel + p) * kPanel, 0); });
        for (int64_t chunk = 0; chunk < chunks; ++chunk, inputs += x.rows * kPanel) {
            registers.load<tiles::kInputs>(inputs);
            for_each_constant<P>([&](auto p) {
                registers.load<tiles::kWeights>(panels[p]);
                registers.add_bfloat16_products<tiles::kSums + p, tiles::kInputs, tiles::kWeights>();
                panels[p] += tiles::kRows * kPanel;
            });
            fetch.next();
        }
        for_each_constant<P>([&](auto p) {
            const int64_t channel = (panel + p) * kPanel, left = width - channel;
            if (left >= kPanel) {
                registers.store<tiles::kSums + p>(out + channel, width * static_cast<int64_t>(sizeof(float)));
                return;
            }
            alignas(64) float sums[tiles::kRows][kPanel];
            registers.store<tiles::kSums + p>(sums);
            for (int64_t r = 0; r < x.rows; ++r) std::copy_n(sums[r], left, out + r * width + channel);
        });
    }
};

}  // namespace
