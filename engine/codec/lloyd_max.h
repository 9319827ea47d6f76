// Which few values stand best for many?  Lloyd-Max: k-means in one dimension, on a histogram.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace serotine::codec {

// Magnitudes counted in equal bins. Counts are whole numbers: their sum does not depend on who counted first.
class MagnitudeHistogram {
 public:
  // Magnitudes beyond `limit` count as `limit`. limit > 0.
  explicit MagnitudeHistogram(float limit) : limit_(limit), counts_(kBins) {}

  void add(float value) noexcept;

  // The 2 * num_positive levels, mirrored about 0 and rising, with the least squared error for values of either sign.
  // Empty bins are no obstacle; an empty histogram gives evenly spread levels.
  [[nodiscard]] std::vector<float> levels(std::uint64_t num_positive) const;

 private:
  static constexpr std::uint64_t kBins = 8192;
  float limit_;
  std::vector<std::uint64_t> counts_;
};

}  // namespace serotine::codec
