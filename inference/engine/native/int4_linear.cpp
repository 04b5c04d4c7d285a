// A linear layer with weights in 4 bits: out = x * weights^T + bias, with inputs in 8 bits.
//
// A weight is one of sixteen levels times the scale of its group of 32 inputs times that of its channel. Each row of
// the input is quantised in the same groups, each by its own largest value. The products of a group are summed in 32
// bits, which is exact in any order; the groups are summed in float32, in their order.

#include <cmath>
#include <cstring>
#include <vector>

#include "abi.h"
#include "cache_lines.h"
#include "int8_levels.h"
#include "panels.h"

#if defined(HAS_8_BIT_PRODUCTS)

#if defined(__aarch64__)
#include "int4_neon.h"
#else
#include "int4_x86.h"
#endif

namespace {

// For more row tiles than these, a panel is unpacked once for all. Measured on Zen 3, which has AVX2.
constexpr int64_t kUnpackedEachTime = kVectors == 2 ? 4 : 1;
constexpr int64_t kUnpackedBytes = kInt4Quads * kPanel * kQuad;  // of a group of a panel

// A group of a row: four inputs in each quad, the scale of their levels, and minus what the weights' shift adds.
struct QuantisedGroup {
    int32_t quads[kInt4Quads];
    float scale;
    int32_t correction;

    explicit QuantisedGroup(const float* x, int64_t count) {
        float inputs[kInt4Group] = {};
        std::copy_n(x, count, inputs);
        // The bits of non-negative floats compare as integers in the same order, with NaN above all others.
        int32_t bits[kInt4Group], highest = 0;
        std::memcpy(bits, inputs, sizeof bits);
#pragma omp simd reduction(max : highest)
        for (int i = 0; i < kInt4Group; ++i) highest = std::max(highest, bits[i] & 0x7fffffff);
        float largest;
        std::memcpy(&largest, &highest, sizeof largest);
        const Levels of_group(largest);
        scale = of_group.scale;
        alignas(64) int8_t levels[kInt4Group] = {};
        int32_t sum = 0;
        if (of_group.finite) {  // otherwise the results are NaN whatever the levels
#pragma omp simd reduction(+ : sum)
            for (int i = 0; i < kInt4Group; ++i) {
                const int32_t level = static_cast<int32_t>(std::nearbyint(inputs[i] * of_group.factor));
                levels[i] = static_cast<int8_t>(level);
                sum += level;
            }
        }
        std::memcpy(quads, levels, sizeof quads);
        correction = -kInt4Shift * sum;
    }
};

// Weights as they are kept, unpacked for each tile.
struct Packed {
    static constexpr int kUnpackRegisters = 2, kBuffers = 2;
    static constexpr int64_t kBytes = kInt4Lines * kInt4LineBytes;

    Unpack unpack;

    // The levels of quad 2 * `line`, or of the one after it, of vector `v`.
    Bytes low(const uint8_t* group, int line, int v) const {
        return unpack.low(load_bytes(group + line * kInt4LineBytes + v * sizeof(Bytes)));
    }
    Bytes high(const uint8_t* group, int line, int v) const {
        return unpack.high(load_bytes(group + line * kInt4LineBytes + v * sizeof(Bytes)));
    }
};

// A panel that is unpacked once for several row tiles.
struct Unpacked {
    static constexpr int kUnpackRegisters = 0, kBuffers = 1;
    static constexpr int64_t kBytes = kUnpackedBytes;

    Bytes low(const uint8_t* group, int line, int v) const {
        return load_bytes(group + 2 * line * kInt4LineBytes + v * sizeof(Bytes));
    }
    Bytes high(const uint8_t* group, int line, int v) const { return low(group + kInt4LineBytes, line, v); }
};

template <typename Form>
struct Layer {
    // With 16 registers, four rows are worth that their totals do not stay in them.
    static constexpr int kMostRows = kVectors == 4 ? 3 : 4, kManyRows = kMostRows;
    static constexpr int panels_in_tile(int rows) {
        const int registers = kRegisters - 2 - Form::kUnpackRegisters;
        return std::clamp(registers / (kVectors * (2 * rows + Form::kBuffers)), 1, 4);
    }

