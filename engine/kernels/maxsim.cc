#include "kernels/maxsim.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <memory>

#include "base/aligned_buffer.h"
#include "base/parallel.h"
#include "kernels/dispatch.h"
#include "kernels/document_stream.h"
#include "kernels/query_panels.h"

namespace serotine::kernels {
namespace {

constexpr float kNoMatch = -std::numeric_limits<float>::infinity();

// Document rows that all panels read before the next: they should stay in the L2 cache (1 MiB and more on the machines
// that matter) beside the maxima. Rows that are staged are written and read at once: in L1.
constexpr std::uint64_t kBlockBytes = 256 * 1024;
constexpr std::uint64_t kSmallBlockBytes = 24 * 1024;
constexpr std::uint64_t kBestBytes = 256 * 1024;

// Query tokens that share one pass over the documents. Enough that the reading of a document from memory (512 bytes of
// 128 float32) vanishes beside its 1024 * 128 multiply-adds; few enough for the maxima of a block to fit the cache.
constexpr std::uint64_t kQueryBatchTokens = 1024;

// A thread must have this many multiply-adds to do, some 50 us, to pay for its start.
constexpr std::uint64_t kWorkPerThread = std::uint64_t{1} << 23;

// Rows of a chunk of work: small enough to even out the threads, large enough that its last, padded tile is nothing.
constexpr std::uint64_t kMinChunkRows = 2'048;
constexpr std::uint64_t kMaxChunkRows = 131'072;
constexpr std::uint64_t kChunksPerThread = 8;

// Where the score of (query, position) goes.
struct ScoreMatrix {
  float* scores;
  std::uint64_t row_stride;

  [[nodiscard]] float& at(std::uint64_t query, std::uint64_t position) const noexcept {
    return scores[query * row_stride + position];
  }
};

// What one thread needs to score documents against panels; reused from chunk to chunk.
template <typename Panels, typename Cutter>
class RangeScorer {
 public:
  RangeScorer(const PackedTokens& documents, const KernelTable& kernels)
      : kernels_(&kernels), cutter_(documents, kernels) {}

  // Scores every query of the panels against the non-empty documents of the range; the first query goes to row
  // `first_query` of `target`. The scores of empty documents are left as they are.
  void score(const Panels& panels, const DocumentRange& range, std::uint64_t first_query, const ScoreMatrix& target) {
    stream_.build(range);
    const std::uint64_t lanes = panels.num_lanes();
    const std::uint64_t max_segments =
        std::max<std::uint64_t>(kTileRows, kBestBytes / sizeof(float) / std::max<std::uint64_t>(lanes, 1));
    best_.reserve_discarding(checked_multiply(max_segments, lanes));
    const std::uint64_t max_rows = block_rows(lanes);

    std::uint64_t document = 0;
    bool carried = false;  // the block starts inside a document, whose maxima so far are in row 0
    for (std::uint64_t row = 0; row < stream_.num_padded_rows();) {
      const std::uint64_t end = block_end(row, document, max_rows, max_segments);
      const std::uint64_t num_finished = find_segments(row, end, document);
      const std::uint64_t first_new = carried ? 1 : 0;
      std::fill(best_.data() + first_new * lanes, best_.data() + segment_ends_.size() * lanes, kNoMatch);
      fold_block(panels, row, end);
      for (std::uint64_t segment = 0; segment < num_finished; ++segment) {
        const std::uint64_t position = stream_.positions()[document + segment];
        for (std::uint64_t query = 0; query < panels.num_queries(); ++query) {
          target.at(first_query + query, position) = panels.fold(best_.data() + segment * lanes, query);
        }
      }
      carried = num_finished < segment_ends_.size();
      if (carried && num_finished > 0) {
        std::copy_n(best_.data() + num_finished * lanes, lanes, best_.data());
      }
      document += num_finished;
      row = end;
    }
  }

 private:
  // Blocks of staged rows are small, so that they stay in L1, unless the panels are too much for L2: then every panel
  // should do much with a block before the next comes from further away.
  [[nodiscard]] bool uses_small_blocks(std::uint64_t lanes) const noexcept {
    return cutter_.stages_every_tile() && lanes * cutter_.row_bytes() <= kBlockBytes;
  }

  [[nodiscard]] std::uint64_t block_rows(std::uint64_t lanes) const noexcept {
    const std::uint64_t bytes = uses_small_blocks(lanes) ? kSmallBlockBytes : kBlockBytes;
    return std::max<std::uint64_t>(1, bytes / (cutter_.row_bytes() * kTileRows)) * kTileRows;
  }

