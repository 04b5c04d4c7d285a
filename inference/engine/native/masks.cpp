// Reading the masks of grammars, as `grammar/masks.py` defines it.

#include <bit>

#include "abi.h"

namespace {

constexpr int64_t kBits = 32;  // of a word

}  // namespace

extern "C" void read_masks(const MasksCall* call) {
    for (int64_t row = 0; row < call->count; ++row) {
        uint32_t* words = call->masks + row * call->words;
        ReadMask& read = call->read[row];
        read.ends = words[call->end / kBits] >> call->end % kBits & 1;
        const int64_t control = call->control_ids ? call->control_ids[row] : -1;
        const uint32_t control_bit = control < 0 ? 0 : words[control / kBits] & uint32_t{1} << control % kBits;
        for (int64_t i = 0; i < call->words; ++i) words[i] &= call->readable[i];
        if (control_bit) words[control / kBits] |= control_bit;
        int64_t tokens = 0;
        for (int64_t i = 0; i < call->words; ++i) tokens += std::popcount(words[i]);
        read.tokens = tokens;
        read.first = -1;
        for (int64_t i = 0; i < call->words && read.first < 0; ++i)
            if (words[i]) read.first = i * kBits + std::countr_zero(words[i]);
    }
}
