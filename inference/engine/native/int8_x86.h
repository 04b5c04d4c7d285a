// The building blocks of the 8-bit linear layer on x86, with AVX-512 or AVX2.

#pragma once

#include <numeric>

#include "int8_totals.h"
#include "panels.h"

namespace {

inline Weights load(const uint8_t* weights) { return weights_of(load_bytes(weights)); }

constexpr int kMiddleSwapped = 0b11011000;  // of four numbers

#if defined(__AVX512F__)
inline void store_levels(Level* to, __m512i levels) {
#if defined(__AVX512VNNI__)
    _mm_store_si128(reinterpret_cast<__m128i*>(to), _mm512_cvtepi32_epi8(levels));
#else
    const __m256i pairs = _mm256_shufflelo_epi16(_mm512_cvtepi32_epi16(levels), kMiddleSwapped);
    _mm256_store_si256(reinterpret_cast<__m256i*>(to), _mm256_shufflehi_epi16(pairs, kMiddleSwapped));
#endif
}

// Quantises the `chunks` chunks of a group, each to `to + chunk * stride`.
inline Group quantise(const float* inputs, int64_t chunks, Level* to, int64_t stride) {
    constexpr int64_t kVector = 16;
    // The bits of non-negative floats compare as integers in the same order, with NaN above all others.
    __m512i largest = _mm512_setzero_si512();
    for (int64_t i = 0; i < chunks * kChunk; i += kVector) {
        largest = _mm512_max_epi32(largest, _mm512_castps_si512(_mm512_abs_ps(_mm512_load_ps(inputs + i))));
    }
    const int32_t bits = _mm512_reduce_max_epi32(largest);
    float highest;
    std::memcpy(&highest, &bits, sizeof highest);
    const Levels levels(highest);
    const __m512 factor = _mm512_set1_ps(levels.factor);
    __m512i sum = _mm512_setzero_si512();
    for (int64_t chunk = 0; chunk < chunks; ++chunk, inputs += kChunk, to += stride) {
        UNROLLED
        for (int64_t i = 0; i < kChunk; i += kVector) {
            const __m512i rounded = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_load_ps(inputs + i), factor));
            sum = _mm512_add_epi32(sum, rounded);
            store_levels(to + i, rounded);
        }
    }
    // With an input that is not finite the result is NaN whatever the sum.
    return {levels.scale, levels.finite ? -kProductShift * _mm512_reduce_add_epi32(sum) : 0};
}

#else
inline Group quantise(const float* inputs, int64_t chunks, Level* to, int64_t stride) {
    // The bits of non-negative floats compare as integers in the same order, with NaN above all others.
    __m256i largest = _mm256_setzero_si256();
    const __m256i without_sign = _mm256_set1_epi32(0x7fffffff);
    for (int64_t i = 0; i < chunks * kChunk; i += kLanes) {
        const __m256i bits = _mm256_castps_si256(_mm256_load_ps(inputs + i));
        largest = _mm256_max_epi32(largest, _mm256_and_si256(bits, without_sign));
    }
    __m128i most = _mm_max_epi32(_mm256_castsi256_si128(largest), _mm256_extracti128_si256(largest, 1));
    most = _mm_max_epi32(most, _mm_shuffle_epi32(most, 0b01001110));
    most = _mm_max_epi32(most, _mm_shuffle_epi32(most, 0b10110001));
    const Levels levels(_mm_cvtss_f32(_mm_castsi128_ps(most)));
    const __m256 factor = _mm256_set1_ps(levels.factor);
    __m256i sum = _mm256_setzero_si256();
    const auto rounded = [&](int64_t i) {
        const __m256i whole = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_load_ps(inputs + i), factor));
        sum = _mm256_add_epi32(sum, whole);
        return whole;
    };
    for (int64_t i = 0; i < chunks * kChunk; i += 2 * kLanes) {
        // Packing goes by halves of the vectors.
        const __m256i packed = _mm256_packs_epi32(rounded(i), rounded(i + kLanes));
        const __m256i pairs = _mm256_shufflelo_epi16(_mm256_permute4x64_epi64(packed, kMiddleSwapped), kMiddleSwapped);
        __m256i* const at = reinterpret_cast<__m256i*>(to + i / kChunk * stride + i % kChunk);
        _mm256_store_si256(at, _mm256_shufflehi_epi16(pairs, kMiddleSwapped));
    }
    alignas(32) int32_t sums[kLanes];
    _mm256_store_si256(reinterpret_cast<__m256i*>(sums), sum);
    // With an input that is not finite the result is NaN whatever the sum.
    return {levels.scale, levels.finite ? -kProductShift * std::accumulate(sums, sums + kLanes, 0) : 0};
}
#endif

}  // namespace
