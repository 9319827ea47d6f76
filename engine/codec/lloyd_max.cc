#include "codec/lloyd_max.h"

#include <algorithm>
#include <cmath>

namespace serotine::codec {
namespace {

constexpr int kMaxRounds = 2000;  // 8 positive levels of a Gaussian settle in about 300

// Population and sum of bin centres of the bins before each bin, so that a cell's mean costs two look-ups.
struct Prefix {
  std::vector<double> count;
  std::vector<double> sum;
};

Prefix accumulate(const std::vector<std::uint64_t>& counts) {
  Prefix prefix{{0.0}, {0.0}};
  for (std::uint64_t bin = 0; bin < counts.size(); ++bin) {
    const auto count = static_cast<double>(counts[bin]);
    prefix.count.push_back(prefix.count.back() + count);
    prefix.sum.push_back(prefix.sum.back() + count * (static_cast<double>(bin) + 0.5));
  }
  return prefix;
}

// First values that have equal shares of the population: a start that no level has to travel far from.
std::vector<double> quantiles(const Prefix& prefix, std::uint64_t num_levels) {
  std::vector<double> levels;
  for (std::uint64_t level = 0; level < num_levels; ++level) {
    const double rank = prefix.count.back() * (static_cast<double>(level) + 0.5) / static_cast<double>(num_levels);
    const auto at = std::upper_bound(prefix.count.begin(), prefix.count.end(), rank);
    levels.push_back(static_cast<double>(at - prefix.count.begin()) - 0.5);
  }
  return levels;
}

// One round: every level moves to the mean of what is nearest to it. Returns the longest way that one went, in bins.
double improve(const Prefix& prefix, std::vector<double>& levels) {
  const std::uint64_t num_bins = prefix.count.size() - 1;
  double longest = 0;
  std::uint64_t begin = 0;
  const std::vector<double> before = levels;
  for (std::uint64_t level = 0; level < levels.size(); ++level) {
    std::uint64_t end = num_bins;
    if (level + 1 < levels.size()) {
      const double border = (before[level] + before[level + 1]) / 2;
      end = std::clamp<std::uint64_t>(static_cast<std::uint64_t>(std::llround(border)), begin, num_bins);
    }
    const double count = prefix.count[end] - prefix.count[begin];
    if (count > 0) {
      levels[level] = (prefix.sum[end] - prefix.sum[begin]) / count;
      longest = std::max(longest, std::abs(levels[level] - before[level]));
    }
    begin = end;
  }
  return longest;
}

}  // namespace

void MagnitudeHistogram::add(float value) noexcept {
  const float position = std::abs(value) / limit_ * static_cast<float>(kBins);
  // Written so that a NaN lands in bin 0 rather than nowhere.
  const std::uint64_t bin = position >= 1.0F ? static_cast<std::uint64_t>(std::min(position, kBins - 1.0F)) : 0;
  ++counts_[bin];
}

std::vector<float> MagnitudeHistogram::levels(std::uint64_t num_positive) const {
  const Prefix prefix = accumulate(counts_);
  std::vector<double> positive;
  if (prefix.count.back() > 0) {
    positive = quantiles(prefix, num_positive);
    for (int round = 0; round < kMaxRounds && improve(prefix, positive) > 0; ++round) {
    }
  } else {
    for (std::uint64_t level = 0; level < num_positive; ++level) {
      positive.push_back(kBins * (static_cast<double>(level) + 0.5) / static_cast<double>(num_positive));
    }
  }
  std::vector<float> levels(2 * num_positive);
  for (std::uint64_t level = 0; level < num_positive; ++level) {
    const auto value = static_cast<float>(positive[level] / kBins * static_cast<double>(limit_));
    levels[num_positive + level] = value;
    levels[num_positive - 1 - level] = -value;
  }
  return levels;
}

}  // namespace serotine::codec
