// Attention of a step's rows over the KV cache: of blocks of prompts, and of single tokens.

#include "kernels.h"

extern "C" void attention(const NewRows* rows, const Cache* cache, const Block* blocks, int64_t block_count,
                          const Span* spans, int64_t span_count, const Shape* shape, float scale, int threads,
                          float* output) {
    // Prompts first: their last block can be a single row, which attends to the others.
    if (block_count > 0) prompt_attention(*rows, *cache, blocks, block_count, *shape, scale, threads, output);
    if (span_count > 0) decode_attention(*rows, *cache, spans, span_count, *shape, scale, threads, output);
}
