// What does an integer kernel of the index promise?  What quantized_scalar.cc and quantized_rows_*.cc,
// quantized_codes_*.cc fulfil.
//
// All of them give the same bits: integers are exact, float steps are single operations in a fixed order.
// Plain structs and pointers only, for the reason given in contract.h. quantized.h says what the values mean.
#pragma once

#include <cstdint>

#include "kernels/contract.h"

namespace serotine::kernels {

// Which cells the tokens of a document lie in: ids of `cell_width` bytes (1, 2 or 3), little-endian, one per token.
// 3 readable bytes follow the last id of any document.
struct DocumentCells {
  const std::uint8_t* cells;
  std::uint32_t num_tokens;  // >= 1
};

// Scores of cells for one query: row r of `rows` holds a byte for each lane.
struct CellTable {
  const std::uint8_t* rows;
  std::uint64_t stride;              // a multiple of 16, >= num_lanes; the padding is readable
  const std::uint32_t* row_of_cell;  // [num_cells]; null: row c is cell c
  const std::uint16_t* weights;      // [num_lanes], <= kMaxLaneWeight; 0 for padding
  std::uint64_t num_lanes;           // a multiple of kLaneGroup
};

// Dimensions of a run of codes, at most: see CodedDocument.
inline constexpr std::uint64_t kRunDims = 128;

// Rows that a kernel may copy at a time, in the form that its multiplication wants. Several tiles: what was just
// written is slow to read in pieces.
inline constexpr std::uint64_t kStagedRows = 4 * kTileRows;

// Rows against all lanes.
struct RowBlock {
  const std::int8_t* rows;  // [num_rows][dim]
  std::uint64_t num_rows;
  std::uint64_t dim;  // a multiple of 16
  const Int8Panel* panels;
  std::uint64_t num_panels;
  std::int8_t* staging;  // [kStagedRows][dim], on a cache line
};

// How dots become bytes: see cell_scores().
struct ByteScores {
  const float* multiplier;  // [num_lanes]
  float addend;
  std::uint8_t* out;
  std::uint64_t stride;
};

// Some tokens of one document, each array from the first of them on.
struct CodedTokens {
  const std::uint8_t* cells;  // unused if nbits == 8, as norms
  const std::uint8_t* norms;
  const std::uint8_t* gains;  // 2 bytes each, at any address; null: all 1
  const std::uint8_t* codes;
  std::uint64_t count;
  std::uint64_t dim;
  std::uint32_t nbits;
  std::uint32_t cell_width;
  const std::int8_t* centroids;
  const std::int8_t* residuals;
};

// Decoded tokens in whole tiles.
struct DecodedRows {
  const std::int8_t* rows;  // [num_tiles * kTileRows][dim], each byte changed by row_bias
  const float* scales;      // [num_tiles * kTileRows]
  std::uint64_t num_tiles;
  std::uint64_t dim;
  const std::uint64_t* segment_ends;  // as in Int8Tiles
};

// Rows against lanes: quantized_rows_*.cc.
struct RowKernels {
  const char* name;  // as SEROTINE_ISA spells it

  // What the bytes of decoded rows are XORed with for fold(): 0x80 where the multiplication wants d + 128.
  std::uint8_t row_bias;

  void (*dots)(const RowBlock& block, std::int32_t* out, std::uint64_t stride) noexcept;
  void (*cell_scores)(const RowBlock& block, const ByteScores& scores) noexcept;
  void (*nearest)(const RowBlock& block, std::uint32_t first_row, std::int32_t* best, std::uint32_t* nearest) noexcept;
  // best[s * best_stride + l] = max(best[..], max over the rows r of segment s of float(dot(r, l)) * scales[r]).
  void (*fold)(const DecodedRows& rows, const Int8Panel& panel, float* best, std::uint64_t best_stride) noexcept;
};

// Cells and codes of documents: quantized_codes_*.cc.
struct CodeKernels {
  void (*flood)(const CellTable& table, std::uint32_t cell_width, const DocumentCells* documents,
                std::uint64_t num_documents, std::int32_t* scores) noexcept;
  void (*decode)(const CodedTokens& tokens, std::uint8_t bias, std::int8_t* vectors, float* scales) noexcept;
};

extern const RowKernels kScalarRows;
extern const CodeKernels kScalarCodes;
#if defined(__x86_64__)
extern const RowKernels kAvx2Rows;
extern const CodeKernels kAvx2Codes;
extern const RowKernels kAvx512Rows;
extern const CodeKernels kAvx512Codes;
#elif defined(__aarch64__)
extern const RowKernels kNeonRows;
extern const CodeKernels kNeonCodes;
#endif

}  // namespace serotine::kernels
