// Activations, element by element. A row is computed by itself, so its neighbours change no bit of it.

#include "exponential.h"
#include "kernels.h"
#include "panels.h"

namespace {

template <typename Function>
void each(const float* x, int64_t rows, int64_t width, int threads, float* out, Function function) {
    pool::for_each(rows, rows * width < kWorthThreads ? 1 : threads, [&](int64_t row) {
        const float* from = x + row * width;
        float* to = out + row * width;
#pragma omp simd
        for (int64_t i = 0; i < width; ++i) to[i] = function(from[i]);
    });
}

inline float sigmoid(float x) { return 1.0f / (1.0f + exponential(-x)); }

}  // namespace

// x, out: [rows][width].

// The GELU of Hendrycks and Gimpel (2016) by its approximation with tanh, which is x * sigmoid(2u).
extern "C" void gelu_tanh(const float* x, int64_t rows, int64_t width, int threads, float* out) {
    constexpr float kTwice = 2 * 0.7978845608f, kCubic = 0.044715f;
    each(x, rows, width, threads, out,
         [](float value) { return value * sigmoid(kTwice * (value + kCubic * value * value * value)); });
}

extern "C" void silu(const float* x, int64_t rows, int64_t width, int threads, float* out) {
    each(x, rows, width, threads, out, [](float value) { return value * sigmoid(value); });
}
