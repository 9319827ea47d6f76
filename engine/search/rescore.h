// What are candidates worth, judged by their codes?  MaxSim over the stored vectors: the score that is returned.
//
// Where the cells have been scored, most of this can be left out. Candidates come best first and are rescored until the
// next has no chance to be among the best, as far as the ones before tell; and of each only the tokens that can matter
// are decoded (prune.h). What such narrowed scores leave at the top is scored in full, so scores never depend on it.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "search/candidates.h"
#include "search/cells.h"
#include "search/hits.h"
#include "search/lanes.h"
#include "search/prune.h"
#include "search/view.h"

namespace serotine::search {

struct RescoreOptions {
  std::uint64_t k = 10;
  std::uint64_t num_threads = 1;
  std::string_view instruction_set;
};

// What has been rescored.
struct Rescored {
  std::uint64_t documents = 0;
  std::uint64_t tokens = 0;
};

class RescoreStage {
 public:
  // Adds candidates of segments of one codebook, all of them with tokens, to `best`.
  Rescored score_all(const View& view, const CodedLanes& lanes, std::span<const Candidate> candidates,
                     const RescoreOptions& options, BestHits& best);

  // Adds the best options.k of the candidates, as far as the cells tell. candidates: best first, with the scores of
  // the middle stage in `scores`, of which there is one block.
  Rescored score_best(const View& view, const CodedLanes& lanes, const CellScores& scores,
                      std::span<const Candidate> candidates, const RescoreOptions& options, BestHits& best);

 private:
  struct Run {  // consecutive candidates whose codes have one format
    std::size_t begin;
    std::size_t end;
    const kernels::CodeFormat* format;
  };
  struct Worker {
    kernels::RescoreScratch scratch;
    PrunedDocuments pruned;
    std::uint64_t num_tokens = 0;
  };

  Rescored narrow_down(const View& view, const CodedLanes& lanes, const CellScores& scores,
                       std::span<const Candidate> candidates, const RescoreOptions& options);
  Rescored score_finalists(const View& view, const CodedLanes& lanes, const RescoreOptions& options, BestHits& best);
  std::uint64_t list(const View& view, std::span<const Candidate> candidates, std::size_t run_documents);
  std::uint64_t score_runs(const CodedLanes& lanes, const kernels::CellTable* table, std::uint64_t num_tokens,
                           const RescoreOptions& options);

  std::vector<kernels::CodedDocument> documents_;
  std::vector<Run> runs_;
  std::vector<float> scores_;
  std::vector<Worker> workers_;
  std::vector<Hit> narrowed_;
  std::vector<Candidate> finalists_;
  BestHits best_narrowed_;
  BestHits best_full_;
};

}  // namespace serotine::search
