// What of a query is there to be matched?  Its tokens as directions with lengths, equal ones taken together.
//
// A lane is the weighted sum of query tokens that point the same way (the [MASK] tokens of an expanded query): with one
// nearest document token for all of them, their sum's dot product is the sum of theirs. Tokens of length or weight 0
// add nothing to any score and are left out.
#pragma once

#include <cstdint>
#include <vector>

#include "base/aligned_buffer.h"
#include "codec/codebook.h"
#include "kernels/quantized.h"
#include "search/search.h"

namespace serotine::search {

struct Lanes {
  std::uint64_t dim = 0;
  std::uint64_t count = 0;
  std::vector<float> directions;  // [count][dim], length 1, not rotated
  std::vector<float> lengths;     // [count]: of the weighted sums

  void prepare(const Query& query, std::uint64_t query_dim);
};

// Lanes as a codebook sees them: rotated and quantised.
struct CodedLanes {
  AlignedBuffer<float> rotated;  // [count][padded_dim]
  std::uint64_t count = 0;
  kernels::Int8Tokens tokens;          // all lanes
  std::vector<float> multiplier;       // [tokens.num_lanes()]: scale times length, what rescore() wants
  std::vector<std::uint16_t> weights;  // [tokens.num_lanes()]: lengths in steps of weight_step
  float weight_step = 1;

  void prepare(const Lanes& lanes, const codec::Codebook& codebook);
};

}  // namespace serotine::search
