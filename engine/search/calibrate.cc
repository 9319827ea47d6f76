#include "search/calibrate.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <functional>
#include <limits>

#include "base/parallel.h"

namespace serotine::search {
namespace {

// Cheapest first; recall is filled in. Each point widens the stage that the one before lost most in.
constexpr std::array<format::CalibrationPoint, 9> kLadder{{
    {4, 100, 40, 0},
    {6, 150, 60, 0},
    {8, 200, 100, 0},
    {12, 300, 150, 0},
    {16, 400, 250, 0},
    {24, 600, 400, 0},
    {24, 1'000, 700, 0},
    {32, 1'500, 1'000, 0},
    {64, 3'000, 1'500, 0},
}};

// Points between the one that pseudo-queries ask for and the one that is used. Real queries are harder than spans of
// documents: at 12 cells and 300 candidates pseudo-queries find .996 on SciFact, real ones .989. Short questions are
// harder still: on squad-dev pseudo-queries find .998 at 8 cells, and real ones .996 at 16 and .999 at 24. Where nearly
// everything is asked for, pseudo-queries can no longer tell points apart, and the margin is wider.
constexpr std::ptrdiff_t kMargin = 2;
constexpr std::ptrdiff_t kWideMargin = 4;
constexpr float kNearlyEverything = 0.95F;

// The point that held on every collection that was tried: what is used without a calibration, and as far as the margin
// goes. More is searched with only if pseudo-queries ask for it.
constexpr std::ptrdiff_t kCautious = 6;

constexpr std::uint64_t kTop = 10;

// Copies and versions of a query's source are found by any setting and tell nothing: documents of more than this share
// of the source's own score are left out with it, up to so many.
constexpr float kAlike = 0.8F;
constexpr std::uint64_t kMostAlike = 53;

// Tokens that exhaustive scans may read in all: collections are measured with fewer queries the larger they are, but
// never with fewer than kFewestQueries: 16 could not tell .96 from 1 (docs/engine.md).
constexpr std::uint64_t kScannedTokens = std::uint64_t{1} << 26;
constexpr std::uint64_t kFewestQueries = 48;

// What a setting is to find for a pseudo-query: hits with scores in [least, alike), of which there are so many.
struct Wanted {
  std::uint64_t count = 0;
  float least = 0;
  float alike = std::numeric_limits<float>::infinity();
  std::uint64_t num_alike = 0;  // left out, the source among them
};

[[nodiscard]] std::vector<Hit> hits_of(const View& view, const PseudoQuery& query, const SearchOptions& options,
                                       Scratch& scratch) {
  return search(view, {query.tokens.data(), query.num_tokens, nullptr}, nullptr, options, scratch);
}

[[nodiscard]] bool is_source(const PseudoQuery& query, const Hit& hit) {
  return query.source && hit.segment == query.source->segment && hit.document == query.source->document;
}

[[nodiscard]] Wanted scan(const View& view, const PseudoQuery& query, Scratch& scratch) {
  SearchOptions options;
  options.k = kTop + 1 + kMostAlike;
  options.exhaustive = true;
  const std::vector<Hit> hits = hits_of(view, query, options, scratch);
  const auto source = std::find_if(hits.begin(), hits.end(), [&](const Hit& hit) { return is_source(query, hit); });
  const auto wanted_below = [&](float alike) {
    Wanted wanted;
    wanted.alike = alike;
    for (const Hit& hit : hits) {
      if (is_source(query, hit) || hit.score >= alike) {
        ++wanted.num_alike;
      } else if (wanted.count < kTop) {
        ++wanted.count;
        wanted.least = hit.score;
      }
    }
    return wanted;
  };
  constexpr float kAny = std::numeric_limits<float>::infinity();
  const Wanted wanted = wanted_below(source != hits.end() ? kAlike * source->score : kAny);
  // Where all documents are alike, finding them is all there is to measure.
  return wanted.count > 0 ? wanted : wanted_below(kAny);
}

struct Measured {
  std::uint64_t wanted = 0;
  std::array<std::uint64_t, kLadder.size()> found{};
};

[[nodiscard]] Measured measure(const View& view, const PseudoQuery& query, Scratch& scratch) {
  const Wanted wanted = scan(view, query, scratch);
  Measured measured;
  measured.wanted = wanted.count;
  SearchOptions options;
  options.k = kTop + std::max<std::uint64_t>(wanted.num_alike, 1);  // which may come before the wanted ones
  for (std::size_t point = 0; point < kLadder.size() && wanted.count > 0; ++point) {
    options.cells = kLadder[point].cells;
    options.candidates = kLadder[point].candidates;
    options.rescored = kLadder[point].rescored;
    const std::vector<Hit> hits = hits_of(view, query, options, scratch);
    // A document that ties with the last wanted one is as good.
    const auto found = std::count_if(hits.begin(), hits.end(), [&](const Hit& hit) {
      return hit.score >= wanted.least && hit.score < wanted.alike && !is_source(query, hit);
    });
    measured.found[point] = std::min(static_cast<std::uint64_t>(found), wanted.count);
  }
  return measured;
}

}  // namespace

std::vector<format::CalibrationPoint> calibrate(const View& view, const std::vector<PseudoQuery>& queries,
                                                std::uint64_t num_threads, const codec::Progress& progress) {
  std::uint64_t num_tokens = 1;
  for (const SegmentView& segment : view.segments) {
    num_tokens += segment.segment->num_tokens();
  }
  const std::uint64_t num_queries =
      std::min<std::uint64_t>(queries.size(), std::max(kScannedTokens / num_tokens, kFewestQueries));
  if (num_queries == 0) {
    return {};
  }
  num_threads = std::clamp<std::uint64_t>(num_queries, 1, std::max<std::uint64_t>(num_threads, 1));
  std::vector<Scratch> scratch(num_threads);
  std::vector<Measured> measured(num_queries);
  std::atomic<std::uint64_t> num_done{0};
  parallel_for(num_queries, num_threads, [&](std::uint64_t worker, std::uint64_t number) {
    // Spread evenly over what was handed in.
    measured[number] = measure(view, queries[number * queries.size() / num_queries], scratch[worker]);
    const std::uint64_t done = ++num_done;
    if (worker == 0 && progress) {  // the calling thread
      progress(static_cast<double>(done) / static_cast<double>(num_queries));
    }
  });
  std::uint64_t wanted = 0;
  std::array<std::uint64_t, kLadder.size()> found{};
  for (const Measured& one : measured) {
    wanted += one.wanted;
    std::transform(found.begin(), found.end(), one.found.begin(), found.begin(), std::plus<>());
  }
  std::vector<format::CalibrationPoint> points(kLadder.begin(), kLadder.end());
  float best = 0;
  for (std::size_t point = 0; point < points.size() && wanted > 0; ++point) {
    best = std::max(best, static_cast<float>(found[point]) / static_cast<float>(wanted));
    points[point].recall = best;
  }
  return wanted > 0 ? points : std::vector<format::CalibrationPoint>{};
}

format::CalibrationPoint point_for(const std::vector<format::CalibrationPoint>& calibration, float recall) {
  if (calibration.empty()) {
    return kLadder[kCautious];
  }
  // What pseudo-queries measure has steps of a hit in some hundred: a target between the last two of them is no reason
  // to pay for the costliest point.
  float reached = 0;
  for (const format::CalibrationPoint& point : calibration) {
    reached = std::max(reached, point.recall);
  }
  const auto first = std::find_if(calibration.begin(), calibration.end(), [&](const format::CalibrationPoint& point) {
    return point.recall >= std::min(recall, reached);
  });
  const std::ptrdiff_t asked = first - calibration.begin();
  const std::ptrdiff_t margin = recall > kNearlyEverything ? kWideMargin : kMargin;
  const std::ptrdiff_t used = std::max(asked, std::min(asked + margin, kCautious));
  return calibration[std::min(static_cast<std::size_t>(used), calibration.size() - 1)];
}

}  // namespace serotine::search
