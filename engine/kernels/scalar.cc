// How are the kernels computed on any machine?  Plainly: this file is what the other instruction sets must equal.
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

#include "kernels/contract.h"
#include "kernels/dispatch.h"

namespace serotine::kernels {
namespace {

[[nodiscard]] float larger_or_nan(float best, float similarity) noexcept {
  if (std::isnan(similarity) || std::isnan(best)) {
    return std::numeric_limits<float>::quiet_NaN();
  }
  return similarity > best ? similarity : best;
}

// Lanes are the inner loop, a group at a time, so that a compiler can keep them in vector registers where the baseline
// of the platform has a fused multiply-add (AArch64). On baseline x86-64 std::fma is a call, some 1.5 ns each.
void fold_float(const FloatTiles& input, const FloatPanel& panel, float* best, std::uint64_t best_stride) noexcept {
  const std::uint64_t lanes = std::uint64_t{panel.groups} * kGroupLanes;
  std::uint64_t segment = 0;
  for (std::uint64_t row = 0; row < input.num_tiles * kTileRows; ++row) {
    segment += row == input.segment_ends[segment] ? 1 : 0;
    const float* token = input.tiles[row / kTileRows] + (row % kTileRows) * input.dim;
    for (std::uint64_t group = 0; group < lanes; group += kGroupLanes) {
      float similarity[kGroupLanes] = {};
      for (std::uint64_t k = 0; k < input.dim; ++k) {
        for (std::uint32_t lane = 0; lane < kGroupLanes; ++lane) {
          similarity[lane] = std::fma(token[k], panel.values[k * lanes + group + lane], similarity[lane]);
        }
      }
      float* group_best = best + segment * best_stride + group;
      for (std::uint32_t lane = 0; lane < kGroupLanes; ++lane) {
        group_best[lane] = larger_or_nan(group_best[lane], similarity[lane]);
      }
    }
  }
}

void fold_int8(const Int8Tiles& input, const Int8Panel& panel, float* best, std::uint64_t best_stride) noexcept {
  const std::uint64_t lanes = std::uint64_t{panel.groups} * kGroupLanes;
  const std::uint64_t stride = input.num_quads * 4;
  std::uint64_t segment = 0;
  for (std::uint64_t row = 0; row < input.num_tiles * kTileRows; ++row) {
    segment += row == input.segment_ends[segment] ? 1 : 0;
    const std::int8_t* token = input.tiles[row / kTileRows] + (row % kTileRows) * stride;
    for (std::uint64_t group = 0; group < lanes; group += kGroupLanes) {
      std::int32_t dot[kGroupLanes] = {};
      for (std::uint64_t k = 0; k < stride; ++k) {
        const std::int8_t* codes = panel.codes + ((k / 4) * lanes + group) * 4 + k % 4;
        for (std::uint32_t lane = 0; lane < kGroupLanes; ++lane) {
          dot[lane] += std::int32_t{token[k]} * codes[lane * 4];
        }
      }
      float* group_best = best + segment * best_stride + group;
      for (std::uint32_t lane = 0; lane < kGroupLanes; ++lane) {
        group_best[lane] = larger_or_nan(group_best[lane], static_cast<float>(dot[lane]) * input.scales[row]);
      }
    }
  }
}

float half_to_float(std::uint16_t half) noexcept {
  const std::uint32_t sign = (std::uint32_t{half} & 0x8000U) << 16;
  const std::uint32_t exponent = (half >> 10) & 0x1FU;
  const std::uint32_t fraction = half & 0x3FFU;
  if (exponent == 0) {  // zero and subnormals: fraction * 2^-24, exact in float32
    const float magnitude = static_cast<float>(fraction) * 0x1p-24F;
    return std::bit_cast<float>(std::bit_cast<std::uint32_t>(magnitude) | sign);
  }
  if (exponent == 0x1F) {  // infinity and NaN
    return std::bit_cast<float>(sign | 0x7F80'0000U | (fraction << 13));
  }
  return std::bit_cast<float>(sign | ((exponent + 112) << 23) | (fraction << 13));
}

void widen_float16(const std::uint16_t* source, float* target, std::uint64_t count) noexcept {
  for (std::uint64_t i = 0; i < count; ++i) {
    target[i] = half_to_float(source[i]);
  }
}

void widen_bfloat16(const std::uint16_t* source, float* target, std::uint64_t count) noexcept {
  for (std::uint64_t i = 0; i < count; ++i) {
    target[i] = std::bit_cast<float>(std::uint32_t{source[i]} << 16);
  }
}

}  // namespace

const KernelTable kScalarKernels{"scalar", 1, fold_float, fold_int8, widen_float16, widen_bfloat16};

}  // namespace serotine::kernels
