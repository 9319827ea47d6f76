#include "index/growth.h"

#include <algorithm>

#include "format/manifest.h"

namespace serotine::index {
namespace {

// The codebook used by the newest piece that has one; kNoCodebook if none has.
std::uint32_t newest_codebook(std::span<const Piece> pieces) {
  for (std::size_t i = pieces.size(); i-- > 0;) {
    if (pieces[i].codebook != format::kNoCodebook) {
      return pieces[i].codebook;
    }
  }
  return format::kNoCodebook;
}

// num_tokens > times * trained, without a product that may wrap.
bool has_grown(std::uint64_t num_tokens, std::uint64_t trained, std::uint64_t times) {
  return num_tokens > 0 && (num_tokens - 1) / times >= trained;
}

// An index whose half comes in one change is built at once. One that comes bit by bit goes on growing: its codebook
// will be used up to kRetrainGrowth times what there is.
std::uint64_t size_to_expect(std::uint64_t staged_tokens, std::uint64_t num_tokens) {
  const bool comes_at_once = staged_tokens >= num_tokens - num_tokens / 2;
  return comes_at_once ? num_tokens : num_tokens * kHeadroom;
}

}  // namespace

Growth decide_growth(const GrowthState& state) {
  Growth growth;
  growth.num_tokens = state.staged_tokens;
  for (const Piece& piece : state.pieces) {
    growth.num_tokens += piece.num_tokens;
  }
  growth.made_for = size_to_expect(state.staged_tokens, growth.num_tokens);
  growth.keep_originals = state.keep_originals;
  growth.codebook = newest_codebook(state.pieces);
  if (growth.codebook == format::kNoCodebook) {
    growth.kind = growth.num_tokens < state.first_codebook_tokens ? Growth::Kind::kExact : Growth::Kind::kTrain;
    return growth;
  }

  const std::uint64_t trained = std::max<std::uint64_t>(1, state.trained_tokens[growth.codebook]);
  std::uint64_t first = state.pieces.size();
  std::uint64_t tokens_at_hand = state.staged_tokens;
  while (first > 0 && state.pieces[first - 1].has_originals) {
    tokens_at_hand += state.pieces[--first].num_tokens;
  }
  // Of the eight-fold growth about half has its originals; less than an eighth (after deletions) would be a poor
  // sample.
  if (has_grown(growth.num_tokens, trained, kRetrainGrowth) && tokens_at_hand * kRetrainGrowth >= growth.num_tokens) {
    growth.kind = Growth::Kind::kTrain;
    growth.first_reencoded = first;
    return growth;
  }
  growth.kind = Growth::Kind::kEncode;
  // Once begun it goes on, even if deletions bring the index back below the mark: kinds must not alternate.
  const bool has_begun = !state.pieces.empty() && state.pieces.back().has_originals;
  growth.keep_originals = growth.keep_originals || has_begun || has_grown(growth.num_tokens, trained, kOriginalsGrowth);
  return growth;
}

}  // namespace serotine::index
