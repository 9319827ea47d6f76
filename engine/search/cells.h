// How near is each cell of a codebook to each query token?  A table of bytes: a row per cell, a column per lane.
//
// All lanes share one map from dot products to bytes, so that bytes of different lanes add up (a lane's length is in
// its weight). While there are few cells every one is scored. Beyond that only the children of the super-cells that
// come first for some lane are; other cells share their super-cell's row.
#pragma once

#include <cstdint>
#include <limits>
#include <span>
#include <string_view>
#include <vector>

#include "base/aligned_buffer.h"
#include "codec/codebook.h"
#include "kernels/quantized.h"
#include "search/lanes.h"

namespace serotine::search {

// Lanes that one table holds: longer queries go through several.
inline constexpr std::uint64_t kTableLanes = 256;

// byte = (cosine - low) * step.
struct ByteMap {
  float low = 0;
  float step = 1;
};

struct CellOptions {
  std::uint64_t tree_above = std::numeric_limits<std::uint64_t>::max();  // up to so many cells each is scored
  std::uint64_t supers = 0;  // beyond: expanded for each lane; 0 leaves it to the size of the codebook
  std::uint64_t num_threads = 1;
  std::string_view instruction_set;
};

class CellScores {
 public:
  // Once per query and codebook: what super-cells say decides the byte map and which cells will be scored.
  void begin(const codec::Codebook& codebook, const CodedLanes& lanes, const CellOptions& options);
  // The table of the lanes [block * kTableLanes, ...).
  void build(std::uint64_t block);

  [[nodiscard]] std::uint64_t num_blocks() const noexcept { return (lanes_->count + kTableLanes - 1) / kTableLanes; }
  [[nodiscard]] std::uint64_t num_lanes() const noexcept { return num_lanes_; }  // of the block, padding left out
  [[nodiscard]] std::uint64_t first_lane() const noexcept { return first_lane_; }
  [[nodiscard]] kernels::CellTable table() const noexcept;

  // What a unit of weight times byte stands for in a query's score.
  [[nodiscard]] double score_step() const noexcept { return static_cast<double>(lanes_->weight_step / map_.step); }

  // Rows that are cells: [first_row, num_rows).
  [[nodiscard]] std::uint64_t first_row() const noexcept { return first_row_; }
  [[nodiscard]] std::uint64_t num_rows() const noexcept { return num_rows_; }
  [[nodiscard]] std::uint64_t stride() const noexcept { return stride_; }
  [[nodiscard]] const std::uint8_t* row(std::uint64_t number) const noexcept { return rows_.data() + number * stride_; }
  [[nodiscard]] std::uint32_t cell_of_row(std::uint64_t row) const noexcept {
    return cell_of_row_.empty() ? static_cast<std::uint32_t>(row) : cell_of_row_[row];
  }

 private:
  void choose_map();
  // How many super-cells' children are scored for each lane.
  [[nodiscard]] std::uint64_t num_expanded() const noexcept;
  void expand_supers();
  void score(const std::int8_t* rows, std::uint64_t num_rows, std::uint64_t first_row);

  const codec::Codebook* codebook_ = nullptr;
  const CodedLanes* lanes_ = nullptr;
  CellOptions options_;
  ByteMap map_;
  AlignedBuffer<std::int32_t> super_dots_;  // [num_supers][lanes_->tokens.num_lanes()]
  kernels::Int8Tokens block_tokens_;        // of a block, if there are several
  const kernels::Int8Tokens* tokens_ = nullptr;
  std::vector<float> multiplier_;
  std::vector<std::int32_t> column_;
  std::vector<std::uint8_t> expanded_;
  std::vector<std::uint32_t> row_of_cell_;  // empty: row c is cell c
  std::vector<std::uint32_t> cell_of_row_;
  AlignedBuffer<std::uint8_t> rows_;
  std::uint64_t first_lane_ = 0;
  std::uint64_t num_lanes_ = 0;
  std::uint64_t first_row_ = 0;
  std::uint64_t num_rows_ = 0;
  std::uint64_t stride_ = 0;
};

}  // namespace serotine::search
