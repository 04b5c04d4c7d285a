// The building blocks of the 8-bit linear layer on x86, with AVX-512 VNNI.

#pragma once

#include <immintrin.h>

#include <cstring>

#include "int8_levels.h"
#include "panels.h"

namespace {

typedef __m512i Bytes;  // a quad for each channel
typedef __m512i Sums;   // a quantisation group's sum for each channel
typedef __m512 Totals;  // the sum over the groups for each channel

inline Bytes load(const uint8_t* weights) {
    Bytes loaded = _mm512_loadu_si512(weights);
    asm("" : "+v"(loaded));  // keeps it in a register: GCC 12 would read the weights again for a second row
    return loaded;
}

inline Bytes for_each_channel(int32_t inputs) { return _mm512_set1_epi32(inputs); }

inline Totals first_totals(float correction) { return _mm512_set1_ps(correction); }

// As _mm512_dpbusd_epi32, which takes unsigned weights. GCC 12 surrounds the intrinsic with moves between registers
// that took half of the time.
inline void add_products(Sums& sums, Bytes weights, Bytes inputs) {
    asm("vpdpbusd %2, %1, %0" : "+v"(sums) : "v"(weights), "v"(inputs));
}

inline void add_group(Totals& totals, Sums sums, float scale) {
    totals = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sums), _mm512_set1_ps(scale), totals);
}

// Turns totals into results, and writes those of the first `left` channels.
struct Channels {
    __m512 scales, bias;
    __mmask16 mask;

    Channels(const float* all_scales, const float* all_bias, int64_t left)
        : scales(_mm512_loadu_ps(all_scales)),
          bias(_mm512_loadu_ps(all_bias)),
          mask(left >= kLanes ? 0xffff : static_cast<__mmask16>((1 << left) - 1)) {}

    void write(Totals totals, float* out) const {
        _mm512_mask_storeu_ps(out, mask, _mm512_fmadd_ps(totals, scales, bias));
    }
};

// Quantises the `Chunks` chunks of a row from input `k` on, each to `to + chunk * stride`; zeros follow the last input.
template <int Chunks, bool Whole>
Group quantise(const float* row, int64_t k, int64_t depth, int8_t* to, int64_t stride) {
    constexpr int kVectorsInChunk = kChunk / 16;
    // The bits of non-negative floats compare as integers in the same order, with NaN above all others.
    __m512i largest = _mm512_setzero_si512();
    __m512 inputs[Chunks * kVectorsInChunk];
    UNROLLED
    for (int i = 0; i < Chunks * kVectorsInChunk; ++i) {
        const int64_t at = k + i * 16, left = std::max<int64_t>(0, depth - at);
        const __mmask16 mask = Whole || left >= 16 ? 0xffff : static_cast<__mmask16>((1 << left) - 1);
        inputs[i] = _mm512_maskz_loadu_ps(mask, row + at);
        largest = _mm512_max_epi32(largest, _mm512_castps_si512(_mm512_abs_ps(inputs[i])));
    }
    const int32_t bits = _mm512_reduce_max_epi32(largest);
    float highest;
    std::memcpy(&highest, &bits, sizeof highest);
    const Levels levels(highest);
    const __m512 factor = _mm512_set1_ps(levels.factor);
    __m512i sum = _mm512_setzero_si512();
    UNROLLED
    for (int i = 0; i < Chunks * kVectorsInChunk; ++i) {
        const __m512i rounded = _mm512_cvtps_epi32(_mm512_mul_ps(inputs[i], factor));
        sum = _mm512_add_epi32(sum, rounded);
        int8_t* const at = to + i / kVectorsInChunk * stride + i % kVectorsInChunk * 16;
        _mm_store_si128(reinterpret_cast<__m128i*>(at), _mm512_cvtepi32_epi8(rounded));
    }
    // With an input that is not finite the result is NaN whatever the sum.
    return {levels.scale, levels.finite ? -kShift * _mm512_reduce_add_epi32(sum) : 0};
}

// Quantises a group of `chunks` chunks.
inline Group quantise(const float* row, int64_t k, int64_t depth, int64_t chunks, int8_t* to, int64_t stride) {
    if (k + kGroup <= depth) return quantise<kGroupChunks, true>(row, k, depth, to, stride);
    if (chunks == kGroupChunks) return quantise<kGroupChunks, false>(row, k, depth, to, stride);
    return quantise<1, false>(row, k, depth, to, stride);
}

}  // namespace
