#include "bindings/plaid_search.h"

#include <algorithm>
#include <chrono>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/error.h"
#include "bindings/document_keys.h"
#include "search/nearest_tokens.h"
#include "search/search.h"

namespace serotine::bindings {
namespace {

using search::Filter;
using search::Hit;
using search::Query;

// Signals are looked at between batches: first after so many queries, later about every kBatchTime.
constexpr std::uint64_t kFirstBatch = 16;
constexpr std::uint64_t kLargestBatch = 4096;
constexpr std::chrono::duration<double> kBatchTime{0.2};
// Sums over the lanes of a query fit 32 bits (kernels::kMaxLaneWeight).
constexpr std::uint64_t kMaxQueryTokens = 4096;
// Bitmaps of the queries of a batch that each have their own subset.
constexpr std::uint64_t kFilterBytes = std::uint64_t{64} << 20;

std::vector<Query> to_queries(const kernels::PackedTokens& packed, const std::optional<Floats>& weights) {
  if (weights && weights->size() != static_cast<std::uint64_t>(packed.offsets.back())) {
    throw InvalidInput("weights has " + std::to_string(weights->size()) + " values, expected one for each of the " +
                       std::to_string(packed.offsets.back()) + " query tokens");
  }
  std::vector<Query> queries(packed.num_texts());
  for (std::size_t i = 0; i < queries.size(); ++i) {
    const auto first = static_cast<std::uint64_t>(packed.offsets[i]);
    queries[i].tokens = static_cast<const float*>(packed.values) + first * packed.dim;
    queries[i].num_tokens = static_cast<std::uint64_t>(packed.offsets[i + 1]) - first;
    queries[i].weights = weights ? weights->data() + first : nullptr;
    if (queries[i].num_tokens == 0 || queries[i].num_tokens > kMaxQueryTokens) {
      throw InvalidInput("query " + std::to_string(i) + " has " + std::to_string(queries[i].num_tokens) +
                         " tokens, expected 1 to " + std::to_string(kMaxQueryTokens));
    }
  }
  return queries;
}

// One bitmap per segment with the documents of these keys; keys of no document are ignored.
Filter to_filter(const index::Snapshot& snapshot, const std::vector<segment::DocumentKey>& keys) {
  Filter filter;
  for (const search::SegmentView& view : snapshot.view().segments) {
    filter.allowed.emplace_back((view.segment->num_documents() + 63) / 64);
  }
  for (const segment::DocumentKey& key : keys) {
    if (const std::optional<Hit> place = snapshot.find(key)) {
      filter.allowed[place->segment][place->document / 64] |= std::uint64_t{1} << (place->document % 64);
    }
  }
  return filter;
}

// The subsets of a call, as keys: none, one for all queries, or one per query.
class Subsets {
 public:
  Subsets(const std::optional<nb::list>& lists, std::size_t num_queries) {
    if (!lists) {
      return;
    }
    if (lists->size() != 1 && lists->size() != num_queries) {
      throw InvalidInput("subsets has " + std::to_string(lists->size()) + " lists of ids for " +
                         std::to_string(num_queries) + " queries, expected one or one each");
    }
    for (const nb::handle list : *lists) {
      keys_.push_back(possible_keys(nb::cast<nb::list>(list)));
    }
  }

  // Queries whose filters fit in memory at once.
  [[nodiscard]] std::uint64_t max_batch(const index::Snapshot& snapshot) const {
    return keys_.size() < 2 ? kLargestBatch : std::max<std::uint64_t>(1, kFilterBytes / (1 + documents(snapshot) / 8));
  }

  // Filters of the queries [first, last); the shared one is made once.
  std::span<const Filter> filters(const index::Snapshot& snapshot, std::size_t first, std::size_t last) {
    if (keys_.size() == 1) {
      if (filters_.empty()) {
        filters_.push_back(to_filter(snapshot, keys_.front()));
      }
      return filters_;
    }
    filters_.clear();
    for (std::size_t i = first; i < last && !keys_.empty(); ++i) {
      filters_.push_back(to_filter(snapshot, keys_[i]));
    }
    return filters_;
  }

