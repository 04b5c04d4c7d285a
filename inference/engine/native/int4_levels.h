// The 4-bit format: sixteen levels that are not evenly spaced, because weights are not evenly distributed.

#pragma once

#include <cstdint>

namespace {

constexpr int kInt4Group = 32;              // inputs whose weights share a group scale, and whose levels one scale
constexpr int kInt4Quads = kInt4Group / 4;  // of a group; a byte holds the levels of two
constexpr int kInt4Lines = kInt4Quads / 2;  // of 64 bytes, in a group of a panel
constexpr int64_t kInt4LineBytes = 64;      // 16 channels with four inputs each, twice
constexpr float kMostGroupScale = 127.0f;

// The levels that quantise normally distributed weights in groups of 32 with the least squared error, each group with
// its best scale, which may be negative (Lloyd's algorithm; Lloyd, 1982, "Least squares quantization in PCM").
constexpr int8_t kInt4Levels[16] = {-127, -99, -79, -63, -49, -36, -25, -13, -2, 10, 22, 35, 48, 63, 81, 105};

}  // namespace
