// e^x in float32, which compilers can vectorise and which calls no library, so it is the same on every machine.

#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

namespace {

// Exact to 2 units in the last place from -87 to 87. Outside, x counts as the nearer end, so that neither the result
// nor its reciprocal is ever subnormal, which would take many times as long. The method is that of Cody and Waite
// (1980): e^x = 2^n e^r with |r| <= ln(2) / 2, ln(2) subtracted in two parts, e^r by its Taylor polynomial.
inline float exponential(float x) {
    x = x < -87.0f ? -87.0f : x;
    x = x > 87.0f ? 87.0f : x;
    const float number = x > -87.0f ? x : -87.0f;  // not NaN, whose conversion to an integer would be undefined
    const float n = std::nearbyint(number * 1.44269504f);
    const float r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
    float sum = 1.0f / 5040;
    sum = sum * r + 1.0f / 720;
    sum = sum * r + 1.0f / 120;
    sum = sum * r + 1.0f / 24;
    sum = sum * r + 1.0f / 6;
    sum = sum * r + 0.5f;
    sum = sum * r + 1.0f;
    sum = sum * r + 1.0f;
    const int32_t exponent = (static_cast<int32_t>(n) + 127) << 23;
    float power;
    std::memcpy(&power, &exponent, sizeof power);
    return sum * power;
}

}  // namespace
