// The building blocks of the 4-bit linear layer on x86, with AVX-512 or AVX2.

#pragma once

#include <algorithm>

#include "int4_levels.h"
#include "int8_products_x86.h"
#include "vectors.h"

namespace {

inline __m128i level_table() {
    return _mm_add_epi8(_mm_loadu_si128(reinterpret_cast<const __m128i*>(kInt4Levels)),
                        _mm_set1_epi8(static_cast<char>(kProductShift)));
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
struct Unpack {
    __m256i table = _mm256_broadcastsi128_si256(level_table()), mask = _mm256_set1_epi8(15);

    Bytes low(Bytes packed) const { return _mm256_shuffle_epi8(table, _mm256_and_si256(packed, mask)); }
    Bytes high(Bytes packed) const {
        return _mm256_shuffle_epi8(table, _mm256_and_si256(_mm256_srli_epi16(packed, 4), mask));
    }
};

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
