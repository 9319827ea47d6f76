// Which stored tokens are nearest to each query token?  For rankings by retrieved tokens (XTR), not by MaxSim.
//
// The cells nearest to each query token are looked into until they hold several times as many tokens as are wanted;
// every token in a cell that some query token chose is decoded once and compared with all of them. What has no codes,
// or no postings, is compared as a whole. Similarities are those that rescoring gives (rescore.h).
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "search/search.h"

namespace serotine::search {

struct NearestOptions {
  std::uint64_t k = 100;  // tokens for each query token, at least 1
  // Cells are looked into until they hold so many times k postings, and 1,024 at least: tokens are nearest by their
  // codes, not their cells.
  std::uint64_t oversampling = 4;
  bool exhaustive = false;  // look into all cells: the reference
  std::uint64_t num_threads = 1;
  std::string_view instruction_set;  // empty: the active one
};

// For each query token its nearest tokens, best first, each as a hit of its document with the dot product as score; a
// document can be hit several times. Equal scores: the older document first. As many as k or, if there are fewer, all
// eligible tokens; none for a query token of length 0. filter: null for all. The query's weights play no part.
[[nodiscard]] std::vector<std::vector<Hit>> nearest_tokens(const View& view, const Query& query, const Filter* filter,
                                                           const NearestOptions& options);

// Many queries: threads take queries in turn. filters: empty for none, one for all queries, or one per query.
[[nodiscard]] std::vector<std::vector<std::vector<Hit>>> nearest_tokens_batch(const View& view,
                                                                              std::span<const Query> queries,
                                                                              std::span<const Filter> filters,
                                                                              const NearestOptions& options);

}  // namespace serotine::search
