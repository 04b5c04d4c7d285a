// The building blocks of the 4-bit linear layer on x86, with AVX-512 or AVX2. Every sum of products is exact: without
// VNNI, two products of levels of at most 127 fit 16 bits.

#pragma once

#include <immintrin.h>

#include <algorithm>

#include "int4_levels.h"
#include "vectors.h"

namespace {

#if defined(__AVX512VNNI__)
constexpr int kInt4Shift = 128;  // of the levels, because the instruction takes weights without signs
#else
constexpr int kInt4Shift = 0;
#endif

#if defined(__AVX512F__)
typedef __m512i Bytes;  // a quad for each channel
typedef __m512i Sums;   // a group's sum for each channel
typedef __m512 Totals;  // the sum over the groups for each channel

inline Bytes load_bytes(const uint8_t* from) {
    Bytes loaded = _mm512_loadu_si512(from);
    asm("" : "+v"(loaded));  // keeps it in a register: GCC 12 would read the weights again for a second row
    return loaded;
}
inline void store_bytes(uint8_t* to, Bytes bytes) { _mm512_storeu_si512(to, bytes); }
inline Bytes for_each_channel(int32_t inputs) { return _mm512_set1_epi32(inputs); }
inline Sums first_sums(int32_t correction) { return _mm512_set1_epi32(correction); }
inline __m128i level_table() {
    return _mm_add_epi8(_mm_loadu_si128(reinterpret_cast<const __m128i*>(kInt4Levels)),
                        _mm_set1_epi8(static_cast<char>(kInt4Shift)));
}

// The levels that the lower or upper halves of the bytes number.
struct Unpack {
    __m512i table = _mm512_broadcast_i32x4(level_table()), mask = _mm512_set1_epi8(15);

    Bytes low(Bytes packed) const { return _mm512_shuffle_epi8(table, _mm512_and_si512(packed, mask)); }
    Bytes high(Bytes packed) const {
        return _mm512_shuffle_epi8(table, _mm512_and_si512(_mm512_srli_epi16(packed, 4), mask));
    }
};

inline void add_products(Sums& sums, Bytes weights, Bytes inputs) {
#if defined(__AVX512VNNI__)
    // GCC 12 surrounds the intrinsic with moves between registers.
    asm("vpdpbusd %2, %1, %0" : "+v"(sums) : "v"(weights), "v"(inputs));
#else
    const __m512i zero = _mm512_setzero_si512();
    const __m512i signed_inputs = _mm512_mask_sub_epi8(inputs, _mm512_movepi8_mask(weights), zero, inputs);
    const __m512i pairs = _mm512_maddubs_epi16(_mm512_abs_epi8(weights), signed_inputs);
    sums = _mm512_add_epi32(sums, _mm512_madd_epi16(pairs, _mm512_set1_epi16(1)));
#endif
}

inline Totals widened_scales(const int8_t* scales) {
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(scales))));
}
inline void add_group(Totals& totals, Sums sums, Totals scales, float scale) {
    totals = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sums), _mm512_mul_ps(scales, _mm512_set1_ps(scale)), totals);
}
inline Totals finished(Totals totals, const float* scales, const float* bias) {
    return _mm512_fmadd_ps(totals, _mm512_loadu_ps(scales), _mm512_loadu_ps(bias));
}

#else
typedef __m256i Bytes;
typedef __m256i Sums;
typedef __m256 Totals;

inline Bytes load_bytes(const uint8_t* from) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)); }
inline void store_bytes(uint8_t* to, Bytes bytes) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), bytes); }
inline Bytes for_each_channel(int32_t inputs) { return _mm256_set1_epi32(inputs); }
inline Sums first_sums(int32_t correction) { return _mm256_set1_epi32(correction); }

struct Unpack {
    __m256i table = _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(kInt4Levels))),
            mask = _mm256_set1_epi8(15);

    Bytes low(Bytes packed) const { return _mm256_shuffle_epi8(table, _mm256_and_si256(packed, mask)); }
    Bytes high(Bytes packed) const {
        return _mm256_shuffle_epi8(table, _mm256_and_si256(_mm256_srli_epi16(packed, 4), mask));
    }
};

inline void add_products(Sums& sums, Bytes weights, Bytes inputs) {
    const __m256i pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(weights), _mm256_sign_epi8(inputs, weights));
    sums = _mm256_add_epi32(sums, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}

inline Totals widened_scales(const int8_t* scales) {
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(scales))));
}
inline void add_group(Totals& totals, Sums sums, Totals scales, float scale) {
    totals = _mm256_fmadd_ps(_mm256_cvtepi32_ps(sums), _mm256_mul_ps(scales, _mm256_set1_ps(scale)), totals);
}
inline Totals finished(Totals totals, const float* scales, const float* bias) {
    return _mm256_fmadd_ps(totals, _mm256_loadu_ps(scales), _mm256_loadu_ps(bias));
}
#endif

}  // namespace
