// A linear layer in 8 bits: out = (x * weights^T) * scales + bias, for CPUs with AVX-512 VNNI and for 64-bit ARM.
//
// Each row of the input is quantised in groups of up to 64, each by its own largest value, so a single large input
// costs only its group precision, not the whole row. The products of a group are summed in 32 bits, which is exact in
// any order; the groups are summed in float32, in their order.

#include <vector>

#include "abi.h"
#if defined(__AVX512VNNI__)
#include "int8_vnni.h"
#elif defined(__aarch64__)
#include "int8_neon.h"
#endif

#if defined(HAS_INT8)

namespace {

// The weights of the next panels, fetched while a tile is computed, some cache lines with each quantisation group. So
// memory is busy while several row tiles are multiplied with panels that the cache already holds.
struct Prefetch {
    static constexpr int64_t kLine = 64;

    const uint8_t* from;
    int64_t lines;  // with each group

    void fetch(int64_t group) const {
        for (int64_t i = 0; i < lines; ++i) __builtin_prefetch(from + (group * lines + i) * kLine, 0, 2);
    }
};

struct Layer {
    // With few rows and several panels, both the sums and the totals of a tile fit the registers, and every input that
    // is read is multiplied with about as many weights as every weight with inputs.
    static constexpr int kMostRows = kVectors == 1 ? 4 : 3, kManyRows = kMostRows;
    static constexpr int panels_in_tile(int rows) {
        return std::min(4, (kRegisters - 2) / (kVectors * (2 * rows + 1)));
    }

    const uint8_t* weights;  // [panels][depth / 4][16][4], shifted by 128 so that they have no signs
    const float* scales;     // [panels * 16]
    const float* bias;       // [panels * 16]
    int64_t quads;           // depth / 4, rounded up
    int64_t width;
    int64_t group_size;  // inputs of a quantisation group: 16, 32, 48 or 64

    // R rows, quantised.
    struct Inputs {
        const int32_t* quads;        // [depth / 4][R] of four inputs
        const float* scales;         // [groups][R]
        const int32_t* corrections;  // [groups][R]: minus what the weights' shift adds to the group's sum
        Prefetch prefetch;
    };

    template <int R, int P>
    void tile(const Inputs& x, int64_t panel, bool more, float* out) const {
        constexpr int V = P * kVectors;
        const int64_t stride = quads * kPanel * kQuad;
        const uint8_t* first_panel = weights + panel * stride;
        const int64_t channel = panel * kPanel;
        Totals totals[R][V];
        UNROLLED
        for (int r = 0; r < R; ++r) {
            UNROLLED
            for (int v = 0; v < V; ++v) totals[r][v] = Totals{};
        }
        for (int64_t first = 0, group = 0; first < quads; first += group_size / kQuad, ++group) {
            x.prefetch.fetch(group);
            Sums sums[R][V];
            UNROLLED
            for (int r = 0; r < R; ++r) {
                UNROLLED
                for (int v = 0; v < V; ++v) sums[r][v] = first_sums(x.corrections[group * R + r]);
            }
            const int64_t end = std::min(quads, first + group_size / kQuad);
            for (int64_t k = first; k < end; ++k) {
                Bytes weight[V];
                const int64_t ahead = rows_ahead<R, P>(k, quads, more) * kPanel * kQuad;
                UNROLLED
                for (int p = 0; p < P; ++p) {
                    const uint8_t* row = first_panel + p * stride + k * kPanel * kQuad;
                    __builtin_prefetch(row + ahead);
                    UNROLLED
                    for (int v = 0; v < kVectors; ++v) weight[p * kVectors + v] = load(row + v * kLanes * kQuad);
                }
                UNROLLED
                for (int r = 0; r < R; ++r) {
                    const Bytes input = for_each_channel(x.quads[k * R + r]);
                    UNROLLED
                    for (int v = 0; v < V; ++v) add_products(sums[r][v], weight[v], input);
                }
            }
            UNROLLED
            for (int r = 0; r < R; ++r) {
                UNROLLED
                for (int v = 0; v < V; ++v) add_group(totals[r][v], sums[r][v], x.scales[group * R + r]);
            }
        }
        UNROLLED
        for (int v = 0; v < V; ++v) {
            const int64_t first = channel + v * kLanes;
            const Channels channels(scales + first, bias + first, width - first);
            UNROLLED
            for (int r = 0; r < R; ++r) channels.write(totals[r][v], out + r * width + first);
        }
    }
};

}  // namespace

extern "C" void int8_linear(const Int8LinearCall* call) {
    thread_local std::vector<int32_t> quads_buffer, corrections_buffer;
    thread_local std::vector<float> scales_buffer;
    const int64_t rows = call->rows, depth = call->depth, group_size = call->group_size;
    const Layer layer{call->weights, call->scales, call->bias, (depth + kQuad - 1) / kQuad, call->width, group_size};
    const RowTiles tiles(rows, Layer::kMostRows, Layer::kManyRows);
    const int64_t groups = (depth + group_size - 1) / group_size;
    quads_buffer.resize(std::max<size_t>(quads_buffer.size(), rows * layer.quads));
    corrections_buffer.resize(std::max<size_t>(corrections_buffer.size(), rows * groups));
    scales_buffer.resize(std::max<size_t>(scales_buffer.size(), rows * groups));
    int32_t *const quads = quads_buffer.data(), *const corrections = corrections_buffer.data();
    float* const scales = scales_buffer.data();
    // Divided by groups and not by rows, because two threads must not write to the same cache lines.
    for_each_part(groups, rows * depth, call->threads, [&](Range part) {
        for (int64_t tile = 0; tile < tiles.count; ++tile) {
            const int64_t first = tiles.first(tile), size = tiles.size(tile);
            for (int64_t group = part.first; group < part.last; ++group) {
                for (int64_t r = 0; r < size; ++r) {
                    const int64_t index = first * groups + group * size + r;
                    int32_t* to = quads + first * layer.quads + group * (group_size / kQuad) * size + r;
                    quantise(call->x + (first + r) * depth, group * group_size, depth, group_size, to, size,
                             scales + index, corrections + index);
                }
            }
        }
    });
    const int64_t panel_lines = layer.quads * kPanel * kQuad / Prefetch::kLine;
    multiply(layer, tiles, call->threads, call->out, [&](int64_t tile, Range next) {
        Prefetch prefetch{layer.weights, 0};
        if (tiles.count > 1) {
            const int64_t lines = (next.last - next.first) * panel_lines, fetches = tiles.count * groups;
            prefetch.lines = (lines + fetches - 1) / fetches;
            prefetch.from += (next.first * panel_lines + tile * groups * prefetch.lines) * Prefetch::kLine;
        }
        const int64_t first = tiles.first(tile);
        return Layer::Inputs{quads + first * layer.quads, scales + first * groups, corrections + first * groups,
                             prefetch};
    });
}

#endif