  // End of the block that starts at `row`: at most max_rows on, and touching at most max_segments documents.
  [[nodiscard]] std::uint64_t block_end(std::uint64_t row, std::uint64_t document, std::uint64_t max_rows,
                                        std::uint64_t max_segments) const noexcept {
    const std::uint64_t end = std::min(row + max_rows, stream_.num_padded_rows());
    const std::uint64_t last_allowed = document + max_segments - 1;
    if (last_allowed >= stream_.ends().size() || stream_.ends()[last_allowed] >= end) {
      return end;
    }
    return std::max(row + kTileRows, stream_.ends()[last_allowed] / kTileRows * kTileRows);
  }

  // Lists the ends of the documents, from `document` on, within the rows [row, end). Returns how many end there.
  [[nodiscard]] std::uint64_t find_segments(std::uint64_t row, std::uint64_t end, std::uint64_t document) {
    segment_ends_.clear();
    std::uint64_t num_finished = 0;
    for (std::uint64_t reached = row; reached < end; ++document) {
      reached = std::min(stream_.ends()[document], end);
      segment_ends_.push_back(reached - row);
      num_finished += stream_.ends()[document] <= end ? 1 : 0;
    }
    return num_finished;
  }

  void fold_block(const Panels& panels, std::uint64_t row, std::uint64_t end) {
    const auto tiles = cutter_.cut(
        {&stream_, row, (end - row) / kTileRows, segment_ends_.data(), uses_small_blocks(panels.num_lanes())});
    float* best = best_.data();
    for (const typename Panels::Panel& panel : panels.panels()) {
      if constexpr (std::is_same_v<typename Panels::Panel, FloatPanel>) {
        kernels_->fold_float(tiles, panel, best, panels.num_lanes());
      } else {
        kernels_->fold_int8(tiles, panel, best, panels.num_lanes());
      }
      best += std::uint64_t{panel.groups} * kGroupLanes;
    }
  }

  const KernelTable* kernels_;
  Cutter cutter_;
  DocumentStream stream_;
  std::vector<std::uint64_t> segment_ends_;
  AlignedBuffer<float> best_;
};

// Cuts [0, count) into ranges of about `target` work each. Returns the bounds, from 0 to count.
template <typename WorkOf>
std::vector<std::uint64_t> split_by_work(std::uint64_t count, std::uint64_t target, const WorkOf& work_of) {
  std::vector<std::uint64_t> bounds{0};
  std::uint64_t work = 0;
  for (std::uint64_t item = 0; item < count; ++item) {
    work += work_of(item) + 1;  // + 1: an item without work costs its bookkeeping
    if (work >= target) {
      bounds.push_back(item + 1);
      work = 0;
    }
  }
  if (bounds.back() != count) {
    bounds.push_back(count);
  }
  return bounds;
}

[[nodiscard]] std::uint64_t length_of(const PackedTokens& tokens, std::uint64_t text) noexcept {
  return static_cast<std::uint64_t>(tokens.offsets[text + 1] - tokens.offsets[text]);
}

[[nodiscard]] std::uint64_t threads_worth(std::uint64_t multiply_adds, std::uint64_t num_threads) noexcept {
  return std::clamp<std::uint64_t>(multiply_adds / kWorkPerThread, 1, std::max<std::uint64_t>(num_threads, 1));
}

[[nodiscard]] std::uint64_t chunk_rows(std::uint64_t total_rows, std::uint64_t num_threads) noexcept {
  return num_threads == 1 ? kMaxChunkRows
                          : std::clamp(total_rows / (num_threads * kChunksPerThread), kMinChunkRows, kMaxChunkRows);
}

// One scorer per thread, made by the thread that first needs it.
template <typename Scorer>
class Workers {
 public:
  Workers(std::uint64_t num_threads, const PackedTokens& documents, const KernelTable& kernels)
      : scorers_(num_threads), documents_(&documents), kernels_(&kernels) {}

  Scorer& operator[](std::uint64_t worker) {
    if (!scorers_[worker]) {
      scorers_[worker] = std::make_unique<Scorer>(*documents_, *kernels_);
    }
    return *scorers_[worker];
  }

