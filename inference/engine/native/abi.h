// The binary interface between Python and the kernels: the functions of the library, the structures that Python fills
// for them, and the operations of a layer program.
//
// abi.py and instructions.py state the same in Python. The library reports its layout (abi_layout), and kernels.py
// refuses a library whose layout differs: without that, a field added on one side alone would be read as another one.

#pragma once

#include <cstdint>

// --- What the kernels take.

// In which type a linear layer's weights are kept.
#define WEIGHT_TYPES(NAME) NAME(float32) NAME(bfloat16) NAME(float16)

// out = x * weights^T + bias, products and sums in float32. The last panel of weights is filled up with zeros.
struct LinearCall {
    const void* weights;  // [panels][depth][16]
    const float* bias;    // [panels * 16]
    const float* x;       // [rows][depth]
    float* out;           // [rows][width]
    int64_t weight_type;  // a WeightType
    int64_t rows, depth, width, threads;
};

// out = x * weights^T + bias, with weights and x in bfloat16 and sums in float32.
struct BFloat16LinearCall {
    const void* weights;  // [panels][depth / 2][16][2]; whole 32 inputs
    const float* bias;    // [panels * 16]
    const float* x;       // [rows][depth]
    float* out;           // [rows][width]
    int64_t rows, depth, width, threads;
};

// out = (x * input_scales) * (weights * scales)^T + bias, in 8 bits. Each group of 64 times `group_chunks` (1 to 16)
// inputs of a row is quantised by its own largest value.
struct Int8LinearCall {
    const uint8_t* weights;  // [panels][depth / 4][16][4], shifted by 128 so that they have no signs; whole 64 inputs
    const float* scales;     // [panels * 16]
    const float* input_scales;  // [depth]
    const float* bias;          // [panels * 16]
    const float* x;             // [rows][depth]
    float* out;                 // [rows][width]
    int64_t rows, depth, width, group_chunks, threads;
};

// out = x * (levels[weights] * group_scales * scales)^T + bias, with x in 8 bits; int4_levels.h has the levels. Each
// group of 32 inputs of a row is quantised by its own largest value.
struct Int4LinearCall {
    const uint8_t* weights;  // [panels][groups][4][16][4]: of quads 2 i and 2 i + 1, in the lower and the upper half
    const int8_t* group_scales;  // [panels][groups][16]
    const float* scales;         // [panels * 16]
    const float* bias;           // [panels * 16]
    const float* x;              // [rows][depth]
    float* out;                  // [rows][width]
    int64_t rows, depth, width, threads;
};

// Quantises weights for `int4_linear`. The last panel's missing channels are filled up with zeros.
struct Int4PackCall {
    const float* from;        // [channels][depth]
    const float* importance;  // [depth], greater than 0
    uint8_t* weights;
    int8_t* group_scales;
    float* scales;
    int64_t channels, depth, threads;
};

// Element by element.
struct ActivationCall {
    const float* x;  // [rows][width]
    float* out;      // [rows][width]
    int64_t rows, width, threads;
};

// The parameters are those of `SamplingParams`; `number` is the random number, at least 0 and below 1.
struct DrawCall {
    const float* logits;      // [count]
    const uint32_t* allowed;  // a bit for each logit, whether it may be drawn, at least one; null allows all
    int64_t allowed_count;    // how many of these bits are 1
    int64_t count, top_k;
    double temperature, top_p, min_p, number;
};

// What a mask tells: how many tokens may come next, which one if it is the only one (otherwise -1), and whether the
// text may end.
struct ReadMask {
    int64_t tokens, only, ends;
};

// Reads the masks that a grammar's library has filled. A bit of a mask is a token.
struct MasksCall {
    uint32_t* masks;             // [count][words]; keeps the tokens that may come
    const uint32_t* readable;    // [words], the tokens that may come wherever a mask has them
    const int64_t* control_ids;  // [count], of each mask another one of these, or -1; null for none at all
    ReadMask* read;              // [count]
    int64_t count, words, end;   // `end` is the bit that tells whether a text may end
};

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

// Tokens of a block of the KV cache.
constexpr int kBlock = 16;

// In which type a layer's keys and values are kept.
#define CACHE_TYPES(NAME) NAME(float32) NAME(float16) NAME(int8)

// A layer's keys, [blocks][kv_heads][dim][16], and values, [blocks][kv_heads][16][value_dim rounded up to 16]. In int8,
// the block of a head ends with its tokens' scales, [16] in float32. The heads of a block are dense; from one block to
// the next, those of other layers can lie between.
struct Cache {
    void *keys, *values;
    int64_t key_block, value_block;  // numbers from one block to the next
    int64_t type;                    // a CacheType
};

// Consecutive rows of one sequence, from `row` on, whose tokens lie in one block: how many of the sequence's tokens
// come before them, and where among the step's tables its own begins.
struct Tile {
    int64_t row, rows, past, table;
};

// Stores the new keys and values, then attends to all that each row may see.
struct AttentionCall {
    NewRows rows;
    Cache cache;
    Shape shape;
    const Tile* tiles;
    int64_t tile_count;
    const int64_t* tables;  // of each sequence, the numbers of its blocks in the order of its tokens
    double scale;
    float* out;  // [rows][heads][value_dim]
    int64_t threads;
};

