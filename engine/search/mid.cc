#include "search/mid.h"

#include <algorithm>

#include "base/parallel.h"

namespace serotine::search {
namespace {

// A thread must have this many bytes of cell scores to compare, some 80 us, to pay for its start.
constexpr std::uint64_t kWorkPerThread = std::uint64_t{2} << 20;
constexpr std::uint64_t kChunkDocuments = 64;

}  // namespace

std::uint64_t MidStage::score(const View& view, CellScores& scores, bool is_built, const CellOptions& options,
                              std::vector<Candidate>& candidates) {
  documents_.clear();
  std::uint64_t num_tokens = 0;
  for (Candidate& candidate : candidates) {
    candidate.score = 0;
    documents_.push_back(view.segments[candidate.segment].segment->cells(candidate.document));
    num_tokens += documents_.back().num_tokens;
  }
  if (candidates.empty()) {
    return 0;
  }
  const std::uint32_t cell_width = view.segments[candidates.front().segment].segment->codebook()->cell_width();
  scores_.resize(candidates.size());
  for (std::uint64_t block = 0; block < scores.num_blocks(); ++block) {
    if (block > 0 || !is_built) {
      scores.build(block);
    }
    const kernels::CellTable table = scores.table();
    const std::uint64_t worth = num_tokens * table.num_lanes / kWorkPerThread;
    const auto flood = [&](std::uint64_t begin, std::uint64_t end) {
      kernels::flood(table, cell_width, std::span(documents_).subspan(begin, end - begin), scores_.data() + begin,
                     options.instruction_set);
    };
    if (std::min(worth, options.num_threads) <= 1) {
      flood(0, documents_.size());
    } else {
      parallel_for(divide_up(documents_.size(), kChunkDocuments), std::min(worth, options.num_threads),
                   [&](std::uint64_t, std::uint64_t chunk) {
                     flood(chunk * kChunkDocuments,
                           std::min<std::uint64_t>(documents_.size(), (chunk + 1) * kChunkDocuments));
                   });
    }
    for (std::size_t i = 0; i < candidates.size(); ++i) {
      candidates[i].score += scores_[i];
    }
  }
  return num_tokens;
}

}  // namespace serotine::search
