// What are documents of segments without a codebook worth?  Exact MaxSim over their float16 vectors.
#pragma once

#include <cstdint>
#include <vector>

#include "search/eligible.h"
#include "search/hits.h"

namespace serotine::search {

class ExactStage {
 public:
  // Adds the eligible documents of segment `number` of the view to `best`. Returns the number of documents.
  std::uint64_t score(const View& view, std::uint32_t number, const Eligible& eligible, const Query& query,
                      const SearchOptions& options, BestHits& best);

 private:
  std::vector<std::int64_t> offsets_;
  std::vector<std::int64_t> selection_;
  std::vector<float> scores_;
};

}  // namespace serotine::search
