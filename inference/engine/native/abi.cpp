// The layout of this library's structures, as its compiler sees it.

#include "abi.h"

#include <cstddef>
#include <sstream>
#include <string>
#include <vector>

namespace {

struct Field {
    const char* name;
    size_t offset, size;
};

struct Structure {
    const char* name;
    size_t size;
    std::vector<Field> fields;
};

#define FIELD(structure, field) {#field, offsetof(structure, field), sizeof(structure::field)}
// A FIELD for each of the names: each EXPAND has the preprocessor look at NEXT_FIELD another few times.
#define EXPAND(...) EXPAND_4(EXPAND_4(EXPAND_4(EXPAND_4(__VA_ARGS__))))
#define EXPAND_4(...) EXPAND_1(EXPAND_1(EXPAND_1(EXPAND_1(__VA_ARGS__))))
#define EXPAND_1(...) __VA_ARGS__
#define PARENTHESES ()
#define NEXT_FIELD(structure, field, ...) \
    FIELD(structure, field), __VA_OPT__(NEXT_FIELD_AGAIN PARENTHESES(structure, __VA_ARGS__))
#define NEXT_FIELD_AGAIN() NEXT_FIELD
#define STRUCTURE(structure, ...)                                                     \
    {                                                                                 \
        #structure, sizeof(structure), { EXPAND(NEXT_FIELD(structure, __VA_ARGS__)) } \
    }

const std::vector<Structure>& structures() {
    static const std::vector<Structure> all = {
        STRUCTURE(LinearCall, weights, bias, x, out, weight_type, rows, depth, width, threads),
        STRUCTURE(BFloat16LinearCall, weights, bias, x, out, rows, depth, width, threads),
        STRUCTURE(Int8LinearCall, weights, scales, input_scales, bias, x, out, rows, depth, width, group_chunks,
                  threads),
        STRUCTURE(Int4LinearCall, weights, group_scales, scales, bias, x, out, rows, depth, width, threads),
        STRUCTURE(Int4PackCall, from, importance, weights, group_scales, scales, channels, depth, threads),
        STRUCTURE(ActivationCall, x, out, rows, width, threads),
        STRUCTURE(DrawCall, logits, allowed, allowed_count, count, top_k, temperature, top_p, min_p, number),
        STRUCTURE(ReadMask, tokens, only, ends),
        STRUCTURE(MasksCall, masks, readable, control_ids, read, count, words, end),
        STRUCTURE(Strides, row, head),
        STRUCTURE(NewRows, queries, query, keys, key, values, value),
        STRUCTURE(Shape, heads, kv_heads, dim, value_dim),
        STRUCTURE(Cache, keys, values, key_block, value_block, type),
        STRUCTURE(Tile, row, rows, past, table),
        STRUCTURE(AttentionCall, rows, cache, shape, tiles, tile_count, tables, scale, out, threads),
        STRUCTURE(Extent, fixed, per_row),
        STRUCTURE(Operand, memory, base, offset, sizes, strides),
        STRUCTURE(LinearOperands, weights, bias, x, out, weight_type),
        STRUCTURE(BFloat16LinearOperands, weights, bias, x, out),
        STRUCTURE(Int8LinearOperands, weights, scales, input_scales, bias, x, out, group_chunks),
        STRUCTURE(Int4LinearOperands, weights, group_scales, scales, bias, x, out),
        STRUCTURE(AttentionOperands, query, key, value, out, cache, scale),
        STRUCTURE(UnaryOperands, x, out),
        STRUCTURE(LayerNormOperands, x, weight, bias, out, epsilon),
        STRUCTURE(BinaryOperands, left, right, out),
        STRUCTURE(Instruction, operation, follows, operands),
        STRUCTURE(Step, rows, workspace, inputs, caches, tiles, tile_count, tables, threads),
    };
    return all;
}

std::string layout() {
    std::ostringstream text;
    for (const Structure& structure : structures()) {
        text << structure.name << " " << structure.size;
        for (const Field& field : structure.fields)
            text << " " << field.name << ":" << field.offset << ":" << field.size;
        text << "\n";
    }
#define OPERATION(name, kind) << " " #name ":" #kind
#define NAMED(name) << " " #name
    text << "operations" OPERATIONS(OPERATION) << "\nmemories" MEMORIES(NAMED) << "\nweight_types" WEIGHT_TYPES(NAMED)
         << "\ncache_types" CACHE_TYPES(NAMED);
    return text.str();
}

}  // namespace

extern "C" const char* abi_layout() {
    static const std::string text = layout();
    return text.c_str();
}
