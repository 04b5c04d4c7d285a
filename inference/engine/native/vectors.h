// Vectors as wide as those of this generation of CPUs.

#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

#if defined(__AVX__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

namespace {

#if defined(__AVX512F__)
constexpr int kLanes = 16, kRegisters = 32;
#elif defined(__AVX__)
constexpr int kLanes = 8, kRegisters = 16;
#elif defined(__aarch64__)
constexpr int kLanes = 4, kRegisters = 32;
#else
constexpr int kLanes = 4, kRegisters = 16;
#endif

typedef float Vector __attribute__((vector_size(4 * kLanes)));
typedef int32_t Integers __attribute__((vector_size(4 * kLanes)));
typedef float Unaligned __attribute__((vector_size(4 * kLanes), aligned(4)));

inline Vector broadcast(float number) {
#if defined(__AVX512F__)
    return _mm512_set1_ps(number);
#elif defined(__AVX__)
    return _mm256_set1_ps(number);
#elif defined(__aarch64__)
    return vdupq_n_f32(number);
#else
    return Vector{number, number, number, number};
#endif
}

// a * b + c, fused where the CPU can. The compiler leaves the order of a sum of these as it is, which it need not do
// for operators under -fassociative-math.
inline Vector fused(Vector a, Vector b, Vector c) {
#if defined(__AVX512F__)
    return _mm512_fmadd_ps(a, b, c);
#elif defined(__FMA__)
    return _mm256_fmadd_ps(a, b, c);
#elif defined(__aarch64__)
    return vfmaq_f32(c, a, b);
#else
    Vector sum = c + a * b;
#if defined(__SSE__)
    asm("" : "+x"(sum));
#endif
    return sum;
#endif
}

// a where it is greater than b, otherwise b: b where one of them is NaN.
inline float greater(float a, float b) { return a > b ? a : b; }
inline Vector greater(Vector a, Vector b) {
#if defined(__AVX512F__)
    return _mm512_max_ps(a, b);
#elif defined(__AVX__)
    return _mm256_max_ps(a, b);
#else
    return a > b ? a : b;
#endif
}

// To the nearest whole number, ties to even.
inline float rounded(float number) { return std::nearbyint(number); }
inline Vector rounded(Vector numbers) {
#if defined(__AVX512F__)
    return _mm512_roundscale_ps(numbers, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
#elif defined(__AVX__)
    return _mm256_round_ps(numbers, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
#elif defined(__aarch64__)
    return vrndnq_f32(numbers);
#else
    for (int i = 0; i < kLanes; ++i) numbers[i] = std::nearbyint(numbers[i]);
    return numbers;
#endif
}

inline Vector widened_vector(const float* from) { return *reinterpret_cast<const Unaligned*>(from); }

// Writes the first `left` numbers, or all.
inline void store_first(float* to, Vector numbers, int64_t left) {
#if defined(__AVX512F__)
    const uint32_t mask = left >= kLanes ? 0xffff : (1u << std::max<int64_t>(0, left)) - 1;
    _mm512_mask_storeu_ps(to, static_cast<__mmask16>(mask), numbers);
#else
    if (left >= kLanes) {
        *reinterpret_cast<Unaligned*>(to) = numbers;
    } else {
        for (int64_t i = 0; i < left; ++i) to[i] = numbers[i];
    }
#endif
}

inline int32_t largest(Integers numbers) {
#if defined(__AVX512F__)
    return _mm512_reduce_max_epi32(reinterpret_cast<__m512i>(numbers));
#else
    int32_t most = numbers[0];
    for (int i = 1; i < kLanes; ++i) most = std::max(most, numbers[i]);
    return most;
#endif
}
inline int32_t add_up(Integers numbers) {
#if defined(__AVX512F__)
    return _mm512_reduce_add_epi32(reinterpret_cast<__m512i>(numbers));
#else
    int32_t sum = 0;
    for (int i = 0; i < kLanes; ++i) sum += numbers[i];
    return sum;
#endif
}

// Stands before the loops over a tile: only if they are unrolled early does the compiler keep the sums in registers.
#define UNROLLED _Pragma("GCC unroll 64")

template <int kCount>
float add_up(const float* numbers) {
    if constexpr (kCount == 1) {
        return *numbers;
    } else {
        typedef float Half __attribute__((vector_size(2 * kCount), aligned(4)));
        const Half sum = *reinterpret_cast<const Half*>(numbers) + *reinterpret_cast<const Half*>(numbers + kCount / 2);
        return add_up<kCount / 2>(reinterpret_cast<const float*>(&sum));
    }
}

}  // namespace
