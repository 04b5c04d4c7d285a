// The 8-bit levels that inputs are rounded to.

#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>

namespace {

constexpr int kQuad = 4;    // inputs that one instruction multiplies and adds
constexpr int kChunk = 64;  // inputs of a row that are kept together, as a tile register takes them
constexpr int kQuadsInChunk = kChunk / kQuad;
constexpr int kShift = 128;  // of the weights, which leaves them no signs

// Chunks of a quantisation group. The last group of a row may have fewer.
constexpr int kGroupChunks = 2, kGroup = kGroupChunks * kChunk;
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

}  // namespace
