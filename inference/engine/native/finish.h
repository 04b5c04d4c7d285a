// What is done with the results of a linear layer, part by part, while they are in the cache of the core that computed
// them. Later, a core would fetch many of them from other cores' caches, which takes as long as the rest.

#pragma once

#include "abi.h"
#include "parts.h"

struct Finish {
    void (*function)(const void* context, Range rows, Range channels) = nullptr;
    const void* context = nullptr;
    int64_t first_row = 0;  // where the rows of a call begin among all

    void operator()(Range rows, Range channels) const {
        if (function) function(context, {first_row + rows.first, first_row + rows.last}, channels);
    }

    Finish from(int64_t row) const { return {function, context, first_row + row}; }
};

// The linear layers of abi.h, which call `finish` once for every part of their results.
void multiply(const LinearCall& call, const Finish& finish);
void multiply(const BFloat16LinearCall& call, const Finish& finish);
void multiply(const Int8LinearCall& call, const Finish& finish);
void multiply(const Int4LinearCall& call, const Finish& finish);
