// The numbers of the KV cache: float32, float16, or int8 with a scale for each token of a head.

#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "abi.h"
#include "float16.h"
#include "int8_levels.h"
#include "vectors.h"

namespace {

// Numbers that the scales of a head's block take after its keys or values.
template <typename Number>
constexpr int64_t kScales = 0;
template <>
constexpr int64_t kScales<int8_t> = kBlock * sizeof(float);

template <typename Number>
constexpr int64_t kLineNumbers = 64 / sizeof(Number);

// As many numbers as a vector has lanes.
inline Vector widened_vector(const int8_t* from) {
#if defined(__AVX512F__)
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from))));
#elif defined(__AVX2__)
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(from))));
#elif defined(__aarch64__)
    int32_t numbers;
    std::memcpy(&numbers, from, sizeof numbers);
    return vcvtq_f32_s32(vmovl_s16(vget_low_s16(vmovl_s8(vreinterpret_s8_s32(vdup_n_s32(numbers))))));
#else
    typedef int8_t Bytes __attribute__((vector_size(kLanes), aligned(1), may_alias));
    return __builtin_convertvector(*reinterpret_cast<const Bytes*>(from), Vector);
#endif
}

// The `part`-th vector of a block's scales.
inline Vector scales_of(const int8_t* scales, int64_t part) {
    return widened_vector(reinterpret_cast<const float*>(scales) + part * kLanes);
}

// Multiplies the weights of a block's tokens by the scales of their values. A tiny weight, as the tokens have that may
// not be seen, counts as a larger one: a product that is subnormal would take many times as long.
inline void scale(const int8_t* scales, float* weights) {
    const Vector least = broadcast(1e-30f);
    for (int64_t i = 0; i < kBlock; i += kLanes) {
        const Vector numbers = greater(least, widened_vector(weights + i));  // a NaN stays one
        *reinterpret_cast<Unaligned*>(weights + i) = numbers * scales_of(scales, i / kLanes);
    }
}

// How the numbers of a token's key or value are kept.
template <typename Number>
class Keeper;

template <>
class Keeper<float> {
  public:
    Keeper() = default;
    Keeper(const float*, int64_t) {}
    void keep(const float* numbers, int64_t count, float* in) const {
        int64_t i = 0;
        for (; i + kLanes <= count; i += kLanes) *reinterpret_cast<Unaligned*>(in + i) = widened_vector(numbers + i);
        for (; i < count; ++i) in[i] = numbers[i];
    }
    void keep_scale(float*, int64_t) const {}
};

template <>
class Keeper<uint16_t> {
  public:
    Keeper() = default;
    Keeper(const float*, int64_t) {}
    void keep(const float* numbers, int64_t count, uint16_t* in) const { narrow(numbers, count, in); }
    void keep_scale(uint16_t*, int64_t) const {}
};

// By the largest of the numbers. With one that is not finite, all are NaN.
template <>
class Keeper<int8_t> {
  public:
    Keeper() = default;
    Keeper(const float* numbers, int64_t count) : levels_(largest(numbers, count)) {}
    void keep(const float* numbers, int64_t count, int8_t* in) const {
        const float factor = levels_.factor;
#pragma omp simd
        for (int64_t i = 0; i < count; ++i) {
            const float level = greater(rounded(numbers[i] * factor), -kMostLevel);  // not NaN
            in[i] = static_cast<int8_t>(-greater(-level, -kMostLevel));
        }
    }
    void keep_scale(int8_t* scales, int64_t token) const { reinterpret_cast<float*>(scales)[token] = levels_.scale; }

  private:
    static float largest(const float* numbers, int64_t count) {
        // The bits of non-negative floats compare as integers in the same order, with NaN above all others.
        int32_t found = 0;
#pragma omp simd reduction(max : found)
        for (int64_t i = 0; i < count; ++i) {
            int32_t bits;
            std::memcpy(&bits, numbers + i, sizeof bits);
            found = std::max(found, bits & 0x7fffffff);
        }
        float value;
        std::memcpy(&value, &found, sizeof value);
        return value;
    }

    Levels levels_{0.0f};
};

}  // namespace
