// The 8-bit levels that inputs are rounded to.

#pragma once

#include <algorithm>
#include <limits>

namespace {

constexpr int kQuad = 4;        // inputs that one instruction multiplies and adds
constexpr int kMostGroup = 64;  // inputs of a quantisation group
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

}  // namespace
