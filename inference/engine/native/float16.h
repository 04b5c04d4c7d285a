// float16 (IEEE 754's binary16), in which keys and values may be kept.

#pragma once

#include <cstdint>
#include <cstring>

#include "vectors.h"

#if defined(__F16C__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

namespace {

constexpr float kLargestFloat16 = 65504.0f;

inline float widened(uint16_t number) {
    const uint32_t sign = static_cast<uint32_t>(number & 0x8000) << 16, rest = number & 0x7fff;
    uint32_t bits = rest << 13;
    float value;
    std::memcpy(&value, &bits, sizeof value);
    value *= 0x1p112f;  // corrects the exponent's bias, and makes subnormal numbers right as well
    std::memcpy(&bits, &value, sizeof bits);
    bits |= sign | (rest > 0x7c00 ? 0x7fc00000u : 0);
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

// To the nearest, ties to even. A number that is too large, infinity included, becomes the largest finite one.
inline uint16_t narrowed(float value) {
    uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    const uint32_t sign = bits >> 16 & 0x8000, rest = bits & 0x7fffffff;
    if (rest > 0x7f800000) return static_cast<uint16_t>(sign | 0x7e00);
    float size;
    std::memcpy(&size, &rest, sizeof size);
    if (size >= kLargestFloat16) return static_cast<uint16_t>(sign | 0x7bff);
    if (size < 0x1p-14f) {  // added to 0.5, such a number leaves its own bits at the end
        size += 0.5f;
        std::memcpy(&bits, &size, sizeof bits);
        return static_cast<uint16_t>(sign | (bits - 0x3f000000));
    }
    return static_cast<uint16_t>(sign | ((rest - (112u << 23) + 0xfff + (rest >> 13 & 1)) >> 13));
}

// As many numbers as a vector has lanes.
inline Vector widened_vector(const uint16_t* from) {
#if defined(__AVX512F__)
    return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
#elif defined(__F16C__)
    return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
#elif defined(__aarch64__)
    return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(from)));
#else
    Vector to;
    for (int i = 0; i < kLanes; ++i) to[i] = widened(from[i]);
    return to;
#endif
}

inline void narrow(const float* from, int64_t count, uint16_t* to) {
    int64_t i = 0;
#if defined(__F16C__)
    // A NaN stays one, because each of these returns its second operand then.
    const __m256 largest = _mm256_set1_ps(kLargestFloat16), lowest = _mm256_set1_ps(-kLargestFloat16);
    for (; i + 8 <= count; i += 8) {
        const __m256 finite = _mm256_max_ps(lowest, _mm256_min_ps(largest, _mm256_loadu_ps(from + i)));
        const __m128i numbers = _mm256_cvtps_ph(finite, _MM_FROUND_TO_NEAREST_INT);
        _mm_storeu_si128(reinterpret_cast<__m128i*>(to + i), numbers);
    }
#endif
    for (; i < count; ++i) to[i] = narrowed(from[i]);
}

}  // namespace
