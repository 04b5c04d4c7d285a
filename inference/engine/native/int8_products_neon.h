// Sums of products of 8-bit numbers on 64-bit ARM; int8_products_x86.h describes each name.

#pragma once

#include <arm_neon.h>

#include <cstdint>

#include "int8_levels.h"

namespace {

constexpr int kProductShift = 0;  // the instructions multiply signed bytes

typedef int8x16_t Bytes;
typedef int32x4_t Sums;

inline Bytes load_bytes(const uint8_t* from) { return vreinterpretq_s8_u8(vld1q_u8(from)); }
inline void store_bytes(uint8_t* to, Bytes bytes) { vst1q_u8(to, vreinterpretq_u8_s8(bytes)); }
inline Sums first_sums(int32_t correction) { return vdupq_n_s32(correction); }

typedef int8x16_t Quads;
typedef Bytes Weights;

inline Quads for_each_channel(const Quad& quad) { return vreinterpretq_s8_s32(vdupq_n_s32(quad)); }
inline Weights weights_of(Bytes bytes) { return bytes; }

inline void add_products(Sums& sums, Weights weights, Quads quads) {
#if defined(__ARM_FEATURE_DOTPROD)
    sums = vdotq_s32(sums, weights, quads);
#else
    const int32x4_t low = vpaddlq_s16(vmull_s8(vget_low_s8(weights), vget_low_s8(quads)));
    const int32x4_t high = vpaddlq_s16(vmull_high_s8(weights, quads));
    sums = vaddq_s32(sums, vpaddq_s32(low, high));
#endif
}

}  // namespace
