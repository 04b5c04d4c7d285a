// A linear layer in 8 bits: out = (x * weights^T) * scales + bias, for CPUs with AVX-512 VNNI.
//
// Each row of the input is quantised in runs of up to 64, each by its own largest value: a single large input so costs
// its run its precision, and not the row. Products of a run are added up in 32 bits, exactly, in any order; runs in float32,
// in their order.

#include "panels.h"

#if defined(__AVX512VNNI__)

#include <immintrin.h>

#include <cstring>
#include <limits>

namespace {

constexpr int kGroup = 4;  // inputs that one instruction multiplies and adds
constexpr float kLevels = 127.0f;

constexpr int kMostRun = 64;

struct Layer {
    const uint8_t* weights;  // [panels][depth / 4][16][4], shifted by 128: the instruction wants one side without signs
    const float* scales;     // [panels * 16]
    const float* bias;       // [panels * 16]
    int64_t groups;          // depth / 4, rounded up
    int64_t width;
    int64_t run;             // inputs that share a scale: 16, 32, 48 or 64
};

// A block of R rows, quantised.
struct Inputs {
    const int32_t* groups;      // [depth / 4][R] of four inputs
    const float* scales;        // [depth / run][R]
    const int32_t* corrections; // [depth / run][R]: what the weights' shift adds to a run's sum, with its sign turned
};

// _mm512_dpbusd_epi32. GCC 12 surrounds that one with moves between registers, which took half of the time.
inline void add_products(__m512i& sums, __m512i weights, __m512i inputs) {
    asm("vpdpbusd %2, %1, %0" : "+v"(sums) : "v"(weights), "v"(inputs));
}

// Fills R rows of `out`, `[R][width]`, from channel `16 * panel` on; more: another tile follows.
template <int R, int P>
void tile(const Layer& layer, const Inputs& x, int64_t panel, bool more, float* out) {
    const int64_t stride = layer.groups * kPanel * kGroup;
    const uint8_t* weights = layer.weights + panel * stride;
    __m512 totals[R][P];
UNROLLED
    for (int r = 0; r < R; ++r) {
UNROLLED
        for (int p = 0; p < P; ++p) totals[r][p] = _mm512_setzero_ps();
    }
    for (int64_t first = 0, run = 0; first < layer.groups; first += layer.run / kGroup, ++run) {
        __m512i sums[R][P];
UNROLLED
        for (int r = 0; r < R; ++r) {
UNROLLED
            for (int p = 0; p < P; ++p) sums[r][p] = _mm512_set1_epi32(x.corrections[run * R + r]);
        }
        const int64_t end = std::min(layer.groups, first + layer.run / kGroup);
        for (int64_t k = first; k < end; ++k) {
            __m512i weight[P];
            const int64_t ahead = rows_ahead<R, P>(k, layer.groups, more) * kPanel * kGroup;
UNROLLED
            for (int p = 0; p < P; ++p) {
                const uint8_t* row = weights + p * stride + k * kPanel * kGroup;
                __builtin_prefetch(row + ahead);
                weight[p] = _mm512_loadu_si512(row);
            }
UNROLLED
            for (int r = 0; r < R; ++r) {
                const __m512i input = _mm512_set1_epi32(x.groups[k * R + r]);
UNROLLED
                for (int p = 0; p < P; ++p) add_products(sums[r][p], weight[p], input);
            }
        }
UNROLLED
        for (int r = 0; r < R; ++r) {
            const __m512 scale = _mm512_set1_ps(x.scales[run * R + r]);
UNROLLED
            for (int p = 0; p < P; ++p) {
                totals[r][p] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sums[r][p]), scale, totals[r][p]);
            }
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
            const __m512 value = _mm512_fmadd_ps(totals[r][p], scales, bias);
            _mm512_mask_storeu_ps(out + r * layer.width + channel, mask, value);
        }
    }
}

template <int R>
void panels(const Layer& layer, const Inputs& x, Share share, float* out) {
    constexpr int P = panels_in_tile(R);
    int64_t panel = share.first;
    for (; panel + P <= share.last; panel += P) {
        tile<R, P>(layer, x, panel, panel + 2 * P <= share.last, out);
    }
    if constexpr (P > 2) {
        for (; panel + 2 <= share.last; panel += 2) tile<R, 2>(layer, x, panel, false, out);
    }
    for (; panel < share.last; ++panel) tile<R, 1>(layer, x, panel, false, out);
}

using Panels = void (*)(const Layer&, const Inputs&, Share, float*);

template <int... R>
constexpr std::array<Panels, sizeof...(R)> by_rows(std::integer_sequence<int, R...>) {
    return {panels<R + 1>...};
}
constexpr auto kByRows = by_rows(std::make_integer_sequence<int, kMostRows>{});

