// The building blocks of the 8-bit linear layer on 64-bit ARM; int8_vnni.h describes each function.

#pragma once

#include <arm_neon.h>

#include "int8_levels.h"
#include "panels.h"

namespace {

typedef int8x16_t Bytes;
typedef int32x4_t Sums;
typedef float32x4_t Totals;

// The instructions multiply signed bytes, so the weights' shift is undone here and needs no correction.
inline Bytes load(const uint8_t* weights) { return vreinterpretq_s8_u8(veorq_u8(vld1q_u8(weights), vdupq_n_u8(128))); }

inline Totals first_totals(float correction) { return vdupq_n_f32(correction); }

inline Bytes for_each_channel(int32_t inputs) { return vreinterpretq_s8_s32(vdupq_n_s32(inputs)); }

inline void add_products(Sums& sums, Bytes weights, Bytes inputs) {
#if defined(__ARM_FEATURE_DOTPROD)
    sums = vdotq_s32(sums, weights, inputs);
#else
    const int32x4_t low = vpaddlq_s16(vmull_s8(vget_low_s8(weights), vget_low_s8(inputs)));
    const int32x4_t high = vpaddlq_s16(vmull_high_s8(weights, inputs));
    sums = vaddq_s32(sums, vpaddq_s32(low, high));
#endif
}

inline void add_group(Totals& totals, Sums sums, float scale) {
    totals = vfmaq_n_f32(totals, vcvtq_f32_s32(sums), scale);
}

struct Channels {
    float32x4_t scales, bias;
    int64_t left;

    Channels(const float* all_scales, const float* all_bias, int64_t left)
        : scales(vld1q_f32(all_scales)), bias(vld1q_f32(all_bias)), left(left) {}

    void write(Totals totals, float* out) const {
        const float32x4_t value = vfmaq_f32(bias, totals, scales);
        if (left >= kLanes) return vst1q_f32(out, value);
        for (int64_t i = 0; i < left; ++i) out[i] = value[i];
    }
};

inline Group quantise(const float* row, int64_t k, int64_t depth, int64_t chunks, int8_t* to, int64_t stride) {
    float inputs[kGroup] = {};
    std::copy_n(row + k, std::clamp<int64_t>(depth - k, 0, chunks * kChunk), inputs);
    float32x4_t largest = vdupq_n_f32(0.0f);  // vmaxq_f32 propagates NaN
    for (int64_t i = 0; i < chunks * kChunk; i += 4) largest = vmaxq_f32(largest, vabsq_f32(vld1q_f32(inputs + i)));
    const Levels levels(vmaxvq_f32(largest));
    for (int64_t i = 0; i < chunks * kChunk; i += kQuad) {
        const int16x4_t rounded = vmovn_s32(vcvtnq_s32_f32(vmulq_n_f32(vld1q_f32(inputs + i), levels.factor)));
        const int8x8_t bytes = vmovn_s16(vcombine_s16(rounded, rounded));
        int8_t* const at = to + i / kChunk * stride + i % kChunk;
        vst1_lane_s32(reinterpret_cast<int32_t*>(at), vreinterpret_s32_s8(bytes), 0);
    }
    return {levels.scale, 0};
}

}  // namespace