// --- A recorded layer program; compute/layer_program makes it.

constexpr int kDimensions = 4;

// A number that depends on how many rows a step has.
struct Extent {
    int64_t fixed, per_row;

    int64_t of(int64_t rows) const { return fixed + per_row * rows; }
};

// Where the numbers of a tensor are: at an address that never changes, in the workspace, or in an input.
#define MEMORIES(NAME) NAME(fixed) NAME(workspace) NAME(input)

// Where the floats of a tensor are; of weights in another form, the address alone.
struct Operand {
    int64_t memory;  // a Memory
    int64_t base;    // the address, or the number of the input
    Extent offset;   // in bytes
    Extent sizes[kDimensions], strides[kDimensions];
};

struct LinearOperands {
    Operand weights, bias, x, out;
    int64_t weight_type;
};

struct BFloat16LinearOperands {
    Operand weights, bias, x, out;
};

struct Int8LinearOperands {
    Operand weights, scales, input_scales, bias, x, out;
    int64_t group_chunks;
};

struct Int4LinearOperands {
    Operand weights, group_scales, scales, bias, x, out;
};

// Attention over the keys and values of the `cache`-th of Step::caches.
struct AttentionOperands {
    Operand query, key, value, out;
    int64_t cache;
    double scale;
};

// `epsilon` is added to the variance.
struct LayerNormOperands {
    Operand x, weight, bias, out;
    double epsilon;
};

struct UnaryOperands {
    Operand x, out;
};

struct BinaryOperands {
    Operand left, right, out;
};

// What an instruction can do, with the operands that it takes.
#define OPERATIONS(NAME)                          \
    NAME(linear, LinearOperands)                  \
    NAME(bfloat16_linear, BFloat16LinearOperands) \
    NAME(int8_linear, Int8LinearOperands)         \
    NAME(int4_linear, Int4LinearOperands)         \
    NAME(attention, AttentionOperands)            \
    NAME(gelu_tanh, UnaryOperands)                \
    NAME(silu, UnaryOperands)                     \
    NAME(layer_norm, LayerNormOperands)           \
    NAME(mean, UnaryOperands)                     \
    NAME(add, BinaryOperands)                     \
    NAME(subtract, BinaryOperands)                \
    NAME(multiply, BinaryOperands)                \
    NAME(divide, BinaryOperands)                  \
    NAME(negate, UnaryOperands)                   \
    NAME(inverse_root, UnaryOperands)             \
    NAME(relu, UnaryOperands)                     \
    NAME(copy, UnaryOperands)

#define ENUMERATOR(name, ...) name,
enum class WeightType : int64_t { WEIGHT_TYPES(ENUMERATOR) };
enum class CacheType : int64_t { CACHE_TYPES(ENUMERATOR) };
enum class Memory : int64_t { MEMORIES(ENUMERATOR) };
enum class Operation : int64_t { OPERATIONS(ENUMERATOR) };
#undef ENUMERATOR

#define MEMBER(name, kind) kind name;
union Operands {
    OPERATIONS(MEMBER)
};
#undef MEMBER

struct Instruction {
    int64_t operation;  // an Operation
    int64_t follows;    // whether it takes the results of the linear layer before it, each at its own place
    Operands operands;  // the member with the operation's name
};

// What a step brings along.
struct Step {
    int64_t rows;
    char* workspace;
    char* const* inputs;
    const Cache* caches;  // of each attention
    const Tile* tiles;
    int64_t tile_count;
    const int64_t* tables;  // as in AttentionCall
    int64_t threads;
};

// --- The functions of the library.

extern "C" {
void linear(const LinearCall* call);
#if defined(__AVX512BF16__) || defined(__AMX_BF16__)
#define HAS_BFLOAT16 1
void bfloat16_linear(const BFloat16LinearCall* call);
#endif
// The same in the order of adding of vectors, and in that of tiles. A CPU without the instruction has them in plain
// C++, for tests alone.
void bfloat16_linear_on_vectors(const BFloat16LinearCall* call);
void bfloat16_linear_on_tiles(const BFloat16LinearCall* call);
#if defined(__AVX2__) || defined(__aarch64__)
#define HAS_8_BIT_PRODUCTS 1
void int8_linear(const Int8LinearCall* call);
void int4_linear(const Int4LinearCall* call);
#endif
#if defined(__AVX512VNNI__)
// `int8_linear` by tiles alone; without AMX, in plain C++ that tests compare with.
void int8_linear_on_tiles(const Int8LinearCall* call);
#endif
void int4_pack(const Int4PackCall* call);
void gelu_tanh(const ActivationCall* call);
void silu(const ActivationCall* call);
void attention(const AttentionCall* call);
// Returns the index of the logit that is drawn, or -1 if the highest is not a finite number.
int64_t draw(const DrawCall* call);
void read_masks(const MasksCall* call);
void run_program(const Instruction* instructions, int64_t count, const Step* step);
// One line for each structure ("name size field:offset:size ..."), then the operations, the memories, and the types of
// weights and of the cache.
const char* abi_layout();
}