    Form form;
    const uint8_t* weights;  // of panel `first_panel` on
    int64_t first_panel;
    const int8_t* group_scales;  // [panels][groups][16]
    const float *scales, *bias;  // [panels * 16]
    int64_t groups, width;

    // R rows, quantised.
    struct Inputs {
        const int32_t* quads;        // [groups * 8][R]
        const float* scales;         // [groups][R]
        const int32_t* corrections;  // [groups][R]
    };

    template <int R, int P>
    void tile(const Inputs& x, int64_t panel, bool more, float* out) const {
        constexpr int V = P * kVectors;
        const uint8_t* const from = weights + (panel - first_panel) * groups * Form::kBytes;
        const int8_t* const from_scales = group_scales + panel * groups * kPanel;
        Totals totals[R][V];
        UNROLLED
        for (int r = 0; r < R; ++r) {
            UNROLLED
            for (int v = 0; v < V; ++v) totals[r][v] = Totals{};
        }
        for (int64_t group = 0; group < groups; ++group) {
            Sums sums[R][V];
            UNROLLED
            for (int r = 0; r < R; ++r) {
                UNROLLED
                for (int v = 0; v < V; ++v) sums[r][v] = first_sums(x.corrections[group * R + r]);
            }
            constexpr int64_t kFetched = Form::kBytes / kInt4LineBytes;
            const int64_t ahead = rows_ahead<R, P>(group * kFetched, groups * kFetched, more) / kFetched * Form::kBytes;
            const int32_t* quads = x.quads + group * kInt4Quads * R;
            UNROLLED
            for (int line = 0; line < kInt4Lines; ++line) {
                const auto add = [&](int quad, auto weight_of) {
                    Bytes weight[V];
                    UNROLLED
                    for (int p = 0; p < P; ++p) {
                        const uint8_t* at = from + (p * groups + group) * Form::kBytes;
                        UNROLLED
                        for (int v = 0; v < kVectors; ++v) weight[p * kVectors + v] = weight_of(at, v);
                    }
                    UNROLLED
                    for (int r = 0; r < R; ++r) {
                        const Bytes input = for_each_channel(quads[quad * R + r]);
                        UNROLLED
                        for (int v = 0; v < V; ++v) add_products(sums[r][v], weight[v], input);
                    }
                };
                if constexpr (Form::kUnpackRegisters > 0) {
                    UNROLLED
                    for (int p = 0; p < P; ++p) {
                        __builtin_prefetch(from + (p * groups + group) * Form::kBytes + ahead + line * kInt4LineBytes);
                    }
                }
                add(2 * line, [&](const uint8_t* at, int v) { return form.low(at, line, v); });
                add(2 * line + 1, [&](const uint8_t* at, int v) { return form.high(at, line, v); });
            }
            UNROLLED
            for (int v = 0; v < V; ++v) {
                const int p = v / kVectors, part = v % kVectors;
                const Vector of_group = widened_scales(from_scales + (p * groups + group) * kPanel + part * kLanes);
                UNROLLED
                for (int r = 0; r < R; ++r) {
                    add_group(totals[r][v], sums[r][v], of_group * broadcast(x.scales[group * R + r]));
                }
            }
        }
        UNROLLED
        for (int v = 0; v < V; ++v) {
            const int64_t first = panel * kPanel + v * kLanes;
            const Channels channels(scales + first, bias + first, width - first);
            UNROLLED
            for (int r = 0; r < R; ++r) channels.write(totals[r][v], out + r * width + first);
        }
    }
};

// The rows of a step, quantised, for each row tile.
struct Quantised {
    std::vector<int32_t> quads;
    std::vector<int32_t> corrections;
    std::vector<float> scales;

