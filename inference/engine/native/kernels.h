// The kernels; each one's source says what it takes.

#pragma once

#include <cstdint>

// Element (row, head, d) of queries, keys or values is at row * strides.row + head * strides.head + d.
struct Strides {
    int64_t row, head;
};

// What a step's rows bring along.
struct NewRows {
    const float* queries;
    Strides query;
    const float* keys;
    Strides key;
    const float* values;
    Strides value;
};

struct Shape {
    int64_t heads, kv_heads, dim, value_dim;
};

// A layer's keys, [kv_heads, places, dim], and values, [kv_heads, places, value_dim]; in 16 bits or in float32.
struct Cache {
    void *keys, *values;
    int64_t places, halves;
};

// A new token: its row, the first place of its sequence in the cache, and the sequence's length with it.
struct Span {
    int64_t row, start, length;
};

// Consecutive rows of a prompt, from `row` on: where its sequence starts in the cache, and how many tokens of it come
// before the block.
struct Block {
    int64_t row, rows, start, first;
};

extern "C" {
void linear(const float* weights, const float* bias, int64_t depth, int64_t width, const float* x, int64_t rows,
            int threads, float* out);
#if defined(__AVX512VNNI__) || defined(__aarch64__)
#define HAS_INT8 1
void int8_linear(const uint8_t* weights, const float* scales, const float* bias, int64_t depth, int64_t width,
                 int64_t run, const float* x, int64_t rows, int threads, float* out);
#endif
// Stores the new keys and values, then attends to all that each row may see; output: [rows, heads, value_dim].
void attention(const NewRows* rows, const Cache* cache, const Block* blocks, int64_t block_count, const Span* spans,
               int64_t span_count, const Shape* shape, float scale, int threads, float* output);
void gelu_tanh(const float* x, int64_t rows, int64_t width, int threads, float* out);
void silu(const float* x, int64_t rows, int64_t width, int threads, float* out);
}

// The two parts of attention.
void prompt_attention(const NewRows& rows, const Cache& cache, const Block* blocks, int64_t count, const Shape& shape,
                      float scale, int threads, float* output);
void decode_attention(const NewRows& rows, const Cache& cache, const Span* spans, int64_t count, const Shape& shape,
                      float scale, int threads, float* output);
