#include "search/accumulate.h"

#include <algorithm>
#include <limits>

namespace serotine::search {

std::uint64_t Accumulator::add_range(const segment::Segment& segment, std::uint64_t range, const Probes& probes) {
  if (touched_.empty() || probes.num_lanes() >= std::numeric_limits<std::uint32_t>::max() - stamp_) {
    entries_.reserve_discarding(segment::kRangeDocuments);
    std::fill_n(entries_.data(), segment::kRangeDocuments, Entry{0, 0});
    touched_.resize(segment::kRangeDocuments + 1);  // one more: a write that may be taken back
    stamp_ = 0;
  }
  const std::uint32_t before = stamp_;
  Entry* entries = entries_.data();
  std::uint16_t* touched = touched_.data();
  std::uint64_t num_touched = 0;
  std::uint64_t num_postings = 0;
  for (std::uint64_t lane = 0; lane < probes.num_lanes(); ++lane) {
    const std::span<const ProbedCell> cells = probes.lane(lane);
    const std::uint32_t stamp = ++stamp_;
    postings_.clear();
    for (const ProbedCell& probed : cells) {
      postings_.push_back(segment.postings(range, probed.cell));
      __builtin_prefetch(postings_.back().data());
    }
    for (std::size_t i = 0; i < cells.size(); ++i) {
      const auto gain = static_cast<std::int32_t>(cells[i].gain);
      num_postings += postings_[i].size();
      for (const std::uint16_t document : postings_[i]) {
        // No branch: whether a lane has met a document already is a coin toss.
        Entry& entry = entries[document];
        const bool first = entry.stamp <= before;
        touched[num_touched] = document;
        num_touched += first ? 1 : 0;
        entry.score = (first ? 0 : entry.score) + (entry.stamp == stamp ? 0 : gain);
        entry.stamp = stamp;
      }
    }
  }
  num_touched_ = num_touched;
  return num_postings;
}

std::uint64_t Accumulator::add(const segment::Segment& segment, std::uint32_t number, const Eligible& eligible,
                               const Probes& probes, std::uint64_t wanted, std::vector<Candidate>& candidates) {
  std::uint64_t num_postings = 0;
  std::int32_t least = 0;  // of the best `wanted` so far: what lies below can no longer be among them
  for (std::uint64_t range = 0; range < segment.num_ranges(); ++range) {
    num_postings += add_range(segment, range, probes);
    for (std::uint64_t i = 0; i < num_touched_; ++i) {
      const std::uint16_t distance = touched_[i];
      const auto document = static_cast<std::uint32_t>(range * segment::kRangeDocuments + distance);
      if (entries_.data()[distance].score >= least && eligible.contains(document)) {
        candidates.push_back({number, document, entries_.data()[distance].score});
      }
    }
    if (candidates.size() > 4 * wanted) {
      keep_best(candidates, wanted);
      least = std::min_element(candidates.begin(), candidates.end(), [](const Candidate& a, const Candidate& b) {
                return a.score < b.score;
              })->score;
    }
  }
  return num_postings;
}

}  // namespace serotine::search
