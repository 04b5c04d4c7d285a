// What `make sanitize` runs under the thread sanitizer: the pool and the kernels that divide their work with it, called
// by several threads at once. Exits with 1 if a part is missing, or if a result depends on the threads.

#include <cstdio>
#include <cstdlib>
#include <functional>
#include <thread>
#include <vector>

#include "abi.h"
#include "pool.h"

namespace {

constexpr int kCallers = 3, kThreads = 3, kRounds = 200;
constexpr int64_t kDepth = 512, kPanels = 7;  // of the linear layers

void check(bool right, const char* what) {
    if (right) return;
    std::fprintf(stderr, "pool_threads: %s\n", what);
    std::exit(1);
}

std::vector<float> numbers(int64_t count) {
    std::vector<float> made(count);
    for (int64_t i = 0; i < count; ++i) made[i] = static_cast<float>(i * 7919 % 1009) / 1009 - 0.5f;
    return made;
}

void every_part_runs_once() {
    for (int round = 0; round < kRounds; ++round) {
        std::vector<int> runs(1 + round % 40);
        pool::for_each(runs.size(), kThreads, [&](int64_t part) { ++runs[part]; });
        for (const int count : runs) check(count == 1, "a part did not run exactly once");
    }
}

void results_do_not_depend_on_threads(const std::function<std::vector<float>(int64_t)>& compute) {
    const std::vector<float> alone = compute(1);
    for (int round = 0; round < 5; ++round) check(compute(kThreads) == alone, "a result depends on the threads");
}

// The call of a linear layer with weights of this type.
template <typename Call, typename Weight>
std::vector<float> layer(void (*multiply)(const Call*), const std::vector<Weight>& weights, int64_t threads) {
    constexpr int64_t kRows = 40, kWidth = 100;
    static const std::vector<float> bias = numbers(kPanels * 16), x = numbers(kRows * kDepth);
    std::vector<float> out(kRows * kWidth);
    const Call call{.weights = weights.data(),
                    .bias = bias.data(),
                    .x = x.data(),
                    .out = out.data(),
                    .rows = kRows,
                    .depth = kDepth,
                    .width = kWidth,
                    .threads = threads};
    multiply(&call);
    return out;
}

std::vector<float> linear_layer(int64_t threads) {
    static const std::vector<float> weights = numbers(kPanels * kDepth * 16);
    return layer(linear, weights, threads);
}

std::vector<float> bfloat16_layer(void (*multiply)(const BFloat16LinearCall*), int64_t threads) {
    static const std::vector<uint16_t> weights(kPanels * kDepth * 16, 0x3f80);  // ones
    return layer(multiply, weights, threads);
}

std::vector<float> activations(int64_t threads) {
    static const std::vector<float> x = numbers(64 * 512);
    std::vector<float> out(x.size());
    const ActivationCall call{.x = x.data(), .out = out.data(), .rows = 64, .width = 512, .threads = threads};
    silu(&call);
    return out;
}

std::vector<float> attended(int64_t threads) {
    constexpr int64_t kHeads = 4, kKvHeads = 2, kDim = 64, kRows = 34, kBlocks = 6;
    static const std::vector<float> queries = numbers(kRows * kHeads * kDim), keys = numbers(kRows * kKvHeads * kDim);
    const Tile tiles[] = {{0, 16, 0, 0}, {16, 16, 16, 0}, {32, 1, 0, 2}, {33, 1, 19, 3}};
    const int64_t tables[] = {3, 0, 5, 1, 2};
    std::vector<float> cached_keys = numbers(kBlocks * kKvHeads * kDim * kBlock), cached_values = cached_keys;
    std::vector<float> out(kRows * kHeads * kDim);
    const Strides query{kHeads * kDim, kDim}, key{kKvHeads * kDim, kDim};
    const AttentionCall call{
        .rows = {queries.data(), query, keys.data(), key, keys.data(), key},
        .cache = {cached_keys.data(), cached_values.data(), 0},
        .shape = {kHeads, kKvHeads, kDim, kDim},
        .tiles = tiles,
        .tile_count = 4,
        .tables = tables,
        .scale = 0.125,
        .out = out.data(),
        .threads = threads,
    };
    attention(&call);
    return out;
}

}  // namespace

int main() {
    std::vector<std::thread> callers;
    for (int i = 0; i < kCallers; ++i) {
        callers.emplace_back([] {
            every_part_runs_once();
            results_do_not_depend_on_threads(linear_layer);
            for (const auto multiply : {bfloat16_linear_on_vectors, bfloat16_linear_on_tiles}) {
                results_do_not_depend_on_threads([&](int64_t threads) { return bfloat16_layer(multiply, threads); });
            }
            results_do_not_depend_on_threads(activations);
            results_do_not_depend_on_threads(attended);
        });
    }
    for (std::thread& caller : callers) caller.join();
    std::puts("No data race was found.");
}
