// How is a segment written?  Documents one batch after the other; everything but blocks and originals waits in memory.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "codec/encode.h"
#include "segment/segment.h"
#include "segment/spool.h"

namespace serotine::segment {

// What a segment is written with.
struct SegmentPlan {
  std::uint64_t dim = 0;
  std::shared_ptr<const codec::Codebook> codebook = nullptr;  // null: float16 vectors alone
  bool has_gains = false;                                     // with a codebook: as codec::needs_gains says
  bool keep_originals = false;                                // with a codebook: the float16 vectors too
  // Segments of fewer tokens have no postings.
  std::uint64_t min_posting_tokens = kMinPostingTokens;
  // Two sections grow at once if originals are kept with codes: the codes wait here, beyond so many bytes in a file.
  std::uint64_t max_memory_bytes = std::uint64_t{64} << 20;
  SpoolFile spool = {};  // may be empty: all wait in memory
};

// Memory until finish(): about cell_width + 4 bytes per token, id + 16 bytes per document, and the plan's
// max_memory_bytes.
class SegmentWriter {
 public:
  SegmentWriter(SegmentPlan plan, std::unique_ptr<io::WritableFile> file, const Uuid& index, const Uuid& uuid);
  ~SegmentWriter();

  // Documents from float16 vectors: encoded here if there is a codebook. keys and lengths: one per document.
  void add(std::span<const std::string_view> keys, std::span<const std::uint32_t> lengths, const std::uint16_t* values,
           std::uint64_t num_threads);

  // Document `document` of another segment of the same codebook (or none), copied as it is: codes are never decoded.
  // Its originals come along if the plan keeps them (the source must have them then).
  void copy(const Segment& source, std::uint64_t document);

  [[nodiscard]] std::uint64_t num_documents() const noexcept;
  [[nodiscard]] std::uint64_t num_tokens() const noexcept;

  // Writes postings and the rest; returns the reference with counts, `codebook` left at kNoCodebook for the caller.
  format::SegmentRef finish();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace serotine::segment
