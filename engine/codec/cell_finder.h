// Which cell does a vector belong to?  Supers first, then the children of the few best.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/quantized.h"

namespace serotine::codec {

// The cells of a codebook, wherever they lie.
struct CellTree {
  std::uint64_t dim = 0;                       // padded
  const std::int8_t* supers = nullptr;         // [num_supers][dim]
  std::span<const std::uint32_t> super_begin;  // [num_supers + 1]
  const std::int8_t* centroids = nullptr;      // [num_cells][dim]

  [[nodiscard]] std::uint64_t num_supers() const noexcept { return super_begin.size() - 1; }
};

// Supers whose children are looked at. docs/codec.md has what fewer or more are worth.
inline constexpr std::uint64_t kProbedSupers = 4;

// One per thread: it keeps its working memory.
class CellFinder {
 public:
  explicit CellFinder(const CellTree& tree, std::uint64_t probed = kProbedSupers);

  // cells[i] = the cell whose centroid has the largest dot product with tokens[i], among the children of the best
  // supers. Ties: the lowest. tokens: rotated, [count][dim]. Best called with some thousands of tokens, which then
  // meet each super's children together.
  void find(const float* tokens, std::uint64_t count, std::uint32_t* cells);

 private:
  void choose_supers(const float* tokens, std::uint64_t first, std::uint64_t count);
  void group_by_super(std::uint64_t count);
  void search_children(const float* tokens, std::uint32_t super, std::span<const std::uint32_t> members,
                       std::uint32_t* cells);

  CellTree tree_;
  std::uint64_t probed_;
  kernels::Int8Tokens panel_;
  std::vector<float> gathered_;
  std::vector<std::int32_t> dots_;
  std::vector<std::int32_t> best_;
  std::vector<std::uint32_t> nearest_;
  std::vector<std::uint32_t> probes_;       // [count][probed]: supers of each token
  std::vector<std::uint32_t> group_begin_;  // [num_supers + 1]
  std::vector<std::uint32_t> members_;      // tokens, by super
  std::vector<std::int32_t> best_dot_;      // [count]
};

}  // namespace serotine::codec
