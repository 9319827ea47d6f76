#include "base/half.h"

#include <bit>

namespace serotine {
namespace {

constexpr std::uint32_t kFloatInfinity = 0x7F80'0000;
constexpr std::int32_t kExponentShift = 112 << 23;     // float32's bias less float16's, in place
constexpr std::uint32_t kFirstInfinite = 0x4780'0000;  // 65,536: the first power of two that float16 lacks
constexpr std::uint32_t kFirstNormal = 0x3880'0000;    // 2^-14

// Both outcomes are computed and one selected, so that a loop over it becomes vector code.
inline float widen(std::uint16_t half) noexcept {
  // Signed throughout: baseline x86-64 has no comparison of unsigned vectors.
  const std::int32_t magnitude = half & 0x7FFF;
  const auto sign = static_cast<std::int32_t>((half & 0x8000U) << 16);
  const std::int32_t infinite = -static_cast<std::int32_t>(magnitude >= 0x7C00);
  const std::int32_t subnormal = -static_cast<std::int32_t>(magnitude < 0x0400);
  const std::int32_t normal_bits = (magnitude << 13) + kExponentShift + (infinite & kExponentShift);
  const auto subnormal_bits = std::bit_cast<std::int32_t>(static_cast<float>(magnitude) * 0x1p-24F);
  return std::bit_cast<float>((subnormal & subnormal_bits) | (~subnormal & normal_bits) | sign);
}

inline std::uint16_t narrow(float value) noexcept {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  const std::uint32_t sign = (bits >> 16) & 0x8000U;
  const std::uint32_t magnitude = bits & 0x7FFF'FFFFU;
  std::uint32_t half = 0;
  if (magnitude > kFloatInfinity) {
    half = 0x7E00U | ((magnitude >> 13) & 0x01FFU);
  } else if (magnitude >= kFirstInfinite) {
    half = 0x7C00U;
  } else if (magnitude < kFirstNormal) {
    // The step of floats at 1/2 is float16's smallest: the addition rounds as float16 would.
    half = std::bit_cast<std::uint32_t>(std::bit_cast<float>(magnitude) + 0.5F) - 0x3F00'0000U;
  } else {
    half = (magnitude - static_cast<std::uint32_t>(kExponentShift) + 0x0FFFU + ((magnitude >> 13) & 1U)) >> 13;
  }
  return static_cast<std::uint16_t>(half | sign);
}

}  // namespace

float half_to_float(std::uint16_t half) noexcept { return widen(half); }

std::uint16_t float_to_half(float value) noexcept { return narrow(value); }

void halves_to_floats(const std::uint16_t* halves, std::uint64_t count, float* floats) noexcept {
  for (std::uint64_t i = 0; i < count; ++i) {
    floats[i] = widen(halves[i]);
  }
}

void floats_to_halves(const float* floats, std::uint64_t count, std::uint16_t* halves) noexcept {
  for (std::uint64_t i = 0; i < count; ++i) {
    halves[i] = narrow(floats[i]);
  }
}

}  // namespace serotine
