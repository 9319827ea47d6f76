// Each stage of a search does what a plain loop would.
#include <doctest/doctest.h>

#include <map>

#include "search/accumulate.h"
#include "search/lanes.h"
#include "search/mid.h"
#include "search/plan.h"
#include "search/probe.h"
#include "search_fixture.h"

namespace serotine::search {
namespace {

constexpr std::uint64_t kDim = 32;

struct Prepared {
  Collection collection{kDim};
  Language language{kDim, 2'000, 1};
  std::shared_ptr<const codec::Codebook> codebook;
  Lanes lanes;
  CodedLanes coded;

  explicit Prepared(std::uint64_t num_tokens) {
    const Documents documents = language.documents(language.lengths(3'000, 60));
    codebook = collection.train(documents, 60'000);
    collection.add(documents, codebook);
    const std::vector<float> tokens = language.tokens(num_tokens);
    lanes.prepare({tokens.data(), num_tokens, nullptr}, kDim);
    coded.prepare(lanes, *codebook);
  }
};

TEST_CASE("lanes hold sums of equal directions and leave out zeros") {
  const std::vector<float> tokens{1, 0, 0, 2, 3, 0, 0, 0, 0, 1, 0, -1};
  const std::vector<float> weights{1, 2, 0.5F, 1, 0, 1};
  Lanes lanes;
  lanes.prepare({tokens.data(), 6, weights.data()}, 2);
  REQUIRE(lanes.count == 3);
  CHECK(lanes.lengths[0] == doctest::Approx(2.5));
  CHECK(lanes.lengths[1] == doctest::Approx(4));
  CHECK(lanes.lengths[2] == doctest::Approx(1));
  CHECK(lanes.directions[0] == doctest::Approx(1));
  CHECK(lanes.directions[5] == doctest::Approx(-1));
}

TEST_CASE("huge and tiny tokens stay finite") {
  const std::vector<float> tokens{3e38F, 3e38F, 1e-40F, 0, -3e38F, 1};
  Lanes lanes;
  lanes.prepare({tokens.data(), 3, nullptr}, 2);
  REQUIRE(lanes.count == 3);
  for (const float value : lanes.directions) {
    CHECK(std::isfinite(value));
  }
  for (const float value : lanes.lengths) {
    CHECK(std::isfinite(value));
  }
}

TEST_CASE("through the tree, the cells of the nearest super-cells have their own row, others their super-cell's") {
  const Prepared prepared(20);
  CellScores all;
  all.begin(*prepared.codebook, prepared.coded, {});
  all.build(0);
  CellOptions options;
  options.tree_above = 1;
  options.supers = 2;
  CellScores tree;
  tree.begin(*prepared.codebook, prepared.coded, options);
  tree.build(0);
  REQUIRE(tree.first_row() == prepared.codebook->num_supers());
  REQUIRE(tree.num_rows() < all.num_rows() + tree.first_row());
  std::uint64_t num_own = 0;
  for (std::uint64_t super = 0; super < prepared.codebook->num_supers(); ++super) {
    for (std::uint32_t cell = prepared.codebook->super_begin()[super];
         cell < prepared.codebook->super_begin()[super + 1]; ++cell) {
      const std::uint32_t row = tree.table().row_of_cell[cell];
      if (row >= tree.first_row()) {
        ++num_own;
        CHECK(tree.cell_of_row(row) == cell);
        CHECK(std::equal(tree.row(row), tree.row(row) + tree.stride(), all.row(cell)));
      } else {
        CHECK(row == super);
      }
    }
  }
  CHECK(num_own == tree.num_rows() - tree.first_row());
}

TEST_CASE("the probed cells are the best, in order, and gain what they have beyond the next") {
  const Prepared prepared(20);
  for (const std::uint64_t tree_above : {1'000'000U, 1U}) {
    for (const std::uint64_t cells : {1U, 7U, 40U, 100'000U}) {
      CellOptions options;
      options.tree_above = tree_above;
      CellScores scores;
      scores.begin(*prepared.codebook, prepared.coded, options);
      scores.build(0);
      Probes probes;
      probes.add(scores, cells);
      REQUIRE(probes.num_lanes() == 20);
      for (std::uint64_t lane = 0; lane < 20; ++lane) {
        std::vector<std::pair<int, std::uint64_t>> order;
        for (std::uint64_t row = scores.first_row(); row < scores.num_rows(); ++row) {
          order.emplace_back(-scores.row(row)[lane], row);
        }
        std::sort(order.begin(), order.end());
        const std::uint64_t kept = std::min<std::uint64_t>(cells, order.size());
        const int unprobed = kept < order.size() ? -order[kept].first : 0;
        REQUIRE(probes.lane(lane).size() == kept);
        for (std::uint64_t i = 0; i < kept; ++i) {
          CHECK(probes.lane(lane)[i].cell == scores.cell_of_row(order[i].second));
          CHECK(static_cast<int>(probes.lane(lane)[i].gain) ==
                prepared.coded.weights[lane] * (-order[i].first - unprobed));
        }
      }
    }
  }
}

TEST_CASE("accumulated scores are sums of each lane's best probed cell; the best are kept") {
  const Prepared prepared(20);
  const segment::Segment& segment = *prepared.collection.view.segments[0].segment;
  REQUIRE(segment.has_postings());
  CellScores scores;
  scores.begin(*prepared.codebook, prepared.coded, {});
  scores.build(0);
  Probes probes;
  probes.add(scores, 12);
  std::map<std::uint32_t, std::int32_t> wanted;
  for (std::uint32_t document = 0; document < segment.num_documents(); ++document) {
    const kernels::DocumentCells cells = segment.cells(document);
    for (std::uint64_t lane = 0; lane < probes.num_lanes(); ++lane) {
      std::int32_t best = -1;
      for (std::uint32_t token = 0; token < cells.num_tokens; ++token) {
        std::uint32_t cell = 0;
        for (std::uint32_t byte = 0; byte < prepared.codebook->cell_width(); ++byte) {
          cell |= std::uint32_t{cells.cells[token * prepared.codebook->cell_width() + byte]} << (8 * byte);
        }
        for (const ProbedCell& probed : probes.lane(lane)) {
          if (probed.cell == cell) {
            best = std::max(best, static_cast<std::int32_t>(probed.gain));
          }
        }
      }
      if (best >= 0) {
        wanted[document] += best;
      }
    }
  }
  Eligible eligible;
  eligible.build(prepared.collection.view.segments[0], nullptr);
  Accumulator accumulator;
  for (int round = 0; round < 2; ++round) {  // nothing is left over from the first
    std::vector<Candidate> candidates;
    accumulator.add(segment, 0, eligible, probes, 100'000, candidates);
    CHECK(candidates.size() == wanted.size());
    for (const Candidate& candidate : candidates) {
      CHECK(wanted.at(candidate.document) == candidate.score);
    }
    std::sort(candidates.begin(), candidates.end(),
              [](const Candidate& a, const Candidate& b) { return better(a, b); });
    std::vector<Candidate> kept;
    accumulator.add(segment, 0, eligible, probes, 10, kept);
    keep_best(kept, 10);
    std::sort(kept.begin(), kept.end(), [](const Candidate& a, const Candidate& b) { return better(a, b); });
    REQUIRE(kept.size() == 10);
    for (std::size_t i = 0; i < kept.size(); ++i) {
      CHECK(kept[i].document == candidates[i].document);
    }
  }
}

TEST_CASE("the middle stage sums each lane's best cell of all tokens, over several tables too") {
  const Prepared prepared(300);
  const segment::Segment& segment = *prepared.collection.view.segments[0].segment;
  CellScores scores;
  scores.begin(*prepared.codebook, prepared.coded, {});
  REQUIRE(scores.num_blocks() == 2);
  std::vector<Candidate> candidates{{0, 1, 5}, {0, 17, 0}, {0, 2'000, 0}};
  MidStage mid;
  mid.score(prepared.collection.view, scores, false, {}, candidates);
  for (const Candidate& candidate : candidates) {
    std::int32_t wanted = 0;
    const kernels::DocumentCells cells = segment.cells(candidate.document);
    for (std::uint64_t block = 0; block < 2; ++block) {
      scores.build(block);
      for (std::uint64_t lane = 0; lane < scores.num_lanes(); ++lane) {
        std::uint8_t best = 0;
        for (std::uint32_t token = 0; token < cells.num_tokens; ++token) {
          std::uint32_t cell = 0;
          for (std::uint32_t byte = 0; byte < prepared.codebook->cell_width(); ++byte) {
            cell |= std::uint32_t{cells.cells[token * prepared.codebook->cell_width() + byte]} << (8 * byte);
          }
          best = std::max(best, scores.row(cell)[lane]);
        }
        wanted += best * prepared.coded.weights[scores.first_lane() + lane];
      }
    }
    CHECK(candidate.score == wanted);
  }
}

TEST_CASE("plans: few documents are rescored, some are flooded, many probed, and filters widen the probe") {
  const format::CalibrationPoint point{8, 400, 100, 1.0F};
  Offer offer;
  offer.documents = offer.all_documents = 1'000'000;
  offer.tokens = offer.all_eligible_tokens = 100'000'000;
  offer.num_cells = 1 << 20;
  offer.num_lanes = 32;
  const Plan many = make_plan(point, {}, offer);
  CHECK(many.way == Plan::Way::kProbe);
  CHECK(many.cells == 8);
  CHECK(many.candidates == 400);
  CHECK(many.rescored == 100);
  offer.has_gains = true;
  CHECK(make_plan(point, {}, offer).cells == 16);
  CHECK(make_plan(point, {}, offer).candidates == 800);
  offer.has_gains = false;
  offer.documents = 250'000;
  offer.tokens = 25'000'000;
  CHECK(make_plan(point, {}, offer).cells == 32);
  offer.num_cells = 1 << 17;  // four times as many tokens a cell as there should be at most
  CHECK(make_plan(point, {}, offer).cells == 9);
  offer.documents = 90;
  offer.tokens = 9'000;
  CHECK(make_plan(point, {}, offer).way == Plan::Way::kRescoreAll);
  offer.num_cells = 1'024;
  offer.documents = 600;
  offer.tokens = offer.all_eligible_tokens = 60'000;
  CHECK(make_plan(point, {}, offer).way == Plan::Way::kFloodAll);
  SearchOptions options;
  options.k = 200;
  offer.documents = offer.all_documents;
  offer.tokens = offer.all_eligible_tokens = 100'000'000;
  CHECK(make_plan(point, options, offer).rescored > 200);
  options.rescored = 3;
  CHECK(make_plan(point, options, offer).rescored == 200);
}

}  // namespace
}  // namespace serotine::search
