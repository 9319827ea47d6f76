// Which documents have their float16 vectors at hand?  Staged ones, and those of segments that keep them.
#pragma once

#include <cstdint>
#include <functional>
#include <string_view>
#include <vector>

#include "codec/train.h"
#include "segment/segment.h"

namespace serotine::index {

// Documents whose vectors lie one after the other; some of them are dead.
struct OriginalDocuments {
  const std::uint16_t* values = nullptr;
  std::uint64_t dim = 0;
  std::vector<std::string_view> keys;
  std::vector<std::uint32_t> lengths;
  std::vector<std::uint64_t> first_tokens;
  std::vector<std::uint8_t> alive;

  void add(std::string_view key, std::uint32_t length, bool is_alive);
  [[nodiscard]] std::uint64_t num_documents() const noexcept { return keys.size(); }
  [[nodiscard]] const std::uint16_t* document(std::uint64_t number) const noexcept {
    return values + first_tokens[number] * dim;
  }

 private:
  std::uint64_t num_tokens_ = 0;
};

// deleted: its bitmap, empty for none. The segment must outlive the result.
[[nodiscard]] OriginalDocuments originals_of(const segment::Segment& segment, std::span<const std::uint64_t> deleted,
                                             std::uint64_t dim);

// Runs of live documents, for training.
[[nodiscard]] codec::Originals pieces_of(const OriginalDocuments& documents);

// Calls visit(first, last) for runs of live documents of at most max_tokens (one document may have more).
void for_each_batch(const OriginalDocuments& documents, std::uint64_t max_tokens,
                    const std::function<void(std::uint64_t first, std::uint64_t last)>& visit);

}  // namespace serotine::index
