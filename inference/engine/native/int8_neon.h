// The building blocks of the 8-bit linear layer on 64-bit ARM; int8_x86.h describes each function.

#pragma once

#include "int8_totals.h"
#include "panels.h"

namespace {

// The weights' shift is undone here and needs no correction.
inline Weights load(const uint8_t* weights) { return veorq_s8(load_bytes(weights), vdupq_n_s8(-kShift)); }

inline Group quantise(const float* inputs, int64_t chunks, Level* to, int64_t stride) {
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
