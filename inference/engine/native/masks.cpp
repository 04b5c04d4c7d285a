// Reading the masks of grammars, as `grammar/masks.py` defines it.

#include <bit>
#include <cstring>

#include "abi.h"

namespace {

constexpr int64_t kBits = 32;  // of a word

// Clears the bits of `words` that `kept` lacks, and counts the others.
int64_t keep(uint32_t* words, const uint32_t* kept, int64_t count) {
    int64_t bits = 0, i = 0;
    for (; i + 2 <= count; i += 2) {
        uint64_t two, both;
        std::memcpy(&two, words + i, sizeof two);
        std::memcpy(&both, kept + i, sizeof both);
        two &= both;
        std::memcpy(words + i, &two, sizeof two);
        bits += std::popcount(two);
    }
    for (; i < count; ++i) bits += std::popcount(words[i] &= kept[i]);
    return bits;
}

int64_t first_bit(const uint32_t* words) {
    int64_t word = 0;
    while (!words[word]) ++word;
    return word * kBits + std::countr_zero(words[word]);
}

}  // namespace

extern "C" void read_masks(const MasksCall* call) {
    for (int64_t row = 0; row < call->count; ++row) {
        uint32_t* words = call->masks + row * call->words;
        ReadMask& read = call->read[row];
        read.ends = words[call->end / kBits] >> call->end % kBits & 1;
        const int64_t control = call->control_ids ? call->control_ids[row] : -1;
        const uint32_t control_bit = control < 0 ? 0 : words[control / kBits] & uint32_t{1} << control % kBits;
        read.tokens = keep(words, call->readable, call->words);
        if (control_bit && !(words[control / kBits] & control_bit)) {
            words[control / kBits] |= control_bit;
            ++read.tokens;
        }
        read.only = read.tokens == 1 ? first_bit(words) : -1;
    }
}
