// All layers of a model in one call.
//
// What the layers do is recorded from the model's own code (compute/layer_program/recorder.py) and repeated here: the
// kernels, and the few operators between them, on tensors of up to four dimensions. For few rows, PyTorch and Python
// took up to a third of a step to get from one kernel to the next, and held Python's lock. Each number of a row is
// computed from that row, in an order that neither the other rows nor the threads change.

#include <cmath>

#include "abi.h"
#include "parts.h"

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
    float* line(int64_t index, const Tensor& shape) const {
        const int64_t third = index % shape.sizes[2], rest = index / shape.sizes[2];
        return data + third * strides[2] + rest % shape.sizes[1] * strides[1] + rest / shape.sizes[1] * strides[0];
    }
    Strides rows_and_heads() const { return {strides[2], strides[1]}; }  // of [1, heads, rows, dim]
};

template <typename Function>
void for_each_line(const Tensor& out, int64_t width, int64_t threads, Function function) {
    for_each_part(out.lines(), out.lines() * width, threads, [&](Range lines) {
        for (int64_t line = lines.first; line < lines.last; ++line) function(line);
    });
}

// The strides are 0 or 1 for nearly all lines; these cases let the compiler vectorise.
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
void each(const BinaryOperands& operands, const Step& step, Function function) {
    const Tensor left(operands.left, step), right(operands.right, step), out(operands.out, step);
    for_each_line(out, out.width(), step.threads, [&](int64_t line) {
        combine(left.line(line, out), left.step(), right.line(line, out), right.step(), out.width(),
                out.line(line, out), out.step(), function);
    });
}

template <typename Function>
void each(const UnaryOperands& operands, const Step& step, Function function) {
    each(BinaryOperands{operands.x, operands.x, operands.out}, step, [&](float x, float) { return function(x); });
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

void multiply(const LinearOperands& operands, const Step& step) {
    auto call = call_of<LinearCall>(operands, step);
    call.weight_type = operands.weight_type;
    linear(&call);
}

void multiply([[maybe_unused]] const BFloat16LinearOperands& operands, [[maybe_unused]] const Step& step) {
#if defined(HAS_BFLOAT16)
    const auto call = call_of<BFloat16LinearCall>(operands, step);
    bfloat16_linear(&call);
#endif
}

void multiply([[maybe_unused]] const Int8LinearOperands& operands, [[maybe_unused]] const Step& step) {
#if defined(HAS_INT8)
    auto call = call_of<Int8LinearCall>(operands, step);
    call.scales = Tensor(operands.scales, step).data;
    call.group_size = operands.group_size;
    int8_linear(&call);
#endif
}

void multiply([[maybe_unused]] const Int4LinearOperands& operands, [[maybe_unused]] const Step& step) {
#if defined(HAS_INT4)
    auto call = call_of<Int4LinearCall>(operands, step);
    call.group_scales = reinterpret_cast<const int8_t*>(Tensor(operands.group_scales, step).data);
    call.scales = Tensor(operands.scales, step).data;
    int4_linear(&call);
#endif
}

void activate(void (*activation)(const ActivationCall*), const UnaryOperands& operands, const Step& step) {
    const Tensor x(operands.x, step), out(operands.out, step);
    const ActivationCall call{
        .x = x.data, .out = out.data, .rows = out.lines(), .width = out.width(), .threads = step.threads};
    activation(&call);
}

void attend(const AttentionOperands& operands, const Step& step) {
    const Tensor query(operands.query, step), key(operands.key, step), value(operands.value, step),
        out(operands.out, step);
    void* const* pools = step.pools + 2 * operands.pool_pair;
    const AttentionCall call{
        .rows = {.queries = query.data,
                 .query = query.rows_and_heads(),
                 .keys = key.data,
                 .key = key.rows_and_heads(),
                 .values = value.data,
                 .value = value.rows_and_heads()},
        .cache = {.keys = pools[0], .values = pools[1], .float16 = step.float16},
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

void run(const Instruction& instruction, const Step& step) {
    const Operands& of = instruction.operands;
    switch (static_cast<Operation>(instruction.operation)) {
        case Operation::linear: return multiply(of.linear, step);
        case Operation::bfloat16_linear: return multiply(of.bfloat16_linear, step);
        case Operation::int8_linear: return multiply(of.int8_linear, step);
        case Operation::int4_linear: return multiply(of.int4_linear, step);
        case Operation::attention: return attend(of.attention, step);
        case Operation::gelu_tanh: return activate(gelu_tanh, of.gelu_tanh, step);
        case Operation::silu: return activate(silu, of.silu, step);
        case Operation::layer_norm: return layer_norm(of.layer_norm, step);
        case Operation::mean: return mean(of.mean, step);
        case Operation::add: return each(of.add, step, [](float a, float b) { return a + b; });
        case Operation::subtract: return each(of.subtract, step, [](float a, float b) { return a - b; });
        case Operation::multiply: return each(of.multiply, step, [](float a, float b) { return a * b; });
        case Operation::divide: return each(of.divide, step, [](float a, float b) { return a / b; });
        case Operation::negate: return each(of.negate, step, [](float x) { return -x; });
        case Operation::inverse_root: return each(of.inverse_root, step, [](float x) { return 1.0f / std::sqrt(x); });
        case Operation::relu: return each(of.relu, step, [](float x) { return x < 0.0f ? 0.0f : x; });
        case Operation::copy: return each(of.copy, step, [](float x) { return x; });
    }
}

}  // namespace

extern "C" void run_program(const Instruction* instructions, int64_t count, const Step* step) {
    for (int64_t i = 0; i < count; ++i) run(instructions[i], *step);
}
