// Which codes stand for a vector, given its cell?  Those whose decoded direction is nearest to it.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/aligned_buffer.h"

namespace serotine::codec {

// What the coder needs of a codebook.
struct CodeTables {
  std::uint64_t dim = 0;  // padded
  std::uint32_t nbits = 4;
  float unit = 0;
  float smallest_norm = 0;
  float norm_ratio = 0;
  const std::int8_t* centroids = nullptr;
  const std::int8_t* residuals = nullptr;
};

// Of the codes of one token.
struct TokenCode {
  std::uint8_t norm = 0;        // unused if nbits == 8
  double squared_residual = 0;  // of the vector against its centroid
};

// Scales tried around the measured norm. What fewer or more bring is in docs/codec.md.
inline constexpr double kScales[] = {0.85, 0.9, 0.95, 1.0, 1.05, 1.1, 1.15};

// One per thread: it keeps its working memory.
class TokenCoder {
 public:
  // scales: of the measured residual norm; each is tried. Others than kScales only to measure what they bring.
  explicit TokenCoder(const CodeTables& tables, std::span<const double> scales = kScales);

  // direction: rotated, of length 1 or 0, [dim]. packed: code_bytes() of the format.
  TokenCode encode(const float* direction, std::uint32_t cell, std::uint8_t* packed);

 private:
  // A row of the residual table as the encoder uses it: the magnitudes of its levels, which are mirrored about 0.
  // Magnitude m + 1 is decoded for residuals beyond borders[m].
  struct Row {
    std::int16_t smallest;    // magnitude
    std::int16_t borders[7];  // between neighbouring magnitudes, in fine steps
    std::int16_t rises[7];    // from each magnitude to the next
  };

  void load(const float* direction, const std::int8_t* centroid) noexcept;
  [[nodiscard]] int nominal_norm(double squared_residual) const noexcept;
  template <int kMagnitudes>
  std::uint8_t search(int nominal) noexcept;
  template <int kMagnitudes>
  [[nodiscard]] double try_row(const Row& row) noexcept;
  [[nodiscard]] double closeness() const noexcept;
  void encode_bytes(const float* direction, std::uint8_t* packed) noexcept;

  CodeTables tables_;
  std::vector<int> offsets_;  // norm bytes of the scales tried, relative to the nominal one
  std::vector<Row> rows_;
  AlignedBuffer<std::int16_t> fine_;  // the vector, in fine steps
  AlignedBuffer<std::int16_t> centroid_;
  AlignedBuffer<std::int16_t> residual_;  // less the centroid
  AlignedBuffer<std::int16_t> decoded_;
  std::vector<std::uint8_t> codes_;
};

}  // namespace serotine::codec
