// How do documents of several segments, and new ones, become one segment?  Codes are copied, vectors are encoded.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "codec/train.h"
#include "index/limits.h"
#include "index/merge.h"
#include "index/sink.h"
#include "index/staging.h"

namespace serotine::index {

// What a group of documents is written as.
struct SegmentKind {
  std::uint32_t codebook = 0;                            // position in the manifest, or kNoCodebook
  std::shared_ptr<const codec::Codebook> codebook_file;  // null: float16 vectors alone
  bool has_originals = false;
};

// About how many bytes a piece takes as that kind, for a look at the free space before the work.
[[nodiscard]] std::uint64_t bytes_needed(const SegmentKind& kind, const Piece& piece, std::uint64_t dim);

class Rewriter {
 public:
  struct Options {
    Limits limits;
    std::uint64_t dim = 0;
    std::uint64_t num_threads = 1;
    codec::Progress progress;        // of all writing
    std::uint64_t total_tokens = 0;  // to be written, for progress
  };
  Rewriter(NewFiles& files, const Staging& staging, Options options);

  // The live documents of segments `copied` of the base, which are of that kind, then those of `encoded`.
  [[nodiscard]] std::vector<format::SegmentRef> write(const SegmentKind& kind, std::span<const std::uint32_t> copied,
                                                      std::span<const OriginalDocuments> encoded);

 private:
  [[nodiscard]] bool needs_gains(std::span<const std::uint32_t> copied,
                                 std::span<const OriginalDocuments> encoded) const;
  void copy(std::uint32_t source, SegmentSink& sink);
  void encode(const OriginalDocuments& documents, SegmentSink& sink);
  void report(std::uint64_t num_tokens);

  NewFiles& files_;
  const Staging& staging_;
  Options options_;
  std::uint64_t tokens_written_ = 0;
};

}  // namespace serotine::index
