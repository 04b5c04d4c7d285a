// Causal attention of a step's rows over the KV cache: of prompts, of generated tokens and of drafts, in one way.
//
// A row has the same bits however its text is cut into tiles, whatever else is computed, and on any number of threads
// (attention_blocks.h), and it reads nothing that comes after its own token.

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

#include "abi.h"
#include "attention_blocks.h"
#include "cache_numbers.h"
#include "parts.h"

namespace {

constexpr int64_t kTogether = 4 * kMostLines;  // lines whose scores are kept at a time

constexpr int64_t kLine = 64 / sizeof(float);  // numbers of a line of the CPU's caches
constexpr int64_t kStored = 64;                // numbers of a key that are stored at a time

template <typename Number>
class Attention {
  public:
    explicit Attention(const AttentionCall& call)
        : call_(call),
          heads_(call.shape.kv_heads),
          groups_(call.shape.heads / heads_),
          dim_(call.shape.dim),
          width_((call.shape.value_dim + kBlock - 1) / kBlock * kBlock) {}

    void run() const {
        const int64_t items = call_.tile_count * heads_;
        // All are stored before any is read: a row also reads what the tiles before its own bring along.
        for_each_part(items, items * kBlock * dim_, call_.threads, [&](Range part) {
            for (int64_t i = part.first; i < part.last; ++i) store(item(i), item(std::min(i + 1, part.last - 1)));
        });
        // Small parts, because items differ in length. Within a part, an item's first blocks are fetched early.
        const int64_t size = std::max<int64_t>(1, items / (16 * call_.threads));
        pool::for_each((items + size - 1) / size, call_.threads, [&](int64_t part) {
            const int64_t last = std::min(items, (part + 1) * size) - 1;
            for (int64_t i = part * size; i <= last; ++i) attend(item(i), item(std::min(i + 1, last)));
        });
    }

  private:
    struct Item {
        const Tile& tile;
        int64_t head;  // of keys and values
    };
    struct Lines {
        int64_t first, count;
    };

    Item item(int64_t i) const { return {call_.tiles[i / heads_], i % heads_}; }

    // In the `index`-th block of the item's sequence, what its head has.
    Number* keys(const Item& item, int64_t index) const {
        return part(call_.cache.keys, call_.cache.key_block, dim_, item, index);
    }
    Number* values(const Item& item, int64_t index) const {
        return part(call_.cache.values, call_.cache.value_block, width_, item, index);
    }
    Number* part(void* numbers, int64_t size, int64_t dim, const Item& item, int64_t index) const {
        const int64_t block = call_.tables[item.tile.table + index];
        return static_cast<Number*>(numbers) + block * size + item.head * (dim * kBlock + kScales<Number>);
    }

    // What the item's first row brings along.
    const float* new_query(const Item& item) const {
        return call_.rows.queries + item.tile.row * call_.rows.query.row + item.head * groups_ * call_.rows.query.head;
    }
    const float* new_key(const Item& item) const {
        return call_.rows.keys + item.tile.row * call_.rows.key.row + item.head * call_.rows.key.head;
    }
    const float* new_value(const Item& item) const {
        return call_.rows.values + item.tile.row * call_.rows.value.row + item.head * call_.rows.value.head;
    }
    // Fetches `size` numbers of each of the item's rows early.
    static void fetch(const Item& item, const float* numbers, int64_t row, int64_t size) {
        for (int64_t r = 0; r < item.tile.rows; ++r) {
            for (int64_t i = 0; i < size; i += kLine) __builtin_prefetch(numbers + r * row + i, 0, 2);
        }
    }
    // Where that goes.
    Number* place_of_key(const Item& item) const {
        return keys(item, item.tile.past / kBlock) + item.tile.past % kBlock;
    }
    Number* place_of_value(const Item& item) const {
        return values(item, item.tile.past / kBlock) + item.tile.past % kBlock * width_;
    }

