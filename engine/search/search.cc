#include "search/search.h"

#include <algorithm>
#include <chrono>

#include "search/accumulate.h"
#include "search/calibrate.h"
#include "search/candidates.h"
#include "search/cells.h"
#include "search/eligible.h"
#include "search/exact.h"
#include "search/hits.h"
#include "search/lanes.h"
#include "search/mid.h"
#include "search/plan.h"
#include "search/probe.h"
#include "search/rescore.h"

namespace serotine::search {

struct Scratch::State {
  Lanes lanes;
  CodedLanes coded;
  CellScores scores;
  Probes probes;
  Accumulator accumulator;
  MidStage mid;
  RescoreStage rescore;
  ExactStage exact;
  std::vector<Eligible> eligible;    // of each segment
  std::vector<std::uint32_t> group;  // segments of one codebook
  std::vector<const codec::Codebook*> codebooks;
  std::vector<Candidate> candidates;
  BestHits best;
};

Scratch::Scratch() : state(std::make_unique<State>()) {}
Scratch::~Scratch() = default;
Scratch::Scratch(Scratch&&) noexcept = default;
Scratch& Scratch::operator=(Scratch&&) noexcept = default;

namespace {

// Times the stages of a search, if somebody wants to know.
class Clock {
 public:
  explicit Clock(SearchTrace* trace) : trace_(trace), last_(now()) {}

  void lap(Stage stage) {
    if (trace_ != nullptr) {
      const std::chrono::steady_clock::time_point time = now();
      trace_->stage_ns[static_cast<std::size_t>(stage)] +=
          static_cast<std::uint64_t>(std::chrono::nanoseconds(time - last_).count());
      last_ = time;
    }
  }

 private:
  [[nodiscard]] std::chrono::steady_clock::time_point now() const {
    return trace_ != nullptr ? std::chrono::steady_clock::now() : std::chrono::steady_clock::time_point{};
  }

  SearchTrace* trace_;
  std::chrono::steady_clock::time_point last_;
};

// One search: what its stages have in common.
struct Run {
  const View& view;
  const Query& query;
  const SearchOptions& options;
  Scratch::State& state;
  SearchTrace& trace;
  Clock& clock;

