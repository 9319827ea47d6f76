// Which cell does a vector belong to?  Supers first, then the children of the few best.
//
// Cells lie in the lanes of the kernel and tokens are its rows, so that nothing has to be prepared for a token but its
// int8 codes. Where there are too few tokens to pay for preparing all children, the roles are exchanged for these.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/aligned_buffer.h"
#include "kernels/quantized.h"

namespace serotine::codec {

// The cells of a codebook, wherever they lie.
struct CellTree {
  std::uint64_t dim = 0;                       // padded
  const std::int8_t* supers = nullptr;         // [num_supers][dim]
  std::span<const std::uint32_t> super_begin;  // [num_supers + 1]
  const std::int8_t* centroids = nullptr;      // [num_cells][dim]

  [[nodiscard]] std::uint64_t num_supers() const noexcept { return super_begin.size() - 1; }
  [[nodiscard]] std::uint64_t num_cells() const noexcept { return super_begin.back(); }
};

// Supers whose children are looked at. docs/codec.md has what fewer or more are worth.
inline constexpr std::uint64_t kProbedSupers = 4;
inline constexpr std::uint64_t kMaxProbedSupers = 16;

// The cells of a tree as the kernel wants them; shared by the finders of all threads. Refers to the tree's arrays.
class CellPanels {
 public:
  // num_tokens: that will be searched with it. Children are prepared if that pays.
  CellPanels(const CellTree& tree, std::uint64_t num_tokens, std::uint64_t num_threads);

  [[nodiscard]] const CellTree& tree() const noexcept { return tree_; }
  [[nodiscard]] const kernels::Int8Tokens& supers() const noexcept { return supers_; }
  [[nodiscard]] bool has_children() const noexcept { return !children_.empty(); }
  [[nodiscard]] const kernels::Int8Tokens& children(std::uint64_t super) const noexcept { return children_[super]; }

 private:
  CellTree tree_;
  kernels::Int8Tokens supers_;
  std::vector<kernels::Int8Tokens> children_;  // of each super; empty if not prepared
};

// One per thread: it keeps its working memory.
class CellFinder {
 public:
  explicit CellFinder(const CellPanels& panels, std::uint64_t probed = kProbedSupers);

  // cells[i] = the cell whose centroid has the largest dot product with row i, among the children of the best supers.
  // Ties: the lowest. rows: int8 [count][dim], rotated, of any scale. The same cells whether or not children are
  // prepared if the largest code of each row is +-127. Best called with some thousands of rows, which then meet each
  // super's children together.
  void find(const std::int8_t* rows, std::uint64_t count, std::uint32_t* cells);

 private:
  struct Group {
    std::uint32_t super;
    std::span<const std::uint32_t> members;
  };

  void choose_supers(std::uint64_t first, std::uint64_t count);
  void group_by_super(std::uint64_t count);
  void search_prepared(const Group& group, std::uint32_t* cells);
  void search_unprepared(const std::int8_t* rows, const Group& group, std::uint32_t* cells);
  void offer(std::uint32_t row, std::int32_t dot, std::uint32_t cell, std::uint32_t* cells);

  const CellPanels& panels_;
  const CellTree& tree_;
  std::uint64_t probed_;
  std::uint64_t wide_;                    // bytes of a row as the kernel wants it
  AlignedBuffer<std::int8_t> wide_rows_;  // [count][wide]
  AlignedBuffer<std::int8_t> gathered_;   // some of them
  AlignedBuffer<std::int32_t> dots_;
  std::vector<float> floats_;
  kernels::Int8Tokens panel_;
  std::vector<std::int32_t> best_;
  std::vector<std::uint32_t> nearest_;
  std::vector<std::uint32_t> probes_;       // [count][probed]: supers of each row
  std::vector<std::uint32_t> group_begin_;  // [num_supers + 1]
  std::vector<std::uint32_t> members_;      // rows, by super
  std::vector<std::int32_t> best_dot_;      // [count]
};

// The `count` largest of values[0 .. num_values), largest first; ties: the lowest place first. count <= num_values.
// What was taken is overwritten.
void take_largest(std::int32_t* values, std::uint64_t num_values, std::uint64_t count, std::uint32_t* places,
                  std::int32_t* largest);

}  // namespace serotine::codec
