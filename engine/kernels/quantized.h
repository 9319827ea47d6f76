// How are compressed tokens scored?  The integer kernels of the index: cells, candidates, codes, assignment.
//
// Vectors are int8 rows of `dim` codes, dim a multiple of 16. Integer results are exact and the float steps are single
// operations in a fixed order, so every function gives the same bits on every instruction set.
// DocumentCells and CellTable are in quantized_contract.h.
// Arguments are trusted here. `instruction_set`: empty for the active one (SEROTINE_ISA).
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "base/aligned_buffer.h"
#include "kernels/contract.h"
#include "kernels/quantized_contract.h"

namespace serotine::kernels {

// Lanes of a group; every set of tokens is padded with zeros to whole groups.
inline constexpr std::uint64_t kLaneGroup = 16;
// Largest weight of a lane in flood(): 255 * 2047 * 4096 lanes fit a signed 32-bit sum.
inline constexpr std::uint16_t kMaxLaneWeight = 2'047;

// Float tokens as int8 panels: each quantised by its own scale, max|x| / 127, rounded to nearest even.
class Int8Tokens {
 public:
  // tokens: [num_tokens][dim], finite. Replaces what was there; memory is reused.
  void build(const float* tokens, std::uint64_t num_tokens, std::uint64_t dim);

  [[nodiscard]] std::uint64_t num_tokens() const noexcept { return num_tokens_; }
  [[nodiscard]] std::uint64_t num_lanes() const noexcept { return num_lanes_; }  // a multiple of kLaneGroup
  [[nodiscard]] std::uint64_t dim() const noexcept { return dim_; }
  // What a unit of a lane's codes stands for; 0 for padding. [num_lanes]
  [[nodiscard]] const float* scales() const noexcept { return scales_.data(); }
  [[nodiscard]] std::span<const Int8Panel> panels() const noexcept { return panels_; }

 private:
  std::uint64_t num_tokens_ = 0;
  std::uint64_t num_lanes_ = 0;
  std::uint64_t dim_ = 0;
  std::vector<float> scales_;
  AlignedBuffer<std::int8_t> codes_;
  AlignedBuffer<std::int32_t> corrections_;
  std::vector<Int8Panel> panels_;
};

// Exact dot products: out[row * num_lanes + lane] = rows[row] . tokens[lane].
void int8_dots(const std::int8_t* rows, std::uint64_t num_rows, const Int8Tokens& tokens, std::int32_t* out,
               std::string_view instruction_set = {});

// The same, as bytes for flood(): out[row * stride + lane] = round(dot * multiplier[lane] + addend) clamped to 0..255
// (float multiply, then add, then round to nearest even). Bytes of a row beyond num_lanes are not written.
// multiplier: [num_lanes]. stride >= num_lanes.
void cell_scores(const std::int8_t* rows, std::uint64_t num_rows, const Int8Tokens& tokens, const float* multiplier,
                 float addend, std::uint8_t* out, std::uint64_t stride, std::string_view instruction_set = {});

// Nearest rows: for every lane, if some row's dot is larger than best[lane], best[lane] and nearest[lane] become that
// dot and first_row + row. Equal dots: the lowest row. [num_lanes] each; the caller sets them before the first call.
void nearest_rows(const std::int8_t* rows, std::uint64_t num_rows, std::uint32_t first_row, const Int8Tokens& tokens,
                  std::int32_t* best, std::uint32_t* nearest, std::string_view instruction_set = {});

// MaxSim over cells instead of tokens: scores[i] = sum over lanes of weight * max over the tokens of document i of
// the byte of the token's cell. Cell ids must be below the number of rows (or of row_of_cell).
void flood(const CellTable& table, std::uint32_t cell_width, std::span<const DocumentCells> documents,
           std::int32_t* scores, std::string_view instruction_set = {});

// How the tokens of a segment are stored. Row `cell` of centroids, plus row `norm` of residuals at the token's codes,
// saturated to int8, is the token's direction, of any length.
struct CodeFormat {
  std::uint32_t nbits;           // 1, 2, 4; or 8: the codes are the int8 vector itself, no cell, no norm
  std::uint64_t dim;             // multiple of 16
  std::uint32_t cell_width;      // of DocumentCells
  bool has_gains;                // tokens are not all of length 1: each has a gain, see gain_of
  const std::int8_t* centroids;  // [num_cells][dim]
  const std::int8_t* residuals;  // [256][2^nbits]: residual norm byte -> level of each code. Unused if nbits == 8

  // Bytes of one token's codes.
  [[nodiscard]] std::uint64_t code_bytes() const noexcept { return dim * nbits / 8; }
  // Bytes of one token in a document's block: gain, norm, codes.
  [[nodiscard]] std::uint64_t token_bytes() const noexcept {
    return (has_gains ? 2U : 0U) + (nbits < 8 ? 1U : 0U) + code_bytes();
  }
};

// One document: its cells, and its block of num_tokens * token_bytes(): all gains (uint16 little-endian), all norm
// bytes, all codes (code_bytes() per token).
//
// Codes of a token are cut into runs of at most 128 dimensions. A run of `width` dimensions takes width * nbits / 8
// bytes, and bits [i * nbits, (i + 1) * nbits) of its byte b are the code of dimension b + i * width * nbits / 8: so a
// shift and a mask of the whole run give codes that lie side by side.
struct CodedDocument {
  const std::uint8_t* cells;
  const std::uint8_t* block;
  std::uint32_t num_tokens;  // >= 1
};

// A gain is a positive float in 16 bits: 6 bits of exponent, 10 of mantissa (2^-32 .. 2^32, steps of 0.1 %);
// 0 stands for 0.
[[nodiscard]] float gain_of(std::uint16_t bits) noexcept;
[[nodiscard]] std::uint16_t gain_bits(float gain) noexcept;  // nearest; clamped to the range

// Packs the codes (one byte each, [dim]) of a token; the inverse is what decode() does.
void pack_codes(const std::uint8_t* codes, std::uint64_t dim, std::uint32_t nbits, std::uint8_t* packed) noexcept;

// The tokens [first, first + count) of a document as int8 rows, and for each what turns an exact dot product with its
// row into one with the stored vector: gain / |row| (0 for a row of zeros). vectors: [count][dim]; scales: [count].
void decode(const CodeFormat& format, const CodedDocument& document, std::uint32_t first, std::uint32_t count,
            std::int8_t* vectors, float* scales, std::string_view instruction_set = {});

// Working memory of rescore(), kept between calls.
class RescoreScratch {
 public:
  AlignedBuffer<std::int8_t> vectors;
  AlignedBuffer<float> scales;
  AlignedBuffer<float> best;
};

// MaxSim over the stored vectors: scores[i] = sum over lanes, in order, of multiplier[lane] * max over the tokens of
// document i of float(dot) * scale. multiplier: [num_lanes], the lane's scale times its weight, 0 for padding.
void rescore(const CodeFormat& format, std::span<const CodedDocument> documents, const Int8Tokens& query,
             const float* multiplier, RescoreScratch& scratch, float* scores, std::string_view instruction_set = {});

}  // namespace serotine::kernels