  [[nodiscard]] CellOptions cell_options() const {
    CellOptions cell_options;
    cell_options.tree_above = options.tree_above;
    cell_options.supers = options.supers;
    cell_options.num_threads = options.num_threads;
    cell_options.instruction_set = options.instruction_set;
    return cell_options;
  }
};

void add_all(Run& run, std::uint32_t number) {
  run.state.eligible[number].for_each(*run.view.segments[number].segment, [&](std::uint32_t document) {
    run.state.candidates.push_back({number, document, 0});
  });
}

// Fills candidates from the postings of the best cells. Returns whether the scores of the only block of lanes are
// built.
void probe(Run& run, const Plan& plan) {
  Scratch::State& state = run.state;
  state.probes.clear();
  for (std::uint64_t block = 0; block < state.scores.num_blocks(); ++block) {
    state.scores.build(block);
    run.clock.lap(Stage::kCells);
    state.probes.add(state.scores, plan.cells);
    run.clock.lap(Stage::kProbe);
  }
  run.trace.probed_cells += state.probes.num_cells();
  for (const std::uint32_t number : state.group) {
    const segment::Segment& segment = *run.view.segments[number].segment;
    if (segment.has_postings()) {
      run.trace.postings += state.accumulator.add(segment, number, state.eligible[number], state.probes,
                                                  plan.candidates, state.candidates);
    }
  }
  keep_best(state.candidates, plan.candidates);
  run.clock.lap(Stage::kAccumulate);
}

// Narrows what the segments of state.group hold down to what is worth rescoring.
void choose_candidates(Run& run, const codec::Codebook& codebook, const Plan& plan) {
  Scratch::State& state = run.state;
  state.scores.begin(codebook, state.coded, run.cell_options());
  run.clock.lap(Stage::kCells);
  const auto has_postings = [&](std::uint32_t number) { return run.view.segments[number].segment->has_postings(); };
  const bool probes =
      plan.way == Plan::Way::kProbe && std::any_of(state.group.begin(), state.group.end(), has_postings);
  if (probes) {
    probe(run, plan);
  }
  for (const std::uint32_t number : state.group) {
    if (!probes || !has_postings(number)) {
      add_all(run, number);
    }
  }
  run.trace.candidates += state.candidates.size();
  std::sort(state.candidates.begin(), state.candidates.end(), older);
  run.trace.flooded_tokens += state.mid.score(run.view, state.scores, probes && state.scores.num_blocks() == 1,
                                              run.cell_options(), state.candidates);
  keep_best(state.candidates, plan.rescored);
  run.clock.lap(Stage::kMid);
}

// Lists the segments of a codebook that have eligible documents in state.group, and adds them up.
[[nodiscard]] Offer make_offer(Run& run, const codec::Codebook& codebook, std::uint64_t all_eligible_tokens) {
  Scratch::State& state = run.state;
  Offer offer;
  state.group.clear();
  for (std::uint32_t number = 0; number < run.view.segments.size(); ++number) {
    const segment::Segment& segment = *run.view.segments[number].segment;
    if (segment.codebook() == &codebook && state.eligible[number].num_documents() > 0) {
      state.group.push_back(number);
      offer.documents += state.eligible[number].num_documents();
      offer.tokens += state.eligible[number].num_tokens();
      offer.all_documents += segment.num_documents();
      offer.has_gains = offer.has_gains || segment.has_gains();
    }
  }
  offer.all_eligible_tokens = all_eligible_tokens;
  offer.num_cells = codebook.num_cells();
  offer.num_lanes = divide_up(state.lanes.count, kernels::kLaneGroup) * kernels::kLaneGroup;
  return offer;
}

// Adds the best of state.candidates, as the plan says.
void rescore(Run& run, const Plan& plan) {
  Scratch::State& state = run.state;
  const RescoreOptions options{run.options.k, run.options.num_threads, run.options.instruction_set};
  Rescored rescored;
  if (plan.way != Plan::Way::kRescoreAll && plan.narrowed && state.scores.num_blocks() == 1) {
    std::sort(state.candidates.begin(), state.candidates.end(),
              [](const Candidate& a, const Candidate& b) { return better(a, b); });
    rescored = state.rescore.score_best(run.view, state.coded, state.scores, state.candidates, options, state.best);
  } else {
    std::sort(state.candidates.begin(), state.candidates.end(), older);
    rescored = state.rescore.score_all(run.view, state.coded, state.candidates, options, state.best);
  }
  run.trace.rescored_documents += rescored.documents;
  run.trace.rescored_tokens += rescored.tokens;
  run.clock.lap(Stage::kRescore);
}

// Adds the best documents of one codebook. Returns whether every eligible one was scored.
bool search_codebook(Run& run, const codec::Codebook& codebook, std::uint64_t all_eligible_tokens) {
  Scratch::State& state = run.state;
  const Offer offer = make_offer(run, codebook, all_eligible_tokens);
  if (state.group.empty()) {
    return true;
  }
  const float recall = run.options.recall > 0 ? run.options.recall : kDefaultRecall;
  const Plan plan = make_plan(point_for(run.view.calibration, recall), run.options, offer);
  state.coded.prepare(state.lanes, codebook);
  run.clock.lap(Stage::kPrepare);
  state.candidates.clear();
  if (plan.way == Plan::Way::kRescoreAll) {
    for (const std::uint32_t number : state.group) {
      add_all(run, number);
    }
  } else {
    choose_candidates(run, codebook, plan);
  }
  rescore(run, plan);
  return plan.way == Plan::Way::kRescoreAll;
}

// A query without direction: every document scores 0, so the oldest are the best.
void add_zeros(Run& run) {
  for (std::uint32_t number = 0; number < run.view.segments.size(); ++number) {
    run.state.eligible[number].for_each(*run.view.segments[number].segment,
                                        [&](std::uint32_t document) { run.state.best.add({number, document, 0.0F}); });
  }
}

// Returns whether every eligible document was scored.
bool search_segments(Run& run) {
  Scratch::State& state = run.state;
  state.best.reset(run.options.k);
  if (state.lanes.count == 0) {
    add_zeros(run);
    return true;
  }
  state.codebooks.clear();
  std::uint64_t coded_tokens = 0;
  for (std::uint32_t number = 0; number < run.view.segments.size(); ++number) {
    const codec::Codebook* codebook = run.view.segments[number].segment->codebook();
    if (codebook == nullptr) {
      run.trace.exact_documents +=
          state.exact.score(run.view, number, state.eligible[number], run.query, run.options, state.best);
      continue;
    }
    coded_tokens += state.eligible[number].num_tokens();
    if (std::find(state.codebooks.begin(), state.codebooks.end(), codebook) == state.codebooks.end()) {
      state.codebooks.push_back(codebook);
    }
  }
  run.clock.lap(Stage::kExact);
  bool complete = true;
  for (const codec::Codebook* codebook : state.codebooks) {
    complete = search_codebook(run, *codebook, coded_tokens) && complete;
  }
  return complete;
}

}  // namespace

std::vector<Hit> search(const View& view, const Query& query, const Filter* filter, const SearchOptions& options,
                        Scratch& scratch, SearchTrace* trace) {
  SearchTrace ignored;
  Clock clock(trace);
  Scratch::State& state = *scratch.state;
  Run run{view, query, options, state, trace != nullptr ? *trace : ignored, clock};
  if (state.eligible.size() < view.segments.size()) {
    state.eligible.resize(view.segments.size());
  }
  std::uint64_t num_eligible = 0;
  for (std::size_t number = 0; number < view.segments.size(); ++number) {
    state.eligible[number].build(view.segments[number], filter != nullptr ? &filter->allowed[number] : nullptr);
    num_eligible += state.eligible[number].num_documents();
  }
  if (num_eligible == 0 || options.k == 0) {
    return {};
  }
  state.lanes.prepare(query, view.dim);
  clock.lap(Stage::kPrepare);
  if (!search_segments(run) && state.best.size() < std::min(options.k, num_eligible)) {
    // Fewer candidates than asked for, as a filter or an odd query can bring about: look at everything.
    SearchOptions exhaustive = options;
    exhaustive.exhaustive = true;
    Run again{view, query, exhaustive, state, run.trace, clock};
    search_segments(again);
  }
  return state.best.take();
}

}  // namespace serotine::search