    // `next` is stored after it: where it goes is fetched early, each number of a key lying in a line of its own.
    void store(const Item& item, const Item& next) const {
        const Number* soon = place_of_key(next);
        for (int64_t d = 0; d < dim_; ++d) __builtin_prefetch(soon + d * kBlock, 1);
        __builtin_prefetch(place_of_value(next), 1);
        fetch(next, new_key(next), call_.rows.key.row, dim_);
        fetch(next, new_value(next), call_.rows.value.row, call_.shape.value_dim);
        const int64_t rows = item.tile.rows, row_of_key = call_.rows.key.row, row_of_value = call_.rows.value.row;
        const float *key = new_key(item), *value = new_value(item);
        Number *to_key = place_of_key(item), *to_value = place_of_value(item);
        // Rows lie so far apart that few of them can be in the first-level cache at once.
        std::array<Keeper<Number>, kBlock> keepers;
        for (int64_t r = 0; r < rows; ++r) keepers[r] = Keeper<Number>(key + r * row_of_key, dim_);
        for (int64_t first = 0; first < dim_; first += kStored) {
            const int64_t count = std::min(kStored, dim_ - first);
            Number chunk[kBlock][kStored];
            for (int64_t r = 0; r < rows; ++r) keepers[r].keep(key + r * row_of_key + first, count, chunk[r]);
            for (int64_t d = 0; d < count; ++d) {
                for (int64_t r = 0; r < rows; ++r) to_key[(first + d) * kBlock + r] = chunk[r][d];
            }
        }
        const int64_t place = item.tile.past % kBlock, block = item.tile.past / kBlock;
        for (int64_t r = 0; r < rows; ++r) {
            const float* from = value + r * row_of_value;
            const Keeper<Number> keeper(from, call_.shape.value_dim);
            keeper.keep(from, call_.shape.value_dim, to_value + r * width_);
            keepers[r].keep_scale(keys(item, block) + dim_ * kBlock, place + r);
            keeper.keep_scale(values(item, block) + width_ * kBlock, place + r);
        }
    }

    // `next` is the item that follows on this thread.
    void attend(const Item& item, const Item& next) const {
        fetch(next, new_query(next), call_.rows.query.row, dim_);
        const int64_t lines = item.tile.rows * groups_;
        for (int64_t first = 0; first < lines; first += kTogether) {
            const Lines now{first, std::min(kTogether, lines - first)};
            attend(item, now, first + kTogether < lines ? item : next);
        }
    }

