// Many queries at once: threads take queries in turn, and what few queries leave idle splits the work inside one.
#include <algorithm>

#include "base/parallel.h"
#include "search/search.h"

namespace serotine::search {

std::vector<std::vector<Hit>> search_batch(const View& view, std::span<const Query> queries,
                                           std::span<const Filter> filters, const SearchOptions& options) {
  std::vector<std::vector<Hit>> results(queries.size());
  const std::uint64_t num_threads = std::max<std::uint64_t>(options.num_threads, 1);
  const std::uint64_t num_workers = std::clamp<std::uint64_t>(queries.size(), 1, num_threads);
  SearchOptions each = options;
  each.num_threads = num_threads / num_workers;
  // The calling thread's is kept: a query alone would spend a tenth of its time on new memory.
  thread_local Scratch kept;
  Scratch& own = kept;
  std::vector<Scratch> others(num_workers - 1);
  parallel_for(queries.size(), num_workers, [&](std::uint64_t worker, std::uint64_t number) {
    const Filter* filter = filters.empty() ? nullptr : &filters[filters.size() == 1 ? 0 : number];
    results[number] = search(view, queries[number], filter, each, worker == 0 ? own : others[worker - 1]);
  });
  return results;
}

}  // namespace serotine::search
