// What is a float16?  Exact widening of IEEE half bits, and rounding back; no hardware needed.
//
// Hot loops over large arrays have vectorised kernels (kernels/contract.h); these run on any machine and at any place.
#pragma once

#include <cstdint>

namespace serotine {

// Exact, subnormals, infinities and NaN included.
[[nodiscard]] float half_to_float(std::uint16_t half) noexcept;

// Nearest half, ties to even; beyond 65,504 + half a step: infinity. A NaN stays a quiet NaN.
[[nodiscard]] std::uint16_t float_to_half(float value) noexcept;

// The same for `count` values.
void halves_to_floats(const std::uint16_t* halves, std::uint64_t count, float* floats) noexcept;
void floats_to_halves(const float* floats, std::uint64_t count, std::uint16_t* halves) noexcept;

}  // namespace serotine
