// A linear layer: out = x * weights^T + bias, with weights in float32, bfloat16 or float16.
//
// Narrow weights are widened in registers, which is exact, and every product and sum is in float32. So they give the
// same bits as float32 weights of the same values, and take half the memory.

#include <vector>

#include "abi.h"
#include "bfloat16.h"
#include "float16.h"
#include "panels.h"

namespace {

// The panels of a tile of `rows` rows: the sums, one row of weights and one input fit the registers.
constexpr int panels_in_tile(int rows) { return std::min(4, (kRegisters - 1) / (kVectors * (rows + 1))); }

constexpr int most_rows() {
    int rows = 1;
    while (rows < 16 && panels_in_tile(rows + 1) > 0) ++rows;
    return rows;
}
constexpr int kMostRows = most_rows();

// Rows of a tile where the rows need several: few enough for two panels to share each input that is read, if the
// registers allow that.
constexpr int many_rows() {
    int rows = kMostRows;
    while (rows > 4 && panels_in_tile(rows) < 2) --rows;
    return panels_in_tile(rows) < 2 ? kMostRows : rows;
}
constexpr int kManyRows = many_rows();

struct Float16 {
    uint16_t bits;
};

inline Vector widened_vector(const Float16* from) { return widened_vector(reinterpret_cast<const uint16_t*>(from)); }

struct Inputs {
    const float* transposed;  // [depth][R]
};

template <typename Weight>
struct Layer {
    using Inputs = ::Inputs;
    static constexpr int kMostRows = ::kMostRows, kManyRows = ::kManyRows;
    static constexpr int panels_in_tile(int rows) { return ::panels_in_tile(rows); }

    const Weight* weights;  // [panels][depth][16], the last panel filled up with zeros
    const float* bias;      // [panels * 16]
    int64_t depth;
    int64_t width;  // output channels

    template <int R, int P>
    void tile(const Inputs& x, int64_t panel, bool more, float* out) const {
        const int64_t stride = depth * kPanel;
        const Weight* first = weights + panel * stride;
        const float* biases = bias + panel * kPanel;
        Vector sums[R][P * kVectors];
        UNROLLED
        for (int r = 0; r < R; ++r) {
            UNROLLED
            for (int v = 0; v < P * kVectors; ++v)
                sums[r][v] = *reinterpret_cast<const Unaligned*>(biases + v * kLanes);
        }
        for (int64_t k = 0; k < depth; ++k) {
            Vector weight[P * kVectors];
            const int64_t ahead = rows_ahead<R, P, sizeof(Weight)>(k, depth, more) * kPanel;
            UNROLLED
            for (int p = 0; p < P; ++p) {
                const Weight* row = first + p * stride + k * kPanel;
                __builtin_prefetch(row + ahead, 0, kept_in_cache<R>());
                UNROLLED
                for (int v = 0; v < kVectors; ++v) {
                    weight[p * kVectors + v] = widened_vector(row + v * kLanes);
                }
            }
            UNROLLED
            for (int r = 0; r < R; ++r) {
                UNROLLED
                for (int v = 0; v < P * kVectors; ++v) sums[r][v] += weight[v] * x.transposed[k * R + r];
            }
        }
        const int64_t left = width - panel * kPanel;
        UNROLLED
        for (int r = 0; r < R; ++r) {
            float* to = out + r * width + panel * kPanel;
            if (left >= P * kPanel) {
                UNROLLED
                for (int v = 0; v < P * kVectors; ++v) *reinterpret_cast<Unaligned*>(to + v * kLanes) = sums[r][v];
            } else {
                std::copy_n(reinterpret_cast<const float*>(sums[r]), left, to);
            }
        }
    }
};

}  // namespace

void multiply(const LinearCall& call, const Finish& finish) {
    thread_local std::vector<float> buffer;
    const int64_t rows = call.rows, depth = call.depth;
    const RowTiles tiles(rows, kMostRows, kManyRows);
    buffer.resize(std::max<size_t>(buffer.size(), rows * depth));
    float* transposed = buffer.data();  // each row tile as [depth][rows]
    if (rows > 1) {
        for_each_part(depth, rows * depth, call.threads, [&](Range inputs) {
            for (int64_t tile = 0; tile < tiles.count; ++tile) {
                const int64_t size = tiles.size(tile);
                const float* from = call.x + tiles.first(tile) * depth;
                float* to = transposed + tiles.first(tile) * depth;
                for (int64_t k = inputs.first; k < inputs.last; ++k) {
                    for (int64_t r = 0; r < size; ++r) to[k * size + r] = from[r * depth + k];
                }
            }
        });
    }
    const float* source = rows > 1 ? transposed : call.x;
    const auto multiply_with = [&]<typename Weight>(const Weight* weights) {
        multiply(Layer<Weight>{weights, call.bias, depth, call.width}, tiles, call.threads, call.out, finish,
                 [&](int64_t tile, Range) { return Inputs{source + tiles.first(tile) * depth}; });
    };
    switch (static_cast<WeightType>(call.weight_type)) {
        case WeightType::float32: multiply_with(static_cast<const float*>(call.weights)); break;
        case WeightType::bfloat16: multiply_with(static_cast<const BFloat16*>(call.weights)); break;
        case WeightType::float16: multiply_with(static_cast<const Float16*>(call.weights)); break;
    }
}

extern "C" void linear(const LinearCall* call) { multiply(*call, {}); }
