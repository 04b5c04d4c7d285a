// The numbers of 8 bits that inputs are rounded to.

#pragma once

#include <algorithm>
#include <limits>

namespace {

constexpr int kGroup = 4;  // inputs that one instruction multiplies and adds
constexpr int kMostRun = 64;
constexpr float kMostLevel = 127.0f;

// For a run whose largest input, without its sign, is `largest`: inputs times `factor` are levels, and levels times
// `scale` are inputs. The scale is no number if the largest is none that is finite.
struct Levels {
    float factor, scale;

    explicit Levels(float largest) {
        const bool finite = largest <= std::numeric_limits<float>::max();
        largest = finite ? std::max(largest, 1e-30f) : 1.0f;
        factor = kMostLevel / largest;
        scale = finite ? largest / kMostLevel : std::numeric_limits<float>::quiet_NaN();
    }
};

}  // namespace
