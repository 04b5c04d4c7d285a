// The building blocks of the 4-bit linear layer on 64-bit ARM; int4_x86.h describes each function.

#pragma once

#include "int4_levels.h"
#include "int8_totals.h"

namespace {

constexpr int kInt4Shift = 0;  // the instructions multiply signed bytes

struct Unpack {
    int8x16_t table = vld1q_s8(kInt4Levels);

    Bytes low(Bytes packed) const { return vqtbl1q_s8(table, vandq_u8(vreinterpretq_u8_s8(packed), vdupq_n_u8(15))); }
    Bytes high(Bytes packed) const { return vqtbl1q_s8(table, vshrq_n_u8(vreinterpretq_u8_s8(packed), 4)); }
};

inline Vector widened_scales(const int8_t* scales) {
    const float numbers[4] = {static_cast<float>(scales[0]), static_cast<float>(scales[1]),
                              static_cast<float>(scales[2]), static_cast<float>(scales[3])};
    return vld1q_f32(numbers);
}
}  // namespace
