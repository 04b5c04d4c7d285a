// The operations of a layer program that compute each number from those at its place in one or two tensors.

#pragma once

#include <cmath>

#include "activation.h"
#include "parts.h"
#include "tensor.h"

namespace {

// out = function(left, right), element by element.
template <typename Function>
class Elementwise {
  public:
    Elementwise(const BinaryOperands& operands, const Step& step, Function function)
        : left_(operands.left, step), right_(operands.right, step), out_(operands.out, step), function_(function) {}

    const Tensor& out() const { return out_; }

    // Some columns of a line, as Tensor::line counts lines.
    void compute(int64_t line, Range columns) const {
        combine(left_.line(line, out_) + columns.first * left_.step(), left_.step(),
                right_.line(line, out_) + columns.first * right_.step(), right_.step(), columns.last - columns.first,
                out_.line(line, out_) + columns.first * out_.step(), out_.step());
    }

  private:
    // The strides are 0 or 1 for nearly all lines; these cases let the compiler vectorise.
    void combine(const float* a, int64_t a_step, const float* b, int64_t b_step, int64_t width, float* out,
                 int64_t out_step) const {
        if (out_step == 1 && a_step == 1 && b_step == 1) {
#pragma omp simd
            for (int64_t i = 0; i < width; ++i) out[i] = function_(a[i], b[i]);
        } else if (out_step == 1 && a_step == 1 && b_step == 0) {
            const float other = *b;
#pragma omp simd
            for (int64_t i = 0; i < width; ++i) out[i] = function_(a[i], other);
        } else {
            for (int64_t i = 0; i < width; ++i) out[i * out_step] = function_(a[i * a_step], b[i * b_step]);
        }
    }

    const Tensor left_, right_, out_;
    const Function function_;
};

// Calls use(elementwise) with what the instruction computes. Returns false if it is of another kind.
template <typename Use>
bool with_elementwise(const Instruction& instruction, const Step& step, Use use) {
    const Operands& of = instruction.operands;
    const auto binary = [&](const BinaryOperands& operands, auto function) {
        use(Elementwise(operands, step, function));
        return true;
    };
    const auto unary = [&](const UnaryOperands& operands, auto function) {
        return binary({operands.x, operands.x, operands.out}, [=](float x, float) { return function(x); });
    };
    switch (static_cast<Operation>(instruction.operation)) {
        case Operation::gelu_tanh: return unary(of.gelu_tanh, [](float x) { return gelu_tanh_of(x); });
        case Operation::silu: return unary(of.silu, [](float x) { return silu_of(x); });
        case Operation::add: return binary(of.add, [](float a, float b) { return a + b; });
        case Operation::subtract: return binary(of.subtract, [](float a, float b) { return a - b; });
        case Operation::multiply: return binary(of.multiply, [](float a, float b) { return a * b; });
        case Operation::divide: return binary(of.divide, [](float a, float b) { return a / b; });
        case Operation::negate: return unary(of.negate, [](float x) { return -x; });
        case Operation::inverse_root: return unary(of.inverse_root, [](float x) { return 1.0f / std::sqrt(x); });
        case Operation::relu: return unary(of.relu, [](float x) { return x < 0.0f ? 0.0f : x; });
        case Operation::copy: return unary(of.copy, [](float x) { return x; });
        default: return false;
    }
}

}  // namespace
