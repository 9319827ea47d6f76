// Which documents of a segment may be returned?  The live ones, and of those the ones that the filter allows.
#pragma once

#include <bit>
#include <cstdint>
#include <vector>

#include "search/search.h"

namespace serotine::search {

class Eligible {
 public:
  // allowed: a bitmap of the segment's documents, or null for all.
  void build(const SegmentView& view, const std::vector<std::uint64_t>* allowed);

  [[nodiscard]] std::uint64_t num_documents() const noexcept { return num_documents_; }
  // About how many tokens they have: exact if they are all or few.
  [[nodiscard]] std::uint64_t num_tokens() const noexcept { return num_tokens_; }
  [[nodiscard]] bool contains(std::uint32_t document) const noexcept {
    return words_.empty() || ((words_[document / 64] >> (document % 64)) & 1) != 0;
  }

  // Calls visit(document) for each in ascending order, those without tokens left out.
  template <typename Visit>
  void for_each(const segment::Segment& segment, Visit visit) const {
    if (words_.empty()) {
      for (std::uint64_t document = 0; document < segment.num_documents(); ++document) {
        if (segment.length(document) > 0) {
          visit(static_cast<std::uint32_t>(document));
        }
      }
      return;
    }
    for (std::uint64_t word = 0; word < words_.size(); ++word) {
      for (std::uint64_t bits = words_[word]; bits != 0; bits &= bits - 1) {
        const std::uint64_t document = word * 64 + static_cast<std::uint64_t>(std::countr_zero(bits));
        if (segment.length(document) > 0) {
          visit(static_cast<std::uint32_t>(document));
        }
      }
    }
  }

 private:
  std::vector<std::uint64_t> words_;  // empty: all
  std::uint64_t num_documents_ = 0;
  std::uint64_t num_tokens_ = 0;
};

}  // namespace serotine::search
