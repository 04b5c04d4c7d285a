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
// Two products of levels without signs, which are at most 128, with inputs of at most 127 fit 16 bits.
constexpr int8_t kInt4Levels[16] = {-70, -55, -44, -35, -27, -20, -14, -7, -1, 6, 12, 19, 26, 35, 45, 58};
static_assert(2 * 127 * (kInt4Levels[15] - kInt4Levels[0]) <= INT16_MAX);

}  // namespace
