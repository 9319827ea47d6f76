// How are compressed tokens scored on any machine?  Plainly: this file is what the other instruction sets must equal.
#include <bit>
#include <cmath>
#include <cstdint>

#include "kernels/quantized_contract.h"

namespace serotine::kernels {
namespace {

// Dot products of one row with every lane of a group, lanes in the inner loop so that a compiler can vectorise it.
void multiply_row(const std::int8_t* row, std::uint64_t dim, const Int8Panel& panel, std::uint32_t group,
                  std::int32_t (&dot)[kGroupLanes]) {
  const std::uint64_t lanes = std::uint64_t{panel.groups} * kGroupLanes;
  for (std::uint32_t lane = 0; lane < kGroupLanes; ++lane) {
    dot[lane] = 0;
  }
  for (std::uint64_t k = 0; k < dim; ++k) {
    const std::int8_t* codes = panel.codes + (k / 4 * lanes + std::uint64_t{group} * kGroupLanes) * 4 + k % 4;
    for (std::uint32_t lane = 0; lane < kGroupLanes; ++lane) {
      dot[lane] += std::int32_t{row[k]} * codes[lane * 4];
    }
  }
}

// Calls use(row, first lane, dots of 16 lanes) for every row and group.
template <typename Use>
void for_each_group(const RowBlock& block, const Use& use) {
  for (std::uint64_t row = 0; row < block.num_rows; ++row) {
    std::uint64_t first_lane = 0;
    for (std::uint64_t i = 0; i < block.num_panels; ++i) {
      for (std::uint32_t group = 0; group < block.panels[i].groups; ++group, first_lane += kGroupLanes) {
        std::int32_t dot[kGroupLanes];
        multiply_row(block.rows + row * block.dim, block.dim, block.panels[i], group, dot);
        use(row, first_lane, dot);
      }
    }
  }
}

void dots(const RowBlock& block, std::int32_t* out, std::uint64_t stride) noexcept {
  for_each_group(block, [&](std::uint64_t row, std::uint64_t first_lane, const std::int32_t (&dot)[kGroupLanes]) {
    for (std::uint32_t lane = 0; lane < kGroupLanes; ++lane) {
      out[row * stride + first_lane + lane] = dot[lane];
    }
  });
}

// Clamped before it is rounded, which is the same and cannot overflow. Adding 1.5 * 2^23 leaves no bits for a
// fraction: the nearest integer, ties to even.
[[nodiscard]] std::uint8_t to_byte(float value) {
  constexpr float kShift = 0x1.8p23F;
  const float clamped = value > 0.0F ? (value < 255.0F ? value : 255.0F) : 0.0F;
  return static_cast<std::uint8_t>((clamped + kShift) - kShift);
}

void cell_scores(const RowBlock& block, const ByteScores& scores) noexcept {
  for_each_group(block, [&](std::uint64_t row, std::uint64_t first_lane, const std::int32_t (&dot)[kGroupLanes]) {
    for (std::uint32_t lane = 0; lane < kGroupLanes; ++lane) {
      const float score = static_cast<float>(dot[lane]) * scores.multiplier[first_lane + lane] + scores.addend;
      scores.out[row * scores.stride + first_lane + lane] = to_byte(score);
    }
  });
}

void nearest(const RowBlock& block, std::uint32_t first_row, std::int32_t* best, std::uint32_t* nearest) noexcept {
  for_each_group(block, [&](std::uint64_t row, std::uint64_t first_lane, const std::int32_t (&dot)[kGroupLanes]) {
    for (std::uint32_t lane = 0; lane < kGroupLanes; ++lane) {
      if (dot[lane] > best[first_lane + lane]) {
        best[first_lane + lane] = dot[lane];
        nearest[first_lane + lane] = first_row + static_cast<std::uint32_t>(row);
      }
    }
  });
}

[[nodiscard]] std::uint32_t cell_at(const std::uint8_t* cells, std::uint64_t token, std::uint32_t cell_width) {
  std::uint32_t cell = 0;
  for (std::uint32_t i = 0; i < cell_width; ++i) {
    cell |= std::uint32_t{cells[token * cell_width + i]} << (8 * i);
  }
  return cell;
}

void flood(const CellTable& table, std::uint32_t cell_width, const DocumentCells* documents,
           std::uint64_t num_documents, std::int32_t* scores) noexcept {
  for (std::uint64_t i = 0; i < num_documents; ++i) {
    scores[i] = 0;
    for (std::uint64_t group = 0; group < table.num_lanes; group += kGroupLanes) {
      std::uint8_t best[kGroupLanes] = {};
      for (std::uint32_t token = 0; token < documents[i].num_tokens; ++token) {
        const std::uint32_t cell = cell_at(documents[i].cells, token, cell_width);
        const std::uint64_t row = table.row_of_cell == nullptr ? cell : table.row_of_cell[cell];
        const std::uint8_t* bytes = table.rows + row * table.stride + group;
        for (std::uint32_t lane = 0; lane < kGroupLanes; ++lane) {
          best[lane] = bytes[lane] > best[lane] ? bytes[lane] : best[lane];
        }
      }
      for (std::uint32_t lane = 0; lane < kGroupLanes; ++lane) {
        scores[i] += std::int32_t{best[lane]} * table.weights[group + lane];
      }
    }
  }
}

[[nodiscard]] std::int8_t saturated(std::int32_t value) {
  return static_cast<std::int8_t>(value > 127 ? 127 : value < -128 ? -128 : value);
}

// The code of dimension `k`: see CodedDocument.
[[nodiscard]] std::uint32_t code_at(const std::uint8_t* codes, std::uint64_t k, std::uint64_t dim,
                                    std::uint32_t nbits) {
  const std::uint64_t run = k / kRunDims * kRunDims;
  const std::uint64_t width = dim - run < kRunDims ? dim - run : kRunDims;
  const std::uint64_t run_bytes = width * nbits / 8;
  const std::uint8_t byte = codes[run * nbits / 8 + (k - run) % run_bytes];
  return (std::uint32_t{byte} >> ((k - run) / run_bytes * nbits)) & ((1U << nbits) - 1U);
}

// 16 bits as a float: 6 of exponent, 10 of mantissa, so the bits of a float32 moved down by 13 and 95 binades.
[[nodiscard]] float gain_at(const std::uint8_t* gains, std::uint64_t token) {
  if (gains == nullptr) {
    return 1.0F;
  }
  const std::uint32_t bits = gains[token * 2] | std::uint32_t{gains[token * 2 + 1]} << 8;
  return bits == 0 ? 0.0F : std::bit_cast<float>((bits << 13) + (95U << 23));
}

void decode(const CodedTokens& tokens, std::uint8_t bias, std::int8_t* vectors, float* scales) noexcept {
  const std::uint64_t code_bytes = tokens.dim * tokens.nbits / 8;
  for (std::uint64_t token = 0; token < tokens.count; ++token) {
    const std::uint8_t* codes = tokens.codes + token * code_bytes;
    const std::int8_t* centroid = nullptr;
    const std::int8_t* levels = nullptr;
    if (tokens.nbits < 8) {
      centroid = tokens.centroids + cell_at(tokens.cells, token, tokens.cell_width) * tokens.dim;
      levels = tokens.residuals + (std::uint64_t{tokens.norms[token]} << tokens.nbits);
    }
    std::int32_t squares = 0;
    for (std::uint64_t k = 0; k < tokens.dim; ++k) {
      const std::int8_t value = tokens.nbits < 8
                                    ? saturated(centroid[k] + levels[code_at(codes, k, tokens.dim, tokens.nbits)])
                                    : static_cast<std::int8_t>(codes[k]);
      squares += std::int32_t{value} * value;
      vectors[token * tokens.dim + k] = static_cast<std::int8_t>(value ^ static_cast<std::int8_t>(bias));
    }
    scales[token] = squares == 0 ? 0.0F : gain_at(tokens.gains, token) / std::sqrt(static_cast<float>(squares));
  }
}

void fold(const DecodedRows& rows, const Int8Panel& panel, float* best, std::uint64_t best_stride) noexcept {
  std::uint64_t segment = 0;
  for (std::uint64_t row = 0; row < rows.num_tiles * kTileRows; ++row) {
    segment += row == rows.segment_ends[segment] ? 1 : 0;
    for (std::uint32_t group = 0; group < panel.groups; ++group) {
      std::int32_t dot[kGroupLanes];
      multiply_row(rows.rows + row * rows.dim, rows.dim, panel, group, dot);
      float* lanes = best + segment * best_stride + std::uint64_t{group} * kGroupLanes;
      for (std::uint32_t lane = 0; lane < kGroupLanes; ++lane) {
        const float similarity = static_cast<float>(dot[lane]) * rows.scales[row];
        lanes[lane] = similarity > lanes[lane] ? similarity : lanes[lane];
      }
    }
  }
}

}  // namespace

const RowKernels kScalarRows{"scalar", 0, dots, cell_scores, nearest, fold};
const CodeKernels kScalarCodes{flood, decode};

}  // namespace serotine::kernels
