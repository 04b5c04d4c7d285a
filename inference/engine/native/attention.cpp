// Decode attention over the KV cache: for one new token of each sequence, all heads in one call.
//
// Built at set-up where a C++ compiler is found (see attention.py for what it computes; the PyTorch path there is
// its equal). What is computed for a sequence depends on that sequence alone, in an order that is fixed: neither
// the number of threads nor the other sequences change a bit of it.

#include "exponential.h"
#include "kernels.h"
#include "pool.h"

#include <algorithm>
#include <limits>
#include <vector>

namespace {

// Asks for the beginning of a range that will be read soon; the processor itself sees how it goes on.
void fetch(const float* from, int64_t count) {
    constexpr int64_t kLine = 16, kMost = 64 * kLine;
    for (int64_t i = 0; i < std::min(count, kMost); i += kLine) __builtin_prefetch(from + i);
}

void copy(const float* from, int64_t count, float* to) {
    for (int64_t i = 0; i < count; ++i) to[i] = from[i];
}

// One query head over the `length` keys and values of its sequence; `scores` holds `length` floats.
void attend(const float* query, const float* keys, const float* values, int64_t length, int64_t dim,
            int64_t value_dim, float scale, float* scores, float* output) {
    float highest = -std::numeric_limits<float>::infinity();
    for (int64_t t = 0; t < length; ++t) {
        const float* key = keys + t * dim;
        float sum = 0.0f;
        for (int64_t d = 0; d < dim; ++d) sum += query[d] * key[d];
        scores[t] = sum * scale;
        highest = scores[t] > highest ? scores[t] : highest;
    }
    float total = 0.0f;
#pragma omp simd reduction(+ : total)
    for (int64_t t = 0; t < length; ++t) {
        scores[t] = exponential(scores[t] - highest);
        total += scores[t];
    }
    for (int64_t d = 0; d < value_dim; ++d) output[d] = 0.0f;
    for (int64_t t = 0; t < length; ++t) {
        const float weight = scores[t];
        const float* value = values + t * value_dim;
        for (int64_t d = 0; d < value_dim; ++d) output[d] += weight * value[d];
    }
    for (int64_t d = 0; d < value_dim; ++d) output[d] /= total;
}

}  // namespace

// Stores each span's new key and value as its last, then attends to all of them.
// keys: [kv_heads, places, dim], values: [kv_heads, places, value_dim], output: [rows, heads, value_dim].
extern "C" void decode_attention(const float* queries, Strides query, const float* new_keys, Strides key,
                                 const float* new_values, Strides value, float* keys, float* values,
                                 int64_t places, const Span* spans, int64_t count, int64_t heads,
                                 int64_t kv_heads, int64_t dim, int64_t value_dim, float scale, int threads,
                                 float* output) {
    const int64_t groups = heads / kv_heads;
    // A part is a head of several sequences: while one is computed, the next is fetched.
    const int64_t slices = std::clamp<int64_t>((4 * threads + kv_heads - 1) / kv_heads, 1, count);
    pool::for_each(kv_heads * slices, threads, [&](int64_t part) {
        thread_local std::vector<float> scores;
        const int64_t h = part / slices, slice = part % slices;
        const int64_t end = count * (slice + 1) / slices;
        for (int64_t s = count * slice / slices; s < end; ++s) {
            const Span span = spans[s];
            if (static_cast<int64_t>(scores.size()) < span.length) scores.resize(span.length + 256);
            float* past_keys = keys + (h * places + span.start) * dim;
            float* past_values = values + (h * places + span.start) * value_dim;
            if (s + 1 < end) {
                const int64_t next = h * places + spans[s + 1].start;
                fetch(keys + next * dim, (spans[s + 1].length - 1) * dim);
                fetch(values + next * value_dim, (spans[s + 1].length - 1) * value_dim);
            }
            const int64_t last = span.length - 1;
            copy(new_keys + span.row * key.row + h * key.head, dim, past_keys + last * dim);
            copy(new_values + span.row * value.row + h * value.head, value_dim, past_values + last * value_dim);
            for (int64_t head = h * groups; head < (h + 1) * groups; ++head) {
                attend(queries + span.row * query.row + head * query.head, past_keys, past_values, span.length, dim,
                       value_dim, scale, scores.data(), output + (span.row * heads + head) * value_dim);
            }
        }
    });
}
