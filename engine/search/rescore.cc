#include "search/rescore.h"

#include <algorithm>
#include <cmath>

#include "base/parallel.h"

namespace serotine::search {
namespace {

// A thread must have this many multiply-adds to do, some 60 us, to pay for its start.
constexpr std::uint64_t kWorkPerThread = std::uint64_t{8} << 20;

// Documents that a thread takes at once.
constexpr std::size_t kRunDocuments = 16;

// Hits beyond the k asked for that are scored in full at once, and then at a time. With 10 at first one in a thousand
// of the ten best was lost: the first ones tell how far narrowed scores are off, and few tell little.
constexpr std::size_t kFirstSpare = 30;
constexpr std::size_t kNextSpare = 6;

// Candidates are rescored this many at a time; the first batch tells how far the middle stage is off.
constexpr std::size_t kFirstBatch = 32;
constexpr std::size_t kNextBatch = 16;

// How many standard deviations above the mean of that a document may lie and still be expected (docs/engine.md).
constexpr double kDeviations = 3.5;

// How far the scores of one stage lie above those of the one before.
class Distance {
 public:
  void add(double difference) {
    ++count_;
    sum_ += difference;
    squares_ += difference * difference;
  }
  // Next to no difference is larger.
  [[nodiscard]] double largest() const {
    const double mean = sum_ / count_;
    return mean + kDeviations * std::sqrt(std::max(0.0, squares_ / count_ - mean * mean));
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
      documents = worker.pruned.prune(*table, *run.format, documents);
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
  const std::uint64_t num_tokens = list(view, candidates, options.num_threads > 1 ? kRunDocuments : candidates.size());
  score_runs(lanes, nullptr, num_tokens, options);
  for (std::size_t i = 0; i < candidates.size(); ++i) {
    best.add({candidates[i].segment, candidates[i].document, scores_[i]});
  }
  return {candidates.size(), num_tokens};
}

Rescored RescoreStage::score_best(const View& view, const CodedLanes& lanes, const CellScores& scores,
                                  std::span<const Candidate> candidates, const RescoreOptions& options,
                                  BestHits& best) {
  const Rescored narrow = narrow_down(view, lanes, scores, candidates, options);
  const Rescored full = score_finalists(view, lanes, options, best);
  return {narrow.documents, narrow.tokens + full.tokens};
}

// Fills narrowed_, best first, from as many of the candidates as have a chance.
Rescored RescoreStage::narrow_down(const View& view, const CodedLanes& lanes, const CellScores& scores,
                                   std::span<const Candidate> candidates, const RescoreOptions& options) {
  const kernels::CellTable table = scores.table();
  const auto middle = [&](const Candidate& candidate) {
    return static_cast<double>(candidate.score) * scores.score_step();
  };
  narrowed_.clear();
  best_narrowed_.reset(options.k);
  Distance distance;
  Rescored done;
  std::size_t size = std::max<std::size_t>(kFirstBatch, options.k);
  for (std::size_t begin = 0; begin < candidates.size(); begin += size, size = kNextBatch) {
    const std::span<const Candidate> batch =
        candidates.subspan(begin, std::min<std::size_t>(size, candidates.size() - begin));
    if (begin > 0 && best_narrowed_.size() == options.k &&
        middle(batch.front()) + distance.largest() < static_cast<double>(best_narrowed_.worst().score)) {
      break;
    }
    done.tokens += score_runs(lanes, &table, list(view, batch, kRunDocuments), options);
    done.documents += batch.size();
    for (std::size_t i = 0; i < batch.size(); ++i) {
      narrowed_.push_back({batch[i].segment, batch[i].document, scores_[i]});
      best_narrowed_.add(narrowed_.back());
      distance.add(static_cast<double>(scores_[i]) - middle(batch[i]));
    }
  }
  std::sort(narrowed_.begin(), narrowed_.end(), [](const Hit& a, const Hit& b) { return better(a, b); });
  return done;
}

// Scores in full what narrowed_ begins with, as far as it has a chance.
Rescored RescoreStage::score_finalists(const View& view, const CodedLanes& lanes, const RescoreOptions& options,
                                       BestHits& best) {
  best_full_.reset(options.k);
  Distance loss;
  Rescored done;
  std::size_t size = options.k + kFirstSpare;
  for (std::size_t begin = 0; begin < narrowed_.size(); begin += size, size = kNextSpare) {
    const std::span<const Hit> batch =
        std::span(narrowed_).subspan(begin, std::min<std::size_t>(size, narrowed_.size() - begin));
    if (begin > 0 && best_full_.size() == options.k &&
        static_cast<double>(batch.front().score) + loss.largest() < static_cast<double>(best_full_.worst().score)) {
      break;
    }
    finalists_.clear();
    for (const Hit& hit : batch) {
      finalists_.push_back({hit.segment, hit.document, 0});
    }
    done.tokens += score_runs(lanes, nullptr, list(view, finalists_, kRunDocuments), options);
    done.documents += batch.size();
    for (std::size_t i = 0; i < batch.size(); ++i) {
      const Hit hit{batch[i].segment, batch[i].document, scores_[i]};
      best_full_.add(hit);
      best.add(hit);
      loss.add(static_cast<double>(scores_[i]) - static_cast<double>(batch[i].score));
    }
  }
  return done;
}

}  // namespace serotine::search
