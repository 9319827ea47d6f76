#include "search/rescore.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "base/parallel.h"

namespace serotine::search {
namespace {

// A thread must have this many multiply-adds to do, some 60 us, to pay for its start.
constexpr std::uint64_t kWorkPerThread = std::uint64_t{8} << 20;

// Documents that a thread takes at once.
constexpr std::size_t kRunDocuments = 16;

// Tokens whose bytes all lie this far below the document's largest are not decoded.
std::uint8_t kPruneMargin = std::getenv("MARGIN") ? static_cast<std::uint8_t>(std::atoi(std::getenv("MARGIN"))) : 40;

// Candidates are rescored this many at a time; the first batch tells how far the middle stage is off.
constexpr std::size_t kFirstBatch = 32;
constexpr std::size_t kNextBatch = 16;
float kDeviations = std::getenv("DEV") ? static_cast<float>(std::atof(std::getenv("DEV"))) : 3.0F;

// How far rescored scores lie above those of the middle stage.
class Distance {
 public:
  void add(double difference) {
    ++count_;
    sum_ += difference;
    squares_ += difference * difference;
  }
  // Hardly any difference is larger.
  [[nodiscard]] double largest() const {
    const double mean = sum_ / count_;
    return mean + static_cast<double>(kDeviations) * std::sqrt(std::max(0.0, squares_ / count_ - mean * mean));
  }

 private:
  double count_ = 0;
  double sum_ = 0;
  double squares_ = 0;
};

}  // namespace

// Fills documents_ and runs_; returns the number of tokens.
std::uint64_t RescoreStage::list(const View& view, std::span<const Candidate> candidates, std::size_t run_documents) {
  documents_.clear();
  runs_.clear();
  std::uint64_t num_tokens = 0;
  for (std::size_t i = 0; i < candidates.size(); ++i) {
    const segment::Segment& segment = *view.segments[candidates[i].segment].segment;
    documents_.push_back(segment.coded(candidates[i].document));
    num_tokens += documents_.back().num_tokens;
    // Segments of one codebook differ in nothing but their gains.
    if (runs_.empty() || runs_.back().format->has_gains != segment.has_gains() ||
        i - runs_.back().begin >= run_documents) {
      runs_.push_back({i, i, &segment.code_format()});
    }
    runs_.back().end = i + 1;
  }
  return num_tokens;
}

// Scores what is listed; with a table only the tokens that matter. Returns the number of tokens decoded.
std::uint64_t RescoreStage::score_runs(const CodedLanes& lanes, const kernels::CellTable* table,
                                       std::uint64_t num_tokens, const RescoreOptions& options) {
  const std::uint64_t worth = num_tokens * lanes.tokens.num_lanes() * lanes.tokens.dim() / kWorkPerThread;
  const std::uint64_t num_threads =
      std::clamp<std::uint64_t>(worth, 1, std::max<std::uint64_t>(options.num_threads, 1));
  scores_.resize(documents_.size());
  if (workers_.size() < num_threads) {
    workers_.resize(num_threads);
  }
  for (Worker& worker : workers_) {
    worker.num_tokens = 0;
  }
  parallel_for(runs_.size(), num_threads, [&](std::uint64_t number, std::uint64_t chunk) {
    const Run& run = runs_[chunk];
    Worker& worker = workers_[number];
    std::span<const kernels::CodedDocument> documents = std::span(documents_).subspan(run.begin, run.end - run.begin);
    // The table knows directions only: where tokens have gains, a far cell can hold the best of them.
    if (table != nullptr && !run.format->has_gains) {
      documents = worker.pruned.prune(*table, *run.format, documents, kPruneMargin);
      worker.num_tokens += worker.pruned.num_tokens();
    } else {
      for (const kernels::CodedDocument& document : documents) {
        worker.num_tokens += document.num_tokens;
      }
    }
    kernels::rescore(*run.format, documents, lanes.tokens, lanes.multiplier.data(), worker.scratch,
                     scores_.data() + run.begin, options.instruction_set);
  });
  std::uint64_t decoded = 0;
  for (const Worker& worker : workers_) {
    decoded += worker.num_tokens;
  }
  return decoded;
}

Rescored RescoreStage::score_all(const View& view, const CodedLanes& lanes, std::span<const Candidate> candidates,
                                 const RescoreOptions& options, BestHits& best) {
  const std::uint64_t num_tokens =
      list(view, candidates, options.num_threads > 1 ? kRunDocuments : candidates.size());
  score_runs(lanes, nullptr, num_tokens, options);
  for (std::size_t i = 0; i < candidates.size(); ++i) {
    best.add({candidates[i].segment, candidates[i].document, scores_[i]});
  }
  return {candidates.size(), num_tokens};
}

Rescored RescoreStage::score_best(const View& view, const CodedLanes& lanes, const CellScores& scores,
                                  std::span<const Candidate> candidates, const RescoreOptions& options,
                                  BestHits& best) {
  const kernels::CellTable table = scores.table();
  const std::uint64_t num_finalists = options.k + options.k / 8 + 2;
  narrowed_.reset(num_finalists);
  Distance distance;
  Rescored done;
  std::size_t size = std::max<std::size_t>(kFirstBatch, options.k);
  for (std::size_t begin = 0; begin < candidates.size(); begin += size, size = kNextBatch) {
    size = std::min(size, candidates.size() - begin);
    const std::span<const Candidate> batch = candidates.subspan(begin, size);
    const auto middle = [&](const Candidate& candidate) {
      return static_cast<double>(candidate.score) * scores.score_step();
    };
    if (narrowed_.size() == num_finalists &&
        middle(batch.front()) + distance.largest() < static_cast<double>(narrowed_.worst().score)) {
      break;
    }
    const std::uint64_t num_tokens = list(view, batch, kRunDocuments);
    done.tokens += score_runs(lanes, &table, num_tokens, options);
    done.documents += size;
    for (std::size_t i = 0; i < size; ++i) {
      narrowed_.add({batch[i].segment, batch[i].document, scores_[i]});
      distance.add(static_cast<double>(scores_[i]) - middle(batch[i]));
    }
  }
  finalists_.clear();
  for (const Hit& hit : narrowed_.take()) {
    finalists_.push_back({hit.segment, hit.document, 0});
  }
  const Rescored last = score_all(view, lanes, finalists_, options, best);
  return {done.documents, done.tokens + last.tokens};
}

}  // namespace serotine::search
