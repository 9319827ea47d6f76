// Which cells are nearest to each query token?  Exactly the best few of the scored ones, found without a full sort.
#pragma once

#include <cstdint>
#include <vector>

#include "base/aligned_buffer.h"
#include "search/cells.h"

namespace serotine::search {

// What one cell adds to a document that has a token in it, beyond what the lane's first unprobed cell would.
struct ProbedCell {
  std::uint32_t cell;
  std::uint32_t gain;
};

class Probes {
 public:
  void clear();
  // The best `cells` cells of each lane of a table, best first; equal bytes: the lower row.
  void add(const CellScores& scores, std::uint64_t cells);

  [[nodiscard]] std::uint64_t num_lanes() const noexcept { return ends_.size(); }
  [[nodiscard]] std::uint64_t num_cells() const noexcept { return cells_.size(); }
  [[nodiscard]] std::span<const ProbedCell> lane(std::uint64_t number) const noexcept {
    const std::uint64_t begin = number == 0 ? 0 : ends_[number - 1];
    return {cells_.data() + begin, ends_[number] - begin};
  }

 private:
  void find_maxima(const CellScores& scores);
  void collect(const CellScores& scores, std::uint64_t lane, std::uint64_t wanted);

  std::vector<ProbedCell> cells_;
  std::vector<std::uint64_t> ends_;
  AlignedBuffer<std::uint8_t> maxima_;  // [num_blocks][stride]
  std::uint64_t num_blocks_ = 0;
  std::vector<std::uint32_t> found_;  // (255 - byte) << 24 | row - first_row: ascending order is best first
};

}  // namespace serotine::search
