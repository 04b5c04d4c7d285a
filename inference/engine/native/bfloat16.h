// bfloat16: the upper half of a float32, in which most checkpoints have their weights.

#pragma once

#include <cstdint>

#include "vectors.h"

namespace {

struct BFloat16 {
    uint16_t bits;
};

// As many numbers as a vector has lanes.
inline Vector widened_vector(const BFloat16* from) {
    typedef uint16_t Halves __attribute__((vector_size(2 * kLanes), aligned(2), may_alias));
    typedef uint32_t Words __attribute__((vector_size(4 * kLanes)));
    const Words words = __builtin_convertvector(*reinterpret_cast<const Halves*>(from), Words) << 16;
    return reinterpret_cast<Vector>(words);
}

}  // namespace
