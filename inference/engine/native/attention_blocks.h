// The arithmetic of attention, for the blocks of one head.
//
// A line is a row's query of one head. Its scores are computed for the 16 keys of a block at a time, one lane a key:
// each is a sum over the dimension in its order. The weights' total is 16 sums over the blocks in their order, added up
// at the end. The result is a sum over the tokens in their order, one lane a number of the value. How many lines and
// blocks are computed together changes no bit of a line.

#pragma once

#include <algorithm>
#include <array>
#include <limits>
#include <utility>

#include "abi.h"
#include "cache_numbers.h"
#include "exponential.h"

namespace {

constexpr int kVectors = kBlock / kLanes;  // of a row of a block's keys; values are computed in as many or more
constexpr int kMostLines = std::clamp((kRegisters - 1) / kVectors - 1, 1, 6);  // that share what is read
constexpr int64_t kStripe = 4;  // blocks that all lines meet while they are in the first-level cache

// How many times 16 sums `lines` lines can keep in registers at once, as a power of two.
constexpr int sums_at_once(int lines) {
    const int fitting = lines == 1 ? (kRegisters - 2) / kVectors : (kRegisters - 1) / (kVectors * (lines + 1));
    return fitting >= 4 ? 4 : fitting >= 2 ? 2 : 1;
}

// One head's keys or values of a stripe, and what will be read after it.
template <typename Number>
struct Stripe {
    const Number* blocks[kStripe];
    const Number* next[kStripe];
    int64_t count;
};

// The scores of R queries, [R][dim], for N blocks of a stripe.
template <int R, int N, typename Number>
void score_blocks(const float* queries, int64_t dim, const Stripe<Number>& keys, int64_t first, float* scores,
                  int64_t stride) {
    Vector sums[R][N * kVectors];
    UNROLLED
    for (int r = 0; r < R; ++r) {
        UNROLLED
        for (int v = 0; v < N * kVectors; ++v) sums[r][v] = Vector{};
    }
    const Number *blocks[N], *next[N];
    UNROLLED
    for (int b = 0; b < N; ++b) blocks[b] = keys.blocks[first + b], next[b] = keys.next[first + b];
    for (int64_t d = 0; d < dim; ++d) {
        Vector key[N * kVectors];
        UNROLLED
        for (int b = 0; b < N; ++b) {
            if (d * kBlock % kLineNumbers<Number> == 0) __builtin_prefetch(next[b] + d * kBlock);
            UNROLLED
            for (int v = 0; v < kVectors; ++v) {
                key[b * kVectors + v] = widened_vector(blocks[b] + d * kBlock + v * kLanes);
            }
        }
        UNROLLED
        for (int r = 0; r < R; ++r) {
            const Vector query = broadcast(queries[r * dim + d]);
            UNROLLED
            for (int v = 0; v < N * kVectors; ++v) sums[r][v] = fused(key[v], query, sums[r][v]);
        }
    }
    if constexpr (kScales<Number> > 0) {
        UNROLLED
        for (int v = 0; v < N * kVectors; ++v) {
            const Vector scales = scales_of(blocks[v / kVectors] + dim * kBlock, v % kVectors);
            UNROLLED
            for (int r = 0; r < R; ++r) sums[r][v] *= scales;
        }
    }
    UNROLLED
    for (int r = 0; r < R; ++r) {
        UNROLLED
        for (int v = 0; v < N * kVectors; ++v) {
            *reinterpret_cast<Unaligned*>(scores + r * stride + first * kBlock + v * kLanes) = sums[r][v];
        }
    }
}

template <int R, int N, typename Number>
void score_from(const float* queries, int64_t dim, const Stripe<Number>& keys, int64_t first, float* scores,
                int64_t stride) {
    for (; first + N <= keys.count; first += N) score_blocks<R, N>(queries, dim, keys, first, scores, stride);
    if constexpr (N > 1) score_from<R, N / 2>(queries, dim, keys, first, scores, stride);
}

struct Tokens {
    int64_t first, last;  // in a stripe
};

// Adds the values of some tokens, each times its weight, to 16 * N numbers of R sums, [R][width], from `from` on.
template <int R, int N, typename Number>
void add_slice(const float* weights, int64_t stride, const Stripe<Number>& values, Tokens tokens, int64_t width,
               int64_t from, float* sums) {
    constexpr int64_t kLine = kLineNumbers<Number>;
    Vector sum[R][N * kVectors];
    UNROLLED
    for (int r = 0; r < R; ++r) {
        UNROLLED
        for (int v = 0; v < N * kVectors; ++v) {
            sum[r][v] = *reinterpret_cast<const Unaligned*>(sums + r * width + from + v * kLanes);
        }
    }
    for (int64_t t = tokens.first; t < tokens.last;) {
        const int64_t row = t % kBlock * width + from, end = std::min(tokens.last, (t / kBlock + 1) * kBlock);
        const Number *value = values.blocks[t / kBlock] + row, *next = values.next[t / kBlock] + row;
        for (; t < end; ++t, value += width, next += width) {
            Vector part[N * kVectors];
            UNROLLED
            for (int64_t line = 0; line < N * kBlock; line += kLine) __builtin_prefetch(next + line);
            UNROLLED
            for (int v = 0; v < N * kVectors; ++v) part[v] = widened_vector(value + v * kLanes);
            UNROLLED
            for (int r = 0; r < R; ++r) {
                const Vector weight = broadcast(weights[r * stride + t]);
                UNROLLED
                for (int v = 0; v < N * kVectors; ++v) sum[r][v] = fused(part[v], weight, sum[r][v]);
            }
        }
    }
    UNROLLED
    for (int r = 0; r < R; ++r) {
        UNROLLED
        for (int v = 0; v < N * kVectors; ++v) {
            *reinterpret_cast<Unaligned*>(sums + r * width + from + v * kLanes) = sum[r][v];
        }
    }
}

template <int R, int N, typename Number>
void add_from(const float* weights, int64_t stride, const Stripe<Number>& values, Tokens tokens, int64_t width,
              int64_t from, float* sums) {
    for (; from + N * kBlock <= width; from += N * kBlock) {
        add_slice<R, N>(weights, stride, values, tokens, width, from, sums);
    }
    if constexpr (N > 1) add_from<R, N / 2>(weights, stride, values, tokens, width, from, sums);
}

// Turns the scores of the `visible` tokens that a line may see into weights; returns their total. The rest of their
// last block is overwritten.
float softmax(float* scores, int64_t visible) {
    constexpr float kLowest = -std::numeric_limits<float>::infinity();
    const int64_t end = (visible + kBlock - 1) / kBlock * kBlock;
    std::fill(scores + visible, scores + end, kLowest);
    Vector highest[kVectors], totals[kVectors];
    UNROLLED
    for (int v = 0; v < kVectors; ++v) highest[v] = broadcast(kLowest), totals[v] = Vector{};
    for (int64_t t = 0; t < end; t += kBlock) {
        UNROLLED
        for (int v = 0; v < kVectors; ++v) highest[v] = greater(widened_vector(scores + t + v * kLanes), highest[v]);
    }
    const auto* all = reinterpret_cast<const float*>(highest);
    const Vector top = broadcast(*std::max_element(all, all + kBlock));
    // What is not visible weighs e^-87, which changes no total: that of the highest score is 1.
    for (int64_t t = 0; t < end; t += kBlock) {
        UNROLLED
        for (int v = 0; v < kVectors; ++v) {
            float* here = scores + t + v * kLanes;
            const Vector weights = exponential(widened_vector(here) - top);
            *reinterpret_cast<Unaligned*>(here) = weights;
            totals[v] += weights;
        }
    }
    return add_up<kBlock>(reinterpret_cast<const float*>(totals));
}

// By the number of lines: score_from and add_from for as many blocks, or numbers, as the registers hold.
template <typename Number, int... R>
constexpr auto scores_by_lines(std::integer_sequence<int, R...>) {
    return std::array{score_from<R + 1, sums_at_once(R + 1), Number>...};
}
template <typename Number, int... R>
constexpr auto sums_by_lines(std::integer_sequence<int, R...>) {
    return std::array{add_from<R + 1, sums_at_once(R + 1), Number>...};
}

// queries: [lines][dim]; scores: [lines][stride], from the stripe's first token on.
template <typename Number>
void score(int64_t lines, const float* queries, int64_t dim, const Stripe<Number>& keys, float* scores,
           int64_t stride) {
    static constexpr auto kByLines = scores_by_lines<Number>(std::make_integer_sequence<int, kMostLines>{});
    kByLines[lines - 1](queries, dim, keys, 0, scores, stride);
}

// weights: [lines][stride], from the stripe's first token on; sums: [lines][width].
template <typename Number>
void add(int64_t lines, const float* weights, int64_t stride, const Stripe<Number>& values, Tokens tokens,
         int64_t width, float* sums) {
    static constexpr auto kByLines = sums_by_lines<Number>(std::make_integer_sequence<int, kMostLines>{});
    kByLines[lines - 1](weights, stride, values, tokens, width, 0, sums);
}

}  // namespace
