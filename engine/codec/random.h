// Where does chance come from?  One small generator with a fixed sequence: the standard library's differ between
// implementations in what they make of a seed, and an index must not.
#pragma once

#include <cstdint>

namespace serotine::codec {

// SplitMix64 (Steele, Lea & Flood 2014): every seed is good, also 0, 1, 2.
class SplitMix64 {
 public:
  explicit SplitMix64(std::uint64_t seed) noexcept : state_(seed) {}

  [[nodiscard]] std::uint64_t next() noexcept {
    state_ += 0x9E37'79B9'7F4A'7C15U;
    std::uint64_t bits = state_;
    bits = (bits ^ (bits >> 30)) * 0xBF58'476D'1CE4'E5B9U;
    bits = (bits ^ (bits >> 27)) * 0x94D0'49BB'1331'11EBU;
    return bits ^ (bits >> 31);
  }

  // Uniform in [0, bound), bound > 0: draws that would favour small numbers are drawn again.
  [[nodiscard]] std::uint64_t below(std::uint64_t bound) noexcept {
    const std::uint64_t unfair = (0 - bound) % bound;
    std::uint64_t bits = next();
    while (bits < unfair) {
      bits = next();
    }
    return bits % bound;
  }

 private:
  std::uint64_t state_;
};

}  // namespace serotine::codec
