// Quantises weights to 4 bits.
//
// Without a search the largest weight of a group would decide how all 32 are rounded. Each of several scales is tried:
// weights are rounded to the levels, and then the scale that fits these levels best is their least-squares solution.
// The scale whose squared error is the least is kept, and rounded to 8 bits of the channel's largest. The error of a
// weight counts as much as its input is important.

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

#include "abi.h"
#include "int4_levels.h"
#include "parts.h"
#include "vectors.h"

namespace {

constexpr int kChannels = 16;  // of a panel
constexpr int kTries = 5;      // scales for each end of the levels
constexpr float kLeastTry = 0.78f, kMostTry = 1.14f;

float midpoint(int level) { return 0.5f * (kInt4Levels[level] + kInt4Levels[level + 1]); }

// Adds up, for the weights of a group, weight * level and level * level, each times the importance of the input.
struct Fit {
    float weighted = 0.0f, squares = 0.0f;

    Fit(const float* weights, const float* importance, float factor) {
        std::array<float, 15> middles, steps;
        for (int i = 0; i < 15; ++i) {
            middles[i] = midpoint(i);
            steps[i] = static_cast<float>(kInt4Levels[i + 1] - kInt4Levels[i]);
        }
        float products = 0.0f, lengths = 0.0f;
#pragma omp simd reduction(+ : products, lengths)
        for (int k = 0; k < kInt4Group; ++k) {
            const float wanted = weights[k] * factor;
            float level = kInt4Levels[0];
            UNROLLED
            for (int i = 0; i < 15; ++i) level += wanted > middles[i] ? steps[i] : 0.0f;
            const float important = importance[k] * level;
            products += weights[k] * important;
            lengths += level * important;
        }
        weighted = products;
        squares = lengths;
    }
    float gain() const { return weighted * weighted / squares; }  // how much of the squared outputs is met
    float scale() const { return weighted / squares; }
};

float best_scale(const float* weights, const float* importance) {
    float largest = 0.0f;
    for (int k = 0; k < kInt4Group; ++k) {
        if (std::fabs(weights[k]) > std::fabs(largest)) largest = weights[k];
    }
    if (largest == 0.0f) return 0.0f;
    float best = 0.0f, scale = 0.0f;
    for (const float end : {float{kInt4Levels[0]}, float{kInt4Levels[15]}}) {
        for (int i = 0; i < kTries; ++i) {
            const float stretch = kLeastTry + (kMostTry - kLeastTry) * i / (kTries - 1);
            const Fit fit(weights, importance, end * stretch / largest);
            if (fit.gain() > best) {
                best = fit.gain();
                scale = fit.scale();
            }
        }
    }
    return scale;
}

int nearest_level(float wanted) {
    int level = 0;
    for (int i = 0; i < 15; ++i) level += wanted > midpoint(i);
    return level;
}

// Quantises a channel into its place in a panel, and returns its scale. No `weights`: the panel has no such channel.
float pack(const float* weights, const float* importance, int64_t depth, uint8_t* to, int8_t* group_scales) {
    const int64_t groups = (depth + kInt4Group - 1) / kInt4Group;
    thread_local std::vector<float> found;
    found.assign(groups, 0.0f);
    float largest = 0.0f;
    const auto group_of = [&](const float* all, int64_t group, float* numbers) {
        const int64_t first = group * kInt4Group;
        std::fill_n(numbers, kInt4Group, 0.0f);
        if (all) std::copy_n(all + first, std::min<int64_t>(kInt4Group, depth - first), numbers);
    };
    float numbers[kInt4Group], important[kInt4Group];
    for (int64_t group = 0; group < groups; ++group) {
        group_of(weights, group, numbers);
        group_of(importance, group, important);
        found[group] = best_scale(numbers, important);
        largest = std::max(largest, std::fabs(found[group]));
    }
    const float scale = largest / kMostGroupScale;
    for (int64_t group = 0; group < groups; ++group) {
        group_of(weights, group, numbers);
        const float rounded = scale > 0.0f ? std::nearbyint(found[group] / scale) : 0.0f;
        group_scales[group * kChannels] = static_cast<int8_t>(rounded);
        const float factor = rounded != 0.0f ? 1.0f / (rounded * scale) : 0.0f;
        uint8_t* lines = to + group * kInt4Lines * kInt4LineBytes;
        for (int k = 0; k < kInt4Group; k += 8) {
            for (int i = 0; i < 4; ++i) {
                const int low = nearest_level(numbers[k + i] * factor);
                const int high = nearest_level(numbers[k + 4 + i] * factor);
                lines[k / 8 * kInt4LineBytes + i] = static_cast<uint8_t>(low | high << 4);
            }
        }
    }
    return scale;
}

}  // namespace

extern "C" void int4_pack(const Int4PackCall* call) {
    const int64_t panels = (call->channels + kChannels - 1) / kChannels;
    const int64_t groups = (call->depth + kInt4Group - 1) / kInt4Group;
    for_each_part(panels, call->channels * call->depth, call->threads, [&](Range part) {
        for (int64_t channel = part.first * kChannels; channel < part.last * kChannels; ++channel) {
            const int64_t panel = channel / kChannels, place = channel % kChannels;
            call->scales[channel] =
                pack(channel < call->channels ? call->from + channel * call->depth : nullptr, call->importance,
                     call->depth, call->weights + panel * groups * kInt4Lines * kInt4LineBytes + place * 4,
                     call->group_scales + panel * groups * kChannels + place);
        }
    });
}