    void attend(const Item& item, Lines lines, const Item& next) const {
        thread_local std::vector<float> memory;
        // Each line's `past` and own token; a later line sees as many or more.
        int64_t visible[kTogether];
        for (int64_t i = 0; i < lines.count; ++i) visible[i] = item.tile.past + (lines.first + i) / groups_ + 1;
        const int64_t blocks = blocks_of(visible[lines.count - 1]);
        const int64_t next_blocks = blocks_of(next.tile.past + next.tile.rows);
        const int64_t stride = (blocks + 1) * kBlock;  // 16 more, lest all lines meet in a few places of the cache
        const size_t needed = lines.count * (dim_ + width_ + stride + 1);
        if (memory.size() < needed) memory.resize(needed + needed / 4);
        float* queries = memory.data();
        float* sums = queries + lines.count * dim_;
        float* scores = sums + lines.count * width_;
        float* totals = scores + lines.count * stride;

        for (int64_t line = 0; line < lines.count; ++line) copy_query(item, lines.first + line, queries + line * dim_);
        for (int64_t b = 0; b < blocks; b += kStripe) {
            const Stripe<Number> stripe = stripe_of(
                b, blocks, [&](int64_t i) { return keys(item, i); },
                [&](int64_t i) { return values(item, std::min(i, blocks - 1)); });
            for_each_chunk(lines.count, [&](int64_t first, int64_t count) {
                score(count, queries + first * dim_, dim_, stripe, scores + first * stride + b * kBlock, stride);
            });
        }
        for (int64_t line = 0; line < lines.count; ++line)
            totals[line] = softmax(scores + line * stride, visible[line]);
        std::fill_n(sums, lines.count * width_, 0.0f);
        for (int64_t b = 0; b < blocks; b += kStripe) {
            const Stripe<Number> stripe = stripe_of(
                b, blocks, [&](int64_t i) { return values(item, i); },
                [&](int64_t i) { return keys(next, std::min(i, next_blocks - 1)); });
            const int64_t begin = b * kBlock, end = begin + stripe.count * kBlock;
            if constexpr (kScales<Number> > 0) {
                for (int64_t line = 0; line < lines.count; ++line) {
                    for (int64_t i = 0; i < stripe.count; ++i) {
                        scale(stripe.blocks[i] + width_ * kBlock, scores + line * stride + begin + i * kBlock);
                    }
                }
            }
            for_each_chunk(lines.count, [&](int64_t first, int64_t count) {
                const float* weights = scores + first * stride + begin;
                float* to = sums + first * width_;
                // What all of them see, and then what each sees besides: a value that it may not see can be NaN.
                const int64_t common = std::clamp(visible[first], begin, end) - begin;
                add(count, weights, stride, stripe, {0, common}, width_, to);
                for (int64_t line = 1; line < count; ++line) {
                    const int64_t own = std::clamp(visible[first + line], begin, end) - begin;
                    if (own > common) {
                        add(1, weights + line * stride, stride, stripe, {common, own}, width_, to + line * width_);
                    }
                }
            });
        }
        for (int64_t line = 0; line < lines.count; ++line) {
            const int64_t row = item.tile.row + (lines.first + line) / groups_;
            const int64_t head = item.head * groups_ + (lines.first + line) % groups_;
            float* to = call_.out + (row * call_.shape.heads + head) * call_.shape.value_dim;
            for (int64_t d = 0; d < call_.shape.value_dim; ++d) to[d] = sums[line * width_ + d] / totals[line];
        }
    }

    void copy_query(const Item& item, int64_t line, float* to) const {
        const NewRows& rows = call_.rows;
        const int64_t row = item.tile.row + line / groups_, head = item.head * groups_ + line % groups_;
        const float* from = rows.queries + row * rows.query.row + head * rows.query.head;
        const float scale = static_cast<float>(call_.scale);
        for (int64_t d = 0; d < dim_; ++d) to[d] = from[d] * scale;
    }

    static int64_t blocks_of(int64_t tokens) { return (tokens + kBlock - 1) / kBlock; }

    // The stripe from the `first`-th block on. After the last block follow those of `after`. Each block has the one
    // fetched that comes kStripe blocks later.
    template <typename Blocks, typename After>
    static Stripe<Number> stripe_of(int64_t first, int64_t blocks, Blocks of, After after) {
        Stripe<Number> stripe{.blocks = {}, .next = {}, .count = std::min(kStripe, blocks - first)};
        for (int64_t i = 0; i < stripe.count; ++i) {
            const int64_t next = first + kStripe + i;
            stripe.blocks[i] = of(first + i);
            stripe.next[i] = next < blocks ? of(next) : after(next - blocks);
        }
        return stripe;
    }

    // Calls function(first, count) for up to kMostLines lines at a time, as even as can be.
    template <typename Function>
    static void for_each_chunk(int64_t lines, Function function) {
        const int64_t chunks = (lines + kMostLines - 1) / kMostLines;
        for (int64_t c = 0; c < chunks; ++c) {
            const int64_t first = lines * c / chunks;
            function(first, lines * (c + 1) / chunks - first);
        }
    }

    const AttentionCall& call_;
    const int64_t heads_, groups_, dim_;
    const int64_t width_;  // of a value in its block
};

}  // namespace

extern "C" void attention(const AttentionCall* call) {
    switch (static_cast<CacheType>(call->cache.type)) {
        case CacheType::float32: return Attention<float>(*call).run();
        case CacheType::float16: return Attention<uint16_t>(*call).run();
        case CacheType::int8: return Attention<int8_t>(*call).run();
    }
}
