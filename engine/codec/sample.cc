#include "codec/sample.h"

#include <algorithm>
#include <atomic>
#include <cmath>

#include "base/checked.h"
#include "base/half.h"
#include "base/parallel.h"
#include "codec/random.h"
#include "codec/rounding.h"

namespace serotine::codec {
namespace {

// Runs rather than single tokens: neighbours share pages. Rather than documents: these may be longer than all that is
// wanted, and short ones must not be favoured.
constexpr std::uint64_t kRunTokens = 64;
// Runs that are looked at for the largest coordinate. Its distribution's tail is thin: what other runs have beyond
// this and the head room is clipped to 127.
constexpr std::uint64_t kRangeRuns = 1024;
constexpr float kHeadRoom = 1.08F;

// The tokens of all pieces, by number.
class TokenRuns {
 public:
  TokenRuns(const Originals& originals, std::uint64_t dim) : originals_(originals), dim_(dim) {
    for (const OriginalsPiece& piece : originals) {
      begin_.push_back(num_tokens_);
      num_tokens_ = checked_add(num_tokens_, piece.num_tokens);
    }
  }

  [[nodiscard]] std::uint64_t num_tokens() const noexcept { return num_tokens_; }
  [[nodiscard]] std::uint64_t num_runs() const noexcept { return divide_up(num_tokens_, kRunTokens); }

  // Copies a run, which may lie in several pieces. Returns its tokens.
  std::uint64_t copy(std::uint64_t run, std::uint16_t* target) const {
    const std::uint64_t first = run * kRunTokens;
    const std::uint64_t last = std::min(first + kRunTokens, num_tokens_);
    auto piece = static_cast<std::uint64_t>(std::ranges::upper_bound(begin_, first) - begin_.begin()) - 1;
    for (std::uint64_t token = first; token < last; ++piece) {
      const std::uint64_t offset = token - begin_[piece];
      const std::uint64_t count = std::min(last - token, originals_[piece].num_tokens - offset);
      std::copy_n(originals_[piece].values + offset * dim_, count * dim_, target);
      target += count * dim_;
      token += count;
    }
    return last - first;
  }

 private:
  const Originals& originals_;
  std::uint64_t dim_;
  std::uint64_t num_tokens_ = 0;
  std::vector<std::uint64_t> begin_;
};

// `wanted` of the numbers [0, available): one from each of as many equal strata, at a random place in it, because
// fixed steps could meet documents of equal length at the same place every time.
std::vector<std::uint64_t> spread(std::uint64_t available, std::uint64_t wanted, std::uint64_t seed) {
  std::vector<std::uint64_t> chosen;
  SplitMix64 random(seed);
  wanted = std::min(wanted, available);
  for (std::uint64_t i = 0; i < wanted; ++i) {
    // available / wanted = whole + rest / wanted: no product that could overflow.
    const std::uint64_t whole = available / wanted;
    const std::uint64_t rest = available % wanted;
    const std::uint64_t begin = i * whole + i * rest / wanted;
    const std::uint64_t end = (i + 1) * whole + (i + 1) * rest / wanted;
    chosen.push_back(begin + random.below(end - begin));
  }
  return chosen;
}

// Working memory of one thread.
struct RunScratch {
  explicit RunScratch(const Rotation& rotation)
      : halves(kRunTokens * rotation.dim()),
        unrotated(kRunTokens * rotation.dim()),
        directions(kRunTokens * rotation.padded_dim()) {}

