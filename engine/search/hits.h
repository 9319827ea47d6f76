// Which are the best k?  Higher scores first, older documents first among equal ones.
#pragma once

#include <bit>
#include <cstdint>
#include <vector>

#include "search/search.h"

namespace serotine::search {

// Orders floats as integers, NaN included: comparisons never depend on what a sort does with NaN. -0 counts as 0.
[[nodiscard]] inline std::uint32_t order_of(float score) noexcept {
  const auto bits = std::bit_cast<std::uint32_t>(score + 0.0F);
  return (bits & 0x8000'0000U) != 0 ? ~bits : bits | 0x8000'0000U;
}

[[nodiscard]] inline std::uint64_t place_of(std::uint32_t segment, std::uint32_t document) noexcept {
  return (std::uint64_t{segment} << 32) | document;
}

[[nodiscard]] inline bool better(const Hit& a, const Hit& b) noexcept {
  const std::uint32_t order_a = order_of(a.score);
  const std::uint32_t order_b = order_of(b.score);
  return order_a != order_b ? order_a > order_b : place_of(a.segment, a.document) < place_of(b.segment, b.document);
}

class BestHits {
 public:
  void reset(std::uint64_t k);
  void add(const Hit& hit);
  [[nodiscard]] std::uint64_t size() const noexcept { return hits_.size(); }
  // The worst of them; there must be one. Once there are k, nothing worse is taken.
  [[nodiscard]] const Hit& worst() const noexcept { return hits_.front(); }
  // Best first; empties the set.
  [[nodiscard]] std::vector<Hit> take();

 private:
  std::uint64_t k_ = 0;
  std::vector<Hit> hits_;  // a heap whose front is the worst
};

}  // namespace serotine::search
