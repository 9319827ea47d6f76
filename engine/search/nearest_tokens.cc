#include "search/nearest_tokens.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <utility>

#include "base/checked.h"
#include "base/parallel.h"
#include "kernels/maxsim.h"
#include "search/eligible.h"
#include "search/hits.h"
#include "search/near_cells.h"
#include "segment/postings.h"

namespace serotine::search {
namespace {

// Decoded tokens compared at a time: their rows and dots stay in a cache.
constexpr std::uint64_t kBatchTokens = 256;
// So few eligible tokens of a codebook are all decoded, in some milliseconds.
constexpr std::uint64_t kScanTokens = 32'768;
// Postings that cells are looked into for, however few tokens are wanted: the nearest token is often not in the nearest
// cell.
constexpr std::uint64_t kLeastPostings = 1'024;
// Float16 tokens compared at a time.
constexpr std::uint64_t kExactTokens = 4'096;

// The best k hits of each query token, found in any order.
class BestOfEach {
 public:
  BestOfEach(std::uint64_t num_tokens, std::uint64_t k)
      : k_(k), hits_(num_tokens), worst_(num_tokens, -std::numeric_limits<float>::infinity()) {}

  void add(std::uint64_t token, const Hit& hit) {
    if (hit.score < worst_[token]) {
      return;
    }
    std::vector<Hit>& hits = hits_[token];
    hits.push_back(hit);
    if (hits.size() >= 2 * k_) {
      keep_best(token);
    }
  }

  [[nodiscard]] std::vector<std::vector<Hit>> take() {
    for (std::uint64_t token = 0; token < hits_.size(); ++token) {
      keep_best(token);
      std::sort(hits_[token].begin(), hits_[token].end(), [](const Hit& a, const Hit& b) { return better(a, b); });
    }
    return std::move(hits_);
  }

 private:
  void keep_best(std::uint64_t token) {
    std::vector<Hit>& hits = hits_[token];
    if (hits.size() > k_) {
      const auto last = hits.begin() + static_cast<std::ptrdiff_t>(k_ - 1);
      std::nth_element(hits.begin(), last, hits.end(), [](const Hit& a, const Hit& b) { return better(a, b); });
      hits.resize(k_);
      worst_[token] = hits[k_ - 1].score;
    }
  }

  std::uint64_t k_;
  std::vector<std::vector<Hit>> hits_;
  std::vector<float> worst_;  // what cannot be among the best k is below it
};

// The query tokens that have a direction.
struct Directions {
  std::vector<std::uint64_t> tokens;  // their numbers in the query
  std::vector<float> lengths;
  std::vector<float> values;  // [tokens.size()][dim], length 1

  Directions(const Query& query, std::uint64_t dim) {
    for (std::uint64_t token = 0; token < query.num_tokens; ++token) {
      const float* vector = query.tokens + token * dim;
      double sum = 0;
      for (std::uint64_t i = 0; i < dim; ++i) {
        sum += static_cast<double>(vector[i]) * static_cast<double>(vector[i]);
      }
      if (sum > 0) {
        tokens.push_back(token);
        lengths.push_back(static_cast<float>(std::sqrt(sum)));
        for (std::uint64_t i = 0; i < dim; ++i) {
          values.push_back(static_cast<float>(vector[i] / std::sqrt(sum)));
        }
      }
    }
  }
};

// One search for tokens.
class Run {
 public:
  Run(const View& view, const Query& query, const Filter* filter, const NearestOptions& options)
      : view_(view), query_(query), options_(options), directions_(query, view.dim), eligible_(view.segments.size()) {
    for (std::size_t number = 0; number < view.segments.size(); ++number) {
      eligible_[number].build(view.segments[number], filter != nullptr ? &filter->allowed[number] : nullptr);
    }
  }

  [[nodiscard]] std::vector<std::vector<Hit>> search(bool exhaustive) {
    BestOfEach best(query_.num_tokens, options_.k);
    std::vector<const codec::Codebook*> codebooks;
    for (std::uint32_t number = 0; number < view_.segments.size() && !directions_.tokens.empty(); ++number) {
      const codec::Codebook* codebook = view_.segments[number].segment->codebook();
      if (codebook == nullptr) {
        add_originals(number, best);
      } else if (std::find(codebooks.begin(), codebooks.end(), codebook) == codebooks.end()) {
        codebooks.push_back(codebook);
        add_codebook(*codebook, exhaustive, best);
      }
    }
    return best.take();
  }

  // Whether some query token that has a direction got fewer hits than there are tokens.
  [[nodiscard]] bool is_short(const std::vector<std::vector<Hit>>& hits) const {
    std::uint64_t available = 0;
    for (const Eligible& eligible : eligible_) {
      available += eligible.num_tokens();
    }
    return std::any_of(directions_.tokens.begin(), directions_.tokens.end(),
                       [&](std::uint64_t token) { return hits[token].size() < std::min(options_.k, available); });
  }

