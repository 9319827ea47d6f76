// How much work is a query worth?  The calibrated settings, what the caller overrides, and the cheapest way that is no
// less exact.
#pragma once

#include <cstdint>

#include "search/search.h"

namespace serotine::search {

// What one codebook's documents have to offer.
struct Offer {
  std::uint64_t documents = 0;  // eligible
  std::uint64_t tokens = 0;     // theirs
  std::uint64_t all_documents = 0;
  std::uint64_t all_eligible_tokens = 0;  // of every codebook
  std::uint64_t num_cells = 0;
  std::uint64_t num_lanes = 0;
  bool has_gains = false;  // some of the vectors are not of length 1
};

struct Plan {
  enum class Way { kRescoreAll, kFloodAll, kProbe };
  Way way = Way::kProbe;
  std::uint64_t cells = 0;
  std::uint64_t candidates = 0;
  std::uint64_t rescored = 0;
  bool narrowed = true;  // rescore as RescoreStage::score_best does; else all of what is to be rescored in full
};

[[nodiscard]] Plan make_plan(const format::CalibrationPoint& point, const SearchOptions& options, const Offer& offer);

}  // namespace serotine::search
