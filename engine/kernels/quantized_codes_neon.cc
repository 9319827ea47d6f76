// How are cells and codes of documents read with NEON?  16 bytes at a time.
//
// Nothing shared is inlined here (see contract.h): helpers are in the anonymous namespace, headers bring intrinsics and
// plain structs only.
#include <arm_neon.h>

#include <cstdint>

#include "kernels/quantized_contract.h"

namespace serotine::kernels {
namespace {

[[nodiscard]] inline std::uint64_t cell_at(const std::uint8_t* cells, std::uint64_t token, std::uint32_t width) {
  const std::uint8_t* id = cells + token * width;
  std::uint64_t cell = id[0];
  cell |= width > 1 ? std::uint64_t{id[1]} << 8 : 0;
  return cell | (width > 2 ? std::uint64_t{id[2]} << 16 : 0);
}

[[nodiscard]] inline std::int32_t weighted(uint8x16_t best, const std::uint16_t* weights) {
  const uint16x8_t low = vmovl_u8(vget_low_u8(best));
  const uint16x8_t high = vmovl_high_u8(best);
  uint32x4_t sum = vmull_u16(vget_low_u16(low), vld1_u16(weights));
  sum = vmlal_u16(sum, vget_high_u16(low), vld1_u16(weights + 4));
  sum = vmlal_u16(sum, vget_low_u16(high), vld1_u16(weights + 8));
  sum = vmlal_u16(sum, vget_high_u16(high), vld1_u16(weights + 12));
  return static_cast<std::int32_t>(vaddvq_u32(sum));
}

// One document against 16 * kVectors lanes.
template <int kVectors, std::uint32_t kWidth, bool kIndirect>
inline std::int32_t flood_lanes(const CellTable& table, const DocumentCells& document, std::uint64_t first) {
  uint8x16_t best[kVectors];
  for (int v = 0; v < kVectors; ++v) {
    best[v] = vdupq_n_u8(0);
  }
  for (std::uint64_t token = 0; token < document.num_tokens; ++token) {
    const std::uint64_t cell = cell_at(document.cells, token, kWidth);
    const std::uint8_t* row = table.rows + (kIndirect ? table.row_of_cell[cell] : cell) * table.stride + first;
    for (int v = 0; v < kVectors; ++v) {
      best[v] = vmaxq_u8(best[v], vld1q_u8(row + 16 * v));
    }
  }
  std::int32_t score = 0;
  for (int v = 0; v < kVectors; ++v) {
    score += weighted(best[v], table.weights + first + 16 * v);
  }
  return score;
}

template <std::uint32_t kWidth, bool kIndirect>
void flood_documents(const CellTable& table, const DocumentCells* documents, std::uint64_t num_documents,
                     std::int32_t* scores) {
  for (std::uint64_t i = 0; i < num_documents; ++i) {
    std::int32_t score = 0;
    std::uint64_t lane = 0;
    for (; lane + 128 <= table.num_lanes; lane += 128) {
      score += flood_lanes<8, kWidth, kIndirect>(table, documents[i], lane);
    }
    for (; lane + 32 <= table.num_lanes; lane += 32) {
      score += flood_lanes<2, kWidth, kIndirect>(table, documents[i], lane);
    }
    if (lane < table.num_lanes) {
      score += flood_lanes<1, kWidth, kIndirect>(table, documents[i], lane);
    }
    scores[i] = score;
  }
}

void flood(const CellTable& table, std::uint32_t cell_width, const DocumentCells* documents,
           std::uint64_t num_documents, std::int32_t* scores) noexcept {
  const bool indirect = table.row_of_cell != nullptr;
  const auto of = cell_width == 1   ? (indirect ? flood_documents<1, true> : flood_documents<1, false>)
                  : cell_width == 2 ? (indirect ? flood_documents<2, true> : flood_documents<2, false>)
                                    : (indirect ? flood_documents<3, true> : flood_documents<3, false>);
  of(table, documents, num_documents, scores);
}

// What becomes of decoded bytes: stored with the bias, and their squares summed.
struct Row {
  std::int8_t* target;
  uint8x16_t bias;
  int32x4_t squares;

