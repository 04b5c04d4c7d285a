// All layers of a model in one call.
//
// What the layers do is recorded from the model's own code (compute/layer_program/recorder.py) and done again here: the
// kernels, and between them the few operators that are left, on tensors of up to four dimensions. For few rows PyTorch
// and Python took up to a third of a step to get from one kernel to the next, and held Python's lock meanwhile. Each
// number of a row is computed from that row, in an order that neither the other rows nor the threads change.

#include "program.h"

#include <cmath>

#include "kernels.h"
#include "panels.h"

namespace {

struct Tensor {
    float* data;
    int64_t sizes[kDimensions], strides[kDimensions];

    Tensor(const Operand& operand, const Step& step) {
        char* base = nullptr;
        switch (operand.place) {
            case Place::kFixed: base = reinterpret_cast<char*>(operand.base); break;
            case Place::kWorkspace: base = step.workspace; break;
            case Place::kInput: base = step.inputs[operand.base]; break;
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
    // The numbers of the last dimension, for one place of the others of a tensor that is as large as `shape`.
    float* line(int64_t index, const Tensor& shape) const {
        const int64_t third = index % shape.sizes[2], rest = index / shape.sizes[2];
        return data + third * strides[2] + rest % shape.sizes[1] * strides[1] + rest / shape.sizes[1] * strides[0];
    }
    Strides rows_and_heads() const { return {strides[2], strides[1]}; }  // of [1, heads, rows, dim]
};

template <typename Function>
void for_each_line(const Tensor& out, int64_t width, int threads, Function function) {
    const int64_t lines = out.lines();
    const int sharing = lines * width < kWorthThreads ? 1 : threads;
    const Parts parts(lines, sharing);
    pool::for_each(parts.size(), sharing, [&](int64_t part) {
        for (int64_t line = parts[part].first; line < parts[part].last; ++line) function(line);
    });
}

// The strides are 0 or 1 for nearly all lines, and are known to the compiler then.
template <typename Function>
void combine(const float* a, int64_t a_step, const float* b, int64_t b_step, int64_t width, float* out,
             int64_t out_step, Function function) {
    if (out_step == 1 && a_step == 1 && b_step == 1) {
#pragma omp simd
        for (int64_t i = 0; i < width; ++i) out[i] = function(a[i], b[i]);
    } else if (out_step == 1 && a_step == 1 && b_step == 0) {
        const float other = *b;
#pragma omp simd
        for (int64_t i = 0; i < width; ++i) out[i] = function(a[i], other);
    } else {
        for (int64_t i = 0; i < width; ++i) out[i * out_step] = function(a[i * a_step], b[i * b_step]);
    }
}

template <typename Function>
void each(const Tensor& a, const Tensor& b, const Tensor& out, int threads, Function function) {
    for_each_line(out, out.width(), threads, [&](int64_t line) {
        combine(a.line(line, out), a.step(), b.line(line, out), b.step(), out.width(), out.line(line, out), out.step(),
                function);
    });
}

float sum(const float* x, int64_t width) {
    float total = 0.0f;
#pragma omp simd reduction(+ : total)
    for (int64_t i = 0; i < width; ++i) total += x[i];
    return total;
}

void layer_norm(const Tensor& x, const Tensor& weight, const Tensor& bias, const Tensor& out, float epsilon,
                int threads) {
    const int64_t width = out.width();
    for_each_line(out, width, threads, [&](int64_t line) {
        const float* from = x.line(line, out);
        float* to = out.line(line, out);
        const float mean = sum(from, width) / width;
        float squares = 0.0f;
#pragma omp simd reduction(+ : squares)
        for (int64_t i = 0; i < width; ++i) squares += (from[i] - mean) * (from[i] - mean);
        const float factor = 1.0f / std::sqrt(squares / width + epsilon);
        const float *weights = weight.data, *biases = bias.data;
#pragma omp simd
        for (int64_t i = 0; i < width; ++i) to[i] = (from[i] - mean) * factor * weights[i] + biases[i];
    });
}

void attend(const Instruction& instruction, const Tensor& query, const Tensor& key, const Tensor& value,
            const Tensor& out, const Step& step, int threads) {
    const NewRows rows{query.data, query.rows_and_heads(), key.data, key.rows_and_heads(),
                       value.data, value.rows_and_heads()};
    const Cache cache{step.pools[2 * instruction.whole], step.pools[2 * instruction.whole + 1], step.places,
                      step.halves};
    const Shape shape{query.sizes[1], key.sizes[1], key.width(), value.width()};
    attention(&rows, &cache, static_cast<const Block*>(step.blocks), step.block_count,
              static_cast<const Span*>(step.single_rows), step.single_count, &shape,
              static_cast<float>(instruction.number), threads, out.data);
}

void run(const Instruction& instruction, const Step& step) {
    const int threads = static_cast<int>(step.threads);
    const auto tensor = [&](int i) { return Tensor(instruction.operands[i], step); };
    switch (instruction.operation) {
        case Operation::kLinear: {
            const Tensor x = tensor(2), out = tensor(3);
            linear(tensor(0).data, tensor(1).data, x.width(), out.width(), x.data, x.lines(), threads, out.data);
            break;
        }
        case Operation::kInt8Linear: {
#if defined(HAS_INT8)
            const Tensor x = tensor(3), out = tensor(4);
            int8_linear(reinterpret_cast<const uint8_t*>(tensor(0).data), tensor(1).data, tensor(2).data, x.width(),
                        out.width(), instruction.whole, x.data, x.lines(), threads, out.data);
#endif
            break;
        }
        case Operation::kAttention:
            attend(instruction, tensor(0), tensor(1), tensor(2), tensor(3), step, threads);
            break;
        case Operation::kGeluTanh:
        case Operation::kSilu: {
            const auto activation = instruction.operation == Operation::kSilu ? silu : gelu_tanh;
            const Tensor out = tensor(1);
            activation(tensor(0).data, out.lines(), out.width(), threads, out.data);
            break;
        }
        case Operation::kLayerNorm:
            layer_norm(tensor(0), tensor(1), tensor(2), tensor(3), static_cast<float>(instruction.number), threads);
            break;
        case Operation::kMean: {
            const Tensor x = tensor(0), out = tensor(1);
            for_each_line(out, x.width(), threads,
                          [&](int64_t line) { *out.line(line, out) = sum(x.line(line, out), x.width()) / x.width(); });
            break;
        }
        case Operation::kAdd:
            each(tensor(0), tensor(1), tensor(2), threads, [](float a, float b) { return a + b; });
            break;
        case Operation::kSubtract:
            each(tensor(0), tensor(1), tensor(2), threads, [](float a, float b) { return a - b; });
            break;
        case Operation::kMultiply:
            each(tensor(0), tensor(1), tensor(2), threads, [](float a, float b) { return a * b; });
            break;
        case Operation::kDivide:
            each(tensor(0), tensor(1), tensor(2), threads, [](float a, float b) { return a / b; });
            break;
        case Operation::kNegate:
            each(tensor(0), tensor(0), tensor(1), threads, [](float a, float) { return -a; });
            break;
        case Operation::kInverseRoot:
            each(tensor(0), tensor(0), tensor(1), threads, [](float a, float) { return 1.0f / std::sqrt(a); });
            break;
        case Operation::kRelu:
            each(tensor(0), tensor(0), tensor(1), threads, [](float a, float) { return a < 0.0f ? 0.0f : a; });
            break;
        case Operation::kCopy: each(tensor(0), tensor(0), tensor(1), threads, [](float a, float) { return a; }); break;
    }
}

}  // namespace

extern "C" void run_program(const Instruction* instructions, int64_t count, const Step* step) {
    for (int64_t i = 0; i < count; ++i) run(instructions[i], *step);
}
