#include "search/lanes.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace serotine::search {
namespace {

// Directions closer than this (a cosine above .9999) are one: a token's int8 codes are no more exact.
constexpr float kSameDirection = 0.01414F;

// Lengths beyond this would let sums of scores overflow a float; such a query has no meaningful order anyway.
constexpr double kMaxLength = 1e24;

[[nodiscard]] bool same_direction(const float* a, const float* b, std::uint64_t dim) noexcept {
  float sum = 0;
  for (std::uint64_t i = 0; i < dim; ++i) {
    const float difference = a[i] - b[i];
    sum += difference * difference;
    if (sum > kSameDirection * kSameDirection) {  // unlike tokens part within a few dimensions
      return false;
    }
  }
  return true;
}

[[nodiscard]] double length_of(const double* values, std::uint64_t dim) noexcept {
  double sum = 0;
  for (std::uint64_t i = 0; i < dim; ++i) {
    sum += values[i] * values[i];
  }
  return std::sqrt(sum);
}

}  // namespace

void Lanes::prepare(const Query& query, std::uint64_t query_dim) {
  dim = query_dim;
  count = 0;
  directions.resize(query.num_tokens * dim);
  std::vector<double> sums(query.num_tokens * dim);
  for (std::uint64_t token = 0; token < query.num_tokens; ++token) {
    const double weight = query.weights != nullptr ? static_cast<double>(query.weights[token]) : 1.0;
    const float* values = query.tokens + token * dim;
    double* sum = sums.data() + count * dim;
    for (std::uint64_t i = 0; i < dim; ++i) {
      sum[i] = weight * static_cast<double>(values[i]);
    }
    const double length = length_of(sum, dim);
    if (!(length > 0)) {
      continue;
    }
    float* direction = directions.data() + count * dim;
    for (std::uint64_t i = 0; i < dim; ++i) {
      direction[i] = static_cast<float>(sum[i] / length);
    }
    std::uint64_t lane = 0;
    while (lane < count && !same_direction(directions.data() + lane * dim, direction, dim)) {
      ++lane;
    }
    if (lane < count) {
      double* target = sums.data() + lane * dim;
      std::transform(sum, sum + dim, target, target, [](double a, double b) { return a + b; });
    } else {
      ++count;
    }
  }
  lengths.resize(count);
  for (std::uint64_t lane = 0; lane < count; ++lane) {
    const double* sum = sums.data() + lane * dim;
    const double length = length_of(sum, dim);
    for (std::uint64_t i = 0; i < dim; ++i) {
      directions[lane * dim + i] = static_cast<float>(sum[i] / length);
    }
    lengths[lane] = static_cast<float>(std::min(length, kMaxLength));
  }
}

void CodedLanes::prepare(const Lanes& lanes, const codec::Codebook& codebook) {
  const std::uint64_t padded_dim = codebook.padded_dim();
  count = lanes.count;
  rotated.reserve_discarding(count * padded_dim);
  codebook.rotation().apply(lanes.directions.data(), count, rotated.data());
  tokens.build(rotated.data(), count, padded_dim);

  multiplier.assign(tokens.num_lanes(), 0.0F);
  weights.assign(tokens.num_lanes(), 0);
  const float longest = *std::max_element(lanes.lengths.begin(), lanes.lengths.end());
  weight_step = std::max(longest / static_cast<float>(kernels::kMaxLaneWeight), std::numeric_limits<float>::min());
  for (std::uint64_t lane = 0; lane < count; ++lane) {
    multiplier[lane] = tokens.scales()[lane] * lanes.lengths[lane];
    weights[lane] = static_cast<std::uint16_t>(
        std::clamp<long>(std::lround(lanes.lengths[lane] / weight_step), 1, kernels::kMaxLaneWeight));
  }
}

}  // namespace serotine::search
