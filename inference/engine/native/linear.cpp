// A linear layer in float32: out = x * weights^T + bias.

#include "abi.h"
#include "panels.h"

namespace {

// The panels of a tile of so many rows: sums, one row of weights and one input fit the registers.
constexpr int panels_in_tile(int rows) { return std::min(4, (kRegisters - 1) / (kVectors * (rows + 1))); }

constexpr int most_rows() {
    int rows = 1;
    while (rows < 16 && panels_in_tile(rows + 1) > 0) ++rows;
    return rows;
}
constexpr int kMostRows = most_rows();

// Rows of a tile where there are many: two panels then share each input that is read, if registers allow.
constexpr int many_rows() {
    int rows = kMostRows;
    while (rows > 4 && panels_in_tile(rows) < 2) --rows;
    return panels_in_tile(rows) < 2 ? kMostRows : rows;
}
constexpr int kManyRows = many_rows();

struct Layer {
    const float* weights;  // [panels][depth][16], the last panel filled up with zeros
    const float* bias;     // [panels * 16]
    int64_t depth;
    int64_t width;  // output channels
};

// x: [depth][R]. Fills R rows of `out`, `[R][width]`, from channel `16 * panel` on; more: another tile follows.
template <int R, int P>
void tile(const Layer& layer, const float* x, int64_t panel, bool more, float* out) {
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
        const int64_t ahead = rows_ahead<R, P>(k, layer.depth, more) * kPanel;
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
    for (; panel + P <= share.last; panel += P) {
        tile<R, P>(layer, x, panel, panel + 2 * P <= share.last, out);
    }
    if constexpr (P > 2) {
        for (; panel + 2 <= share.last; panel += 2) tile<R, 2>(layer, x, panel, false, out);
    }
    for (; panel < share.last; ++panel) tile<R, 1>(layer, x, panel, false, out);
}

using Panels = void (*)(const Layer&, const float*, Share, float*);

template <int... R>
constexpr std::array<Panels, sizeof...(R)> by_rows(std::integer_sequence<int, R...>) {
    return {panels<R + 1>...};
}
constexpr auto kByRows = by_rows(std::make_integer_sequence<int, kMostRows>{});

}  // namespace

extern "C" void linear(const LinearCall* call) {
    const int64_t rows = call->rows, depth = call->depth, width = call->width, threads = call->threads;
    const float* const x = call->x;
    float* const out = call->out;
    thread_local std::vector<float> buffer;
    const Layer layer{call->weights, call->bias, depth, width};
    const Blocks blocks(rows, kMostRows, kManyRows);
    buffer.resize(std::max<size_t>(buffer.size(), rows * depth));
    float* turned = buffer.data();  // each block of rows as [depth][rows]
    if (rows > 1) {
        const Parts inputs(depth, rows * depth < kWorthThreads ? 1 : threads);
        pool::for_each(inputs.size(), threads, [&](int64_t part) {
            for (int64_t block = 0; block < blocks.count; ++block) {
                const int64_t size = blocks.size(block);
                const float* from = x + blocks.first(block) * depth;
                float* to = turned + blocks.first(block) * depth;
                for (int64_t k = inputs[part].first; k < inputs[part].last; ++k) {
                    for (int64_t r = 0; r < size; ++r) to[k * size + r] = from[r * depth + k];
                }
            }
        });
    }
    const float* source = rows > 1 ? turned : x;
    const int64_t together = panels_in_tile(blocks.count > 1 ? kManyRows : rows);
    for_each_share(blocks, (width + kPanel - 1) / kPanel, together, threads, [&](int64_t block, Share share) {
        const int64_t first = blocks.first(block);
        kByRows[blocks.size(block) - 1](layer, source + first * depth, share, out + first * width);
    });
}
