// A layer's part of the KV cache, in either type in which it may be kept.

#pragma once

#include <vector>

#include "abi.h"
#include "float16.h"
#include "vectors.h"

namespace {

// Rows of `dim` numbers each. `rows` returns consecutive rows as float32, in `scratch` if they have to be widened;
// `vector` returns some numbers of one row.
struct Float32Rows {
    float* numbers;
    int64_t dim;

    void store(int64_t row, const float* from) const { std::memcpy(numbers + row * dim, from, row_bytes()); }
    const float* rows(int64_t row, int64_t, std::vector<float>&) const { return numbers + row * dim; }
    Vector vector(int64_t row, int64_t d) const { return *reinterpret_cast<const Unaligned*>(numbers + row * dim + d); }
    const void* address(int64_t row) const { return numbers + row * dim; }
    int64_t row_bytes() const { return dim * static_cast<int64_t>(sizeof *numbers); }
};

struct Float16Rows {
    uint16_t* numbers;
    int64_t dim;

    void store(int64_t row, const float* from) const { narrow(from, dim, numbers + row * dim); }
    const float* rows(int64_t row, int64_t count, std::vector<float>& scratch) const {
        if (static_cast<int64_t>(scratch.size()) < count * dim) scratch.resize(count * dim);
        widen(numbers + row * dim, count * dim, scratch.data());
        return scratch.data();
    }
    Vector vector(int64_t row, int64_t d) const { return widened_vector(numbers + row * dim + d); }
    const void* address(int64_t row) const { return numbers + row * dim; }
    int64_t row_bytes() const { return dim * static_cast<int64_t>(sizeof *numbers); }
};

// Keys [kv_heads, slots, dim] and values [kv_heads, slots, value_dim]: `slots` rows for each head.
template <typename Rows>
struct Pools {
    Rows keys, values;
    int64_t slots;
};

template <typename Function>
void with_pools(const Cache& cache, const Shape& shape, Function function) {
    if (cache.float16) {
        const auto pool = [](void* numbers, int64_t dim) { return Float16Rows{static_cast<uint16_t*>(numbers), dim}; };
        function(Pools<Float16Rows>{pool(cache.keys, shape.dim), pool(cache.values, shape.value_dim), cache.slots});
    } else {
        const auto pool = [](void* numbers, int64_t dim) { return Float32Rows{static_cast<float*>(numbers), dim}; };
        function(Pools<Float32Rows>{pool(cache.keys, shape.dim), pool(cache.values, shape.value_dim), cache.slots});
    }
}

}  // namespace
