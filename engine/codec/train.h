// How is a codebook made?  From a sample of the vectors: a k-means tree, then levels for what it leaves over.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "codec/codebook.h"

namespace serotine::codec {

// Float16 vectors of documents that lie together in memory (or in a mapped file).
struct OriginalsPiece {
  const std::uint16_t* values = nullptr;   // [num_tokens][dim], float16 bits, finite
  std::span<const std::uint32_t> lengths;  // tokens of each document
  std::uint64_t num_tokens = 0;            // their sum
};
using Originals = std::vector<OriginalsPiece>;

// Told how far a long operation is (0..1); throws Interrupted to end it. Called from the calling thread only, at least
// about ten times a second.
using Progress = std::function<void(double fraction)>;

struct TrainOptions {
  std::uint64_t dim = 0;
  std::uint32_t nbits = 4;
  std::uint64_t seed = 42;
  std::uint64_t collection_tokens = 0;  // what the number of cells is made for: 2^round(log2(tokens / 48))
  std::uint64_t num_threads = 1;
  std::uint64_t max_sample_bytes = std::uint64_t{256} << 20;  // of int8 rows held in memory
  Progress progress;                                          // may be empty
};

// Depends on the originals, dim, nbits, seed and collection_tokens alone: not on threads, pieces or instruction set.
// Works from one token on (one cell then). Cost about num_tokens * (sqrt(cells) + ...) * dim multiply-adds, see
// docs/engine.md. Throws Interrupted.
[[nodiscard]] CodebookContent train_codebook(const Originals& originals, const TrainOptions& options);

}  // namespace serotine::codec
