// How does a query run?  Probe cells, add up what they promise, look at all cells of the best, rescore the best of
// those.
//
// Per codebook: the query is rotated and quantised; scores of cells fill a byte table; the best cells of each query
// token give candidates through postings (segments without postings give all of their documents); the table then scores
// every token's cell of the candidates (flood), and the codes of the best of those are rescored. Segments without a
// codebook are scored exactly. What is small enough is not approximated: few documents are rescored outright.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "search/view.h"

namespace serotine::search {

struct Query {
  const float* tokens = nullptr;   // [num_tokens][dim], finite, not rotated
  std::uint64_t num_tokens = 0;    // >= 1
  const float* weights = nullptr;  // [num_tokens], finite and >= 0; null: 1
};

// Which documents a query may return: per segment of the view a bitmap of its documents (1: allowed).
struct Filter {
  std::vector<std::vector<std::uint64_t>> allowed;
};

struct SearchOptions {
  std::uint64_t k = 10;
  float recall = 0;  // of an exhaustive scan of the codes; 0: kDefaultRecall. Picks a point of the
                     // calibration; 1: exhaustive
  // Each overrides what the calibration says.
  std::optional<std::uint32_t> cells;       // probed per query token
  std::optional<std::uint32_t> candidates;  // kept for the mid stage
  std::optional<std::uint32_t> rescored;    // rescored from their codes; at least k
  bool exhaustive = false;                  // rescore everything: the reference of the search
  bool always_probe = false;                // even where looking at all documents would cost less: for measurements
  // Codebooks of more cells are scored through their tree: the children of so many super-cells of each query token (0:
  // as many as their size asks for).
  std::uint64_t tree_above = 16'384;
  std::uint64_t supers = 0;
  std::uint64_t num_threads = 1;
  std::string_view instruction_set;  // empty: the active one
};

inline constexpr float kDefaultRecall = 0.998F;

struct Hit {
  std::uint32_t segment;   // position in the view
  std::uint32_t document;  // in the segment
  float score;
};

enum class Stage : std::uint8_t { kPrepare, kCells, kProbe, kAccumulate, kMid, kRescore, kExact };
inline constexpr std::size_t kNumStages = 7;

// What a search did, for stats and tests.
struct SearchTrace {
  std::uint64_t probed_cells = 0;
  std::uint64_t postings = 0;
  std::uint64_t candidates = 0;
  std::uint64_t flooded_tokens = 0;
  std::uint64_t rescored_documents = 0;
  std::uint64_t rescored_tokens = 0;
  std::uint64_t exact_documents = 0;
  std::array<std::uint64_t, kNumStages> stage_ns{};  // wall time of each Stage
};

// Working memory, kept between queries of one thread.
class Scratch {
 public:
  Scratch();
  ~Scratch();
  Scratch(Scratch&&) noexcept;
  Scratch& operator=(Scratch&&) noexcept;

  struct State;
  std::unique_ptr<State> state;
};

// The best k documents, best first; equal scores: the older document first. Documents without tokens are never
// returned. filter: null for all. Throws InvalidInput for a query of another width only at the binding: here trusted.
[[nodiscard]] std::vector<Hit> search(const View& view, const Query& query, const Filter* filter,
                                      const SearchOptions& options, Scratch& scratch, SearchTrace* trace = nullptr);

// Many queries: threads take queries in turn; a single query is split over documents. filters: empty for none, one for
// all queries, or one per query. Same results as one by one.
[[nodiscard]] std::vector<std::vector<Hit>> search_batch(const View& view, std::span<const Query> queries,
                                                         std::span<const Filter> filters, const SearchOptions& options);

}  // namespace serotine::search
