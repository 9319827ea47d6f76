#include "search/hits.h"

#include <algorithm>
#include <utility>

namespace serotine::search {

void BestHits::reset(std::uint64_t k) {
  k_ = k;
  hits_.clear();
}

void BestHits::add(const Hit& hit) {
  if (hits_.size() < k_) {
    hits_.push_back(hit);
    std::push_heap(hits_.begin(), hits_.end(), better);
  } else if (k_ > 0 && better(hit, hits_.front())) {
    std::pop_heap(hits_.begin(), hits_.end(), better);
    hits_.back() = hit;
    std::push_heap(hits_.begin(), hits_.end(), better);
  }
}

std::vector<Hit> BestHits::take() {
  std::sort(hits_.begin(), hits_.end(), better);
  return std::exchange(hits_, {});
}

}  // namespace serotine::search
