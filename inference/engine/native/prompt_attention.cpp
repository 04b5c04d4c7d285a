// Causal attention of a prompt's rows over the KV cache, in blocks of up to 32 rows and one head.
//
// The rows of a block lie side by side in the vectors, so scores, their maximum and the weighted sum of the values
// are computed for all of them at once, and no row takes part in another's numbers: each is summed over its tokens in
// their order, and one that it may not see adds an exact zero. How a prompt is cut into blocks changes no bit.

#include "exponential.h"
#include "kernels.h"
#include "panels.h"

#include <limits>

namespace {

constexpr int kRows = 32;
constexpr int kRowVectors = kRows / kLanes;
constexpr int kAtOnce = std::clamp((kRegisters - 1) / kRowVectors - 1, 1, 8);  // columns of a tile

typedef float Vector __attribute__((vector_size(4 * kLanes)));

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
    for (; n + kAtOnce <= columns; n += kAtOnce) {
        multiply<kAtOnce>(a + n * a_next, a_step, a_next, b, depth, out + n * kRowVectors);
    }
    for (; n < columns; ++n) multiply<1>(a + n * a_next, a_step, a_next, b, depth, out + n * kRowVectors);
}

// Turns scores, [tokens][kRows], into weights, of which row r may have those of the first `visible + r` tokens;
// totals: the sum of each row's weights.
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

Vector* room(std::vector<Vector>& buffer, int64_t rows) {
    if (static_cast<int64_t>(buffer.size()) < rows * kRowVectors) buffer.resize((rows + 256) * kRowVectors);
    return buffer.data();
}

}  // namespace

// Stores the new keys and values of the blocks, of up to kRows rows each, then attends to what each row may see.
// keys: [kv_heads, places, dim], values: [kv_heads, places, value_dim], output: [rows, heads, value_dim].
extern "C" void prompt_attention(const float* queries, Strides query, const float* new_keys, Strides key,
                                 const float* new_values, Strides value, float* keys, float* values, int64_t places,
                                 const Block* blocks, int64_t count, int64_t heads, int64_t kv_heads, int64_t dim,
                                 int64_t value_dim, float scale, int threads, float* output) {
    const int64_t groups = heads / kv_heads;
    pool::for_each(count * kv_heads, threads, [&](int64_t part) {
        const Block block = blocks[part / kv_heads];
        const int64_t h = part % kv_heads, place = h * places + block.start + block.first;
        for (int64_t r = 0; r < block.rows; ++r) {
            const float* new_key = new_keys + (block.row + r) * key.row + h * key.head;
            const float* new_value = new_values + (block.row + r) * value.row + h * value.head;
            std::copy_n(new_key, dim, keys + (place + r) * dim);
            std::copy_n(new_value, value_dim, values + (place + r) * value_dim);
        }
    });
    pool::for_each(count * heads, threads, [&](int64_t part) {
        thread_local std::vector<Vector> turned, scored, summed;
        const Block block = blocks[count - 1 - part / heads];  // the longest first
        const int64_t head = part % heads;
        const int64_t tokens = block.first + block.rows;
        float* rows = reinterpret_cast<float*>(room(turned, dim));  // the queries, [dim][kRows]
        for (int64_t d = 0; d < dim; ++d) {
            for (int64_t r = 0; r < kRows; ++r) {
                const float* from = queries + (block.row + r) * query.row + head * query.head;
                rows[d * kRows + r] = r < block.rows ? from[d] : 0.0f;
            }
        }
        const int64_t place = head / groups * places + block.start;
        Vector* scores = room(scored, tokens);
        multiply_all(keys + place * dim, 1, dim, turned.data(), dim, tokens, scores);
        float totals[kRows];
        softmax(reinterpret_cast<float*>(scores), tokens, block.first + 1, scale, totals);
        Vector* sums = room(summed, value_dim);
        multiply_all(values + place * value_dim, value_dim, 1, scores, tokens, value_dim, sums);
        const float* sum = reinterpret_cast<const float*>(sums);
        for (int64_t r = 0; r < block.rows; ++r) {
            float* to = output + ((block.row + r) * heads + head) * value_dim;
            for (int64_t d = 0; d < value_dim; ++d) to[d] = sum[d * kRows + r] / totals[r];
        }
    });
}
