// Which segments become one?  Neighbours of one kind, so that sizes fall geometrically and the order stays.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace serotine::index {

// A segment, or the documents about to be added, as a merge sees it: what is alive of it.
struct Piece {
  std::uint32_t codebook = 0;  // kNoCodebook for none
  bool has_originals = false;
  std::uint64_t num_documents = 0;
  std::uint64_t num_tokens = 0;
  bool needs_writing = false;  // even if it stays alone: it is new, or mostly deleted

  [[nodiscard]] bool same_kind(const Piece& other) const noexcept {
    return codebook == other.codebook && has_originals == other.has_originals;
  }
  // Documents count too: some have no tokens.
  [[nodiscard]] std::uint64_t weight() const noexcept { return num_documents + num_tokens; }
};

// Pieces [first, last) are written as one segment, or one piece stays as it is.
struct MergeGroup {
  std::uint64_t first;
  std::uint64_t last;

  bool operator==(const MergeGroup&) const = default;
};

// A piece of at least half its predecessor's weight is merged with it, and so on: afterwards each is heavier than twice
// its successor, which leaves log2(n) segments and writes a document log2(n) times. What precedes a change of kind will
// not grow again and is merged to the limit at once. Nothing is merged beyond max_tokens. merge_all: everything that
// can be merged is.
[[nodiscard]] std::vector<MergeGroup> plan_merges(std::span<const Piece> pieces, std::uint64_t max_tokens,
                                                  bool merge_all);

}  // namespace serotine::index
