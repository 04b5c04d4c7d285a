// Decode attention over the KV cache: one new token of each sequence, all heads in one call.
//
// compute/attention.py says what it computes, and has the same in PyTorch's operators. What is computed for a sequence
// depends on that sequence alone, in a fixed order: neither the number of threads nor the other sequences change a bit
// of it.

#include <algorithm>
#include <limits>
#include <vector>

#include "attention.h"
#include "exponential.h"
#include "kv_rows.h"
#include "pool.h"

namespace {

// Tokens whose keys or values the heads that share them read together: few enough to stay in the first-level cache if
// they have to be widened.
constexpr int64_t kTile = 32;

// Prefetches the beginning of a range that will be read soon; the CPU's own prefetcher continues.
template <typename Rows>
void fetch(const Rows& rows, int64_t first, int64_t count) {
    constexpr int64_t kLine = 64, kAtMost = 64 * kLine;
    const char* from = static_cast<const char*>(rows.address(first));
    for (int64_t i = 0; i < std::min(count * rows.row_bytes(), kAtMost); i += kLine) __builtin_prefetch(from + i);
}

// A head's scores of `count` keys from row `first` on. kDim: their dimension if it is known here, or 0, which needs
// `scratch` for keys that have to be widened.
template <int kDim, typename Rows>
void score(const float* query, const Rows& keys, int64_t first, int64_t count, float scale, std::vector<float>& scratch,
           float* scores) {
    if constexpr (kDim > 0) {
        constexpr int kVectors = kDim / kLanes;
        Vector queries[kVectors];
        UNROLLED
        for (int v = 0; v < kVectors; ++v) queries[v] = *reinterpret_cast<const Unaligned*>(query + v * kLanes);
        for (int64_t t = 0; t < count; ++t) {
            Vector sum = queries[0] * keys.vector(first + t, 0);
            UNROLLED
            for (int v = 1; v < kVectors; ++v) sum += queries[v] * keys.vector(first + t, v * kLanes);
            scores[t] = add_up(sum) * scale;
        }
    } else {
        const float* key = keys.rows(first, count, scratch);
        for (int64_t t = 0; t < count; ++t, key += keys.dim) {
            float sum = 0.0f;
            for (int64_t d = 0; d < keys.dim; ++d) sum += query[d] * key[d];
            scores[t] = sum * scale;
        }
    }
}

void softmax(float* scores, int64_t length) {
    float highest = -std::numeric_limits<float>::infinity();
    for (int64_t t = 0; t < length; ++t) highest = scores[t] > highest ? scores[t] : highest;
    float total = 0.0f;
#pragma omp simd reduction(+ : total)
    for (int64_t t = 0; t < length; ++t) {
        scores[t] = exponential(scores[t] - highest);
        total += scores[t];
    }
    for (int64_t t = 0; t < length; ++t) scores[t] /= total;
}

// Adds `count` values from row `first` on, each times its weight, to a head's output.
template <int kDim, typename Rows>
void add(const float* weights, const Rows& values, int64_t first, int64_t count, std::vector<float>& scratch,
         float* output) {
    if constexpr (kDim > 0) {
        constexpr int kVectors = kDim / kLanes;
        Vector sums[kVectors];
        UNROLLED
        for (int v = 0; v < kVectors; ++v) sums[v] = *reinterpret_cast<const Unaligned*>(output + v * kLanes);
        for (int64_t t = 0; t < count; ++t) {
            UNROLLED
            for (int v = 0; v < kVectors; ++v) sums[v] += weights[t] * values.vector(first + t, v * kLanes);
        }
        UNROLLED
        for (int v = 0; v < kVectors; ++v) *reinterpret_cast<Unaligned*>(output + v * kLanes) = sums[v];
    } else {
        const float* value = values.rows(first, count, scratch);
        for (int64_t t = 0; t < count; ++t, value += values.dim) {
            for (int64_t d = 0; d < values.dim; ++d) output[d] += weights[t] * value[d];
        }
    }
}

struct Heads {
    int64_t count;  // of heads that share keys and values
    const float* queries;
    int64_t query_step;  // from one head's query to the next one's
    float* output;       // [count][value_dim]
};

// The heads' attention to the `length` tokens of a sequence, whose first token is at row `start` of the cache.
template <int kDim, typename Rows>
void attend(const Heads& heads, const Rows& keys, const Rows& values, int64_t start, int64_t length, float scale) {
    thread_local std::vector<float> scratch, scores;
    if (static_cast<int64_t>(scores.size()) < heads.count * length) scores.resize(heads.count * (length + 256));
    for (int64_t first = 0; first < length; first += kTile) {
        const int64_t count = std::min(kTile, length - first);
        for (int64_t h = 0; h < heads.count; ++h) {
            const float* query = heads.queries + h * heads.query_step;
            score<kDim>(query, keys, start + first, count, scale, scratch, scores.data() + h * length + first);
        }
    }
    std::fill_n(heads.output, heads.count * values.dim, 0.0f);
    for (int64_t h = 0; h < heads.count; ++h) softmax(scores.data() + h * length, length);
    for (int64_t first = 0; first < length; first += kTile) {
        const int64_t count = std::min(kTile, length - first);
        for (int64_t h = 0; h < heads.count; ++h) {
            const float* weights = scores.data() + h * length + first;
            add<kDim>(weights, values, start + first, count, scratch, heads.output + h * values.dim);
        }
    }
}

// Each row's new key and value stored as its sequence's last, then attention to all of them.
template <typename Rows>
void attend_all(const AttentionCall& call, const Pools<Rows>& pools) {
    const NewRows& rows = call.rows;
    const Shape& shape = call.shape;
    const float scale = static_cast<float>(call.scale);
    const int64_t groups = shape.heads / shape.kv_heads;
    const bool same = shape.dim == shape.value_dim;
    const auto attend_here = same && shape.dim == 64    ? attend<64, Rows>
                             : same && shape.dim == 128 ? attend<128, Rows>
                                                        : attend<0, Rows>;
    // A part is one head of several sequences: while one is computed, the next is fetched.
    const int64_t count = call.single_count;
    const int64_t slices = std::clamp<int64_t>((4 * call.threads + shape.kv_heads - 1) / shape.kv_heads, 1, count);
    pool::for_each(shape.kv_heads * slices, call.threads, [&](int64_t part) {
        const int64_t h = part / slices, slice = part % slices, end = count * (slice + 1) / slices;
        for (int64_t s = count * slice / slices; s < end; ++s) {
            const SingleRow single = call.single_rows[s];
            if (s + 1 < end) {
                const SingleRow& next = call.single_rows[s + 1];
                const int64_t first = h * pools.slots + next.first_slot;
                fetch(pools.keys, first, next.length - 1);
                fetch(pools.values, first, next.length - 1);
            }
            const int64_t first = h * pools.slots + single.first_slot, last = first + single.length - 1;
            pools.keys.store(last, rows.keys + single.row * rows.key.row + h * rows.key.head);
            pools.values.store(last, rows.values + single.row * rows.value.row + h * rows.value.head);
            const Heads heads{groups, rows.queries + single.row * rows.query.row + h * groups * rows.query.head,
                              rows.query.head, call.out + (single.row * shape.heads + h * groups) * shape.value_dim};
            attend_here(heads, pools.keys, pools.values, first, single.length, scale);
        }
    });
}

}  // namespace

void decode_attention(const AttentionCall& call) {
    with_pools(call.cache, call.shape, [&](const auto& pools) { attend_all(call, pools); });
}
