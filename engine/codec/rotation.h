// How are vectors turned so that all dimensions carry alike?  A random orthogonal map that costs d log d.
//
// Vectors are padded with zeros to a multiple of 16 dimensions, then kRounds times: signs are flipped, dimensions
// permuted, and each block of the largest power of two that divides the dimension goes through a Hadamard transform.
// Signs and permutations are stored, not their seed: a change of the generator changes no index. Additions have a fixed
// order: the same bits on every machine.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace serotine::codec {

class Rotation {
 public:
  Rotation(std::uint64_t dim, std::uint64_t seed);
  // From stored bytes; throws InvalidInput if they are not a rotation of this dim.
  Rotation(std::uint64_t dim, std::span<const std::byte> bytes);

  [[nodiscard]] std::vector<std::byte> to_bytes() const;
  [[nodiscard]] std::uint64_t dim() const noexcept { return dim_; }
  [[nodiscard]] std::uint64_t padded_dim() const noexcept { return padded_dim_; }

  // source: [count][dim] -> target: [count][padded_dim]. Lengths and dot products are kept.
  void apply(const float* source, std::uint64_t count, float* target) const;
  // The inverse: source: [count][padded_dim] -> target: [count][dim].
  void undo(const float* source, std::uint64_t count, float* target) const;

 private:
  static constexpr std::uint64_t kRounds = 3;
  std::uint64_t dim_ = 0;
  std::uint64_t padded_dim_ = 0;
  std::vector<float> signs_;                // [kRounds][padded_dim]: +1 or -1
  std::vector<std::uint16_t> permutation_;  // [kRounds][padded_dim]
};

}  // namespace serotine::codec
