// Activations of one number.

#pragma once

#include "exponential.h"

namespace {

inline float sigmoid(float x) { return 1.0f / (1.0f + exponential(-x)); }

// The GELU of Hendrycks and Gimpel (2016) by its approximation with tanh, which is x * sigmoid(2u).
inline float gelu_tanh_of(float x) {
    constexpr float kTwice = 2 * 0.7978845608f, kCubic = 0.044715f;
    return x * sigmoid(kTwice * (x + kCubic * x * x * x));
}

inline float silu_of(float x) { return x * sigmoid(x); }

}  // namespace
