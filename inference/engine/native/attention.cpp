// Attention of a step's rows over the KV cache: of tiles of prompts, and of single rows.

#include "attention.h"

extern "C" void attention(const AttentionCall* call) {
    // Prompts first: their last tile can be a single row, which attends to the others.
    if (call->tile_count > 0) prompt_attention(*call);
    if (call->single_count > 0) decode_attention(*call);
}
