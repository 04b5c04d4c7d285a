// e^x in float32, of one number or of a vector. It calls no library, so it is the same on every machine.

#pragma once

#include <cstdint>
#include <cstring>

#include "vectors.h"

namespace {

// 2^n for whole n from -126 to 127.
inline float power_of_two(float n) {
    const int32_t exponent = (static_cast<int32_t>(n) + 127) << 23;
    float power;
    std::memcpy(&power, &exponent, sizeof power);
    return power;
}
inline Vector power_of_two(Vector n) {
    return reinterpret_cast<Vector>((__builtin_convertvector(n, Integers) + 127) << 23);
}

// Exact to 2 units in the last place from -87 to 87. Outside, x counts as the nearer end, so that neither the result
// nor its reciprocal is ever subnormal, which would take many times as long. The method is that of Cody and Waite
// (1980): e^x = 2^n e^r with |r| <= ln(2) / 2, ln(2) subtracted in two parts, e^r by its Taylor polynomial.
template <typename Number>
inline Number exponential(Number x) {
    const Number lowest = Number{} - 87.0f;
    x = greater(lowest, x);
    x = -greater(lowest, -x);
    const Number number = greater(x, lowest);  // not NaN, whose conversion to an integer would be undefined
    const Number n = rounded(number * 1.44269504f);
    const Number r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
    Number sum = r * (1.0f / 5040) + 1.0f / 720;
    sum = sum * r + 1.0f / 120;
    sum = sum * r + 1.0f / 24;
    sum = sum * r + 1.0f / 6;
    sum = sum * r + 0.5f;
    sum = sum * r + 1.0f;
    sum = sum * r + 1.0f;
    return sum * power_of_two(n);
}

}  // namespace
