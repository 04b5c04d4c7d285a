// From the exact sums of quantisation groups to the results of a linear layer, for weights in 8 and in 4 bits.

#pragma once

#include <cstdint>

#include "vectors.h"

#if defined(__aarch64__)
#include "int8_products_neon.h"
#else
#include "int8_products_x86.h"
#endif

namespace {

typedef Vector Totals;  // the sum over the groups for each channel

inline Sums added(Sums a, Sums b) {
    return reinterpret_cast<Sums>(reinterpret_cast<Integers>(a) + reinterpret_cast<Integers>(b));
}

inline void add_group(Totals& totals, Sums sums, Vector scales) {
    totals = fused(__builtin_convertvector(reinterpret_cast<Integers>(sums), Vector), scales, totals);
}

// Turns totals into results, and writes those of the first `left` channels.
struct Channels {
    Vector scales, bias;
    int64_t left;

    Channels(const float* all_scales, const float* all_bias, int64_t left)
        : scales(widened_vector(all_scales)), bias(widened_vector(all_bias)), left(left) {}

    void write(Totals totals, float* out) const { store_first(out, fused(totals, scales, bias), left); }
};

}  // namespace
