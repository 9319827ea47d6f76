// How does a staged change become the next generation?  Files are written and a manifest that names them; nothing is
// published here.
#pragma once

#include <cstdint>

#include "codec/train.h"
#include "index/limits.h"
#include "index/sink.h"
#include "index/staging.h"

namespace serotine::index {

struct GenerationOptions {
  Limits limits;
  bool merge_all = false;  // optimize: merge to the limit, calibrate
  bool retrain = false;    // one new codebook for everything; originals of all must be at hand
  std::uint64_t num_threads = 1;
  codec::Progress progress;  // may be empty
};

// The manifest to commit; its generation is the store's to set. next_file: number of the next file; goes on.
// On an exception the files that were written are gone.
[[nodiscard]] format::Manifest build_generation(WriteSession& session, Staging& staging, std::uint64_t& next_file,
                                                const GenerationOptions& options);

}  // namespace serotine::index
