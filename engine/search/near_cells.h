// Which cells hold enough tokens near some query token?  For each lane the nearest cells, until they hold `wanted`.
//
// Unlike Probes this takes as many cells as the lane needs, and ranks all of a codebook's cells by exact integers: for
// a search for tokens, which looks into thousands, not for one for documents.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "base/aligned_buffer.h"
#include "codec/codebook.h"
#include "kernels/quantized.h"

namespace serotine::search {

class NearCells {
 public:
  // rotated: [num_lanes][padded_dim], directions. sizes: [num_cells], what each cell holds. wanted: per lane.
  void choose(const codec::Codebook& codebook, const float* rotated, std::uint64_t num_lanes,
              const std::vector<std::uint64_t>& sizes, std::uint64_t wanted, std::string_view instruction_set);

  [[nodiscard]] bool contains(std::uint32_t cell) const noexcept { return chosen_[cell] != 0; }
  [[nodiscard]] const std::vector<std::uint8_t>& flags() const noexcept { return chosen_; }

 private:
  void choose_for_lane(const std::vector<std::uint64_t>& sizes, std::uint64_t wanted);

  std::vector<std::uint8_t> chosen_;  // by some lane
  kernels::Int8Tokens tokens_;
  AlignedBuffer<std::int32_t> dots_;  // [num_cells][tokens_.num_lanes()]
  std::vector<std::uint64_t> keys_;   // of a lane: larger is nearer; the low half is the cell
};

}  // namespace serotine::search
