// Activations, element by element. Each row is computed by itself, so its neighbours change no bit of it.

#include "abi.h"
#include "exponential.h"
#include "parts.h"

namespace {

template <typename Function>
void each(const ActivationCall& call, Function function) {
    const int64_t threads = call.rows * call.width < kWorthThreads ? 1 : call.threads;
    pool::for_each(call.rows, threads, [&](int64_t row) {
        const float* from = call.x + row * call.width;
        float* to = call.out + row * call.width;
        const int64_t width = call.width;
#pragma omp simd
        for (int64_t i = 0; i < width; ++i) to[i] = function(from[i]);
    });
}

inline float sigmoid(float x) { return 1.0f / (1.0f + exponential(-x)); }

}  // namespace

// The GELU of Hendrycks and Gimpel (2016) by its approximation with tanh, which is x * sigmoid(2u).
extern "C" void gelu_tanh(const ActivationCall* call) {
    constexpr float kTwice = 2 * 0.7978845608f, kCubic = 0.044715f;
    each(*call, [](float value) { return value * sigmoid(kTwice * (value + kCubic * value * value * value)); });
}

extern "C" void silu(const ActivationCall* call) {
    each(*call, [](float value) { return value * sigmoid(value); });
}
