// Loops whose index is a constant in each pass.

#pragma once

#include <type_traits>
#include <utility>

namespace {

// Calls function(i) for each i below `count`, as constants.
template <int... I, typename Function>
void for_each_constant(std::integer_sequence<int, I...>, Function function) {
    (function(std::integral_constant<int, I>{}), ...);
}
template <int count, typename Function>
void for_each_constant(Function function) {
    for_each_constant(std::make_integer_sequence<int, count>{}, function);
}

}  // namespace
