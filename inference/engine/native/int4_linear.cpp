// A linear layer with weights in 4 bits: out = x * weights^T + bias, with inputs in 8 bits.
//
// A weight is one of sixteen levels times the scale of its group of 32 inputs times that of its channel. Each row of
// the input is quantised in the same groups, each by its own largest value. The products of a group are summed in 32
// bits, which is exact in any order; the groups are summed in float32, in their order.

#include <cstring>

#include "abi.h"
#include "cache_lines.h"
#include "panels.h"

#if defined(HAS_8_BIT_PRODUCTS)

#if defined(__aarch64__)
#include "int4_neon.h"
#else
#include "int4_x86.h"
#endif
#include "int4_inputs.h"

namespace {

// For more row tiles than these, a panel is unpacked once for all. On Zen 5 neither is faster for up to 32 rows.
constexpr int64_t kUnpackedEachTime = kVectors == 4 ? 1 : 4;
constexpr int64_t kUnpackedBytes = kInt4Quads * kPanel * kQuad;  // of a group of a panel

// How far ahead to fetch weights: about as far as memory answers meanwhile, and a little more.
constexpr int64_t kAheadLines = 96;

// The weights that are fetched while a tile is computed, some cache lines with each group.
struct Fetch {
    const uint8_t* from;  // none: what lies `kAheadLines` after the tile's own weights
    int64_t lines;

    void operator()(int64_t group) const {
        UNROLLED
        for (int line = 0; line < kInt4Lines; ++line) {
            if (line < lines) __builtin_prefetch(from + (group * lines + line) * kInt4LineBytes);
        }
    }
};

// Weights as they are kept, unpacked for each tile.
struct Packed {
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
    static constexpr int64_t kBytes = kUnpackedBytes;

    Bytes low(const uint8_t* group, int line, int v) const {
        return load_bytes(group + 2 * line * kInt4LineBytes + v * sizeof(Bytes));
    }
    Bytes high(const uint8_t* group, int line, int v) const { return low(group + kInt4LineBytes, line, v); }
};

template <typename Form>
struct Layer {
    // The sums and the totals of a panel stay in registers. With 16 registers, four rows are worth that their totals
    // do not. One panel at a time: then the weights are read from memory in their order.
    static constexpr int kMostRows = kVectors == 1 ? 8 : kVectors == 2 ? 4 : 3, kManyRows = kMostRows;
    static constexpr int panels_in_tile(int) { return 1; }

    Form form;
    const uint8_t* weights;  // of panel `first_panel` on
    int64_t first_panel;
    const int8_t* group_scales;  // [panels][groups][16]
    const float *scales, *bias;  // [panels * 16]
    int64_t groups, width;

    // R rows, quantised.
    struct Inputs {
        QuantisedRows rows;
        Fetch fetch;
    };

