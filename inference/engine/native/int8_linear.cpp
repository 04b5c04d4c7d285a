// A linear layer in 8 bits: out = (x * weights^T) * scales + bias, for CPUs with AVX-512 VNNI.
//
// Each row of the input is quantised by its own largest value. Products of 8-bit numbers are added up in 32 bits,
// exactly, in any order.

#include "panels.h"

#if defined(__AVX512VNNI__)

#include <immintrin.h>

#include <cstring>
#include <limits>

namespace {

constexpr int kGroup = 4;  // inputs that one instruction multiplies and adds
constexpr float kLevels = 127.0f;

struct Layer {
    const int8_t* weights;  // [panels][depth / 4][16][4], the last panel filled up with zeros
    const int32_t* offsets;  // [panels * 16]: what the inputs' shift by 128 adds to a sum, with its sign turned
    const float* scales;    // [panels * 16]
    const float* bias;      // [panels * 16]
    int64_t groups;         // depth / 4
    int64_t width;
};

// _mm512_dpbusd_epi32. GCC 12 surrounds that one with moves between registers, which took half of the time.
inline void add_products(__m512i& sums, __m512i inputs, __m512i weights) {
    asm("vpdpbusd %2, %1, %0" : "+v"(sums) : "v"(inputs), "v"(weights));
}

// x: [groups][R] of four inputs, each shifted by 128; row_scales: [R]; more: another tile follows.
template <int R, int P>
void tile(const Layer& layer, const int32_t* x, const float* row_scales, int64_t panel, bool more, float* out) {
    const int64_t stride = layer.groups * kPanel * kGroup;
    const int8_t* weights = layer.weights + panel * stride;
    __m512i sums[R][P];
UNROLLED
    for (int r = 0; r < R; ++r) {
UNROLLED
        for (int p = 0; p < P; ++p) sums[r][p] = _mm512_loadu_si512(layer.offsets + (panel + p) * kPanel);
    }
    for (int64_t k = 0; k < layer.groups; ++k) {
        __m512i weight[P];
        const int64_t ahead = rows_ahead<R, P>(k, layer.groups, more) * kPanel * kGroup;
UNROLLED
        for (int p = 0; p < P; ++p) {
            const int8_t* row = weights + p * stride + k * kPanel * kGroup;
            __builtin_prefetch(row + ahead);
            weight[p] = _mm512_loadu_si512(row);
        }
UNROLLED
        for (int r = 0; r < R; ++r) {
            const __m512i input = _mm512_set1_epi32(x[k * R + r]);
UNROLLED
            for (int p = 0; p < P; ++p) add_products(sums[r][p], input, weight[p]);
        }
    }
UNROLLED
    for (int p = 0; p < P; ++p) {
        const int64_t channel = (panel + p) * kPanel;
        const __m512 scales = _mm512_loadu_ps(layer.scales + channel), bias = _mm512_loadu_ps(layer.bias + channel);
        const int64_t left = layer.width - channel;
        const __mmask16 mask = left >= kPanel ? 0xffff : static_cast<__mmask16>((1 << left) - 1);
UNROLLED
        for (int r = 0; r < R; ++r) {
            const __m512 scale = _mm512_mul_ps(scales, _mm512_set1_ps(row_scales[r]));
            const __m512 value = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sums[r][p]), scale, bias);
            _mm512_mask_storeu_ps(out + r * layer.width + channel, mask, value);
        }
    }
}

template <int R>
void panels(const Layer& layer, const int32_t* x, const float* row_scales, Share share, float* out) {
    constexpr int P = panels_in_tile(R);
    int64_t panel = share.first;
    for (; panel + P <= share.last; panel += P) {
        tile<R, P>(layer, x, row_scales, panel, panel + 2 * P <= share.last, out);
    }
    if constexpr (P > 2) {
        for (; panel + 2 <= share.last; panel += 2) tile<R, 2>(layer, x, row_scales, panel, false, out);
    }
    for (; panel < share.last; ++panel) tile<R, 1>(layer, x, row_scales, panel, false, out);
}

using Panels = void (*)(const Layer&, const int32_t*, const float*, Share, float*);

template <int... R>
constexpr std::array<Panels, sizeof...(R)> by_rows(std::integer_sequence<int, R...>) {
    return {panels<R + 1>...};
}
constexpr auto kByRows = by_rows(std::make_integer_sequence<int, kMostRows>{});

