// How are sizes computed without wrapping?  Arithmetic on uint64_t that throws instead.
#pragma once

#include <cstdint>
#include <string>

#include "base/error.h"

namespace serotine {

[[nodiscard]] inline std::uint64_t checked_add(std::uint64_t a, std::uint64_t b) {
  std::uint64_t sum = 0;
  if (__builtin_add_overflow(a, b, &sum)) {
    throw InvalidInput("size overflows 64 bits: " + std::to_string(a) + " + " + std::to_string(b));
  }
  return sum;
}

[[nodiscard]] inline std::uint64_t checked_multiply(std::uint64_t a, std::uint64_t b) {
  std::uint64_t product = 0;
  if (__builtin_mul_overflow(a, b, &product)) {
    throw InvalidInput("size overflows 64 bits: " + std::to_string(a) + " * " + std::to_string(b));
  }
  return product;
}

// a / b rounded up. b > 0.
[[nodiscard]] constexpr std::uint64_t divide_up(std::uint64_t a, std::uint64_t b) noexcept {
  return a / b + (a % b != 0 ? 1 : 0);
}

}  // namespace serotine
