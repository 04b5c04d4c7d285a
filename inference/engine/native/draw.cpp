// The draw of a token from the logits of one row, as `sampler.py` defines it.

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <vector>

#include "abi.h"
#include "draw_row.h"
#include "exponential.h"
#include "vectors.h"

namespace {

constexpr int64_t kSum = 1024;      // weights that are summed in float32, before the sums are added in float64
constexpr int64_t kLikeliest = 64;  // of the tokens of a nucleus, this many are sorted at first

// What a call needs, kept by each thread for the next one.
struct Scratch {
    std::vector<float> allowed;  // the logits that may be drawn
    std::vector<int32_t> ids;    // of these, where the others were left out
    std::vector<float> maxima;   // of each group of logits
    std::vector<float> ordered;  // of which the k-th largest is wanted
    std::vector<int32_t> tokens;
    std::vector<float> weights;  // of the tokens; 0 where one must not be drawn
    std::vector<uint64_t> ranks;
    std::vector<double> sums;
};

float kth_largest(std::vector<float>& numbers, int64_t k) {
    std::nth_element(numbers.begin(), numbers.begin() + (k - 1), numbers.end(), std::greater<float>());
    return numbers[k - 1];
}

// Fills `scratch.tokens` with the k largest logits and all that equal the smallest of them, in ascending order. More
// than k may be drawn. Only groups whose maximum is among the k largest maxima can hold them.
void find_top_k(const Row& row, int64_t k, Scratch& scratch) {
    const int64_t groups = static_cast<int64_t>(scratch.maxima.size());
    float least = kNever;
    if (groups > k) {
        scratch.ordered.assign(scratch.maxima.begin(), scratch.maxima.end());
        least = kth_largest(scratch.ordered, k);
    }
    scratch.tokens.clear();
    scratch.ordered.clear();
    for (int64_t group = 0; group < groups; ++group) {
        if (scratch.maxima[group] < least) continue;
        for (int64_t i = group * kGroup; i < std::min(row.count, (group + 1) * kGroup); ++i) {
            if (row.logits[i] < least || !row.allows(i)) continue;
            scratch.tokens.push_back(static_cast<int32_t>(i));
            scratch.ordered.push_back(row.logits[i]);
        }
    }
    least = kth_largest(scratch.ordered, k);
    std::erase_if(scratch.tokens, [&](int32_t token) { return row.logits[token] < least; });
}

// exp((logit - highest) * factor), and 0 where float32 has no normal number for it.
template <typename Number>
inline Number weight_at(Number logit, Number highest, Number factor) {
    const Number exponent = (logit - highest) * factor, least = Number{} - 87.0f;
    const Number weight = exponential(exponent);
    return exponent < least ? Number{} : weight;
}

// The weights of a whole group, and their sums by lane.
template <bool kAll>
inline Vector weigh_group(const float* logits, uint64_t allowed, float highest, float factor, float* weights) {
    const Vector subtracted = broadcast(highest), scale = broadcast(factor);
    Vector sums = broadcast(0.0f);
    UNROLLED for (int64_t i = 0; i < kGroup; i += kLanes) {
        const Vector weight = weight_at(loaded<kAll>(logits + i, allowed >> i), subtracted, scale);
        *reinterpret_cast<Unaligned*>(weights + i) = weight;
        sums += weight;
    }
    return sums;
}

// Fills `scratch.weights`, and `scratch.sums` as `add_up_weights` does. Returns the sum of all.
double weigh(const Row& row, float highest, float factor, Scratch& scratch) {
    scratch.weights.resize(row.count);
    scratch.sums.clear();
    float* weights = scratch.weights.data();
    double total = 0.0;
    for (int64_t i = 0; i < row.count;) {
        const int64_t last = std::min(row.count, i + kSum);
        Vector sums = broadcast(0.0f);
        for (; i + kGroup <= last; i += kGroup) {
            const uint64_t allowed = row.allowed_of_group(i);
            sums += allowed == kWhole ? weigh_group<true>(row.logits + i, allowed, highest, factor, weights + i)
                                      : weigh_group<false>(row.logits + i, allowed, highest, factor, weights + i);
        }
        float sum = add_up<kLanes>(reinterpret_cast<const float*>(&sums));
        for (; i < last; ++i) sum += weights[i] = weight_at(row.at(i), highest, factor);
        scratch.sums.push_back(sum);
        total += sum;
    }
    return total;
}

// A token's weight and, in the lower 32 bits, its index: the larger number comes first in descending order, of equal
// weights that with the lower index. Weights are not negative, so their bits compare as they do.
uint64_t ranked(float weight, int64_t index) {
    uint32_t bits;
    std::memcpy(&bits, &weight, sizeof bits);
    return uint64_t{bits} << 32 | static_cast<uint32_t>(~index);
}

float weight_of(uint64_t rank) {
    const uint32_t bits = static_cast<uint32_t>(rank >> 32);
    float weight;
    std::memcpy(&weight, &bits, sizeof weight);
    return weight;
}

// Sets the weights of all tokens but the nucleus to 0: those before which less than `top_p` of the weight comes, in
// descending order.
void keep_nucleus(double top_p, double total, Scratch& scratch) {
    std::vector<float>& weights = scratch.weights;
    const int64_t count = static_cast<int64_t>(weights.size());
    // Tokens below this weight are dropped even if all of them are, so they need no sorting.
    const float least = std::min(1.0f, static_cast<float>((1.0 - top_p) * total / static_cast<double>(count)));
    scratch.ranks.resize(count);
    const auto ranks = scratch.ranks.begin();
    int64_t likely = 0;
    for (int64_t i = 0; i < count; ++i) {
        ranks[likely] = ranked(weights[i], i);
        likely += weights[i] >= least;
    }
    int64_t kept = 0;
    double above = 0.0;
    for (int64_t first = 0, chunk = kLikeliest; kept == first && first < likely; chunk *= 8) {
        const int64_t last = std::min(likely, first + chunk);
        if (last < likely) std::nth_element(ranks + first, ranks + last, ranks + likely, std::greater<>());
        std::sort(ranks + first, ranks + last, std::greater<>());
        while (kept < last && (kept == 0 || above < top_p * total)) above += weight_of(ranks[kept++]);
        first = last;
    }
    const uint64_t last = ranks[kept - 1];
    for (int64_t i = 0; i < count; ++i) weights[i] = ranked(weights[i], i) < last ? 0.0f : weights[i];
}

// Fills `scratch.sums` with the sum of every kSum weights, and returns that of all.
double add_up_weights(Scratch& scratch) {
    const std::vector<float>& weights = scratch.weights;
    const int64_t count = static_cast<int64_t>(weights.size());
    scratch.sums.clear();
    double total = 0.0;
    for (int64_t first = 0; first < count; first += kSum) {
        float sum = 0.0f;
        const int64_t last = std::min(count, first + kSum);
        for (int64_t i = first; i < last; ++i) sum += weights[i];
        scratch.sums.push_back(sum);
        total += sum;
    }
    return total;
}

// The first token at which the weights so far add up to more than `wanted`; the last one with a weight if rounding
// leaves none.
int64_t token_at(double wanted, const Scratch& scratch) {
    const std::vector<float>& weights = scratch.weights;
    const int64_t count = static_cast<int64_t>(weights.size());
    int64_t found = 0;
    double before = 0.0;
    for (size_t part = 0; part < scratch.sums.size(); ++part) {
        const int64_t first = static_cast<int64_t>(part) * kSum, last = std::min(count, first + kSum);
        if (before + scratch.sums[part] > wanted || part + 1 == scratch.sums.size()) {
            double sum = before;
            for (int64_t i = first; i < last; ++i) {
                if (weights[i] == 0.0f) continue;
                found = i;
                sum += weights[i];
                if (sum > wanted) return i;
            }
            if (before + scratch.sums[part] > wanted) return found;
        }
        before += scratch.sums[part];
    }
    for (found = count - 1; weights[found] == 0.0f;) --found;
    return found;
}

// Fills `scratch.allowed` and `scratch.ids` with the logits that may be drawn, and their places.
void gather_allowed(const DrawCall& call, Scratch& scratch) {
    scratch.allowed.clear();
    scratch.ids.clear();
    for (int64_t word = 0; word * kBits < call.count; ++word) {
        for (uint32_t bits = call.allowed[word]; bits; bits &= bits - 1) {
            const int64_t i = word * kBits + std::countr_zero(bits);
            scratch.allowed.push_back(call.logits[i]);
            scratch.ids.push_back(static_cast<int32_t>(i));
        }
    }
}

}  // namespace

