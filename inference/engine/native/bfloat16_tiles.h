// The bfloat16 linear layer on tile registers.
//
// A product of tiles adds the first numbers of 16 pairs, and apart from them the second ones; then both sums, and what
// comes out to the sum so far. So its bits are not those of the instruction for vectors, and a CPU with tiles computes
// any number of rows on them.

#pragma once

#include <algorithm>
#include <array>
#include <type_traits>
#include <utility>

#include "bfloat16_pairs.h"
#include "cache_lines.h"
#include "tiles.h"

namespace {

// Calls function(i) for each i below `count`, as constants.
template <int... I, typename Function>
void for_each_constant(std::integer_sequence<int, I...>, Function function) {
    (function(std::integral_constant<int, I>{}), ...);
}
template <int count, typename Function>
void for_each_constant(Function function) {
    for_each_constant(std::make_integer_sequence<int, count>{}, function);
}

struct TiledLayer {
    static constexpr int64_t kChunksTogether = 16;  // of two panels, which then stay in the first cache
    static constexpr int kSumsFloats = tiles::kRows * kPanel;

    const Pair* weights;  // [panels][chunks][16][16 channels]
    const float* bias;
    int64_t chunks, width;

    // A row tile.
    struct Inputs {
        const Pair* rounded;  // [chunks][rows][16]
        int64_t rows;
    };

    // Weights that are fetched with each chunk.
    struct Fetch {
        const char* from;
        int64_t lines;
    };

    const Pair* chunk_at(int64_t panel, int64_t chunk) const {
        return weights + (panel * chunks + chunk) * tiles::kRows * kPanel;
    }

    // Multiplies the chunks of `range` of T row tiles and P panels. The sums start from the bias, wait in `sofar`,
    // [T][P], for the next range, and go to `out`, `[rows][width]`, after the last one.
    template <int T, int P>
    void tile(tiles::Registers& registers, const Inputs* x, int64_t panel, Range range, Fetch fetch, float* sofar,
              float* out) const {
        constexpr auto kSumsOf = [](int t, int p) { return tiles::kSums + (T > 1 ? 2 * t : 0) + p; };
        const auto for_each_sums = [&](auto function) {
            for_each_constant<T>([&](auto t) { for_each_constant<P>([&](auto p) { function(t, p); }); });
        };
        for_each_sums([&](auto t, auto p) {
            if (range.first == 0) {
                registers.load<kSumsOf(t, p)>(bias + (panel + p) * kPanel, 0);
            } else {
                registers.load<kSumsOf(t, p)>(sofar + (t * P + p) * kSumsFloats);
            }
        });
        for (int64_t chunk = range.first; chunk < range.last; ++chunk) {
            for_each_constant<T>(
                [&](auto t) { registers.load<tiles::kInputs + t>(x[t].rounded + chunk * x[t].rows * kPanel); });
            for_each_constant<P>([&](auto p) {
                constexpr int kWeights = tiles::kWeights + p % 2;
                registers.load<kWeights>(chunk_at(panel + p, chunk));
                for_each_constant<T>(
                    [&](auto t) { registers.add_bfloat16_products<kSumsOf(t, p), tiles::kInputs + t, kWeights>(); });
            });
            for (int64_t i = 0; i < fetch.lines; ++i) __builtin_prefetch(fetch.from + i * tiles::kRowBytes, 0, 2);
            fetch.from += fetch.lines * tiles::kRowBytes;
        }
        for_each_sums([&](auto t, auto p) {
            float* const waiting = sofar + (t * P + p) * kSumsFloats;
            float* const to = out + t * tiles::kRows * width + (panel + p) * kPanel;
            const int64_t left = width - (panel + p) * kPanel;
            if (range.last == chunks && left >= kPanel) {
                registers.store<kSumsOf(t, p)>(to, width * static_cast<int64_t>(sizeof(float)));
                return;
            }
            registers.store<kSumsOf(t, p)>(waiting);
            if (range.last < chunks) return;
            for (int64_t r = 0; r < x[t].rows; ++r) std::copy_n(waiting + r * kPanel, left, to + r * width);
        });
    }

    // inputs(tile): of each row tile.
    template <typename MakeInputs>
    void multiply(int64_t rows, int64_t threads, float* out, MakeInputs inputs) const {
        const int64_t panels = (width + kPanel - 1) / kPanel, row_tiles = (rows + tiles::kRows - 1) / tiles::kRows;
        const int64_t together = row_tiles > 1 ? 2 : 4, chunks_together = row_tiles > 1 ? kChunksTogether : chunks;
        const Parts parts((panels + together - 1) / together, threads);
        pool::for_each(parts.size(), threads, [&](int64_t part) {
            thread_local Lines<float> memory;
            float* const sofar = memory.of(row_tiles * together * kSumsFloats);
            tiles::Registers registers;
            const int64_t last = std::min(panels, parts[part].last * together);
            for (int64_t first = parts[part].first * together; first < last; first += together) {
                const int64_t end = std::min(last, first + together);
                // The next panels, a part with each chunk of each row tile.
                const int64_t lines = (std::min(panels, end + together) - end) * chunks * tiles::kRows;
                const int64_t times = (row_tiles + 1) / 2 * chunks;
                Fetch fetch{reinterpret_cast<const char*>(chunk_at(end, 0)), (lines + times - 1) / times};
                for (int64_t chunk = 0; chunk < chunks; chunk += chunks_together) {
                    const Range range{chunk, std::min(chunks, chunk + chunks_together)};
                    for (int64_t tile = 0; tile < row_tiles; tile += 2) {
                        const bool two = tile + 1 < row_tiles;
                        const Inputs x[2] = {inputs(tile), inputs(two ? tile + 1 : tile)};
                        registers.configure(static_cast<int>(x[0].rows), static_cast<int>(x[1].rows));
                        float* const waiting = sofar + tile * together * kSumsFloats;
                        float* const to = out + tile * tiles::kRows * width;
                        const auto of_panels = [&](auto tiles, auto count) {
                            this->tile<tiles, count>(registers, x, first, range, fetch, waiting, to);
                        };
                        for_each_constant<4>([&](auto i) {
                            constexpr std::integral_constant<int, i + 1> kPanels;
                            if (end - first != kPanels) return;
                            if (!two) return of_panels(std::integral_constant<int, 1>{}, kPanels);
                            if constexpr (kPanels <= 2) of_panels(std::integral_constant<int, 2>{}, kPanels);
                        });
                        fetch.from += (range.last - range.first) * fetch.lines * tiles::kRowBytes;
                    }
                }
            }
        });
    }
};

}  // namespace
