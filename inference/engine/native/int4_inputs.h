// The inputs of the 4-bit linear layer, quantised to 8 bits in the groups of the weights, each group by its own largest
// value.

#pragma once

#include <algorithm>
#include <cstring>

#include "abi.h"
#include "cache_lines.h"
#include "int4_levels.h"
#include "int8_levels.h"
#include "panels.h"
#include "vectors.h"

namespace {

// A row tile of R rows.
struct QuantisedRows {
    const int32_t* quads;        // [groups][R][8]
    const float* scales;         // [groups][R]
    const int32_t* corrections;  // [groups][R]: minus what the weights' shift adds
};

struct QuantisedGroup {
    float scale;
    int32_t sum;  // of the levels

    // Quantises `inputs`, `[32]`, and writes their levels.
    QuantisedGroup(const float* inputs, int8_t* levels) {
        // The bits of non-negative floats compare as integers in the same order, with NaN above all others.
        Integers highest{};
        UNROLLED
        for (int i = 0; i < kInt4Group; i += kLanes) {
            const Integers bits = reinterpret_cast<Integers>(widened_vector(inputs + i)) & 0x7fffffff;
            highest = bits > highest ? bits : highest;
        }
        const int32_t bits = largest(highest);
        float highest_input;
        std::memcpy(&highest_input, &bits, sizeof highest_input);
        const Levels of_group(highest_input);
        scale = of_group.scale;
        if (!of_group.finite) {  // the results are NaN whatever the levels
            std::memset(levels, 0, kInt4Group);
            sum = 0;
            return;
        }
        Integers sums{};
        UNROLLED
        for (int i = 0; i < kInt4Group; i += kLanes) {
            const Vector whole = rounded(widened_vector(inputs + i) * broadcast(of_group.factor));
            const Integers wide = __builtin_convertvector(whole, Integers);
            *reinterpret_cast<Bytewise*>(levels + i) = __builtin_convertvector(wide, Bytewise);
            sums += wide;
        }
        sum = add_up(sums);
    }

  private:
    typedef int8_t Bytewise __attribute__((vector_size(kLanes), aligned(1), may_alias));
};

// The rows of a step. There is one such object for each thread at a time.
class QuantisedInputs {
  public:
    QuantisedInputs(const Int4LinearCall& call, const RowTiles& tiles, int64_t groups) : groups_(groups) {
        thread_local Lines<int32_t> quads, corrections;
        thread_local Lines<float> scales;
        quads_ = quads.of(call.rows * groups * kInt4Quads);
        corrections_ = corrections.of(call.rows * groups);
        scales_ = scales.of(call.rows * groups);
        // Divided by groups and not by rows, because two threads must not write to the same cache lines.
        for_each_part(groups, call.rows * call.depth, call.threads, [&](Range part) {
            for (int64_t tile = 0; tile < tiles.count; ++tile) {
                const int64_t first = tiles.first(tile), size = tiles.size(tile);
                for (int64_t group = part.first; group < part.last; ++group) {
                    for (int64_t r = 0; r < size; ++r) {
                        fill(call.x + (first + r) * call.depth, call.depth, group, first * groups + group * size + r);
                    }
                }
            }
        });
    }

    // Those of a row tile, the first of which is `row`.
    QuantisedRows rows(int64_t row) const {
        const int64_t first = row * groups_;
        return {quads_ + first * kInt4Quads, scales_ + first, corrections_ + first};
    }

  private:
    // Fills in the place `place` with a group of `row`; zeros follow the row's last input.
    void fill(const float* row, int64_t depth, int64_t group, int64_t place) const {
        const float* inputs = row + group * kInt4Group;
        const int64_t count = depth - group * kInt4Group;
        float padded[kInt4Group];
        if (count < kInt4Group) {
            std::fill(std::copy_n(inputs, count, padded), padded + kInt4Group, 0.0f);
            inputs = padded;
        }
        const QuantisedGroup quantised(inputs, reinterpret_cast<int8_t*>(quads_ + place * kInt4Quads));
        scales_[place] = quantised.scale;
        corrections_[place] = -kInt4Shift * quantised.sum;
    }

    int64_t groups_;
    int32_t *quads_, *corrections_;
    float* scales_;
};

}  // namespace
