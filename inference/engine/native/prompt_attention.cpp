// Causal attention of a prompt's rows over the KV cache, in tiles of up to 16 rows and one head.
//
// A vector holds one number of each row of a tile, so the scores, their maximum and the weighted sum of the values are
// computed for all rows at once, and no row affects another: each sum goes over the row's tokens in their order, and a
// token that the row may not see adds an exact zero. How a prompt is cut into tiles changes no bit.

#include <limits>

#include "attention.h"
#include "exponential.h"
#include "kv_rows.h"
#include "panels.h"

namespace {

constexpr int kRows = 16;
constexpr int kRowVectors = kRows / kLanes;
constexpr int kColumns = std::clamp((kRegisters - 1) / kRowVectors - 1, 1, 16);  // columns computed together

// out[n][row] = sum over k of a[k * a_step + n * a_next] * b[k][row], for N columns of kRows rows.
template <int N>
void multiply(const float* a, int64_t a_step, int64_t a_next, const Vector* b, int64_t depth, Vector* out) {
    Vector sums[N][kRowVectors];
    UNROLLED
    for (int n = 0; n < N; ++n) {
        UNROLLED
        for (int v = 0; v < kRowVectors; ++v) sums[n][v] = Vector{};
    }
    for (int64_t k = 0; k < depth; ++k) {
        Vector rows[kRowVectors];
        UNROLLED
        for (int v = 0; v < kRowVectors; ++v) rows[v] = b[k * kRowVectors + v];
        UNROLLED
        for (int n = 0; n < N; ++n) {
            UNROLLED
            for (int v = 0; v < kRowVectors; ++v) sums[n][v] += rows[v] * a[k * a_step + n * a_next];
        }
    }
    UNROLLED
    for (int n = 0; n < N; ++n) {
        UNROLLED
        for (int v = 0; v < kRowVectors; ++v) out[n * kRowVectors + v] = sums[n][v];
    }
}

void multiply_all(const float* a, int64_t a_step, int64_t a_next, const Vector* b, int64_t depth, int64_t columns,
                  Vector* out) {
    int64_t n = 0;
    for (; n + kColumns <= columns; n += kColumns) {
        multiply<kColumns>(a + n * a_next, a_step, a_next, b, depth, out + n * kRowVectors);
    }
    for (; n < columns; ++n) multiply<1>(a + n * a_next, a_step, a_next, b, depth, out + n * kRowVectors);
}

// Turns scores, [tokens][kRows], into weights; row r may see the first `visible + r` tokens. totals: the sum of each
// row's weights.
void softmax(float* scores, int64_t tokens, int64_t visible, float scale, float* totals) {
    float highest[kRows];
    for (int r = 0; r < kRows; ++r) highest[r] = -std::numeric_limits<float>::infinity(), totals[r] = 0.0f;
    for (int64_t t = 0; t < tokens; ++t) {
        for (int r = 0; r < kRows; ++r) {
            const float score = t < visible + r ? scores[t * kRows + r] * scale : -1e30f;
            highest[r] = score > highest[r] ? score : highest[r];
        }
    }
    for (int64_t t = 0; t < tokens; ++t) {
#pragma omp simd
        for (int r = 0; r < kRows; ++r) {
            const float weight = exponential(scores[t * kRows + r] * scale - highest[r]);
            scores[t * kRows + r] = t < visible + r ? weight : 0.0f;
            totals[r] += scores[t * kRows + r];
        }
    }
}

Vector* scratch(std::vector<Vector>& buffer, int64_t rows) {
    if (static_cast<int64_t>(buffer.size()) < rows * kRowVectors) buffer.resize((rows + 256) * kRowVectors);
    return buffer.data();
}

template <typename Rows>
void attend_all(const AttentionCall& call, const Pools<Rows>& pools) {
    const NewRows& rows = call.rows;
    const Shape& shape = call.shape;
    const float scale = static_cast<float>(call.scale);
    const int64_t count = call.tile_count, groups = shape.heads / shape.kv_heads;
    pool::for_each(count * shape.kv_heads, call.threads, [&](int64_t part) {
        const PromptTile tile = call.tiles[part / shape.kv_heads];
        const int64_t h = part % shape.kv_heads, slot = h * pools.slots + tile.first_slot + tile.past;
        for (int64_t r = 0; r < tile.rows; ++r) {
            pools.keys.store(slot + r, rows.keys + (tile.row + r) * rows.key.row + h * rows.key.head);
            pools.values.store(slot + r, rows.values + (tile.row + r) * rows.value.row + h * rows.value.head);
        }
    });
    pool::for_each(count * shape.heads, call.threads, [&](int64_t part) {
        thread_local std::vector<Vector> queries_buffer, scores_buffer, sums_buffer;
        thread_local std::vector<float> widened;
        const PromptTile tile = call.tiles[count - 1 - part / shape.heads];  // the longest first
        const int64_t head = part % shape.heads;
        const int64_t tokens = tile.past + tile.rows;
        float* queries = reinterpret_cast<float*>(scratch(queries_buffer, shape.dim));  // [dim][kRows]
        for (int64_t d = 0; d < shape.dim; ++d) {
            for (int64_t r = 0; r < kRows; ++r) {
                const float* from = rows.queries + (tile.row + r) * rows.query.row + head * rows.query.head;
                queries[d * kRows + r] = r < tile.rows ? from[d] : 0.0f;
            }
        }
        const int64_t slot = head / groups * pools.slots + tile.first_slot;
        const float* keys = pools.keys.rows(slot, tokens, widened);
        Vector* scores = scratch(scores_buffer, tokens);
        multiply_all(keys, 1, shape.dim, queries_buffer.data(), shape.dim, tokens, scores);
        float totals[kRows];
        softmax(reinterpret_cast<float*>(scores), tokens, tile.past + 1, scale, totals);
        const float* values = pools.values.rows(slot, tokens, widened);
        Vector* sums = scratch(sums_buffer, shape.value_dim);
        multiply_all(values, shape.value_dim, 1, scores, tokens, shape.value_dim, sums);
        const float* sum = reinterpret_cast<const float*>(sums);
        for (int64_t r = 0; r < tile.rows; ++r) {
            float* to = call.out + ((tile.row + r) * shape.heads + head) * shape.value_dim;
            for (int64_t d = 0; d < shape.value_dim; ++d) to[d] = sum[d * kRows + r] / totals[r];
        }
    });
}

}  // namespace

void prompt_attention(const AttentionCall& call) {
    with_pools(call.cache, call.shape, [&](const auto& pools) { attend_all(call, pools); });
}
