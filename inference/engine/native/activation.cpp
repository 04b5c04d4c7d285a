// Activations, element by element. Each row is computed by itself, so its neighbours change no bit of it.

#include "activation.h"

#include "abi.h"
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

}  // namespace

extern "C" void gelu_tanh(const ActivationCall* call) {
    each(*call, [](float x) { return gelu_tanh_of(x); });
}
extern "C" void silu(const ActivationCall* call) {
    each(*call, [](float x) { return silu_of(x); });
}
