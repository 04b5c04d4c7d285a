// bfloat16: the upper half of a float32, in which most checkpoints have their weights.

#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include "vectors.h"

namespace {

struct BFloat16 {
    uint16_t bits;
};

// As many numbers as a vector has lanes.
inline Vector widened_vector(const BFloat16* from) {
    typedef uint16_t Halves __attribute__((vector_size(2 * kLanes), aligned(2), may_alias));
    typedef uint32_t Words __attribute__((vector_size(4 * kLanes)));
    const Words words = __builtin_convertvector(*reinterpret_cast<const Halves*>(from), Words) << 16;
    return reinterpret_cast<Vector>(words);
}

inline float widened(BFloat16 number) {
    const uint32_t bits = static_cast<uint32_t>(number.bits) << 16;
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

// To the nearest, ties to even. NaN stays NaN.
inline void round_to_bfloat16(const float* from, int64_t count, BFloat16* to) {
#pragma omp simd
    for (int64_t i = 0; i < count; ++i) {
        uint32_t bits;
        std::memcpy(&bits, from + i, sizeof bits);
        const uint32_t rounded = (bits + 0x7fff + (bits >> 16 & 1)) >> 16, quiet = bits >> 16 | 0x40;
        to[i].bits = static_cast<uint16_t>((bits & 0x7fffffff) > 0x7f800000 ? quiet : rounded);
    }
}

// What the instructions that multiply in bfloat16 make of denormal numbers.
inline float flushed(float number) { return std::fabs(number) < 0x1p-126f ? 0.0f : number; }

// sum + a * b, rounded once, as those instructions add a product.
inline float with_product(float sum, BFloat16 a, BFloat16 b) {
    return flushed(std::fma(flushed(widened(a)), flushed(widened(b)), flushed(sum)));
}

}  // namespace
