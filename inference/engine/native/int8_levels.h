// The 8-bit levels that inputs are rounded to.

#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <limits>

namespace {

constexpr int kQuad = 4;    // inputs that one instruction multiplies and adds
constexpr int kChunk = 64;  // inputs of a row that are kept together, as a tile register takes them
constexpr int kQuadsInChunk = kChunk / kQuad;
constexpr int kShift = 128;           // of the weights, which leaves them no signs
constexpr int kMostGroupChunks = 16;  // of a quantisation group
constexpr float kMostLevel = 127.0f;

// For a quantisation group whose largest absolute input is `largest`: inputs times `factor` are levels, and levels
// times `scale` are inputs. The scale is NaN if the largest input is not finite.
struct Levels {
    float factor, scale;
    bool finite;

    explicit Levels(float largest) {
        finite = largest <= std::numeric_limits<float>::max();
        largest = finite ? std::max(largest, 1e-30f) : 1.0f;
        factor = kMostLevel / largest;
        scale = finite ? largest / kMostLevel : std::numeric_limits<float>::quiet_NaN();
    }
};

// A quantisation group: the scale of its levels, and minus what the weights' shift adds to a sum of its products.
struct Group {
    float scale;
    int32_t correction;
};

// Fills `scaled`, `[padded]`, with inputs times their scales, of which there are `left`; zeros follow the last one.
inline void scale_inputs(const float* inputs, const float* scales, int64_t left, int64_t padded, float* scaled) {
    const int64_t count = std::clamp<int64_t>(left, 0, padded);
#pragma omp simd
    for (int64_t i = 0; i < count; ++i) scaled[i] = inputs[i] * scales[i];
    std::fill(scaled + count, scaled + padded, 0.0f);
}

// Level: a quantised input, as it is kept. Quad: four of them, in the form in which they are multiplied.
#if defined(__AVX512VNNI__) || defined(__aarch64__)
typedef int8_t Level;
typedef int32_t Quad;

inline Quad quad_of(const int8_t* levels) {
    Quad quad;
    std::memcpy(&quad, levels, sizeof quad);
    return quad;
}
#else
typedef int16_t Level;
// The first and third level, and the second and fourth: as shifts find them in the weights.
struct __attribute__((may_alias)) Quad {
    int32_t even, odd;
};

inline Quad quad_of(const int8_t* levels) {
    const int16_t pairs[] = {levels[0], levels[2], levels[1], levels[3]};
    Quad quad;
    std::memcpy(&quad, pairs, sizeof quad);
    return quad;
}
#endif

}  // namespace
