// Vectors as wide as those of this generation of CPUs.

#pragma once

#include <cstdint>
#include <cstring>

namespace {

#if defined(__AVX512F__)
constexpr int kLanes = 16, kRegisters = 32;
#elif defined(__AVX__)
constexpr int kLanes = 8, kRegisters = 16;
#elif defined(__aarch64__)
constexpr int kLanes = 4, kRegisters = 32;
#else
constexpr int kLanes = 4, kRegisters = 16;
#endif

typedef float Vector __attribute__((vector_size(4 * kLanes)));
typedef float Unaligned __attribute__((vector_size(4 * kLanes), aligned(4)));

// Stands before the loops over a tile: only if they are unrolled early does the compiler keep the sums in registers.
#define UNROLLED _Pragma("GCC unroll 64")

template <int kCount>
float add_up(const float* numbers) {
    if constexpr (kCount == 1) {
        return *numbers;
    } else {
        typedef float Half __attribute__((vector_size(2 * kCount), aligned(4)));
        const Half sum = *reinterpret_cast<const Half*>(numbers) + *reinterpret_cast<const Half*>(numbers + kCount / 2);
        return add_up<kCount / 2>(reinterpret_cast<const float*>(&sum));
    }
}

inline float add_up(const Vector& vector) { return add_up<kLanes>(reinterpret_cast<const float*>(&vector)); }

}  // namespace
