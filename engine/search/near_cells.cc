#include "search/near_cells.h"

#include <algorithm>
#include <functional>

namespace serotine::search {
namespace {

// Cells put in order first; four times as many each time that they hold too little.
constexpr std::size_t kFirstCells = 64;

// Orders by dot, equal dots by the lower cell.
[[nodiscard]] std::uint64_t key_of(std::int32_t dot, std::uint32_t cell) noexcept {
  return (static_cast<std::uint64_t>(static_cast<std::uint32_t>(dot) ^ 0x8000'0000U) << 32) | (~cell & 0xFFFF'FFFFU);
}

[[nodiscard]] std::uint32_t cell_of(std::uint64_t key) noexcept { return ~static_cast<std::uint32_t>(key); }

}  // namespace

void NearCells::choose(const codec::Codebook& codebook, const float* rotated, std::uint64_t num_lanes,
                       const std::vector<std::uint64_t>& sizes, std::uint64_t wanted,
                       std::string_view instruction_set) {
  const std::uint64_t num_cells = codebook.num_cells();
  const std::uint64_t dim = codebook.padded_dim();
  chosen_.assign(num_cells, 0);
  // A group of lanes at a time: all at once would take 4 bytes for each cell and lane.
  for (std::uint64_t first = 0; first < num_lanes; first += kernels::kLaneGroup) {
    const std::uint64_t count = std::min(kernels::kLaneGroup, num_lanes - first);
    tokens_.build(rotated + first * dim, count, dim);
    const std::uint64_t stride = tokens_.num_lanes();
    dots_.reserve_discarding(checked_multiply(num_cells, stride));
    kernels::int8_dots(codebook.centroids(), num_cells, tokens_, dots_.data(), instruction_set);
    for (std::uint64_t lane = 0; lane < count; ++lane) {
      keys_.resize(num_cells);
      for (std::uint64_t cell = 0; cell < num_cells; ++cell) {
        keys_[cell] = key_of(dots_.data()[cell * stride + lane], static_cast<std::uint32_t>(cell));
      }
      choose_for_lane(sizes, wanted);
    }
  }
}

void NearCells::choose_for_lane(const std::vector<std::uint64_t>& sizes, std::uint64_t wanted) {
  std::uint64_t held = 0;
  std::size_t done = 0;
  for (std::size_t next = kFirstCells; held < wanted && done < keys_.size(); next *= 4) {
    const std::size_t end = std::min(next, keys_.size());
    const auto begin = keys_.begin() + static_cast<std::ptrdiff_t>(done);
    std::partial_sort(begin, keys_.begin() + static_cast<std::ptrdiff_t>(end), keys_.end(), std::greater<>());
    for (; done < end && held < wanted; ++done) {
      const std::uint32_t cell = cell_of(keys_[done]);
      chosen_[cell] = 1;
      held += sizes[cell];
    }
  }
}

}  // namespace serotine::search
