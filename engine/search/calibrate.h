// Which settings find what an exhaustive scan finds?  Measured on pseudo-queries when an index is built.
//
// A pseudo-query is a span of consecutive tokens of an indexed document, from its float16 vectors, with that document
// left out of the results: a little pessimistic. The ladder of settings is fixed, cheapest first; each is measured.
#pragma once

#include <cstdint>
#include <vector>

#include "codec/train.h"
#include "search/search.h"

namespace serotine::search {

struct PseudoQuery {
  std::vector<float> tokens;  // [num_tokens][dim]
  std::uint64_t num_tokens = 0;
  std::optional<Hit> source;  // the document to leave out (score unused)
};

// The points of the ladder with their measured recall@10, monotone (a costlier point is never recorded as worse).
// Same result for any num_threads. Cost: one exhaustive scan per pseudo-query and one search per point.
[[nodiscard]] std::vector<format::CalibrationPoint> calibrate(const View& view, const std::vector<PseudoQuery>& queries,
                                                              std::uint64_t num_threads,
                                                              const codec::Progress& progress);

// The point to search with for a recall: the cheapest that reached it (or came nearest), and a margin beyond, for real
// queries are harder than pseudo-queries. A built-in cautious one if there are none.
[[nodiscard]] format::CalibrationPoint point_for(const std::vector<format::CalibrationPoint>& calibration,
                                                 float recall);

}  // namespace serotine::search
