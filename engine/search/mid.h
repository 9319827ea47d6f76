// What are candidates worth, judged by the cells of all of their tokens?  MaxSim over the table of cell scores.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "search/candidates.h"
#include "search/cells.h"
#include "search/view.h"

namespace serotine::search {

class MidStage {
 public:
  // Sets the scores of candidates: documents of segments of one codebook, all of them with tokens. To be called with
  // candidates in the order of their places: memory is then read front to back. Returns the number of tokens.
  std::uint64_t score(const View& view, CellScores& scores, bool is_built, const CellOptions& options,
                      std::vector<Candidate>& candidates);

 private:
  std::vector<kernels::DocumentCells> documents_;
  std::vector<std::int32_t> scores_;
};

}  // namespace serotine::search
