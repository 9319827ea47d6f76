// What is a document on its way to be returned?  Where it is, and what the last stage thought of it.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "search/hits.h"

namespace serotine::search {

struct Candidate {
  std::uint32_t segment;
  std::uint32_t document;
  std::int32_t score;  // of the last stage: comparable within one codebook
};

[[nodiscard]] inline bool better(const Candidate& a, const Candidate& b) noexcept {
  return a.score != b.score ? a.score > b.score : place_of(a.segment, a.document) < place_of(b.segment, b.document);
}

[[nodiscard]] inline bool older(const Candidate& a, const Candidate& b) noexcept {
  return place_of(a.segment, a.document) < place_of(b.segment, b.document);
}

// Keeps the best `count`, in no order.
inline void keep_best(std::vector<Candidate>& candidates, std::uint64_t count) {
  if (candidates.size() > count) {
    std::nth_element(candidates.begin(), candidates.begin() + static_cast<std::ptrdiff_t>(count), candidates.end(),
                     [](const Candidate& a, const Candidate& b) { return better(a, b); });
    candidates.resize(count);
  }
}

}  // namespace serotine::search
