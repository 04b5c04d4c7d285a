// All layers of a model in one call.
//
// What the layers do is recorded from the model's own code (compute/layer_program/recorder.py) and repeated here: the
// kernels, and the few operators between them, on tensors of up to four dimensions. For few rows, PyTorch and Python
// took up to a third of a step to get from one kernel to the next, and held Python's lock. Each number of a row is
// computed from that row, in an order that neither the other rows nor the threads change.

#include <cmath>

#include "abi.h"
#include "elementwise.h"
#include "finish.h"
#include "parts.h"
#include "tensor.h"

namespace {

template <typename Function>
void for_each_line(const Tensor& out, int64_t width, int64_t threads, Function function) {
    for_each_part(out.lines(), out.lines() * width, threads, [&](Range lines) {
        for (int64_t line = lines.first; line < lines.last; ++line) function(line);
    });
}

float sum(const float* x, int64_t width) {
    float total = 0.0f;
#pragma omp simd reduction(+ : total)
    for (int64_t i = 0; i < width; ++i) total += x[i];
    return total;
}

void mean(const UnaryOperands& operands, const Step& step) {
    const Tensor x(operands.x, step), out(operands.out, step);
    for_each_line(out, x.width(), step.threads,
                  [&](int64_t line) { *out.line(line, out) = sum(x.line(line, out), x.width()) / x.width(); });
}

void layer_norm(const LayerNormOperands& operands, const Step& step) {
    const Tensor x(operands.x, step), weight(operands.weight, step), bias(operands.bias, step), out(operands.out, step);
    const int64_t width = out.width();
    const float epsilon = static_cast<float>(operands.epsilon);
    for_each_line(out, width, step.threads, [&](int64_t line) {
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

// What the calls of all linear layers have in common, from the operands of the same names.
template <typename Call, typename LayerOperands>
Call call_of(const LayerOperands& operands, const Step& step) {
    const Tensor weights(operands.weights, step), bias(operands.bias, step), x(operands.x, step),
        out(operands.out, step);
    Call call{};
    call.weights = reinterpret_cast<decltype(call.weights)>(weights.data);
    call.bias = bias.data;
    call.x = x.data;
    call.out = out.data;
    call.rows = x.lines();
    call.depth = x.width();
    call.width = out.width();
    call.threads = step.threads;
    return call;
}

void multiply(const LinearOperands& operands, const Step& step, const Finish& finish) {
    auto call = call_of<LinearCall>(operands, step);
    call.weight_type = operands.weight_type;
    multiply(call, finish);
}

void multiply([[maybe_unused]] const BFloat16LinearOperands& operands, [[maybe_unused]] const Step& step,
              [[maybe_unused]] const Finish& finish) {
#if defined(HAS_BFLOAT16)
    multiply(call_of<BFloat16LinearCall>(operands, step), finish);
#endif
}

void multiply([[maybe_unused]] const Int8LinearOperands& operands, [[maybe_unused]] const Step& step,
              [[maybe_unused]] const Finish& finish) {
#if defined(HAS_8_BIT_PRODUCTS)
    auto call = call_of<Int8LinearCall>(operands, step);
    call.group_chunks = operands.group_chunks;
    call.scales = Tensor(operands.scales, step).data;
    call.input_scales = Tensor(operands.input_scales, step).data;
    multiply(call, finish);
#endif
}

void multiply([[maybe_unused]] const Int4LinearOperands& operands, [[maybe_unused]] const Step& step,
              [[maybe_unused]] const Finish& finish) {
#if defined(HAS_8_BIT_PRODUCTS)
    auto call = call_of<Int4LinearCall>(operands, step);
    call.group_scales = reinterpret_cast<const int8_t*>(Tensor(operands.group_scales, step).data);
    call.scales = Tensor(operands.scales, step).data;
    multiply(call, finish);
#endif
}

void attend(const AttentionOperands& operands, const Step& step) {
    const Tensor query(operands.query, step), key(operands.key, step), value(operands.value, step),
        out(operands.out, step);
    const AttentionCall call{
        .rows = {.queries = query.data,
                 .query = query.rows_and_heads(),
                 .keys = key.data,
                 .key = key.rows_and_heads(),
                 .values = value.data,
                 .value = value.rows_and_heads()},
        .cache = step.caches[operands.cache],
        .shape = {.heads = query.sizes[1], .kv_heads = key.sizes[1], .dim = key.width(), .value_dim = value.width()},
        .tiles = step.tiles,
        .tile_count = step.tile_count,
        .tables = step.tables,
        .scale = operands.scale,
        .out = out.data,
        .threads = step.threads,
    };
    attention(&call);
}

void run(const Instruction& instruction, const Step& step, const Finish& finish) {
    const Operands& of = instruction.operands;
    switch (static_cast<Operation>(instruction.operation)) {
        case Operation::linear: return multiply(of.linear, step, finish);
        case Operation::bfloat16_linear: return multiply(of.bfloat16_linear, step, finish);
        case Operation::int8_linear: return multiply(of.int8_linear, step, finish);
        case Operation::int4_linear: return multiply(of.int4_linear, step, finish);
        case Operation::attention: return attend(of.attention, step);
        case Operation::layer_norm: return layer_norm(of.layer_norm, step);
        case Operation::mean: return mean(of.mean, step);
        default:
            with_elementwise(instruction, step, [&](const auto& elementwise) {
                const int64_t width = elementwise.out().width();
                for_each_line(elementwise.out(), width, step.threads,
                              [&](int64_t line) { elementwise.compute(line, {0, width}); });
            });
    }
}

// Runs a linear layer and, part by part, the elementwise instruction that takes its results.
void run_both(const Instruction& linear_layer, const Instruction& follower, const Step& step) {
    with_elementwise(follower, step, [&](const auto& elementwise) {
        using Follower = std::remove_reference_t<decltype(elementwise)>;
        const auto compute = [](const void* context, Range rows, Range columns) {
            for (int64_t row = rows.first; row < rows.last; ++row) {
                static_cast<Follower*>(context)->compute(row, columns);
            }
        };
        run(linear_layer, step, {compute, &elementwise});
    });
}

}  // namespace

extern "C" void run_program(const Instruction* instructions, int64_t count, const Step* step) {
    for (int64_t i = 0; i < count; ++i) {
        if (i + 1 < count && instructions[i + 1].follows) {
            run_both(instructions[i], instructions[i + 1], *step);
            ++i;
        } else {
            run(instructions[i], *step, {});
        }
    }
}
