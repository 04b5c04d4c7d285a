// Pairs of bfloat16 numbers, multiplied and added for the 16 channels of a panel: by AVX512-BF16's instruction, or in
// plain C++ with the same bits.
//
// The instruction adds the product of the second numbers to the sum and then that of the first ones, and rounds after
// each. It takes denormal numbers for zero and returns none, whatever the thread's floating-point settings.

#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "bfloat16.h"
#include "panels.h"

namespace {

constexpr int kPair = 2;

struct Pair {
    BFloat16 numbers[kPair];
};

#if defined(__AVX512BF16__)

typedef __m512i PanelPairs;  // a pair of weights for each channel
typedef __m512i Input;       // the same pair for each channel
typedef __m512 PanelSums;

// As many rows as the registers have room for, with one panel: weights are then read once, and from memory. Where the
// rows need several tiles, with two panels: 13 % faster than with one, and 10 % than six rows with four.
constexpr int kMostRows = 28, kManyRows = 14;

inline PanelPairs load_pairs(const Pair* weights) {
    PanelPairs loaded = _mm512_loadu_si512(weights);
    asm("" : "+v"(loaded));  // keeps it in a register: the compiler would read the weights again for a second row
    return loaded;
}

inline Input for_each_channel(const Pair* pair) {
    int32_t both;
    std::memcpy(&both, pair, sizeof both);
    return _mm512_set1_epi32(both);
}

inline PanelSums load_sums(const float* from) { return _mm512_loadu_ps(from); }

inline void add_products(PanelSums& sums, PanelPairs weights, Input input) {
    asm("vdpbf16ps %2, %1, %0" : "+v"(sums) : "v"(weights), "v"(input));
}

// Writes those of the first `left` channels.
inline void store_sums(PanelSums sums, int64_t left, float* to) {
    _mm512_mask_storeu_ps(to, left >= kPanel ? 0xffff : static_cast<__mmask16>((1 << left) - 1), sums);
}

#else

struct PanelPairs {
    const Pair* channels;
};

typedef Pair Input;

struct PanelSums {
    float channels[kPanel];
};

constexpr int kMostRows = 2, kManyRows = 2;

inline PanelPairs load_pairs(const Pair* weights) { return {weights}; }

inline Input for_each_channel(const Pair* pair) { return *pair; }

inline PanelSums load_sums(const float* from) {
    PanelSums sums;
    std::copy_n(from, kPanel, sums.channels);
    return sums;
}

inline void add_products(PanelSums& sums, PanelPairs weights, Input input) {
    for (int channel = 0; channel < kPanel; ++channel) {
        for (const int i : {1, 0}) {
            sums.channels[channel] =
                with_product(sums.channels[channel], weights.channels[channel].numbers[i], input.numbers[i]);
        }
    }
}

inline void store_sums(const PanelSums& sums, int64_t left, float* to) {
    std::copy_n(sums.channels, std::clamp<int64_t>(left, 0, kPanel), to);
}

#endif

}  // namespace
