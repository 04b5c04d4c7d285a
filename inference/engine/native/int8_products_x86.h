// Sums of products of 8-bit numbers on x86, with AVX-512 or AVX2: a quad of inputs times a quad of weights for each
// channel. Every sum is exact. Weights are shifted by 128, so that they have no signs, as the instruction of VNNI takes
// them; the others take two pairs of 16 bits instead of a quad.

#pragma once

#include <immintrin.h>

#include <cstdint>

#include "int8_levels.h"

namespace {

constexpr int kProductShift = kShift;

#if defined(__AVX512F__)
typedef __m512i Bytes;  // a quad of weights for each channel
typedef __m512i Sums;   // a quantisation group's sum for each channel

inline Bytes load_bytes(const uint8_t* from) {
    Bytes loaded = _mm512_loadu_si512(from);
    asm("" : "+v"(loaded));  // keeps it in a register: GCC 12 would read the weights again for a second row
    return loaded;
}
inline void store_bytes(uint8_t* to, Bytes bytes) { _mm512_storeu_si512(to, bytes); }
inline Sums first_sums(int32_t correction) { return _mm512_set1_epi32(correction); }
#else
typedef __m256i Bytes;
typedef __m256i Sums;

inline Bytes load_bytes(const uint8_t* from) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)); }
inline void store_bytes(uint8_t* to, Bytes bytes) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), bytes); }
inline Sums first_sums(int32_t correction) { return _mm256_set1_epi32(correction); }
#endif

// Quads: a quad of inputs for each channel. Weights: Bytes, in the form in which they are multiplied.
#if defined(__AVX512VNNI__)
typedef __m512i Quads;
typedef Bytes Weights;

inline Quads for_each_channel(const Quad& quad) { return _mm512_set1_epi32(quad); }
inline Weights weights_of(Bytes bytes) { return bytes; }

// As _mm512_dpbusd_epi32. GCC 12 surrounds the intrinsic with moves between registers that took half of the time.
inline void add_products(Sums& sums, const Weights& weights, const Quads& quads) {
    asm("vpdpbusd %2, %1, %0" : "+v"(sums) : "v"(weights), "v"(quads));
}
#else
struct Quads {
    Bytes even, odd;
};
typedef Quads Weights;

#if defined(__AVX512F__)
inline Quads for_each_channel(const Quad& quad) { return {_mm512_set1_epi32(quad.even), _mm512_set1_epi32(quad.odd)}; }
inline Weights weights_of(Bytes bytes) {
    return {_mm512_and_si512(bytes, _mm512_set1_epi16(0xff)), _mm512_srli_epi16(bytes, 8)};
}
#else
inline Quads for_each_channel(const Quad& quad) { return {_mm256_set1_epi32(quad.even), _mm256_set1_epi32(quad.odd)}; }
inline Weights weights_of(Bytes bytes) {
    return {_mm256_and_si256(bytes, _mm256_set1_epi16(0xff)), _mm256_srli_epi16(bytes, 8)};
}
#endif

inline void add_pairs(Sums& sums, Bytes weights, Bytes inputs) {
    // In this order: GCC would add the products to each other first, and has no registers for that.
    Sums products;
    asm("vpmaddwd %3, %2, %1\n\tvpaddd %1, %0, %0" : "+v"(sums), "=&v"(products) : "v"(weights), "v"(inputs));
}
inline void add_products(Sums& sums, const Weights& weights, const Quads& quads) {
    add_pairs(sums, weights.even, quads.even);
    add_pairs(sums, weights.odd, quads.odd);
}
#endif

}  // namespace
