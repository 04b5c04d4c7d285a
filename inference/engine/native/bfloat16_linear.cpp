// A linear layer in bfloat16: out = x * weights^T + bias, with weights and inputs in bfloat16 and sums in float32.
//
// A CPU has one order of adding for any number of rows: that of its tiles if it has them, otherwise that of its
// instruction for vectors. Both are here in plain C++ as well, with which tests compare.

#include "abi.h"
#include "bfloat16_pairs.h"
#include "bfloat16_tiles.h"
#include "cache_lines.h"
#include "tile_blocks.h"

namespace {

constexpr int kChunk = 32;  // inputs of a row that are kept together, as a tile register takes them
constexpr int kPairsInChunk = kChunk / kPair;

struct Layer {
    static constexpr int kMostRows = ::kMostRows, kManyRows = ::kManyRows;
    static constexpr int panels_in_tile(int rows) { return std::min(4, (kRegisters - 1) / (rows + 1)); }

    const Pair* weights;  // [panels][pairs][16 channels]
    const float* bias;    // [panels * 16]
    int64_t pairs;        // in whole chunks
    int64_t width;

    // R rows.
    struct Inputs {
        const Pair* rounded;  // [chunks][R][16]
    };

    template <int R, int P>
    void tile(const Inputs& x, int64_t panel, bool more, float* out) const {
        const Pair* first = weights + panel * pairs * kPanel;
        PanelSums sums[R][P];
        UNROLLED
        for (int r = 0; r < R; ++r) {
            UNROLLED
            for (int p = 0; p < P; ++p) sums[r][p] = load_sums(bias + (panel + p) * kPanel);
        }
        const Pair* chunk = x.rounded;
        for (int64_t begin = 0; begin < pairs; begin += kPairsInChunk, chunk += R * kPairsInChunk) {
            for (int i = 0; i < kPairsInChunk; ++i) {
                const int64_t k = begin + i, ahead = rows_ahead<R, P>(k, pairs, more);
                PanelPairs weight[P];
                UNROLLED
                for (int p = 0; p < P; ++p) {
                    const Pair* row = first + (p * pairs + k) * kPanel;
                    __builtin_prefetch(row + ahead * kPanel, 0, kept_in_cache<R>());
                    weight[p] = load_pairs(row);
                }
                UNROLLED
                for (int r = 0; r < R; ++r) {
                    const Input input = for_each_channel(chunk + r * kPairsInChunk + i);
                    UNROLLED
                    for (int p = 0; p < P; ++p) add_products(sums[r][p], weight[p], input);
                }
            }
        }
        UNROLLED
        for (int r = 0; r < R; ++r) {
            UNROLLED
            for (int p = 0; p < P; ++p) {
                const int64_t channel = (panel + p) * kPanel;
                store_sums(sums[r][p], width - channel, out + r * width + channel);
            }
        }
    }
};

// The inputs of a step in bfloat16: rows lie together that are multiplied together.
class Rounded {
  public:
    Rounded(const BFloat16LinearCall& call, int64_t rows)
        : x_(call.x), depth_(call.depth), chunks_((call.depth + kChunk - 1) / kChunk) {
        thread_local Lines<Pair> memory;
        pairs_ = memory.of(rows * chunks_ * kPairsInChunk);
    }

    int64_t chunks() const { return chunks_; }
    const Pair* from(int64_t row) const { return pairs_ + row * chunks_ * kPairsInChunk; }

    // Fills in row `row`, the `place`-th of the `size` rows of its tile.
    void fill(int64_t row, int64_t place, int64_t size) const {
        Pair* to = pairs_ + ((row - place) * chunks_ + place) * kPairsInChunk;
        const float* x = x_ + row * depth_;
        int64_t k = 0;
        for (; k + kChunk <= depth_; k += kChunk, to += size * kPairsInChunk) {
            round_to_bfloat16(x + k, kChunk, to->numbers);
        }
        if (k == depth_) return;
        float inputs[kChunk] = {};
        std::copy_n(x + k, depth_ - k, inputs);
        round_to_bfloat16(inputs, kChunk, to->numbers);
    }

  private:
    const float* x_;
    int64_t depth_, chunks_;
    Pair* pairs_;
};

void multiply_vectors(const BFloat16LinearCall& call, const Finish& finish) {
    const Rounded rounded(call, call.rows);
    const RowTiles tiles(call.rows, Layer::kMostRows, Layer::kManyRows);
    for_each_row(tiles, call.depth, call.threads,
                 [&](int64_t row, int64_t place, int64_t size) { rounded.fill(row, place, size); });
    const Layer layer{static_cast<const Pair*>(call.weights), call.bias, rounded.chunks() * kPairsInChunk, call.width};
    multiply(layer, tiles, call.threads, call.out, finish,
             [&](int64_t tile, Range) { return Layer::Inputs{rounded.from(tiles.first(tile))}; });
}

void multiply_tiles(const BFloat16LinearCall& whole, const Finish& finish) {
    tiles::for_each_block(
        whole, finish, [](const BFloat16LinearCall& call, const RowTiles& row_tiles, const Finish& finish) {
            const Rounded rounded(call, call.rows);
            tiles::for_each_row(row_tiles, call.depth, call.threads,
                                [&](int64_t row, int64_t place, int64_t size) { rounded.fill(row, place, size); });
            const TiledLayer layer{static_cast<const Pair*>(call.weights), call.bias, rounded.chunks(), call.width};
            tiles::multiply(layer, row_tiles, call.threads, call.out, finish, [&](int64_t tile) {
                return TiledLayer::Inputs{rounded.from(row_tiles.first(tile)), row_tiles.size(tile)};
            });
        });
}

}  // namespace

#if defined(HAS_BFLOAT16)
void multiply(const BFloat16LinearCall& call, const Finish& finish) {
#if defined(__AMX_BF16__)
    multiply_tiles(call, finish);
#else
    multiply_vectors(call, finish);
#endif
}

extern "C" void bfloat16_linear(const BFloat16LinearCall* call) { multiply(*call, {}); }
#endif

extern "C" void bfloat16_linear_on_vectors(const BFloat16LinearCall* call) { multiply_vectors(*call, {}); }
extern "C" void bfloat16_linear_on_tiles(const BFloat16LinearCall* call) { multiply_tiles(*call, {}); }
