// The building blocks of the 4-bit linear layer on x86, with AVX-512 or AVX2.

#pragma once

#include <algorithm>

#include "int4_levels.h"
#include "int8_totals.h"

namespace {

constexpr int kInt4Shift = -kInt4Levels[0];  // of the levels, which leaves them no signs

inline __m128i level_table() {
    return _mm_add_epi8(_mm_loadu_si128(reinterpret_cast<const __m128i*>(kInt4Levels)),
                        _mm_set1_epi8(static_cast<char>(kInt4Shift)));
}

#if defined(__AVX512F__)
// The levels that the lower or upper halves of the bytes number.
struct Unpack {
    __m512i table = _mm512_broadcast_i32x4(level_table()), mask = _mm512_set1_epi8(15);

    Bytes low(Bytes packed) const { return _mm512_shuffle_epi8(table, _mm512_and_si512(packed, mask)); }
    Bytes high(Bytes packed) const {
        return _mm512_shuffle_epi8(table, _mm512_and_si512(_mm512_srli_epi16(packed, 4), mask));
    }
};

#if !defined(__AVX512VNNI__)
// Pairs of products in 16 bits, which levels are small enough for, and their sums in 32.
inline Bytes for_each_channel(int32_t quad) { return _mm512_set1_epi32(quad); }
inline void add_products(Sums& sums, Bytes levels, Bytes quads) {
    const __m512i pairs = _mm512_maddubs_epi16(levels, quads);
    sums = _mm512_add_epi32(sums, _mm512_madd_epi16(pairs, _mm512_set1_epi16(1)));
}
#endif

inline Vector widened_scales(const int8_t* scales) {
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(scales))));
}

#else
struct Unpack {
    __m256i table = _mm256_broadcastsi128_si256(level_table()), mask = _mm256_set1_epi8(15);

    Bytes low(Bytes packed) const { return _mm256_shuffle_epi8(table, _mm256_and_si256(packed, mask)); }
    Bytes high(Bytes packed) const {
        return _mm256_shuffle_epi8(table, _mm256_and_si256(_mm256_srli_epi16(packed, 4), mask));
    }
};

inline Bytes for_each_channel(int32_t quad) { return _mm256_set1_epi32(quad); }
inline void add_products(Sums& sums, Bytes levels, Bytes quads) {
    const __m256i pairs = _mm256_maddubs_epi16(levels, quads);
    sums = _mm256_add_epi32(sums, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}

inline Vector widened_scales(const int8_t* scales) {
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(scales))));
}

#endif

}  // namespace
