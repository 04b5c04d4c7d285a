// The tensors of a layer program, of up to four dimensions.

#pragma once

#include "abi.h"

namespace {

struct Tensor {
    float* data;
    int64_t sizes[kDimensions], strides[kDimensions];

    Tensor(const Operand& operand, const Step& step) {
        char* base = nullptr;
        switch (static_cast<Memory>(operand.memory)) {
            case Memory::fixed: base = reinterpret_cast<char*>(operand.base); break;
            case Memory::workspace: base = step.workspace; break;
            case Memory::input: base = step.inputs[operand.base]; break;
        }
        data = reinterpret_cast<float*>(base + operand.offset.of(step.rows));
        for (int d = 0; d < kDimensions; ++d) {
            sizes[d] = operand.sizes[d].of(step.rows);
            strides[d] = operand.strides[d].of(step.rows);
        }
    }
    int64_t width() const { return sizes[kDimensions - 1]; }
    int64_t step() const { return strides[kDimensions - 1]; }
    int64_t lines() const { return sizes[0] * sizes[1] * sizes[2]; }
    // The numbers of the last dimension, for index `index` of the others, counted in a tensor of the sizes of `shape`.
    //
    // Not inlined: the compiler would make two copies of the code that takes the line, one for each branch, and could
    // add in another order in each.
    [[gnu::noinline]] float* line(int64_t index, const Tensor& shape) const {
        // Nearly all tensors have no more dimensions than this, and the divisions take as long as an activation.
        if (index < shape.sizes[2]) return data + index * strides[2];
        const int64_t third = index % shape.sizes[2], rest = index / shape.sizes[2];
        return data + third * strides[2] + rest % shape.sizes[1] * strides[1] + rest / shape.sizes[1] * strides[0];
    }
    Strides rows_and_heads() const { return {strides[2], strides[1]}; }  // of [1, heads, rows, dim]
};

}  // namespace
