#include "search/exact.h"

#include "kernels/maxsim.h"

namespace serotine::search {

std::uint64_t ExactStage::score(const View& view, std::uint32_t number, const Eligible& eligible, const Query& query,
                                const SearchOptions& options, BestHits& best) {
  const segment::Segment& segment = *view.segments[number].segment;
  selection_.clear();
  eligible.for_each(segment, [&](std::uint32_t document) { selection_.push_back(document); });
  if (selection_.empty()) {
    return 0;
  }
  offsets_.resize(segment.num_documents() + 1);
  for (std::uint64_t document = 0; document < segment.num_documents(); ++document) {
    offsets_[document] = static_cast<std::int64_t>(segment.first_token(document));
  }
  offsets_.back() = static_cast<std::int64_t>(segment.num_tokens());

  kernels::PackedTokens documents;
  documents.values = segment.all_originals();
  documents.kind = kernels::ElementKind::kFloat16;
  documents.dim = view.dim;
  documents.offsets = offsets_;
  const std::vector<std::int64_t> query_offsets{0, static_cast<std::int64_t>(query.num_tokens)};
  kernels::PackedTokens tokens;
  tokens.values = query.tokens;
  tokens.dim = view.dim;
  tokens.offsets = query_offsets;

  scores_.resize(selection_.size());
  kernels::maxsim(tokens, documents, std::span<const std::int64_t>(selection_),
                  {query.weights, options.num_threads, options.instruction_set}, scores_);
  for (std::size_t i = 0; i < selection_.size(); ++i) {
    best.add({number, static_cast<std::uint32_t>(selection_[i]), scores_[i]});
  }
  return selection_.size();
}

}  // namespace serotine::search