constexpr int kAtOnce = 16;

// Sixteen inputs from place `k` of a row on, zeros beyond its end.
__m512 load(const float* row, int64_t k, int64_t depth) {
    const int64_t left = std::max<int64_t>(0, depth - k);
    return _mm512_maskz_loadu_ps(left >= kAtOnce ? 0xffff : static_cast<__mmask16>((1 << left) - 1), row + k);
}

// Quantises the run of a row that begins at place `k`: its groups, `stride` apart, its scale and its correction. The
// scale is no number if an input is none.
void quantise(const float* row, int64_t k, int64_t depth, int64_t run, int32_t* groups, int64_t stride, float* scale,
              int32_t* correction) {
    // As whole numbers, floats without a sign are in the same order, and what is no number is above all.
    __m512i largest = _mm512_setzero_si512();
    __m512 inputs[kMostRun / kAtOnce];
    for (int i = 0; i < run / kAtOnce; ++i) {
        inputs[i] = load(row, k + i * kAtOnce, depth);
        largest = _mm512_max_epi32(largest, _mm512_castps_si512(_mm512_abs_ps(inputs[i])));
    }
    const int32_t bits = _mm512_reduce_max_epi32(largest);
    float highest;
    std::memcpy(&highest, &bits, sizeof highest);
    const bool finite = highest <= std::numeric_limits<float>::max();
    highest = finite ? std::max(highest, 1e-30f) : 1.0f;
    *scale = finite ? highest / kLevels : std::numeric_limits<float>::quiet_NaN();
    const __m512 inverse = _mm512_set1_ps(kLevels / highest);
    __m512i sum = _mm512_setzero_si512();
    for (int i = 0; i < run / kAtOnce; ++i) {
        const __m512i levels = _mm512_cvtps_epi32(_mm512_mul_ps(inputs[i], inverse));
        sum = _mm512_add_epi32(sum, levels);
        alignas(16) int32_t packed[kAtOnce / kGroup];
        _mm_store_si128(reinterpret_cast<__m128i*>(packed), _mm512_cvtepi32_epi8(levels));
        for (int j = 0; j < kAtOnce / kGroup; ++j) {
            const int64_t place = i * kAtOnce + j * kGroup;
            if (k + place < depth) groups[place / kGroup * stride] = packed[j];
        }
    }
    *correction = -128 * _mm512_reduce_add_epi32(sum);
}

}  // namespace

// weights, scales, bias: as in Layer. x: [rows][depth], out: [rows][width].
extern "C" void int8_linear(const uint8_t* weights, const float* scales, const float* bias, int64_t depth,
                            int64_t width, int64_t run, const float* x, int64_t rows, int threads, float* out) {
    thread_local std::vector<int32_t> groups_buffer, corrections_buffer;
    thread_local std::vector<float> scales_buffer;
    const Layer layer{weights, scales, bias, (depth + kGroup - 1) / kGroup, width, run};
    const Blocks blocks(rows);
    const int64_t runs = (depth + run - 1) / run;
    groups_buffer.resize(std::max<size_t>(groups_buffer.size(), rows * layer.groups));
    corrections_buffer.resize(std::max<size_t>(corrections_buffer.size(), rows * runs));
    scales_buffer.resize(std::max<size_t>(scales_buffer.size(), rows * runs));
    int32_t *const groups = groups_buffer.data(), *const corrections = corrections_buffer.data();
    float* const run_scales = scales_buffer.data();
    // Shared by runs and not by rows: threads must not write to the same lines of the cache.
    const int quantisers = rows * depth < kWorthThreads ? 1 : threads;
    const Parts shares(runs, quantisers);
    pool::for_each(shares.size(), quantisers, [&](int64_t part) {
        for (int64_t block = 0; block < blocks.count; ++block) {
            const int64_t first = blocks.first(block), size = blocks.size(block);
            for (int64_t i = shares[part].first; i < shares[part].last; ++i) {
                for (int64_t r = 0; r < size; ++r) {
                    const int64_t place = first * runs + i * size + r;
                    int32_t* to = groups + first * layer.groups + i * (run / kGroup) * size + r;
                    quantise(x + (first + r) * depth, i * run, depth, run, to, size, run_scales + place,
                             corrections + place);
                }
            }
        }
    });
    for_each_share(blocks, (width + kPanel - 1) / kPanel, threads, [&](int64_t block, Share share) {
        const int64_t first = blocks.first(block);
        const Inputs inputs{groups + first * layer.groups, run_scales + first * runs, corrections + first * runs};
        kByRows[blocks.size(block) - 1](layer, inputs, share, out + first * width);
    });
}

#endif