    template <int R, int P>
    void tile(const Inputs& x, int64_t panel, bool, float* out) const {
        constexpr int V = P * kVectors;
        const uint8_t* const from = weights + (panel - first_panel) * groups * Form::kBytes;
        const int8_t* const from_scales = group_scales + panel * groups * kPanel;
        const Fetch fetch{x.fetch.from ? x.fetch.from : from + kAheadLines * kInt4LineBytes, x.fetch.lines};
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
                for (int v = 0; v < V; ++v) sums[r][v] = first_sums(x.rows.corrections[group * R + r]);
            }
            fetch(group);
            const uint8_t* const at = from + group * Form::kBytes;
            const int32_t* const quads = x.rows.quads + group * R * kInt4Quads;
            const auto add = [&](int quad, auto weight_of) {
                Bytes weight[V];
                UNROLLED
                for (int v = 0; v < V; ++v) weight[v] = weight_of(v);
                UNROLLED
                for (int r = 0; r < R; ++r) {
                    const Bytes input = for_each_channel(quads[r * kInt4Quads + quad]);
                    UNROLLED
                    for (int v = 0; v < V; ++v) add_products(sums[r][v], weight[v], input);
                }
            };
            UNROLLED
            for (int line = 0; line < kInt4Lines; ++line) {
                add(2 * line, [&](int v) { return form.low(at, line, v); });
                add(2 * line + 1, [&](int v) { return form.high(at, line, v); });
            }
            UNROLLED
            for (int v = 0; v < V; ++v) {
                const Vector of_group = widened_scales(from_scales + group * kPanel + v * kLanes);
                UNROLLED
                for (int r = 0; r < R; ++r) {
                    add_group(totals[r][v], sums[r][v], of_group * broadcast(x.rows.scales[group * R + r]));
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

// The part of a panel that is fetched while row tile `tile` of `tiles` is multiplied with the panel before it.
Fetch part_of(const uint8_t* panel, int64_t groups, int64_t tile, int64_t tiles) {
    if (tile >= kInt4Lines) return {panel, 0};
    const int64_t lines = (kInt4Lines + tiles - 1) / tiles;
    return {panel + tile * groups * lines * kInt4LineBytes, lines};
}

void unpack_panel(const uint8_t* from, int64_t lines, uint8_t* to) {
    const Unpack unpack;
    for (int64_t line = 0; line < lines; ++line, from += kInt4LineBytes, to += 2 * kInt4LineBytes) {
        for (size_t at = 0; at < kInt4LineBytes; at += sizeof(Bytes)) {
            const Bytes packed = load_bytes(from + at);
            store_bytes(to + at, unpack.low(packed));
            store_bytes(to + kInt4LineBytes + at, unpack.high(packed));
        }
    }
}

// Unpacks each panel once, and multiplies every row tile with it.
void multiply_many(const Int4LinearCall& call, const Finish& finish, const QuantisedInputs& inputs,
                   const RowTiles& tiles, int64_t groups) {
    using Many = Layer<Unpacked>;
    static constexpr auto kByRows = multiply_by_rows<Many>(std::make_integer_sequence<int, Many::kMostRows>{});
    const Parts parts((call.width + kPanel - 1) / kPanel, call.threads);
    pool::for_each(parts.size(), call.threads, [&](int64_t part) {
        thread_local Lines<uint8_t> buffer;
        uint8_t* const unpacked = buffer.of(groups * kUnpackedBytes);
        for (int64_t panel = parts[part].first; panel < parts[part].last; ++panel) {
            const Range now{panel, panel + 1};
            const uint8_t* const packed = call.weights + panel * groups * Packed::kBytes;
            unpack_panel(packed, groups * kInt4Lines, unpacked);
            const Many layer{{}, unpacked, panel, call.group_scales, call.scales, call.bias, groups, call.width};
            for (int64_t tile = 0; tile < tiles.count; ++tile) {
                const Fetch fetch = part_of(packed + groups * Packed::kBytes, groups, tile, tiles.count);
                kByRows[tiles.size(tile) - 1](layer, {inputs.rows(tiles.first(tile)), fetch}, now,
                                              call.out + tiles.first(tile) * call.width);
            }
            finish({0, call.rows}, channels_of(now, call.width));
        }
    });
}

}  // namespace

void multiply(const Int4LinearCall& call, const Finish& finish) {
    using Few = Layer<Packed>;
    const int64_t groups = (call.depth + kInt4Group - 1) / kInt4Group;
    const RowTiles tiles(call.rows, Few::kMostRows, Few::kManyRows);
    const QuantisedInputs inputs(call, tiles, groups);
    if (tiles.count > kUnpackedEachTime) return multiply_many(call, finish, inputs, tiles, groups);
    const Few layer{{}, call.weights, 0, call.group_scales, call.scales, call.bias, groups, call.width};
    multiply(layer, tiles, call.threads, call.out, finish, [&](int64_t tile, Range next) {
        const Fetch fetch =
            tiles.count == 1 ? Fetch{nullptr, kInt4Lines}
                             : part_of(call.weights + next.first * groups * Packed::kBytes, groups, tile, tiles.count);
        return Few::Inputs{inputs.rows(tiles.first(tile)), fetch};
    });
}

extern "C" void int4_linear(const Int4LinearCall* call) { multiply(*call, {}); }

#endif