extern "C" int64_t draw(const DrawCall* call) {
    thread_local Scratch scratch;
    Row row{call->logits, call->allowed, call->count};
    int64_t candidates = call->allowed ? call->allowed_count : call->count;
    const bool gathered = 2 * candidates < call->count;  // of more, it is faster to leave out the others on the way
    if (gathered) {
        gather_allowed(*call, scratch);
        candidates = static_cast<int64_t>(scratch.ids.size());
        row = {scratch.allowed.data(), nullptr, candidates};
    }
    if (!candidates) return -1;
    const float highest = find_maxima(row, scratch.maxima);
    if (!(std::abs(highest) <= std::numeric_limits<float>::max())) return -1;
    // Finite, so that the highest logit has a weight of 1 at any temperature.
    const double most = std::numeric_limits<float>::max();
    const float factor = static_cast<float>(std::min(1.0 / call->temperature, most));
    const bool some = call->top_k > 0 && call->top_k < candidates;
    if (some) {
        find_top_k(row, call->top_k, scratch);
        scratch.ordered.resize(scratch.tokens.size());
        for (size_t i = 0; i < scratch.tokens.size(); ++i) scratch.ordered[i] = row.logits[scratch.tokens[i]];
        row = {scratch.ordered.data(), nullptr, static_cast<int64_t>(scratch.ordered.size())};
    }
    double total = weigh(row, highest, factor, scratch);
    if (call->top_p < 1.0) keep_nucleus(call->top_p, total, scratch);
    if (call->min_p > 0.0) {
        const float least = static_cast<float>(call->min_p);  // the highest has a weight of 1
        for (float& weight : scratch.weights) weight = weight < least ? 0.0f : weight;
    }
    if (call->top_p < 1.0 || call->min_p > 0.0) total = add_up_weights(scratch);
    int64_t index = token_at(call->number * total, scratch);
    if (some) index = scratch.tokens[index];
    return gathered ? scratch.ids[index] : index;
}
