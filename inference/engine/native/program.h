// The form of a recorded program; `compute/layer_program` makes it.

#pragma once

#include <cstdint>

constexpr int kDimensions = 4;
constexpr int kMostOperands = 5;

// A number that depends on how many rows a step has.
struct Extent {
    int64_t fixed, per_row;

    int64_t of(int64_t rows) const { return fixed + per_row * rows; }
};

enum class Place : int64_t { kFixed, kWorkspace, kInput };

// Where the floats of a tensor are; of weights in another form, the address alone. The offset is in bytes.
struct Operand {
    Place place;
    int64_t base;  // the address, or the number of the input
    Extent offset, sizes[kDimensions], strides[kDimensions];
};

enum class Operation : int64_t {
    kLinear,
    kInt8Linear,
    kAttention,
    kGeluTanh,
    kSilu,
    kLayerNorm,
    kMean,
    kAdd,
    kSubtract,
    kMultiply,
    kDivide,
    kNegate,
    kInverseRoot,
    kRelu,
    kCopy,
};

struct Instruction {
    Operation operation;
    int64_t whole;                    // a layer's run, attention's number among the program's attentions
    double number;                    // attention's scale, what layer norm adds to the variance
    Operand operands[kMostOperands];  // the result is the last one
};

// What a step brings along.
struct Step {
    int64_t rows;
    char* workspace;
    char* const* inputs;
    void* const* pools;  // of each attention, its keys and then its values
    int64_t places;      // of a pool
    int64_t halves;      // the pools' numbers are of 16 bits
    const void* single_rows;
    int64_t single_count;
    const void* blocks;
    int64_t block_count;
    int64_t threads;
};