  AlignedBuffer<std::uint16_t> halves;
  AlignedBuffer<float> unrotated;
  AlignedBuffer<float> directions;
};

std::vector<RunScratch> scratch_of(const Rotation& rotation, std::uint64_t num_threads) {
  std::vector<RunScratch> scratch;
  for (std::uint64_t i = 0; i < std::max<std::uint64_t>(num_threads, 1); ++i) {
    scratch.emplace_back(rotation);
  }
  return scratch;
}

float largest_coordinate(const TokenRuns& tokens, const Rotation& rotation, const std::vector<std::uint64_t>& runs,
                         std::uint64_t seed, std::uint64_t num_threads, Meter& meter) {
  const std::vector<std::uint64_t> looked_at = spread(runs.size(), kRangeRuns, seed);
  std::vector<RunScratch> scratch = scratch_of(rotation, num_threads);
  std::vector<float> largest(scratch.size());
  parallel_for(looked_at.size(), num_threads, [&](std::uint64_t worker, std::uint64_t chunk) {
    if (worker == 0) {
      meter.tick(static_cast<double>(chunk) / static_cast<double>(looked_at.size()));
    }
    RunScratch& own = scratch[worker];
    const std::uint64_t count = tokens.copy(runs[looked_at[chunk]], own.halves.data());
    load_directions(own.halves.data(), count, rotation, own.unrotated.data(), own.directions.data(), nullptr);
    for (const float value : own.directions.first(count * rotation.padded_dim())) {
      largest[worker] = std::max(largest[worker], std::abs(value));
    }
  });
  return *std::ranges::max_element(largest);
}

// Rows of zeros are moved out of the way; the others keep their order.
std::uint64_t drop_zero_rows(std::int8_t* rows, std::uint64_t num_rows, std::uint64_t dim) {
  std::uint64_t kept = 0;
  for (std::uint64_t row = 0; row < num_rows; ++row) {
    const std::int8_t* from = rows + row * dim;
    if (std::all_of(from, from + dim, [](std::int8_t code) { return code == 0; })) {
      continue;
    }
    if (kept != row) {
      std::copy_n(from, dim, rows + kept * dim);
    }
    ++kept;
  }
  return kept;
}

}  // namespace

float length_of(const float* vector, std::uint64_t dim) noexcept {
  constexpr std::uint64_t kChains = 16;  // a fixed order that vector registers can follow
  float sums[kChains] = {};
  for (std::uint64_t first = 0; first < dim; first += kChains) {
    if (dim - first < kChains) {
      for (std::uint64_t i = first; i < dim; ++i) {
        sums[i - first] += vector[i] * vector[i];
      }
      break;
    }
    for (std::uint64_t i = 0; i < kChains; ++i) {
      sums[i] += vector[first + i] * vector[first + i];
    }
  }
  for (std::uint64_t width = kChains / 2; width > 0; width /= 2) {
    for (std::uint64_t i = 0; i < width; ++i) {
      sums[i] += sums[i + width];
    }
  }
  return std::sqrt(sums[0]);
}

void load_directions(const std::uint16_t* values, std::uint64_t count, const Rotation& rotation, float* unrotated,
                     float* directions, float* lengths) {
  const std::uint64_t dim = rotation.dim();
  halves_to_floats(values, count * dim, unrotated);
  for (std::uint64_t i = 0; i < count; ++i) {
    float* vector = unrotated + i * dim;
    const float length = length_of(vector, dim);
    const float factor = length > 0 ? 1 / length : 0.0F;
    for (std::uint64_t j = 0; j < dim; ++j) {
      vector[j] *= factor;
    }
    if (lengths != nullptr) {
      lengths[i] = length;
    }
  }
  rotation.apply(unrotated, count, directions);
}

Sample draw_sample(const Originals& originals, const Rotation& rotation, std::uint64_t max_rows, std::uint64_t seed,
                   std::uint64_t num_threads, Meter& meter) {
  const TokenRuns tokens(originals, rotation.dim());
  const std::uint64_t padded_dim = rotation.padded_dim();
  const std::vector<std::uint64_t> runs =
      spread(tokens.num_runs(), std::max<std::uint64_t>(max_rows / kRunTokens, 1), seed);
  meter.stage(0, 0.05);
  const float largest = largest_coordinate(tokens, rotation, runs, seed + 1, num_threads, meter);
  Sample sample;
  sample.unit = (largest > 0 ? largest * kHeadRoom : 1.0F) / 127;
  sample.rows.reserve_discarding(checked_multiply(runs.size() * kRunTokens, padded_dim));
  const float steps = 1 / sample.unit;
  meter.stage(0.05, 0.15);
  std::vector<RunScratch> scratch = scratch_of(rotation, num_threads);
  std::atomic<std::uint64_t> last_run_tokens{kRunTokens};
  parallel_for(runs.size(), num_threads, [&](std::uint64_t worker, std::uint64_t chunk) {
    if (worker == 0) {
      meter.tick(static_cast<double>(chunk) / static_cast<double>(runs.size()));
    }
    RunScratch& own = scratch[worker];
    const std::uint64_t count = tokens.copy(runs[chunk], own.halves.data());
    load_directions(own.halves.data(), count, rotation, own.unrotated.data(), own.directions.data(), nullptr);
    std::int8_t* rows = sample.rows.data() + chunk * kRunTokens * padded_dim;
    for (std::uint64_t i = 0; i < count * padded_dim; ++i) {
      rows[i] = static_cast<std::int8_t>(round_clamped(own.directions.data()[i] * steps, 127));
    }
    if (count < kRunTokens) {  // the very last tokens: no other run is short
      last_run_tokens = count;
    }
  });
  const std::uint64_t num_rows = runs.empty() ? 0 : (runs.size() - 1) * kRunTokens + last_run_tokens;
  sample.num_rows = drop_zero_rows(sample.rows.data(), num_rows, padded_dim);
  return sample;
}

}  // namespace serotine::codec
