// A linear layer in 8 bits: out = (x * weights^T) * scales + bias, for CPUs with AVX-512 VNNI and for 64-bit ARM.
//
// Each row of the input is quantised in runs of up to 64, each by its own largest value: a single large input so costs
// its run its precision, and not the row. Products of a run are added up in 32 bits, exactly, in any order; runs in
// float32, in their order.

#include "abi.h"
#if defined(__AVX512VNNI__)
#include "int8_vnni.h"
#elif defined(__aarch64__)
#include "int8_neon.h"
#endif

#if defined(HAS_INT8)

namespace {

struct Layer {
    const uint8_t* weights;  // [panels][depth / 4][16][4], shifted by 128 so that they have no signs
    const float* scales;     // [panels * 16]
    const float* bias;       // [panels * 16]
    int64_t groups;          // depth / 4, rounded up
    int64_t width;
    int64_t run;  // inputs that share a scale: 16, 32, 48 or 64
};

// Rows of a tile at the most: with few rows and several panels, sums and totals of a tile are in registers both, and
// each input that is read meets as many weights as each weight inputs.
constexpr int kTileRows = kVectors == 1 ? 4 : 3;

constexpr int int8_panels_in_tile(int rows) { return std::min(4, (kRegisters - 2) / (kVectors * (2 * rows + 1))); }

// Weights to fetch while a tile is computed, some lines of the cache with each run: those of the panels that are next.
// Memory so has work while the rows of several tiles are multiplied with panels that the cache has.
struct Ahead {
    static constexpr int64_t kLine = 64;

    const uint8_t* from;
    int64_t lines;

    void fetch(int64_t run) const {
        for (int64_t i = 0; i < lines; ++i) __builtin_prefetch(from + (run * lines + i) * kLine, 0, 2);
    }
};

// A block of R rows, quantised.
struct Inputs {
    const int32_t* groups;       // [depth / 4][R] of four inputs
    const float* scales;         // [depth / run][R]
    const int32_t* corrections;  // [depth / run][R]: what the weights' shift adds to a run's sum, with its sign turned
};

// Fills R rows of `out`, `[R][width]`, from channel `16 * panel` on; more: another tile follows.
template <int R, int P>
void tile(const Layer& layer, const Inputs& x, int64_t panel, bool more, Ahead next, float* out) {
    constexpr int V = P * kVectors;
    const int64_t stride = layer.groups * kPanel * kGroup;
    const uint8_t* weights = layer.weights + panel * stride;
    const int64_t channel = panel * kPanel;
    Totals totals[R][V];
    UNROLLED
    for (int r = 0; r < R; ++r) {
        UNROLLED
        for (int v = 0; v < V; ++v) totals[r][v] = Totals{};
    }
    for (int64_t first = 0, run = 0; first < layer.groups; first += layer.run / kGroup, ++run) {
        next.fetch(run);
        Sums sums[R][V];
        UNROLLED
        for (int r = 0; r < R; ++r) {
            UNROLLED
            for (int v = 0; v < V; ++v) sums[r][v] = first_sums(x.corrections[run * R + r]);
        }
        const int64_t end = std::min(layer.groups, first + layer.run / kGroup);
        for (int64_t k = first; k < end; ++k) {
            Bytes weight[V];
            const int64_t ahead = rows_ahead<R, P>(k, layer.groups, more) * kPanel * kGroup;
            UNROLLED
            for (int p = 0; p < P; ++p) {
                const uint8_t* row = weights + p * stride + k * kPanel * kGroup;
                __builtin_prefetch(row + ahead);
                UNROLLED
                for (int v = 0; v < kVectors; ++v) weight[p * kVectors + v] = load(row + v * kLanes * kGroup);
            }
            UNROLLED
            for (int r = 0; r < R; ++r) {
                const Bytes input = for_each_channel(x.groups[k * R + r]);
                UNROLLED
                for (int v = 0; v < V; ++v) add_products(sums[r][v], weight[v], input);
            }
        }
        UNROLLED
        for (int r = 0; r < R; ++r) {
            UNROLLED
            for (int v = 0; v < V; ++v) add_run(totals[r][v], sums[r][v], x.scales[run * R + r]);
        }
    }
    UNROLLED
    for (int v = 0; v < V; ++v) {
        const int64_t first = channel + v * kLanes;
        const Channels channels(layer.scales + first, layer.bias + first, layer.width - first);
        UNROLLED
        for (int r = 0; r < R; ++r) channels.write(totals[r][v], out + r * layer.width + first);
    }
}

template <int R>
void panels(const Layer& layer, const Inputs& x, Share share, Ahead next, float* out) {
    constexpr int P = int8_panels_in_tile(R);
    int64_t panel = share.first;
    for (; panel + P <= share.last; panel += P) {
        tile<R, P>(layer, x, panel, panel + 2 * P <= share.last, next, out);
    }
    if constexpr (P > 2) {
        for (; panel + 2 <= share.last; panel += 2) tile<R, 2>(layer, x, panel, false, next, out);
    }
    for (; panel < share.last; ++panel) tile<R, 1>(layer, x, panel, false, next, out);
}

using Panels = void (*)(const Layer&, const Inputs&, Share, Ahead, float*);

template <int... R>
constexpr std::array<Panels, sizeof...(R)> by_rows(std::integer_sequence<int, R...>) {
    return {panels<R + 1>...};
}
constexpr auto kByRows = by_rows(std::make_integer_sequence<int, kTileRows>{});

}  // namespace

extern "C" void int8_linear(const Int8LinearCall* call) {
    const int64_t rows = call->rows, depth = call->depth, width = call->width, threads = call->threads;
    const int64_t run = call->group_size;
    const float* const x = call->x;
    float* const out = call->out;
    thread_local std::vector<int32_t> groups_buffer, corrections_buffer;
    thread_local std::vector<float> scales_buffer;
    const Layer layer{call->weights, call->scales, call->bias, (depth + kGroup - 1) / kGroup, width, run};
    const Blocks blocks(rows, kTileRows, kTileRows);
    const int64_t runs = (depth + run - 1) / run;
    groups_buffer.resize(std::max<size_t>(groups_buffer.size(), rows * layer.groups));
    corrections_buffer.resize(std::max<size_t>(corrections_buffer.size(), rows * runs));
    scales_buffer.resize(std::max<size_t>(scales_buffer.size(), rows * runs));
    int32_t *const groups = groups_buffer.data(), *const corrections = corrections_buffer.data();
    float* const run_scales = scales_buffer.data();
    // Shared by runs and not by rows: threads must not write to the same lines of the cache.
    const int64_t quantisers = rows * depth < kWorthThreads ? 1 : threads;
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
    const int64_t count = (width + kPanel - 1) / kPanel, panel_lines = layer.groups * kPanel * kGroup / Ahead::kLine;
    const int64_t together = int8_panels_in_tile(static_cast<int>(std::min<int64_t>(rows, kTileRows)));
    for_each_share(blocks, count, together, threads, [&](int64_t block, Share share) {
        const int64_t first = blocks.first(block);
        Ahead next{layer.weights, 0};
        if (blocks.count > 1) {
            const int64_t lines = std::min(together, count - share.last) * panel_lines, tiles = blocks.count * runs;
            next.lines = (lines + tiles - 1) / tiles;
            next.from += (share.last * panel_lines + block * runs * next.lines) * Ahead::kLine;
        }
        const Inputs inputs{groups + first * layer.groups, run_scales + first * runs, corrections + first * runs};
        kByRows[blocks.size(block) - 1](layer, inputs, share, next, out + first * width);
    });
}

#endif