 private:
  [[nodiscard]] static std::uint64_t documents(const index::Snapshot& snapshot) {
    std::uint64_t sum = 0;
    for (const search::SegmentView& view : snapshot.view().segments) {
      sum += view.segment->num_documents();
    }
    return sum;
  }

  std::vector<std::vector<segment::DocumentKey>> keys_;
  std::vector<Filter> filters_;
};

void append_hits(const index::Snapshot& snapshot, const std::vector<std::vector<Hit>>& hits_of_queries,
                 nb::list& rankings) {
  const nb::str id_name("id");
  const nb::str score_name("score");
  for (const std::vector<Hit>& hits : hits_of_queries) {
    nb::list ranking;
    for (const Hit& hit : hits) {
      nb::dict result;
      result[id_name] = id_of(snapshot.view().segments[hit.segment].segment->key(hit.document));
      result[score_name] = nb::float_(static_cast<double>(hit.score));
      ranking.append(std::move(result));
    }
    rankings.append(std::move(ranking));
  }
}

nb::list run(const index::Snapshot& snapshot, std::span<const Query> queries, Subsets& subsets,
             const search::SearchOptions& options) {
  using Clock = std::chrono::steady_clock;
  nb::list rankings;
  const std::uint64_t max_batch = subsets.max_batch(snapshot);
  std::uint64_t batch = std::max(kFirstBatch, options.num_threads);
  for (std::size_t first = 0; first < queries.size();) {
    const std::size_t last = first + std::min<std::size_t>(std::min(batch, max_batch), queries.size() - first);
    const Clock::time_point start = Clock::now();
    std::vector<std::vector<Hit>> hits;
    {
      const nb::gil_scoped_release release;
      hits = search::search_batch(snapshot.view(), queries.subspan(first, last - first),
                                  subsets.filters(snapshot, first, last), options);
    }
    append_hits(snapshot, hits, rankings);
    if (PyErr_CheckSignals() != 0) {
      throw nb::python_error();
    }
    const std::chrono::duration<double> taken = Clock::now() - start;
    const double fitting = static_cast<double>(last - first) * (kBatchTime / std::max(taken, kBatchTime / 1e6));
    batch = std::clamp(static_cast<std::uint64_t>(std::min(fitting, 1e9)), options.num_threads,
                       std::max(kLargestBatch, options.num_threads));
    first = last;
  }
  return rankings;
}

// The first document's number of each segment, and the number of all.
std::vector<std::int64_t> first_documents(const index::Snapshot& snapshot) {
  std::vector<std::int64_t> first{0};
  for (const search::SegmentView& view : snapshot.view().segments) {
    first.push_back(first.back() + static_cast<std::int64_t>(view.segment->num_documents()));
  }
  return first;
}

template <typename T>
nb::ndarray<nb::numpy, T> to_matrix(std::vector<T>&& values, std::size_t num_rows, std::size_t num_columns) {
  auto owned = std::make_unique<std::vector<T>>(std::move(values));
  owned->reserve(1);  // an array without elements wants an address all the same
  T* data = owned->data();
  nb::capsule owner(owned.get(), [](void* pointer) noexcept { delete static_cast<std::vector<T>*>(pointer); });
  static_cast<void>(owned.release());  // the capsule has it now
  return nb::ndarray<nb::numpy, T>(data, {num_rows, num_columns}, owner);
}

// A row for each query token; tokens with fewer hits than others are filled up with document -1.
nb::tuple to_arrays(const std::vector<std::vector<Hit>>& hits, const std::vector<std::int64_t>& first) {
  std::size_t columns = 0;
  for (const std::vector<Hit>& of_token : hits) {
    columns = std::max(columns, of_token.size());
  }
  std::vector<std::int64_t> documents(hits.size() * columns, -1);
  std::vector<float> similarities(hits.size() * columns, 0.0F);
  for (std::size_t token = 0; token < hits.size(); ++token) {
    for (std::size_t i = 0; i < hits[token].size(); ++i) {
      const Hit& hit = hits[token][i];
      documents[token * columns + i] = first[hit.segment] + hit.document;
      similarities[token * columns + i] = hit.score;
    }
  }
  return nb::make_tuple(to_matrix(std::move(documents), hits.size(), columns),
                        to_matrix(std::move(similarities), hits.size(), columns));
}

kernels::PackedTokens checked_queries(const PlaidSnapshot& self, const ConstMatrix& values, const Offsets& offsets,
                                      std::uint64_t k, std::uint64_t largest_k, std::uint64_t num_threads) {
  const kernels::PackedTokens packed = packed_tokens("queries", values, "float32", offsets, std::nullopt);
  const std::uint64_t dim = self.snapshot->view().dim;
  if (dim != 0 && packed.dim != dim) {
    throw DimensionMismatch("queries have dimension " + std::to_string(packed.dim) + ", the index " +
                            std::to_string(dim));
  }
  if (k == 0 || num_threads == 0 || k > largest_k) {
    throw InvalidInput("k and num_threads must be at least 1, and k at most " + std::to_string(largest_k));
  }
  return packed;
}

}  // namespace

nb::list nearest_tokens_of_snapshot(const PlaidSnapshot& self, const ConstMatrix& values, const Offsets& offsets,
                                    std::uint64_t k, const std::optional<nb::list>& subsets, bool exhaustive,
                                    std::uint64_t num_threads) {
  const std::vector<Query> queries =
      to_queries(checked_queries(self, values, offsets, k, segment::kMaxSegmentTokens, num_threads), std::nullopt);
  Subsets allowed(subsets, queries.size());
  const std::vector<std::int64_t> first_document = first_documents(*self.snapshot);
  search::NearestOptions options;
  options.k = k;
  options.exhaustive = exhaustive;
  options.num_threads = num_threads;
  nb::list found;
  // As many at a time as there are threads: hits are many, and Ctrl-C is heard between.
  const std::uint64_t batch = std::min(num_threads, allowed.max_batch(*self.snapshot));
  for (std::size_t first = 0; first < queries.size(); first += batch) {
    const std::size_t last = std::min<std::size_t>(first + batch, queries.size());
    std::vector<std::vector<std::vector<Hit>>> hits;
    {
      const nb::gil_scoped_release release;
      hits = search::nearest_tokens_batch(self.snapshot->view(), std::span(queries).subspan(first, last - first),
                                          allowed.filters(*self.snapshot, first, last), options);
    }
    for (const std::vector<std::vector<Hit>>& of_query : hits) {
      found.append(to_arrays(of_query, first_document));
    }
    if (PyErr_CheckSignals() != 0) {
      throw nb::python_error();
    }
  }
  return found;
}

nb::list ids_at(const PlaidSnapshot& self, const Positions& documents) {
  const std::vector<std::int64_t> first = first_documents(*self.snapshot);
  nb::list ids;
  for (const std::int64_t document : checked_selection(documents, static_cast<std::uint64_t>(first.back()))) {
    const auto number =
        static_cast<std::size_t>(std::upper_bound(first.begin(), first.end(), document) - first.begin()) - 1;
    ids.append(id_of(
        self.snapshot->view().segments[number].segment->key(static_cast<std::uint64_t>(document - first[number]))));
  }
  return ids;
}

nb::list search_snapshot(const PlaidSnapshot& self, const ConstMatrix& values, const Offsets& offsets, std::uint64_t k,
                         const std::optional<nb::list>& subsets, const std::optional<Floats>& weights, float recall,
                         std::optional<std::uint32_t> cells, std::optional<std::uint32_t> candidates, bool exhaustive,
                         std::uint64_t num_threads) {
  const std::vector<Query> queries =
      to_queries(checked_queries(self, values, offsets, k, segment::kMaxSegmentDocuments, num_threads), weights);
  Subsets allowed(subsets, queries.size());
  search::SearchOptions options;
  options.k = k;
  options.recall = recall;
  options.cells = cells;
  options.candidates = candidates;
  options.exhaustive = exhaustive;
  options.num_threads = num_threads;
  return run(*self.snapshot, queries, allowed, options);
}

}  // namespace serotine::bindings
