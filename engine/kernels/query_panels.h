// How do queries become the panels that the kernels read?  Transposed, 16 tokens to a group, zero-padded once.
//
// The tokens of all queries stand side by side without gaps: query q owns the lanes [bounds[q], bounds[q + 1]).
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/aligned_buffer.h"
#include "kernels/contract.h"
#include "kernels/maxsim.h"

namespace serotine::kernels {

// Panels of the queries [first, last), for float documents. Reused: build() replaces the content.
class FloatQueryPanels {
 public:
  using Panel = FloatPanel;

  void build(const PackedTokens& queries, std::uint64_t first, std::uint64_t last, const float* weights,
             const KernelTable& kernels);

  [[nodiscard]] std::span<const FloatPanel> panels() const noexcept { return panels_; }
  // Lanes of all panels together: the width of a row of maxima.
  [[nodiscard]] std::uint64_t num_lanes() const noexcept { return num_lanes_; }
  // Score of one query given the maxima of all lanes. `query` counts from the first of the panels.
  [[nodiscard]] float fold(const float* best, std::uint64_t query) const noexcept;
  [[nodiscard]] std::uint64_t num_queries() const noexcept { return bounds_.size() - 1; }

 private:
  std::vector<std::uint64_t> bounds_;
  std::vector<FloatPanel> panels_;
  AlignedBuffer<float> values_;
  const float* multipliers_ = nullptr;
  std::uint64_t num_lanes_ = 0;
};

// Writes the int8 codes of a vector, rounded to nearest even, and returns their scale, max|x| / 127. A vector that is
// not finite has no such form: codes 0, scale NaN.
float quantize_row(std::span<const float> vector, std::int8_t* codes) noexcept;

// Four codes of one query token.
struct Quad {
  std::int8_t codes[4];
};

// The same for int8 documents: each query token is quantised, scale = max|x| / 127, codes rounded to nearest even.
// A token with a NaN or an infinity has no such form: its scale, and so every score of its query, is NaN.
class Int8QueryPanels {
 public:
  using Panel = Int8Panel;

  void build(const PackedTokens& queries, std::uint64_t first, std::uint64_t last, const float* weights,
             const KernelTable& kernels);

  [[nodiscard]] std::span<const Int8Panel> panels() const noexcept { return panels_; }
  [[nodiscard]] std::uint64_t num_lanes() const noexcept { return num_lanes_; }
  [[nodiscard]] float fold(const float* best, std::uint64_t query) const noexcept;
  [[nodiscard]] std::uint64_t num_queries() const noexcept { return bounds_.size() - 1; }

 private:
  std::vector<std::uint64_t> bounds_;
  std::vector<Int8Panel> panels_;
  AlignedBuffer<Quad> codes_;
  AlignedBuffer<std::int32_t> corrections_;
  std::vector<float> multipliers_;  // scale * weight of each token
  std::uint64_t num_lanes_ = 0;
};

}  // namespace serotine::kernels
