// Which codebook do new documents get, and when is the next one due?
//
// Few tokens are kept exact. From Limits::first_codebook_tokens on there is a codebook, trained from everything. When
// the index has kOriginalsGrowth times the tokens that it was trained for, new segments keep their float16 vectors; at
// kRetrainGrowth times they are what the next codebook is trained from, and they are encoded again with it. Older
// segments stay as they are: a share that shrinks geometrically. What was coded in few cells stays in few cells, so a
// codebook of documents that keep coming has more of them than the documents of the day ask for.
#pragma once

#include <cstdint>
#include <span>

#include "index/merge.h"

namespace serotine::index {

inline constexpr std::uint64_t kOriginalsGrowth = 4;
inline constexpr std::uint64_t kRetrainGrowth = 8;
inline constexpr std::uint64_t kHeadroom = 2;

struct GrowthState {
  std::span<const Piece> pieces;                  // segments with anything alive, oldest first
  std::span<const std::uint64_t> trained_tokens;  // of each codebook that the pieces name
  std::uint64_t staged_tokens = 0;
  bool keep_originals = false;  // the setting of the index
  std::uint64_t first_codebook_tokens = 0;
};

struct Growth {
  enum class Kind {
    kExact,   // new documents stay float16
    kEncode,  // with `codebook`
    kTrain,   // a new codebook; pieces from first_reencoded on are encoded again with it
  };
  Kind kind = Kind::kExact;
  std::uint32_t codebook = 0;
  bool keep_originals = false;  // beside the codes
  std::uint64_t first_reencoded = 0;
  std::uint64_t num_tokens = 0;  // of the index after the change
  std::uint64_t made_for = 0;    // kTrain: how many tokens the codebook gets cells for
};

[[nodiscard]] Growth decide_growth(const GrowthState& state);

}  // namespace serotine::index
