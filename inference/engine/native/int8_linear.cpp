// A linear layer in 8 bits: out = ((x * input_scales) * weights^T) * scales + bias, for x86 with AVX-512 or AVX2 and
// for 64-bit ARM.
//
// Each row of the input is multiplied by the layer's input scales, which make its numbers more alike, and quantised in
// groups of at most 1,024, each by its own largest value, so a single large input costs only its group precision, not
// the whole row. The products of a group are summed in 32 bits, which is exact in any order; the groups are summed in
// float32, in their order.

#include <cmath>
#include <cstring>

#include "abi.h"
#include "cache_lines.h"
#if defined(__aarch64__)
#include "int8_neon.h"
#elif defined(__AVX2__)
#include "int8_x86.h"
#endif
#if defined(__AVX512VNNI__)
#include "int8_tiles.h"
#include "tile_blocks.h"
#endif

#if defined(HAS_8_BIT_PRODUCTS)

namespace {

// The weights of the next panels, fetched while a tile is computed, some cache lines with each chunk. So
// memory is busy while several row tiles are multiplied with panels that the cache already holds. Fetching these once
// more, row by row, would take as long as multiplying them: so it did on Zen 4.
struct Prefetch {
    static constexpr int64_t kLine = 64;

    const uint8_t* from;
    int64_t lines;  // with each chunk

    // Those of a quad of the chunk: too many at once would hold up the weights that are needed now.
    void fetch(int64_t chunk, int quad) const {
        for (int64_t i = quad; i < lines; i += kQuadsInChunk) {
            __builtin_prefetch(from + (chunk * lines + i) * kLine, 0, 2);
        }
    }
};

// How far ahead a single row tile fetches weights: about as far as memory answers meanwhile, and a little more.
constexpr int64_t kAheadQuads = 96;

#if defined(__AMX_INT8__)
constexpr int kLeastTileRows = 5;  // fewer are as fast without tiles
#endif

// R rows, quantised.
struct Inputs {
    const Level* levels;       // [chunks][R][64]
    const float* scales;       // [R][scales_stride]
    const float* corrections;  // [R]: minus what the weights' shift adds to a row's totals
    int64_t scales_stride;
    Prefetch prefetch;
};

// kFromMemory: the only row tile, whose weights come from memory. Otherwise they are in the cache.
template <bool kFromMemory>
struct Layer {
    // The totals leave the registers while a group is added up, which costs less than to read the weights for fewer
    // rows. From memory, one panel at a time: then the weights are read in their order. Of the cache, several, so that
    // every input that is read is multiplied with about as many weights as every weight with inputs.
    static constexpr int kMostRows = kVectors == 1 ? 8 : kVectors == 2 ? 4 : 3, kManyRows = kMostRows;
    static constexpr int panels_in_tile(int rows) {
        if (kFromMemory) return 1;
        if (kVectors == 1 && rows > 4) return 2;
        return std::clamp((kRegisters - 2) / (kVectors * (2 * rows + 1)), 1, 4);
    }

    const uint8_t* weights;  // [panels][depth / 4][16][4], shifted by 128 so that they have no signs
    const float* scales;     // [panels * 16]
    const float* bias;       // [panels * 16]
    int64_t chunks;
    int64_t width;
    int64_t group_chunks;  // of a quantisation group; the last one may have fewer

    using Inputs = ::Inputs;

