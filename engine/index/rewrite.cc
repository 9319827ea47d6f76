#include "index/rewrite.h"

#include <algorithm>
#include <utility>

#include "codec/encode.h"

namespace serotine::index {
namespace {

// Tokens that are encoded between two calls of progress: some 30 ms.
constexpr std::uint64_t kBatchTokens = std::uint64_t{1} << 15;

}  // namespace

Rewriter::Rewriter(NewFiles& files, const Staging& staging, Options options)
    : files_(files), staging_(staging), options_(std::move(options)) {}

std::vector<format::SegmentRef> Rewriter::write(const SegmentKind& kind, std::span<const std::uint32_t> copied,
                                                std::span<const OriginalDocuments> encoded) {
  segment::SegmentPlan plan;
  plan.dim = options_.dim;
  plan.codebook = kind.codebook_file;
  plan.keep_originals = kind.has_originals && plan.codebook != nullptr;
  plan.has_gains = plan.codebook != nullptr && needs_gains(copied, encoded);
  plan.min_posting_tokens = options_.limits.min_posting_tokens;
  plan.max_memory_bytes = options_.limits.max_memory_bytes;
  SegmentSink sink(files_, std::move(plan), options_.limits.max_segment_tokens);
  for (const std::uint32_t source : copied) {
    copy(source, sink);
  }
  for (const OriginalDocuments& documents : encoded) {
    encode(documents, sink);
  }
  return sink.finish(kind.codebook);
}

bool Rewriter::needs_gains(std::span<const std::uint32_t> copied, std::span<const OriginalDocuments> encoded) const {
  const search::View& view = staging_.base().view();
  return std::any_of(copied.begin(), copied.end(),
                     [&](std::uint32_t source) { return view.segments[source].segment->has_gains(); }) ||
         std::any_of(encoded.begin(), encoded.end(), [](const OriginalDocuments& documents) {
           return codec::needs_gains(pieces_of(documents), documents.dim);
         });
}

std::uint64_t bytes_needed(const SegmentKind& kind, const Piece& piece, std::uint64_t dim) {
  std::uint64_t per_token = kind.has_originals ? 2 * dim : 0;
  if (kind.codebook_file) {
    // Codes, a gain, a norm, the cell and its posting.
    per_token += kind.codebook_file->code_format(true).token_bytes() + kind.codebook_file->cell_width() + 2;
  }
  constexpr std::uint64_t kPerDocument = 32;
  return piece.num_tokens * per_token + piece.num_documents * kPerDocument;
}

void Rewriter::copy(std::uint32_t source, SegmentSink& sink) {
  const segment::Segment& segment = *staging_.base().view().segments[source].segment;
  const std::vector<std::uint64_t>& deleted = staging_.deleted()[source].words;
  segment.verify_all();          // what was damaged must not get a new checksum
  std::uint64_t num_tokens = 0;  // since the last report
  for (std::uint64_t document = 0; document < segment.num_documents(); ++document) {
    if (!deleted.empty() && ((deleted[document / 64] >> (document % 64)) & 1) != 0) {
      continue;
    }
    sink.copy(segment, document);
    num_tokens += segment.length(document);
    if (num_tokens >= kBatchTokens) {
      report(std::exchange(num_tokens, 0));
    }
  }
  report(num_tokens);
}

void Rewriter::encode(const OriginalDocuments& documents, SegmentSink& sink) {
  const std::uint64_t batch = std::min(kBatchTokens, options_.limits.max_segment_tokens);
  for_each_batch(documents, batch, [&](std::uint64_t first, std::uint64_t last) {
    sink.add(documents, first, last, options_.num_threads);
    std::uint64_t num_tokens = 0;
    for (std::uint64_t i = first; i < last; ++i) {
      num_tokens += documents.lengths[i];
    }
    report(num_tokens);
  });
}

void Rewriter::report(std::uint64_t num_tokens) {
  tokens_written_ += num_tokens;
  if (options_.progress) {
    const auto total = static_cast<double>(std::max<std::uint64_t>(1, options_.total_tokens));
    options_.progress(static_cast<double>(tokens_written_) / total);
  }
}

}  // namespace serotine::index
