// A linear layer in float32: out = x * weights^T + bias.

#include "panels.h"

namespace {

typedef float Vector __attribute__((vector_size(4 * kLanes)));
typedef float Unaligned __attribute__((vector_size(4 * kLanes), aligned(4)));

struct Layer {
    const float* weights;  // [panels][depth][16], the last panel filled up with zeros
    const float* bias;     // [panels * 16]
    int64_t depth;
    int64_t width;  // output channels
};

// x: [depth][R]. Fills R rows of `out`, `[R][width]`, from channel `16 * panel` on.
template <int R, int P>
void tile(const Layer& layer, const float* x, int64_t panel, float* out) {
    const int64_t stride = layer.depth * kPanel;
    const float* weights = layer.weights + panel * stride;
    const float* bias = layer.bias + panel * kPanel;
    Vector sums[R][P * kVectors];
UNROLLED
    for (int r = 0; r < R; ++r) {
UNROLLED
        for (int v = 0; v < P * kVectors; ++v) sums[r][v] = *reinterpret_cast<const Unaligned*>(bias + v * kLanes);
    }
    for (int64_t k = 0; k < layer.depth; ++k) {
        Vector weight[P * kVectors];
        const int64_t ahead = rows_ahead<R, P>(k, layer.depth) * kPanel;
UNROLLED
        for (int p = 0; p < P; ++p) {
            const float* row = weights + p * stride + k * kPanel;
            __builtin_prefetch(row + ahead);
UNROLLED
            for (int v = 0; v < kVectors; ++v) {
                weight[p * kVectors + v] = *reinterpret_cast<const Unaligned*>(row + v * kLanes);
            }
        }
UNROLLED
        for (int r = 0; r < R; ++r) {
UNROLLED
            for (int v = 0; v < P * kVectors; ++v) sums[r][v] += weight[v] * x[k * R + r];
        }
    }
    const int64_t left = layer.width - panel * kPanel;
UNROLLED
    for (int r = 0; r < R; ++r) {
        float* to = out + r * layer.width + panel * kPanel;
        if (left >= P * kPanel) {
UNROLLED
            for (int v = 0; v < P * kVectors; ++v) *reinterpret_cast<Unaligned*>(to + v * kLanes) = sums[r][v];
        } else {
            std::copy_n(reinterpret_cast<const float*>(sums[r]), left, to);
        }
    }
}

template <int R>
void panels(const Layer& layer, const float* x, Share share, float* out) {
    constexpr int P = panels_in_tile(R);
    int64_t panel = share.first;
    for (; panel + P <= share.last; panel += P) tile<R, P>(layer, x, panel, out);
    if constexpr (P > 2) {
        for (; panel + 2 <= share.last; panel += 2) tile<R, 2>(layer, x, panel, out);
    }
    for (; panel < share.last; ++panel) tile<R, 1>(layer, x, panel, out);
}

using Panels = void (*)(const Layer&, const float*, Share, float*);

template <int... R>
constexpr std::array<Panels, sizeof...(R)> by_rows(std::integer_sequence<int, R...>) {
    return {panels<R + 1>...};
}
constexpr auto kByRows = by_rows(std::make_integer_sequence<int, kMostRows>{});

}  // namespace

// x: [rows][depth], out: [rows][width].
extern "C" void linear(const float* weights, const float* bias, int64_t depth, int64_t width, const float* x,
                       int64_t rows, int threads, float* out) {
    thread_local std::vector<float> buffer;
    const Layer layer{weights, bias, depth, width};
    const Blocks blocks(rows);
    buffer.resize(std::max<size_t>(buffer.size(), rows * depth));
    float* turned = buffer.data();  // each block of rows as [depth][rows]
#pragma omp parallel num_threads(threads)
    {
        if (rows > 1) {
            const Share inputs = share_of(depth);
            for (int64_t block = 0; block < blocks.count; ++block) {
                const int64_t size = blocks.size(block);
                const float* from = x + blocks.first(block) * depth;
                float* to = turned + blocks.first(block) * depth;
                for (int64_t k = inputs.first; k < inputs.last; ++k) {
                    for (int64_t r = 0; r < size; ++r) to[k * size + r] = from[r * depth + k];
                }
            }
#pragma omp barrier
        }
        // Where there are several blocks, few panels at a time for all of them: they stay in the cache meanwhile.
        const Share share = share_of((width + kPanel - 1) / kPanel);
        const int64_t step = blocks.count > 1 ? panels_in_tile(kManyRows) : share.last - share.first;
        for (int64_t panel = share.first; panel < share.last; panel += step) {
            const Share few{panel, std::min(share.last, panel + step)};
            for (int64_t block = 0; block < blocks.count; ++block) {
                const int64_t first = blocks.first(block);
                const float* from = (rows > 1 ? turned : x) + first * depth;
                kByRows[blocks.size(block) - 1](layer, from, few, out + first * width);
            }
        }
    }
}
