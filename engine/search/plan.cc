#include "search/plan.h"

#include <algorithm>
#include <cmath>

namespace serotine::search {
namespace {

// What stages cost, in nanoseconds for a group of 16 lanes, measured (docs/engine.md). Only their ratios matter.
constexpr double kScoreCell = 10;
constexpr double kFloodToken = 0.4;
constexpr double kRescoreToken = 12;
constexpr double kProbeQuery = 50'000;

// More than the calibrated 10 are asked for: as many more go through each stage, and a half for what comes out in
// another order.
constexpr std::uint64_t kCalibratedK = 10;
constexpr double kRescoredPerHit = 1.5;
constexpr double kCandidatesPerHit = 4;

// Who wants this many rescored wants certainty, and gets no narrowed scores.
constexpr std::uint32_t kCertain = 2'000;

// Documents of a codebook compete with those of others; its share of candidates follows its share of tokens, but a
// small codebook (the newest documents) is not starved.
constexpr double kLeastShare = 0.25;

// A filter leaves fewer documents per cell: more cells are probed, up to this factor.
constexpr double kWidest = 8;

// A codebook is made for 32 to 68 tokens a cell; one whose index has outgrown it has more, and as many postings are
// read from fewer cells, down to kFewestCells.
constexpr double kFullCell = 192;
constexpr std::uint64_t kFewestCells = 6;

// Cells know directions only. Where vectors have lengths too, the stages before the codes promise less, and so much
// more is taken through them.
constexpr double kWithGains = 2;

[[nodiscard]] std::uint64_t scaled(std::uint64_t count, double factor) {
  return static_cast<std::uint64_t>(std::ceil(static_cast<double>(count) * factor));
}

}  // namespace

Plan make_plan(const format::CalibrationPoint& point, const SearchOptions& options, const Offer& offer) {
  const std::uint64_t extra = options.k > kCalibratedK ? options.k - kCalibratedK : 0;
  const double share =
      std::max(kLeastShare, static_cast<double>(offer.tokens) /
                                static_cast<double>(std::max<std::uint64_t>(offer.all_eligible_tokens, 1)));
  Plan plan;
  plan.rescored = std::max<std::uint64_t>(
      options.rescored ? *options.rescored : scaled(point.rescored + scaled(extra, kRescoredPerHit), share), options.k);
  const double uncertain = offer.has_gains ? kWithGains : 1;
  plan.candidates = std::max<std::uint64_t>(
      options.candidates ? *options.candidates
                         : scaled(point.candidates + scaled(extra, kCandidatesPerHit), share * uncertain),
      plan.rescored);
  plan.narrowed = options.rescored.value_or(point.rescored) < kCertain;
  const double kept = static_cast<double>(offer.documents) / static_cast<double>(offer.all_documents);
  plan.cells = std::max<std::uint64_t>(scaled(options.cells ? *options.cells : scaled(point.cells, uncertain),
                                              std::min(1 / std::max(kept, 1e-9), kWidest)),
                                       1);
  const double tokens_per_cell = static_cast<double>(offer.tokens) / kept / static_cast<double>(offer.num_cells);
  if (!options.cells && tokens_per_cell > kFullCell) {
    plan.cells = std::max(scaled(plan.cells, kFullCell / tokens_per_cell), std::min(plan.cells, kFewestCells));
  }

  plan.cells = std::min<std::uint64_t>(plan.cells, format::kMaxProbedCells);
  const double groups = static_cast<double>(offer.num_lanes) / 16;
  const double tokens = static_cast<double>(offer.tokens);
  const double length = tokens / static_cast<double>(std::max<std::uint64_t>(offer.documents, 1));
  const auto tokens_of = [&](std::uint64_t documents) {
    return std::min(tokens, static_cast<double>(documents) * length);
  };
  const double table = static_cast<double>(offer.num_cells) * kScoreCell * groups;
  const double flood = tokens_of(plan.candidates) * kFloodToken * groups;
  const double rescore = tokens_of(plan.rescored) * kRescoreToken * groups;
  if (options.exhaustive || options.recall >= 1 || offer.documents <= plan.rescored) {
    plan.way = Plan::Way::kRescoreAll;
  } else if (options.always_probe) {
    plan.way = Plan::Way::kProbe;
  } else if (tokens * kRescoreToken * groups <= table + flood + rescore) {
    plan.way = Plan::Way::kRescoreAll;
  } else if (tokens * kFloodToken * groups <= flood + kProbeQuery * groups) {
    plan.way = Plan::Way::kFloodAll;
  }
  return plan;
}

}  // namespace serotine::search
