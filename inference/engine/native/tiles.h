// Tile registers, and the products of tiles: with AMX, or in plain C++ with the same meaning and the same bits.
//
// There are eight tile registers of up to 16 rows of 64 bytes. The number of rows of an input tile and of its sums is
// configured, because a product takes as long as the input tile has rows; a tile of weights always has 16.

#pragma once

#include <cstdint>
#include <cstring>

#include "bfloat16.h"

namespace tiles {

constexpr int kRows = 16;
constexpr int kRowBytes = 64;
constexpr int kBytes = kRows * kRowBytes;

// The first registers of sums, and those of inputs and of weights.
//
// The fewer registers a kernel uses, the better where another thread shares the core: the core's own copies of them, by
// which a load overtakes a product, are then scarce. Two row tiles times two panels in all eight registers were slower
// than one row tile times two panels in four, and no faster when nothing shared the core (Intel Emerald Rapids).
constexpr int kSums = 0, kInputs = 6, kWeights = 7;

#if defined(__AMX_TILE__)

struct alignas(64) Configuration {
    uint8_t palette = 1, start_row = 0, reserved[14] = {};
    uint16_t row_bytes[16] = {};
    uint8_t rows[16] = {};
};

// Keeps this thread's registers configured. Other libraries configure them too, so each part of a kernel does it anew,
// and releases them at its end: registers in use make a thread switch slower.
class Registers {
  public:
    // For input tiles of this number of rows.
    void configure(int rows) {
        if (rows == rows_) return;
        rows_ = rows;
        Configuration wanted;
        for (int i = 0; i < 8; ++i) {
            wanted.row_bytes[i] = kRowBytes;
            wanted.rows[i] = static_cast<uint8_t>(i == kWeights ? kRows : rows);
        }
        asm volatile("ldtilecfg %0" ::"m"(wanted));
    }
    ~Registers() { asm volatile("tilerelease"); }

    template <int Register>
    void zero() {
        asm volatile("tilezero %%tmm%c0" ::"i"(Register));
    }
    // Rows are `stride` bytes apart in memory.
    template <int Register>
    void load(const void* from, int64_t stride = kRowBytes) {
        asm volatile("tileloadd (%0,%1,1), %%tmm%c2" ::"r"(from), "r"(stride), "i"(Register) : "memory");
    }
    template <int Register>
    void store(void* to, int64_t stride = kRowBytes) {
        asm volatile("tilestored %%tmm%c2, (%0,%1,1)" ::"r"(to), "r"(stride), "i"(Register) : "memory");
    }
    // Adds the products of signed inputs, `[rows][64]`, and unsigned weights, `[16 quads][16 channels][4]`, to the
    // int32 sums, `[rows][16 channels]`.
    template <int Sums, int Inputs, int Weights>
    void add_int8_products() {
        asm volatile("tdpbsud %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(Sums), "i"(Inputs), "i"(Weights));
    }
    // Adds the products of inputs, `[rows][16 pairs]`, and weights, `[16 pairs][16 channels]`, in bfloat16, to the
    // float32 sums, `[rows][16 channels]`.
    template <int Sums, int Inputs, int Weights>
    void add_bfloat16_products() {
        asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(Sums), "i"(Inputs), "i"(Weights));
    }

  private:
    int rows_ = 0;
};

#else

class Registers {
  public:
    void configure(int rows) { rows_ = rows; }
    template <int Register>
    void zero() {
        std::memset(content_[Register], 0, kBytes);
    }
    template <int Register>
    void load(const void* from, int64_t stride = kRowBytes) {
        for (int row = 0; row < rows_of(Register); ++row) {
            std::memcpy(content_[Register][row], static_cast<const char*>(from) + row * stride, kRowBytes);
        }
    }
    template <int Register>
    void store(void* to, int64_t stride = kRowBytes) {
        for (int row = 0; row < rows_of(Register); ++row) {
            std::memcpy(static_cast<char*>(to) + row * stride, content_[Register][row], kRowBytes);
        }
    }
    template <int Sums, int Inputs, int Weights>
    void add_int8_products() {
        for (int row = 0; row < rows_of(Sums); ++row) {
            for (int quad = 0; quad < 16; ++quad) {
                for (int channel = 0; channel < 16; ++channel) {
                    int32_t sum = 0;
                    for (int i = 0; i < 4; ++i) {
                        sum += static_cast<int8_t>(content_[Inputs][row][quad * 4 + i]) *
                               content_[Weights][quad][channel * 4 + i];
                    }
                    add(&content_[Sums][row][channel * 4], sum);
                }
            }
        }
    }
    template <int Sums, int Inputs, int Weights>
    void add_bfloat16_products() {
        for (int row = 0; row < rows_of(Sums); ++row) {
            BFloat16 inputs[16][2];
            std::memcpy(inputs, content_[Inputs][row], sizeof inputs);
            for (int channel = 0; channel < 16; ++channel) {
                float sums[2] = {};  // of the first numbers of the pairs, and of the second ones
                for (int pair = 0; pair < 16; ++pair) {
                    BFloat16 weights[2];
                    std::memcpy(weights, &content_[Weights][pair][channel * 4], sizeof weights);
                    for (int i = 0; i < 2; ++i) sums[i] = with_product(sums[i], inputs[pair][i], weights[i]);
                }
                float sum;
                std::memcpy(&sum, &content_[Sums][row][channel * 4], sizeof sum);
                sum = flushed(flushed(sum) + flushed(sums[0] + sums[1]));
                std::memcpy(&content_[Sums][row][channel * 4], &sum, sizeof sum);
            }
        }
    }

  private:
    static void add(uint8_t* to, int32_t number) {
        int32_t sum;
        std::memcpy(&sum, to, sizeof sum);
        sum += number;
        std::memcpy(to, &sum, sizeof sum);
    }
    int rows_of(int index) const { return index == kWeights ? kRows : rows_; }

    int rows_ = 0;
    alignas(64) uint8_t content_[8][kRows][kRowBytes] = {};
};

#endif

}  // namespace tiles
