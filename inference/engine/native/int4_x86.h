// The building blocks of the 4-bit linear layer on x86, with AVX-512 or AVX2.

#pragma once

#include <algorithm>

#include "int4_levels.h"
#include "int8_totals.h"

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

inline Vector widened_scales(const int8_t* scales) {
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(scales))));
}

#endif

}  // namespace
