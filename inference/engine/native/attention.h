// The two parts of attention.

#pragma once

#include "abi.h"

// The call's prompt tiles.
void prompt_attention(const AttentionCall& call);

// The call's single rows.
void decode_attention(const AttentionCall& call);
