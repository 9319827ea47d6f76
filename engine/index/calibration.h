// What are the settings of the search measured with?  Spans of tokens of documents that are in the index.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "index/originals.h"
#include "search/calibrate.h"

namespace serotine::index {

// Up to num_queries spans of 16 to 32 consecutive tokens, from documents spread evenly over `documents`. Shorter
// documents give all of their tokens. view: where the documents are found.
[[nodiscard]] std::vector<search::PseudoQuery> pseudo_queries(std::span<const OriginalDocuments> documents,
                                                              const search::View& view, std::uint64_t num_queries);

// The same from what is stored, decoded where there are no float16 vectors.
[[nodiscard]] std::vector<search::PseudoQuery> stored_pseudo_queries(const search::View& view,
                                                                     std::uint64_t num_queries);

}  // namespace serotine::index