constexpr int kAtOnce = 16;

// Sixteen inputs from place `k` of a row on, zeros beyond its end.
__m512 load(const float* row, int64_t k, int64_t depth) {
    const int64_t left = depth - k;
    return _mm512_maskz_loadu_ps(left >= kAtOnce ? 0xffff : static_cast<__mmask16>((1 << left) - 1), row + k);
}

// What a row's numbers are divided by to be within the levels; no number, if one of them is none.
float scale_of(const float* row, int64_t depth) {
    // As whole numbers, floats without a sign are in the same order, and what is no number is above all.
    __m512i largest = _mm512_setzero_si512();
    for (int64_t k = 0; k < depth; k += kAtOnce) {
        largest = _mm512_max_epi32(largest, _mm512_castps_si512(_mm512_abs_ps(load(row, k, depth))));
    }
    const int32_t bits = _mm512_reduce_max_epi32(largest);
    float highest;
    std::memcpy(&highest, &bits, sizeof highest);
    if (!(highest <= std::numeric_limits<float>::max())) return std::numeric_limits<float>::quiet_NaN();
    return std::max(highest, 1e-30f) / kLevels;
}

// Writes sixteen inputs of a row as groups of four, `stride` groups apart; fewer groups where the row ends.
void quantise(const float* row, int64_t k, int64_t depth, float scale, int32_t* groups, int64_t stride) {
    const __m512i levels = _mm512_cvtps_epi32(_mm512_mul_ps(load(row, k, depth), _mm512_set1_ps(1.0f / scale)));
    const __m128i bytes = _mm512_cvtepi32_epi8(_mm512_add_epi32(levels, _mm512_set1_epi32(128)));
    alignas(16) int32_t packed[kAtOnce / kGroup];
    _mm_store_si128(reinterpret_cast<__m128i*>(packed), bytes);
    const int64_t count = std::min<int64_t>(kAtOnce / kGroup, (depth - k + kGroup - 1) / kGroup);
    for (int64_t i = 0; i < count; ++i) groups[(k / kGroup + i) * stride] = packed[i];
}

}  // namespace

// weights, offsets, scales, bias: as in Layer. x: [rows][depth], out: [rows][width].
extern "C" void int8_linear(const int8_t* weights, const int32_t* offsets, const float* scales, const float* bias,
                            int64_t depth, int64_t width, const float* x, int64_t rows, int threads, float* out) {
    thread_local std::vector<int32_t> buffer;
    thread_local std::vector<float> row_scales;
    const Layer layer{weights, offsets, scales, bias, (depth + kGroup - 1) / kGroup, width};
    const Blocks blocks(rows);
    buffer.resize(std::max<size_t>(buffer.size(), rows * layer.groups));
    row_scales.resize(std::max<size_t>(row_scales.size(), rows));
    int32_t* groups = buffer.data();  // each block of rows as [groups][rows]
    float* row_scale = row_scales.data();
    const int quantisers = rows * depth < kWorthThreads ? 1 : threads;
    pool::for_each(rows, quantisers, [&](int64_t row) { row_scale[row] = scale_of(x + row * depth, depth); });
    // Shared by inputs and not by rows: threads must not write to the same lines of the cache.
    const Parts inputs((depth + kAtOnce - 1) / kAtOnce, quantisers);
    pool::for_each(inputs.size(), quantisers, [&](int64_t part) {
        for (int64_t block = 0; block < blocks.count; ++block) {
            const int64_t first = blocks.first(block), size = blocks.size(block);
            const int64_t end = std::min(depth, inputs[part].last * kAtOnce);
            for (int64_t k = inputs[part].first * kAtOnce; k < end; k += kAtOnce) {
                for (int64_t row = first; row < first + size; ++row) {
                    int32_t* to = groups + first * layer.groups + (row - first);
                    quantise(x + row * depth, k, depth, row_scale[row], to, size);
                }
            }
        }
    });
    for_each_share(blocks, (width + kPanel - 1) / kPanel, threads, [&](int64_t block, Share share) {
        const int64_t first = blocks.first(block);
        kByRows[blocks.size(block) - 1](layer, groups + first * layer.groups, row_scale + first, share,
                                        out + first * width);
    });
}

#endif
