// Which vectors is a codebook trained on?  Short runs of tokens from all over the originals, as int8 directions.
#pragma once

#include <cstdint>
#include <vector>

#include "base/aligned_buffer.h"
#include "codec/meter.h"
#include "codec/rotation.h"
#include "codec/train.h"

namespace serotine::codec {

// Rotated unit vectors as int8 rows; vectors of length 0 are left out.
struct Sample {
  float unit = 0;  // length of one step
  std::uint64_t num_rows = 0;
  AlignedBuffer<std::int8_t> rows;  // [num_rows][padded_dim]
};

// At most max_rows rows. Depends on the tokens in their order and the seed, not on how they are cut into pieces.
[[nodiscard]] Sample draw_sample(const Originals& originals, const Rotation& rotation, std::uint64_t max_rows,
                                 std::uint64_t seed, std::uint64_t num_threads, Meter& meter);

// `count` vectors from any place, rotated and scaled to length 1; those of length 0 stay 0.
// lengths: what each had, or null.
void load_directions(const std::uint16_t* values, std::uint64_t count, const Rotation& rotation, float* unrotated,
                     float* directions, float* lengths);

// Length of a vector: a sum of squares in a fixed order.
[[nodiscard]] float length_of(const float* vector, std::uint64_t dim) noexcept;

}  // namespace serotine::codec