 private:
  std::vector<std::unique_ptr<Scorer>> scorers_;
  const PackedTokens* documents_;
  const KernelTable* kernels_;
};

template <typename Panels, typename Cutter>
void score_all(const PackedTokens& queries, const PackedTokens& documents, const std::int64_t* selection,
               std::uint64_t num_positions, const MaxSimOptions& options, const KernelTable& kernels,
               const ScoreMatrix& target) {
  const DocumentRange everything{&documents, selection, 0, num_positions};
  const auto rows_at = [&](std::uint64_t position) { return length_of(documents, everything.document_at(position)); };
  std::uint64_t total_rows = 0;
  for (std::uint64_t position = 0; position < num_positions; ++position) {
    total_rows += rows_at(position);
  }
  const auto query_tokens = static_cast<std::uint64_t>(queries.offsets.back());
  const std::uint64_t num_threads = threads_worth(total_rows * queries.dim * query_tokens, options.num_threads);
  const std::vector<std::uint64_t> chunks = split_by_work(num_positions, chunk_rows(total_rows, num_threads), rows_at);
  const std::vector<std::uint64_t> batches = split_by_work(
      queries.num_texts(), kQueryBatchTokens, [&](std::uint64_t query) { return length_of(queries, query); });

  Workers<RangeScorer<Panels, Cutter>> workers(num_threads, documents, kernels);
  Panels panels;
  for (std::size_t batch = 0; batch + 1 < batches.size(); ++batch) {
    panels.build(queries, batches[batch], batches[batch + 1], options.weights, kernels);
    parallel_for(chunks.size() - 1, num_threads, [&](std::uint64_t worker, std::uint64_t chunk) {
      workers[worker].score(panels, {&documents, selection, chunks[chunk], chunks[chunk + 1]}, batches[batch], target);
    });
  }
}

template <typename Panels, typename Cutter>
void score_pairs(const PackedTokens& queries, const PackedTokens& documents, const MaxSimOptions& options,
                 const KernelTable& kernels, std::span<float> scores) {
  const auto work_of = [&](std::uint64_t pair) {
    return length_of(queries, pair) * length_of(documents, pair) * queries.dim;
  };
  std::uint64_t total_work = 0;
  for (std::uint64_t pair = 0; pair < scores.size(); ++pair) {
    total_work += work_of(pair);
  }
  const std::uint64_t num_threads = threads_worth(total_work, options.num_threads);
  const std::vector<std::uint64_t> chunks =
      split_by_work(scores.size(), std::max<std::uint64_t>(total_work / (num_threads * kChunksPerThread), 1), work_of);

  Workers<RangeScorer<Panels, Cutter>> workers(num_threads, documents, kernels);
  std::vector<Panels> panels(num_threads);
  parallel_for(chunks.size() - 1, num_threads, [&](std::uint64_t worker, std::uint64_t chunk) {
    for (std::uint64_t pair = chunks[chunk]; pair < chunks[chunk + 1]; ++pair) {
      panels[worker].build(queries, pair, pair + 1, options.weights, kernels);
      workers[worker].score(panels[worker], {&documents, nullptr, pair, pair + 1}, 0, {scores.data(), 0});
    }
  });
}

[[nodiscard]] const KernelTable& choose(const MaxSimOptions& options) {
  return options.instruction_set.empty() ? active_kernels() : kernels_of(options.instruction_set);
}

}  // namespace

void maxsim(const PackedTokens& queries, const PackedTokens& documents,
            std::optional<std::span<const std::int64_t>> selection, const MaxSimOptions& options,
            std::span<float> scores) {
  const KernelTable& kernels = choose(options);
  std::fill(scores.begin(), scores.end(), kNoMatch);
  const std::int64_t* positions = selection ? selection->data() : nullptr;
  const std::uint64_t num_positions = selection ? selection->size() : documents.num_texts();
  const ScoreMatrix target{scores.data(), num_positions};
  const auto score = documents.kind == ElementKind::kInt8 ? &score_all<Int8QueryPanels, Int8TileCutter>
                                                          : &score_all<FloatQueryPanels, FloatTileCutter>;
  score(queries, documents, positions, num_positions, options, kernels, target);
}

void maxsim_pairwise(const PackedTokens& queries, const PackedTokens& documents, const MaxSimOptions& options,
                     std::span<float> scores) {
  const KernelTable& kernels = choose(options);
  std::fill(scores.begin(), scores.end(), kNoMatch);
  const auto score = documents.kind == ElementKind::kInt8 ? &score_pairs<Int8QueryPanels, Int8TileCutter>
                                                          : &score_pairs<FloatQueryPanels, FloatTileCutter>;
  score(queries, documents, options, kernels, scores);
}

}  // namespace serotine::kernels
