// Which documents do the probed cells promise?  Adds up, for each document, what its best probed cell is worth to each
// lane beyond the lane's first unprobed cell: what a document has in no probed cell counts as just short of it.
#pragma once

#include <cstdint>
#include <vector>

#include "base/aligned_buffer.h"
#include "search/candidates.h"
#include "search/eligible.h"
#include "search/probe.h"

namespace serotine::search {

class Accumulator {
 public:
  // Adds the eligible documents of a segment with postings to `candidates`, of which in all at least the best
  // `wanted` survive. Returns the number of postings read.
  std::uint64_t add(const segment::Segment& segment, std::uint32_t number, const Eligible& eligible,
                    const Probes& probes, std::uint64_t wanted, std::vector<Candidate>& candidates);

 private:
  struct Entry {
    std::int32_t score;
    std::uint32_t stamp;  // of the lane that added last; stamps only grow, so none is ever cleared
  };

  std::uint64_t add_range(const segment::Segment& segment, std::uint64_t range, const Probes& probes);

  AlignedBuffer<Entry> entries_;  // [kRangeDocuments]
  std::vector<std::uint16_t> touched_;
  std::vector<std::span<const std::uint16_t>> postings_;
  std::uint64_t num_touched_ = 0;
  std::uint32_t stamp_ = 0;
};

}  // namespace serotine::search
