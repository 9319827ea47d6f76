// How does a float become a whole number in a loop that vector registers can follow?  Without std::nearbyint, which
// baseline x86-64 has no instruction for.
#pragma once

#include <cstdint>

namespace serotine::codec {

// The nearest whole number, ties to even, clamped to +-limit. |value| < 2^31; beyond 2^22 only the clamping is exact.
[[nodiscard]] inline std::int32_t round_clamped(float value, std::int32_t limit) noexcept {
  constexpr float kRounder = 0x1.8p23F;  // its last bit is worth 1
  const auto rounded = static_cast<std::int32_t>((value + kRounder) - kRounder);
  const std::int32_t above = rounded < -limit ? -limit : rounded;
  return above > limit ? limit : above;
}

}  // namespace serotine::codec