    template <int R, int P>
    void tile(const Inputs& x, int64_t panel, bool, float* out) const {
        constexpr int V = P * kVectors;
        constexpr int kChains = std::max(1, 4 / (R * V));  // of sums that do not wait for each other
        const int64_t quads = chunks * kQuadsInChunk, stride = quads * kPanel * kQuad;
        const uint8_t* first_panel = weights + panel * stride;
        const int64_t channel = panel * kPanel;
        Totals totals[R][V];
        UNROLLED
        for (int r = 0; r < R; ++r) {
            UNROLLED
            for (int v = 0; v < V; ++v) totals[r][v] = broadcast(x.corrections[r]);
        }
        const Level* levels = x.levels;
        for (int64_t chunk = 0, group = 0; chunk < chunks; ++group) {
            Sums sums[kChains][R][V];
            UNROLLED
            for (int i = 0; i < kChains * R * V; ++i) sums[i / (R * V)][i / V % R][i % V] = Sums{};
            for (const int64_t end = std::min(chunks, chunk + group_chunks); chunk < end;
                 ++chunk, levels += R * kChunk) {
                for (int first = 0; first < kQuadsInChunk; first += kChains) {
                    UNROLLED
                    for (int chain = 0; chain < kChains; ++chain) {
                        const int quad = first + chain;
                        const int64_t k = chunk * kQuadsInChunk + quad;
                        if constexpr (!kFromMemory) x.prefetch.fetch(chunk, quad);
                        Weights weight[V];
                        UNROLLED
                        for (int p = 0; p < P; ++p) {
                            const uint8_t* row = first_panel + p * stride + k * kPanel * kQuad;
                            if constexpr (kFromMemory) __builtin_prefetch(row + kAheadQuads * kPanel * kQuad);
                            UNROLLED
                            for (int v = 0; v < kVectors; ++v) {
                                weight[p * kVectors + v] = load(row + v * kLanes * kQuad);
                            }
                        }
                        UNROLLED
                        for (int r = 0; r < R; ++r) {
                            const Level* at = levels + r * kChunk + quad * kQuad;
                            const Quads input = for_each_channel(*reinterpret_cast<const Quad*>(at));
                            UNROLLED
                            for (int v = 0; v < V; ++v) add_products(sums[chain][r][v], weight[v], input);
                        }
                    }
                }
            }
            UNROLLED
            for (int chain = 1; chain < kChains; ++chain) {
                UNROLLED
                for (int r = 0; r < R; ++r) {
                    UNROLLED
                    for (int v = 0; v < V; ++v) sums[0][r][v] = added(sums[0][r][v], sums[chain][r][v]);
                }
            }
            UNROLLED
            for (int r = 0; r < R; ++r) {
                UNROLLED
                for (int v = 0; v < V; ++v)
                    add_group(totals[r][v], sums[0][r][v], broadcast(x.scales[r * x.scales_stride + group]));
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

// The inputs of a step, quantised for row tiles: rows lie together that are multiplied together.
class Quantised {
  public:
    Quantised(const Int8LinearCall& call, int64_t rows)
        : call_(call),
          chunks_((call.depth + kChunk - 1) / kChunk),
          groups_((chunks_ + call.group_chunks - 1) / call.group_chunks) {
        // A row's scales are whole cache lines, which no other thread writes.
        scales_stride_ = (groups_ + kLineFloats - 1) / kLineFloats * kLineFloats;
        thread_local Lines<Level> levels;
        thread_local Lines<float> scales, corrections;
        levels_ = levels.of(rows * chunks_ * kChunk);
        scales_ = scales.of(rows * scales_stride_);
        corrections_ = corrections.of(rows);
    }

    int64_t chunks() const { return chunks_; }
    int64_t scales_stride() const { return scales_stride_; }
    const Level* levels(int64_t row) const { return levels_ + row * chunks_ * kChunk; }
    const float* scales(int64_t row) const { return scales_ + row * scales_stride_; }
    const float* corrections(int64_t row) const { return corrections_ + row; }

    // Fills in row `row`, the `place`-th of the `size` rows of its tile.
    void fill(int64_t row, int64_t place, int64_t size) const {
        Level* to = levels_ + ((row - place) * chunks_ + place) * kChunk;
        float* scales = scales_ + row * scales_stride_;
        float correction = 0.0f;
        for (int64_t group = 0, chunk = 0; group < groups_; ++group, chunk += call_.group_chunks) {
            const int64_t chunks = std::min(call_.group_chunks, chunks_ - chunk), first = chunk * kChunk;
            alignas(64) float inputs[kMostGroupChunks * kChunk];
            scale_inputs(call_.x + row * call_.depth + first, call_.input_scales + first, call_.depth - first,
                         chunks * kChunk, inputs);
            const Group quantised = quantise(inputs, chunks, to + chunk * size * kChunk, size * kChunk);
            scales[group] = quantised.scale;
            correction = std::fma(quantised.scale, static_cast<float>(quantised.correction), correction);
        }
        corrections_[row] = correction;
    }

  private:
    static constexpr int64_t kLineFloats = 16;

    const Int8LinearCall& call_;
    int64_t chunks_, groups_, scales_stride_;
    Level* levels_;
    float *scales_, *corrections_;
};

void multiply_block(const Int8LinearCall& call, const Finish& finish) {
    using FewRows = Layer<true>;
    using ManyRows = Layer<false>;
    const Quantised quantised(call, call.rows);
    const RowTiles tiles(call.rows, FewRows::kMostRows, FewRows::kManyRows);
    for_each_row(tiles, call.depth, call.threads,
                 [&](int64_t row, int64_t place, int64_t size) { quantised.fill(row, place, size); });
    const int64_t chunks = quantised.chunks();
    const auto inputs = [&](int64_t row, Prefetch prefetch) {
        return Inputs{quantised.levels(row), quantised.scales(row), quantised.corrections(row),
                      quantised.scales_stride(), prefetch};
    };
    if (tiles.count == 1) {
        const FewRows layer{call.weights, call.scales, call.bias, chunks, call.width, call.group_chunks};
        return multiply(layer, tiles, call.threads, call.out, finish, [&](int64_t, Range) { return inputs(0, {}); });
    }
    const ManyRows layer{call.weights, call.scales, call.bias, chunks, call.width, call.group_chunks};
    const int64_t panel_lines = chunks * kChunk * kPanel / Prefetch::kLine, fetches = tiles.count * chunks;
    multiply(layer, tiles, call.threads, call.out, finish, [&](int64_t tile, Range next) {
        const int64_t lines = ((next.last - next.first) * panel_lines + fetches - 1) / fetches;
        const int64_t first = next.first * panel_lines + tile * chunks * lines;
        return inputs(tiles.first(tile), {call.weights + first * Prefetch::kLine, lines});
    });
}

// In blocks of rows whose levels stay in a core's own cache, because every panel meets all of them.
void multiply_vectors(const Int8LinearCall& whole, const Finish& finish) {
    constexpr int64_t kBlockBytes = 1 << 18, kFewest = 32;
    const int64_t most = std::max<int64_t>(kFewest, kBlockBytes / (whole.depth * sizeof(Level)));
    const RowTiles blocks(whole.rows, most, most);
    for (int64_t block = 0; block < blocks.count; ++block) {
        const int64_t first = blocks.first(block);
        multiply_block(with_rows(whole, {first, first + blocks.size(block)}), finish.from(first));
    }
}

#if defined(__AVX512VNNI__)
void multiply_tiles(const Int8LinearCall& whole, const Finish& finish) {
    tiles::for_each_block(
        whole, finish, [](const Int8LinearCall& call, const RowTiles& row_tiles, const Finish& finish) {
            const Quantised quantised(call, call.rows);
            tiles::for_each_row(row_tiles, call.depth, call.threads,
                                [&](int64_t row, int64_t place, int64_t size) { quantised.fill(row, place, size); });
            const TiledLayer layer{call.weights,       call.scales, call.bias,
                                   quantised.chunks(), call.width,  call.group_chunks};
            tiles::multiply(layer, row_tiles, call.threads, call.out, finish, [&](int64_t tile) {
                const int64_t row = row_tiles.first(tile);
                return TiledLayer::Inputs{quantised.levels(row), quantised.scales(row), quantised.corrections(row),
                                          quantised.scales_stride(), row_tiles.size(tile)};
            });
        });
}
#endif

}  // namespace

void multiply(const Int8LinearCall& call, const Finish& finish) {
#if defined(__AMX_INT8__)
    if (call.rows >= kLeastTileRows) return multiply_tiles(call, finish);
#endif
    multiply_vectors(call, finish);
}

extern "C" void int8_linear(const Int8LinearCall* call) { multiply(*call, {}); }

#if defined(__AVX512VNNI__)
extern "C" void int8_linear_on_tiles(const Int8LinearCall* call) { multiply_tiles(*call, {}); }
#endif

#endif
