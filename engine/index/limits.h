// From how many tokens, and up to how many bytes?  The sizes that shape an index; tests lower them.
#pragma once

#include <cstdint>

#include "segment/segment.h"

namespace serotine::index {

struct Limits {
  std::uint64_t first_codebook_tokens = std::uint64_t{1} << 15;  // below, everything is exact
  std::uint64_t max_segment_tokens = std::uint64_t{16} << 20;    // a segment is sealed before it has more
  std::uint64_t min_posting_tokens = segment::kMinPostingTokens;
  std::uint64_t max_memory_bytes = std::uint64_t{64} << 20;  // of staged vectors; the rest waits in tmp/
  std::uint64_t num_pseudo_queries = 64;                     // of a calibration
};

}  // namespace serotine::index
