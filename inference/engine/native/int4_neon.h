// The building blocks of the 4-bit linear layer on 64-bit ARM; int4_x86.h describes each function.

#pragma once

#include <arm_neon.h>

#include "int4_levels.h"
#include "vectors.h"

namespace {

constexpr int kInt4Shift = 0;

typedef int8x16_t Bytes;
typedef int32x4_t Sums;
typedef float32x4_t Totals;

inline Bytes load_bytes(const uint8_t* from) { return vreinterpretq_s8_u8(vld1q_u8(from)); }
inline void store_bytes(uint8_t* to, Bytes bytes) { vst1q_u8(to, vreinterpretq_u8_s8(bytes)); }
inline Bytes for_each_channel(int32_t inputs) { return vreinterpretq_s8_s32(vdupq_n_s32(inputs)); }
inline Sums first_sums(int32_t correction) { return vdupq_n_s32(correction); }

struct Unpack {
    int8x16_t table = vld1q_s8(kInt4Levels);

    Bytes low(Bytes packed) const { return vqtbl1q_s8(table, vandq_u8(vreinterpretq_u8_s8(packed), vdupq_n_u8(15))); }
    Bytes high(Bytes packed) const { return vqtbl1q_s8(table, vshrq_n_u8(vreinterpretq_u8_s8(packed), 4)); }
};

inline void add_products(Sums& sums, Bytes weights, Bytes inputs) {
#if defined(__ARM_FEATURE_DOTPROD)
    sums = vdotq_s32(sums, weights, inputs);
#else
    const int32x4_t low = vpaddlq_s16(vmull_s8(vget_low_s8(weights), vget_low_s8(inputs)));
    const int32x4_t high = vpaddlq_s16(vmull_high_s8(weights, inputs));
    sums = vaddq_s32(sums, vpaddq_s32(low, high));
#endif
}

inline Totals widened_scales(const int8_t* scales) {
    const float numbers[4] = {static_cast<float>(scales[0]), static_cast<float>(scales[1]),
                              static_cast<float>(scales[2]), static_cast<float>(scales[3])};
    return vld1q_f32(numbers);
}
inline void add_group(Totals& totals, Sums sums, Totals scales, float scale) {
    totals = vfmaq_f32(totals, vcvtq_f32_s32(sums), vmulq_n_f32(scales, scale));
}
inline Totals finished(Totals totals, const float* scales, const float* bias) {
    return vfmaq_f32(vld1q_f32(bias), totals, vld1q_f32(scales));
}

}  // namespace
