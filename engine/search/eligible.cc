#include "search/eligible.h"

#include <algorithm>

#include "base/checked.h"

namespace serotine::search {
namespace {

// Up to this many documents their tokens are counted one by one.
constexpr std::uint64_t kCountedDocuments = 4'096;

}  // namespace

void Eligible::build(const SegmentView& view, const std::vector<std::uint64_t>* allowed) {
  const segment::Segment& segment = *view.segment;
  const std::span<const std::uint64_t> deleted = view.deletions->words();
  words_.clear();
  num_documents_ = segment.num_documents();
  num_tokens_ = segment.num_tokens();
  if (allowed == nullptr && deleted.empty()) {
    return;
  }
  const std::uint64_t num_words = divide_up(segment.num_documents(), 64);
  words_.assign(num_words, allowed == nullptr ? ~std::uint64_t{0} : 0);
  if (allowed != nullptr) {
    std::copy_n(allowed->data(), std::min<std::uint64_t>(num_words, allowed->size()), words_.data());
  }
  for (std::uint64_t word = 0; word < std::min<std::uint64_t>(num_words, deleted.size()); ++word) {
    words_[word] &= ~deleted[word];
  }
  if (segment.num_documents() % 64 != 0) {
    words_.back() &= (std::uint64_t{1} << (segment.num_documents() % 64)) - 1;
  }
  num_documents_ = 0;
  for (const std::uint64_t word : words_) {
    num_documents_ += static_cast<std::uint64_t>(std::popcount(word));
  }
  if (num_documents_ <= kCountedDocuments) {
    num_tokens_ = 0;
    for_each(segment, [&](std::uint32_t document) { num_tokens_ += segment.length(document); });
  } else {
    num_tokens_ =
        static_cast<std::uint64_t>(static_cast<double>(segment.num_tokens()) * static_cast<double>(num_documents_) /
                                   static_cast<double>(segment.num_documents()));
  }
}

}  // namespace serotine::search
