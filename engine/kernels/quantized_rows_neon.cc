// How are rows multiplied with lanes by the dot products of NEON?  4 rows x 16 lanes in 16 of 32 registers.
//
// vdotq_s32 multiplies signed by signed bytes into 32-bit sums: no bias, nothing saturates. Nothing shared is inlined
// here (see contract.h).
#include <arm_neon.h>

#include <cstdint>

#include "kernels/quantized_contract.h"

namespace serotine::kernels {
namespace {

constexpr std::uint32_t kRows = 4;  // 16 sums, 4 lane registers, 4 rows of 16 codes

// Adds the products of one quad of 4 rows.
template <int kPlace>
inline void add_quad(const int8x16_t (&tokens)[kRows], const std::int8_t* lane_codes, int32x4_t (&sum)[kRows][4]) {
#pragma GCC unroll 4
  for (std::uint32_t part = 0; part < 4; ++part) {
    const int8x16_t lanes = vld1q_s8(lane_codes + 16 * part);
#pragma GCC unroll 4
    for (std::uint32_t row = 0; row < kRows; ++row) {
      sum[row][part] = vdotq_laneq_s32(sum[row][part], lanes, tokens[row], kPlace);
    }
  }
}

// Exact dot products of 4 rows with a group of lanes. 16 codes of a row are one register, of which each quad is
// multiplied by its place.
inline void multiply_rows(const std::int8_t* const (&rows)[kRows], std::uint64_t dim, const Int8Panel& panel,
                          std::uint32_t group, int32x4_t (&sum)[kRows][4]) {
  for (std::uint32_t row = 0; row < kRows; ++row) {
    for (std::uint32_t part = 0; part < 4; ++part) {
      sum[row][part] = vdupq_n_s32(0);
    }
  }
  const std::uint64_t step = std::uint64_t{panel.groups} * kGroupLanes * 4;
  const std::int8_t* lane_codes = panel.codes + std::uint64_t{group} * kGroupLanes * 4;
  for (std::uint64_t k = 0; k < dim; k += 16, lane_codes += 4 * step) {
    const int8x16_t tokens[kRows] = {vld1q_s8(rows[0] + k), vld1q_s8(rows[1] + k), vld1q_s8(rows[2] + k),
                                     vld1q_s8(rows[3] + k)};
    add_quad<0>(tokens, lane_codes, sum);
    add_quad<1>(tokens, lane_codes + step, sum);
    add_quad<2>(tokens, lane_codes + 2 * step, sum);
    add_quad<3>(tokens, lane_codes + 3 * step, sum);
  }
}

// Calls use(first row, rows of it that count, first lane, dots) for every 4 rows and 16 lanes. Beyond the last row
// stands the last again.
template <typename Use>
inline void for_each_part(const RowBlock& block, const Use& use) {
  for (std::uint64_t row = 0; row < block.num_rows; row += kRows) {
    const std::uint64_t left = block.num_rows - row;
    const auto count = static_cast<std::uint32_t>(left < kRows ? left : kRows);
    const std::int8_t* rows[kRows];
    for (std::uint32_t i = 0; i < kRows; ++i) {
      rows[i] = block.rows + (row + (i < count ? i : count - 1)) * block.dim;
    }
    std::uint64_t lane = 0;
    for (std::uint64_t i = 0; i < block.num_panels; ++i) {
      for (std::uint32_t group = 0; group < block.panels[i].groups; ++group, lane += kGroupLanes) {
        int32x4_t dot[kRows][4];
        multiply_rows(rows, block.dim, block.panels[i], group, dot);
        use(row, count, lane, dot);
      }
    }
  }
}

void dots(const RowBlock& block, std::int32_t* out, std::uint64_t stride) noexcept {
  for_each_part(block,
                [&](std::uint64_t first, std::uint32_t count, std::uint64_t lane, const int32x4_t(&dot)[kRows][4]) {
                  for (std::uint32_t row = 0; row < count; ++row) {
                    for (std::uint32_t part = 0; part < 4; ++part) {
                      vst1q_s32(out + (first + row) * stride + lane + 4 * part, dot[row][part]);
                    }
                  }
                });
}

// The conversion rounds to even, and like both narrowings it saturates.
void cell_scores(const RowBlock& block, const ByteScores& scores) noexcept {
  const float32x4_t addend = vdupq_n_f32(scores.addend);
  for_each_part(block,
                [&](std::uint64_t first, std::uint32_t count, std::uint64_t lane, const int32x4_t(&dot)[kRows][4]) {
                  for (std::uint32_t row = 0; row < count; ++row) {
                    uint16x4_t words[4];
                    for (std::uint32_t part = 0; part < 4; ++part) {
                      const float32x4_t multiplier = vld1q_f32(scores.multiplier + lane + 4 * part);
                      const float32x4_t score = vaddq_f32(vmulq_f32(vcvtq_f32_s32(dot[row][part]), multiplier), addend);
                      words[part] = vqmovun_s32(vcvtnq_s32_f32(score));
                    }
                    const uint8x8_t low = vqmovn_u16(vcombine_u16(words[0], words[1]));
                    const uint8x8_t high = vqmovn_u16(vcombine_u16(words[2], words[3]));
                    vst1q_u8(scores.out + (first + row) * scores.stride + lane, vcombine_u8(low, high));
                  }
                });
}

// Rows in order, so that equal dots keep the lowest; repetitions of the last row are never larger than it.
void nearest(const RowBlock& block, std::uint32_t first_row, std::int32_t* best, std::uint32_t* nearest) noexcept {
  for_each_part(block, [&](std::uint64_t first, std::uint32_t, std::uint64_t lane, const int32x4_t(&dot)[kRows][4]) {
    for (std::uint32_t part = 0; part < 4; ++part, lane += 4) {
      int32x4_t largest = vld1q_s32(best + lane);
      uint32x4_t where = vld1q_u32(nearest + lane);
      for (std::uint32_t row = 0; row < kRows; ++row) {
        const uint32x4_t larger = vcgtq_s32(dot[row][part], largest);
        largest = vmaxq_s32(largest, dot[row][part]);
        where = vbslq_u32(larger, vdupq_n_u32(first_row + static_cast<std::uint32_t>(first) + row), where);
      }
      vst1q_s32(best + lane, largest);
      vst1q_u32(nearest + lane, where);
    }
  });
}

// Maxima go from memory to memory a row at a time: 4 loads and stores beside 4 * dim / 4 dot products.
void fold(const DecodedRows& input, const Int8Panel& panel, float* best, std::uint64_t best_stride) noexcept {
  for (std::uint32_t group = 0; group < panel.groups; ++group) {
    float* lanes = best + std::uint64_t{group} * kGroupLanes;
    const std::uint64_t* end = input.segment_ends;
    for (std::uint64_t first = 0; first < input.num_tiles * kTileRows; first += kRows) {
      const std::int8_t* source = input.rows + first * input.dim;
      const std::int8_t* const rows[kRows] = {source, source + input.dim, source + 2 * input.dim,
                                              source + 3 * input.dim};
      int32x4_t dot[kRows][4];
      multiply_rows(rows, input.dim, panel, group, dot);
      for (std::uint32_t row = 0; row < kRows; ++row) {
        if (first + row == *end) {
          lanes += best_stride;
          ++end;
        }
        for (std::uint32_t part = 0; part < 4; ++part) {
          const float32x4_t similarity = vmulq_n_f32(vcvtq_f32_s32(dot[row][part]), input.scales[first + row]);
          vst1q_f32(lanes + 4 * part, vmaxq_f32(vld1q_f32(lanes + 4 * part), similarity));
        }
      }
    }
  }
}

}  // namespace

const RowKernels kNeonRows{"neon", 0, dots, cell_scores, nearest, fold};

}  // namespace serotine::kernels
