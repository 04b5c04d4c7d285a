// The logits that a draw chooses from, and the largest of them.

#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "vectors.h"

namespace {

constexpr int64_t kGroup = 64;             // logits whose maximum is known
constexpr int64_t kBits = 32;              // of a word of `allowed`
constexpr uint64_t kWhole = ~uint64_t{0};  // of a group of which every logit may be drawn
constexpr float kNever = -std::numeric_limits<float>::infinity();

// The logits of a draw. Groups begin at whole multiples of kGroup.
struct Row {
    const float* logits;
    const uint32_t* allowed;  // as in DrawCall
    int64_t count;

    bool allows(int64_t i) const { return !allowed || allowed[i / kBits] >> i % kBits & 1; }

    // A bit for each logit of a whole group.
    uint64_t allowed_of_group(int64_t first) const {
        if (!allowed) return kWhole;
        const uint32_t* words = allowed + first / kBits;
        return words[0] | uint64_t{words[1]} << kBits;
    }

    float at(int64_t i) const { return allows(i) ? logits[i] : kNever; }
};

// The first of `numbers`, those without a bit in `allowed` as minus infinity.
template <bool kAll>
inline Vector loaded(const float* numbers, uint64_t allowed) {
    const Vector all = *reinterpret_cast<const Unaligned*>(numbers);
    if constexpr (kAll) return all;
#if defined(__AVX512F__)
    return _mm512_mask_mov_ps(broadcast(kNever), static_cast<__mmask16>(allowed), all);
#else
    Integers bits;
    for (int lane = 0; lane < kLanes; ++lane) bits[lane] = 1 << lane;
    bits &= Integers{} + static_cast<int32_t>(allowed & ((1 << kLanes) - 1));
    return bits != 0 ? all : broadcast(kNever);
#endif
}

template <int kCount>
float largest(const float* numbers) {
    if constexpr (kCount == 1) {
        return *numbers;
    } else {
        typedef float Half __attribute__((vector_size(2 * kCount), aligned(4)));
        const Half a = *reinterpret_cast<const Half*>(numbers),
                   b = *reinterpret_cast<const Half*>(numbers + kCount / 2);
        const Half larger = a > b ? a : b;
        return largest<kCount / 2>(reinterpret_cast<const float*>(&larger));
    }
}

inline float largest_lane(Vector lanes) { return largest<kLanes>(reinterpret_cast<const float*>(&lanes)); }

// The largest logit that a whole group allows. `odd` becomes other than 0 where one is NaN.
template <bool kAll>
inline float group_maximum(const float* logits, uint64_t allowed, Vector& odd) {
    const Vector one = broadcast(1.0f);
    Vector most = broadcast(kNever);
    UNROLLED for (int64_t i = 0; i < kGroup; i += kLanes) {
        const Vector next = loaded<kAll>(logits + i, allowed >> i);
        odd = next == next ? odd : one;
        most = next > most ? next : most;
    }
    return largest_lane(most);
}

// Fills `maxima` with the largest logit of each group; the last group may be smaller. Returns the largest of all, and
// NaN if one of the logits is. Those that may not be drawn count as minus infinity.
float find_maxima(const Row& row, std::vector<float>& maxima) {
    maxima.clear();
    Vector odd = broadcast(0.0f);  // not 0 where a logit was NaN
    int64_t i = 0;
    for (; i + kGroup <= row.count; i += kGroup) {
        const uint64_t allowed = row.allowed_of_group(i);
        const float* logits = row.logits + i;
        maxima.push_back(allowed == kWhole ? group_maximum<true>(logits, allowed, odd)
                                           : group_maximum<false>(logits, allowed, odd));
    }
    bool has_nan = largest_lane(odd) != 0.0f;
    if (i < row.count) {
        float most = kNever;
        for (; i < row.count; ++i) {
            const float next = row.at(i);
            has_nan = has_nan || std::isnan(next);
            most = next > most ? next : most;
        }
        maxima.push_back(most);
    }
    return has_nan ? std::numeric_limits<float>::quiet_NaN() : *std::max_element(maxima.begin(), maxima.end());
}

}  // namespace