    void fill(const Int4LinearCall& call, const RowTiles& tiles, int64_t groups) {
        const auto grow = [](auto& buffer, int64_t count) {
            buffer.resize(std::max<size_t>(buffer.size(), count));
            return buffer.data();
        };
        int32_t* const all_quads = grow(quads, call.rows * groups * kInt4Quads);
        int32_t* const all_corrections = grow(corrections, call.rows * groups);
        float* const all_scales = grow(scales, call.rows * groups);
        // Divided by groups and not by rows, because two threads must not write to the same cache lines.
        for_each_part(groups, call.rows * call.depth, call.threads, [&](Range part) {
            for (int64_t tile = 0; tile < tiles.count; ++tile) {
                const int64_t first = tiles.first(tile), size = tiles.size(tile);
                for (int64_t g = part.first; g < part.last; ++g) {
                    for (int64_t r = 0; r < size; ++r) {
                        const int64_t k = g * kInt4Group, index = (first * groups + g * size) + r;
                        const QuantisedGroup group(call.x + (first + r) * call.depth + k,
                                                   std::min<int64_t>(kInt4Group, call.depth - k));
                        int32_t* to = all_quads + (first * groups + g * size) * kInt4Quads + r;
                        for (int i = 0; i < kInt4Quads; ++i) to[i * size] = group.quads[i];
                        all_scales[index] = group.scale;
                        all_corrections[index] = group.correction;
                    }
                }
            }
        });
    }
    template <typename Form>
    typename Layer<Form>::Inputs of(int64_t first, int64_t groups) const {
        return {quads.data() + first * groups * kInt4Quads, scales.data() + first * groups,
                corrections.data() + first * groups};
    }
};

// Unpacks each tile's panels once, and multiplies every row tile with them.
void multiply_many(const Int4LinearCall& call, const Finish& finish, const Quantised& inputs, const RowTiles& tiles,
                   int64_t groups) {
    using Many = Layer<Unpacked>;
    static constexpr auto kByRows = multiply_by_rows<Many>(std::make_integer_sequence<int, Many::kMostRows>{});
    constexpr int64_t together = Many::panels_in_tile(Many::kManyRows);
    const int64_t panels = (call.width + kPanel - 1) / kPanel;
    const Parts parts((panels + together - 1) / together, call.threads);
    pool::for_each(parts.size(), call.threads, [&](int64_t part) {
        thread_local Lines<uint8_t> buffer;
        uint8_t* const unpacked = buffer.of(together * groups * kUnpackedBytes);
        const Unpack unpack;
        const int64_t last = std::min(panels, parts[part].last * together);
        for (int64_t panel = parts[part].first * together; panel < last; panel += together) {
            const Range now{panel, std::min(last, panel + together)};
            const int64_t lines = (now.last - now.first) * groups * kInt4Lines;
            const uint8_t* from = call.weights + panel * groups * Packed::kBytes;
            for (int64_t line = 0; line < lines; ++line) {
                __builtin_prefetch(from + (line + 32) * kInt4LineBytes);
                uint8_t* to = unpacked + 2 * line * kInt4LineBytes;
                for (size_t at = 0; at < kInt4LineBytes; at += sizeof(Bytes)) {
                    const Bytes packed = load_bytes(from + line * kInt4LineBytes + at);
                    store_bytes(to + at, unpack.low(packed));
                    store_bytes(to + kInt4LineBytes + at, unpack.high(packed));
                }
            }
            const Many layer{{}, unpacked, panel, call.group_scales, call.scales, call.bias, groups, call.width};
            for (int64_t tile = 0; tile < tiles.count; ++tile) {
                const int64_t first = tiles.first(tile);
                kByRows[tiles.size(tile) - 1](layer, inputs.of<Unpacked>(first, groups), now,
                                              call.out + first * call.width);
            }
            finish({0, call.rows}, channels_of(now, call.width));
        }
    });
}

}  // namespace

void multiply(const Int4LinearCall& call, const Finish& finish) {
    using Few = Layer<Packed>;
    thread_local Quantised quantised;
    Quantised& inputs = quantised;  // the other threads have their own
    const int64_t groups = (call.depth + kInt4Group - 1) / kInt4Group;
    const RowTiles tiles(call.rows, Few::kMostRows, Few::kManyRows);
    inputs.fill(call, tiles, groups);
    if (tiles.count > kUnpackedEachTime) return multiply_many(call, finish, inputs, tiles, groups);
    const Few layer{{}, call.weights, 0, call.group_scales, call.scales, call.bias, groups, call.width};
    multiply(layer, tiles, call.threads, call.out, finish,
             [&](int64_t tile, Range) { return inputs.of<Packed>(tiles.first(tile), groups); });
}

extern "C" void int4_linear(const Int4LinearCall* call) { multiply(*call, {}); }

#endif