  void put(std::uint64_t k, int8x16_t value) {
    vst1q_s8(target + k, vreinterpretq_s8_u8(veorq_u8(vreinterpretq_u8_s8(value), bias)));
    squares = vdotq_s32(squares, value, value);
  }
};

// The codes of a run, one in each byte: a plane for each shift, each over the tail of the one before.
template <int kBits>
inline void spread_codes(const std::uint8_t* run, std::uint64_t per_plane, std::uint8_t* codes) {
  std::uint8_t padded[64] = {};
  __builtin_memcpy(padded, run, per_plane);
  for (int plane = 0; plane < 8 / kBits; ++plane) {
    for (std::uint64_t byte = 0; byte < per_plane; byte += 16) {
      const uint8x16_t shifted =
          vshlq_u8(vld1q_u8(padded + byte), vdupq_n_s8(static_cast<std::int8_t>(-plane * kBits)));
      vst1q_u8(codes + static_cast<std::uint64_t>(plane) * per_plane + byte,
               vandq_u8(shifted, vdupq_n_u8((1 << kBits) - 1)));
    }
  }
}

template <int kBits>
inline void decode_token(const CodedTokens& tokens, std::uint64_t token, Row& row) {
  const std::uint8_t* run = tokens.codes + token * (tokens.dim * kBits / 8);
  const std::int8_t* centroid = tokens.centroids + cell_at(tokens.cells, token, tokens.cell_width) * tokens.dim;
  std::int8_t levels[16] = {};
  __builtin_memcpy(levels, tokens.residuals + (std::uint64_t{tokens.norms[token]} << kBits), 1U << kBits);
  const int8x16_t table = vld1q_s8(levels);
  for (std::uint64_t k = 0; k < tokens.dim; k += kRunDims) {
    const std::uint64_t width = tokens.dim - k < kRunDims ? tokens.dim - k : kRunDims;
    std::uint8_t codes[kRunDims + 16];
    spread_codes<kBits>(run, width * kBits / 8, codes);
    run += width * kBits / 8;
    for (std::uint64_t i = 0; i < width; i += 16) {
      row.put(k + i, vqaddq_s8(vld1q_s8(centroid + k + i), vqtbl1q_s8(table, vld1q_u8(codes + i))));
    }
  }
}

template <>
inline void decode_token<8>(const CodedTokens& tokens, std::uint64_t token, Row& row) {
  for (std::uint64_t k = 0; k < tokens.dim; k += 16) {
    row.put(k, vreinterpretq_s8_u8(vld1q_u8(tokens.codes + token * tokens.dim + k)));
  }
}

[[nodiscard]] inline float gain_at(const std::uint8_t* gains, std::uint64_t token) {
  if (gains == nullptr) {
    return 1.0F;
  }
  const std::uint32_t bits = gains[2 * token] | std::uint32_t{gains[2 * token + 1]} << 8;
  return bits == 0 ? 0.0F : __builtin_bit_cast(float, (bits << 13) + (95U << 23));
}

template <int kBits>
void decode_bits(const CodedTokens& tokens, std::uint8_t bias, std::int8_t* vectors, float* scales) {
  for (std::uint64_t token = 0; token < tokens.count; ++token) {
    Row row{vectors + token * tokens.dim, vdupq_n_u8(bias), vdupq_n_s32(0)};
    decode_token<kBits>(tokens, token, row);
    const std::int32_t squares = vaddvq_s32(row.squares);
    scales[token] = squares == 0 ? 0.0F : gain_at(tokens.gains, token) / __builtin_sqrtf(static_cast<float>(squares));
  }
}

void decode(const CodedTokens& tokens, std::uint8_t bias, std::int8_t* vectors, float* scales) noexcept {
  const auto of = tokens.nbits == 1   ? decode_bits<1>
                  : tokens.nbits == 2 ? decode_bits<2>
                  : tokens.nbits == 4 ? decode_bits<4>
                                      : decode_bits<8>;
  of(tokens, bias, vectors, scales);
}

}  // namespace

const CodeKernels kNeonCodes{flood, decode};

}  // namespace serotine::kernels