 private:
  void add_originals(std::uint32_t number, BestOfEach& best);
  void add_codebook(const codec::Codebook& codebook, bool exhaustive, BestOfEach& best);
  void choose_cells(const codec::Codebook& codebook, const std::vector<std::uint32_t>& group, const float* rotated);
  void add_coded(std::uint32_t number, bool whole, BestOfEach& best);
  void add_document(std::uint32_t number, std::uint32_t document, bool all, BestOfEach& best);
  void compare(BestOfEach& best);

  const View& view_;
  const Query& query_;
  const NearestOptions& options_;
  Directions directions_;
  std::vector<Eligible> eligible_;

  // Of the codebook at work.
  NearCells cells_;
  kernels::Int8Tokens tokens_;
  std::vector<float> multiplier_;  // [tokens_.num_lanes()]: what makes a dot of a row a dot of the query token
  AlignedBuffer<std::int8_t> rows_;
  AlignedBuffer<float> scales_;
  AlignedBuffer<std::int32_t> dots_;
  std::vector<Hit> owners_;  // of each row, without a score
};

// Every float16 token as a document of its own.
void Run::add_originals(std::uint32_t number, BestOfEach& best) {
  const segment::Segment& segment = *view_.segments[number].segment;
  std::vector<std::int64_t> selection;
  std::vector<std::uint32_t> documents;
  eligible_[number].for_each(segment, [&](std::uint32_t document) {
    for (std::uint32_t token = 0; token < segment.length(document); ++token) {
      selection.push_back(static_cast<std::int64_t>(segment.first_token(document) + token));
      documents.push_back(document);
    }
  });
  std::vector<std::int64_t> ends(std::max(segment.num_tokens(), query_.num_tokens) + 1);
  for (std::size_t i = 0; i < ends.size(); ++i) {
    ends[i] = static_cast<std::int64_t>(i);
  }
  const kernels::PackedTokens stored{segment.all_originals(), kernels::ElementKind::kFloat16, view_.dim,
                                     std::span(ends).first(segment.num_tokens() + 1)};
  const kernels::PackedTokens queries{query_.tokens, kernels::ElementKind::kFloat32, view_.dim,
                                      std::span(ends).first(query_.num_tokens + 1)};
  std::vector<float> scores;
  for (std::size_t first = 0; first < selection.size(); first += kExactTokens) {
    const std::size_t count = std::min<std::size_t>(kExactTokens, selection.size() - first);
    scores.resize(query_.num_tokens * count);
    kernels::maxsim(queries, stored, std::span<const std::int64_t>(selection).subspan(first, count),
                    {nullptr, 1, options_.instruction_set}, scores);
    for (const std::uint64_t token : directions_.tokens) {
      for (std::size_t i = 0; i < count; ++i) {
        best.add(token, {number, documents[first + i], scores[token * count + i]});
      }
    }
  }
}

void Run::add_codebook(const codec::Codebook& codebook, bool exhaustive, BestOfEach& best) {
  std::vector<std::uint32_t> group;
  std::uint64_t num_tokens = 0;
  for (std::uint32_t number = 0; number < view_.segments.size(); ++number) {
    if (view_.segments[number].segment->codebook() == &codebook && eligible_[number].num_documents() > 0) {
      group.push_back(number);
      num_tokens += eligible_[number].num_tokens();
    }
  }
  const std::uint64_t num_lanes = directions_.tokens.size();
  std::vector<float> rotated(num_lanes * codebook.padded_dim());
  codebook.rotation().apply(directions_.values.data(), num_lanes, rotated.data());
  tokens_.build(rotated.data(), num_lanes, codebook.padded_dim());
  multiplier_.resize(num_lanes);
  for (std::uint64_t lane = 0; lane < num_lanes; ++lane) {
    multiplier_[lane] = tokens_.scales()[lane] * directions_.lengths[lane];
  }
  exhaustive = exhaustive || num_tokens <= kScanTokens;
  if (!exhaustive) {
    choose_cells(codebook, group, rotated.data());
  }
  for (const std::uint32_t number : group) {
    add_coded(number, exhaustive || !view_.segments[number].segment->has_postings(), best);
  }
}

// A posting stands for one token at least: what is wanted of a filtered group grows with what the filter leaves out.
void Run::choose_cells(const codec::Codebook& codebook, const std::vector<std::uint32_t>& group, const float* rotated) {
  std::vector<std::uint64_t> sizes(codebook.num_cells());
  std::uint64_t all = 0;
  std::uint64_t eligible = 0;
  for (const std::uint32_t number : group) {
    const segment::Segment& segment = *view_.segments[number].segment;
    if (!segment.has_postings()) {
      continue;
    }
    all += segment.num_documents();
    eligible += eligible_[number].num_documents();
    for (std::uint64_t range = 0; range < segment.num_ranges(); ++range) {
      for (std::uint64_t cell = 0; cell < sizes.size(); ++cell) {
        sizes[cell] += segment.postings(range, cell).size();
      }
    }
  }
  const double enough =
      std::max(static_cast<double>(options_.k) * static_cast<double>(options_.oversampling), double{kLeastPostings});
  const double wanted = enough * static_cast<double>(all) / static_cast<double>(std::max<std::uint64_t>(eligible, 1));
  cells_.choose(codebook, rotated, directions_.tokens.size(), sizes, static_cast<std::uint64_t>(std::min(wanted, 1e18)),
                options_.instruction_set);
}

// whole: every eligible token, not only those in chosen cells.
void Run::add_coded(std::uint32_t number, bool whole, BestOfEach& best) {
  const segment::Segment& segment = *view_.segments[number].segment;
  owners_.clear();
  rows_.reserve_discarding((kBatchTokens + segment::kMaxDocumentTokens) * segment.code_format().dim);
  scales_.reserve_discarding(kBatchTokens + segment::kMaxDocumentTokens);
  if (whole) {
    eligible_[number].for_each(segment, [&](std::uint32_t document) { add_document(number, document, true, best); });
    compare(best);
    return;
  }
  std::vector<std::uint64_t> found(segment::kRangeDocuments / 64);
  for (std::uint64_t range = 0; range < segment.num_ranges(); ++range) {
    std::fill(found.begin(), found.end(), 0);
    for (std::uint32_t cell = 0; cell < cells_.flags().size(); ++cell) {
      if (cells_.contains(cell)) {
        for (const std::uint16_t document : segment.postings(range, cell)) {
          found[document / 64] |= std::uint64_t{1} << (document % 64);
        }
      }
    }
    for (std::uint64_t word = 0; word < found.size(); ++word) {
      for (std::uint64_t bits = found[word]; bits != 0; bits &= bits - 1) {
        const std::uint64_t place = word * 64 + static_cast<std::uint64_t>(std::countr_zero(bits));
        const auto document = static_cast<std::uint32_t>(range * segment::kRangeDocuments + place);
        if (eligible_[number].contains(document)) {
          add_document(number, document, false, best);
        }
      }
    }
  }
  compare(best);
}

// Decodes what lies in chosen cells, or all of a document, run by run; compares whenever there is a batch.
void Run::add_document(std::uint32_t number, std::uint32_t document, bool all, BestOfEach& best) {
  const segment::Segment& segment = *view_.segments[number].segment;
  const kernels::CodeFormat& format = segment.code_format();
  const kernels::CodedDocument coded = segment.coded(document);
  const auto is_chosen = [&](std::uint32_t token) {
    return all || cells_.contains(segment::cell_at(coded.cells, format.cell_width, token));
  };
  for (std::uint32_t token = 0; token < coded.num_tokens; ++token) {
    if (!is_chosen(token)) {
      continue;
    }
    const std::uint32_t first = token;
    while (token < coded.num_tokens && is_chosen(token)) {
      ++token;
    }
    kernels::decode(format, coded, first, token - first, rows_.data() + owners_.size() * format.dim,
                    scales_.data() + owners_.size(), options_.instruction_set);
    owners_.insert(owners_.end(), token - first, {number, document, 0});
  }
  if (owners_.size() >= kBatchTokens) {
    compare(best);
  }
}

void Run::compare(BestOfEach& best) {
  const std::uint64_t stride = tokens_.num_lanes();
  dots_.reserve_discarding(checked_multiply(owners_.size(), stride));
  kernels::int8_dots(rows_.data(), owners_.size(), tokens_, dots_.data(), options_.instruction_set);
  for (std::size_t row = 0; row < owners_.size(); ++row) {
    Hit hit = owners_[row];
    for (std::uint64_t lane = 0; lane < directions_.tokens.size(); ++lane) {
      hit.score = static_cast<float>(dots_.data()[row * stride + lane]) * scales_.data()[row] * multiplier_[lane];
      best.add(directions_.tokens[lane], hit);
    }
  }
  owners_.clear();
}

}  // namespace

std::vector<std::vector<Hit>> nearest_tokens(const View& view, const Query& query, const Filter* filter,
                                             const NearestOptions& options) {
  Run run(view, query, filter, options);
  std::vector<std::vector<Hit>> hits = run.search(options.exhaustive);
  if (!options.exhaustive && run.is_short(hits)) {
    hits = run.search(true);
  }
  return hits;
}

std::vector<std::vector<std::vector<Hit>>> nearest_tokens_batch(const View& view, std::span<const Query> queries,
                                                                std::span<const Filter> filters,
                                                                const NearestOptions& options) {
  std::vector<std::vector<std::vector<Hit>>> results(queries.size());
  parallel_for(queries.size(), std::max<std::uint64_t>(options.num_threads, 1),
               [&](std::uint64_t, std::uint64_t number) {
                 const Filter* filter = filters.empty() ? nullptr : &filters[filters.size() == 1 ? 0 : number];
                 results[number] = nearest_tokens(view, queries[number], filter, options);
               });
  return results;
}

}  // namespace serotine::search
