#include "codec/rotation.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <string>

#include "base/aligned_buffer.h"
#include "base/error.h"
#include "codec/random.h"

namespace serotine::codec {
namespace {

// Vectors go through the transform side by side, one per lane: every step is then the same operation on a row of
// lanes, a permutation costs nothing but the choice of the row, and 16 floats fill a cache line.
constexpr std::uint64_t kLanes = 16;
constexpr std::uint16_t kNegative = 0x8000;  // of a stored entry; the rest is the permutation

std::uint64_t padded(std::uint64_t dim) {
  if (dim == 0 || dim > 4096) {
    throw InvalidInput("a vector has 1 to 4096 dimensions, not " + std::to_string(dim));
  }
  return (dim + 15) / 16 * 16;
}

std::uint64_t block_of(std::uint64_t padded_dim) { return std::uint64_t{1} << std::countr_zero(padded_dim); }

// Four lanes in a register that every 64-bit machine has. Written out, because a loop over lanes is vectorised only
// behind a test, at every row, that the rows do not overlap.
using Quad = float __attribute__((vector_size(16), may_alias));
constexpr std::uint64_t kQuads = kLanes / 4;

// Two levels of the transform at once, at distances `step` and 2 * step: half the loads and stores.
void two_levels(float* rows, std::uint64_t count, std::uint64_t step) noexcept {
  for (std::uint64_t start = 0; start < count; start += 4 * step) {
    for (std::uint64_t row = start; row < start + step; ++row) {
      auto* a = reinterpret_cast<Quad*>(rows + row * kLanes);
      Quad* b = a + step * kQuads;
      Quad* c = b + step * kQuads;
      Quad* d = c + step * kQuads;
      for (std::uint64_t i = 0; i < kQuads; ++i) {
        const Quad sum_ab = a[i] + b[i];
        const Quad difference_ab = a[i] - b[i];
        const Quad sum_cd = c[i] + d[i];
        const Quad difference_cd = c[i] - d[i];
        a[i] = sum_ab + sum_cd;
        b[i] = difference_ab + difference_cd;
        c[i] = sum_ab - sum_cd;
        d[i] = difference_ab - difference_cd;
      }
    }
  }
}

void one_level(float* rows, std::uint64_t count, std::uint64_t step) noexcept {
  for (std::uint64_t start = 0; start < count; start += 2 * step) {
    for (std::uint64_t row = start; row < start + step; ++row) {
      auto* a = reinterpret_cast<Quad*>(rows + row * kLanes);
      Quad* b = a + step * kQuads;
      for (std::uint64_t i = 0; i < kQuads; ++i) {
        const Quad difference = a[i] - b[i];
        a[i] = a[i] + b[i];
        b[i] = difference;
      }
    }
  }
}

// Hadamard transform of each block of rows, without its factor 1 / sqrt(block).
void hadamard(float* rows, std::uint64_t padded_dim) noexcept {
  const std::uint64_t block = block_of(padded_dim);
  std::uint64_t step = 1;
  for (; 4 * step <= block; step *= 4) {
    two_levels(rows, padded_dim, step);
  }
  if (step < block) {
    one_level(rows, padded_dim, step);
  }
}

// rows[i][lane] = source[lane][i] * factor. Lanes beyond `count` hold what they held: they meet no other.
void load_lanes(const float* source, std::uint64_t count, std::uint64_t dim, float factor, float* rows) noexcept {
  for (std::uint64_t i = 0; i < dim; ++i) {
    for (std::uint64_t lane = 0; lane < count; ++lane) {
      rows[i * kLanes + lane] = source[lane * dim + i] * factor;
    }
  }
}

void store_lanes(const float* rows, std::uint64_t count, std::uint64_t dim, float* target) noexcept {
  for (std::uint64_t lane = 0; lane < count; ++lane) {
    for (std::uint64_t i = 0; i < dim; ++i) {
      target[lane * dim + i] = rows[i * kLanes + lane];
    }
  }
}

// to[lane] = sign * from[lane]
void copy_signed(const float* from, float sign, float* to) noexcept {
  const Quad signs = {sign, sign, sign, sign};
  for (std::uint64_t i = 0; i < kQuads; ++i) {
    reinterpret_cast<Quad*>(to)[i] = signs * reinterpret_cast<const Quad*>(from)[i];
  }
}

// What the transforms of all rounds multiply lengths by, undone.
float total_factor(std::uint64_t padded_dim, std::uint64_t rounds) {
  return static_cast<float>(std::pow(static_cast<double>(block_of(padded_dim)), -0.5 * static_cast<double>(rounds)));
}

}  // namespace

Rotation::Rotation(std::uint64_t dim, std::uint64_t seed) : dim_(dim), padded_dim_(padded(dim)) {
  SplitMix64 random(seed);
  for (std::uint64_t round = 0; round < kRounds; ++round) {
    std::vector<std::uint16_t> order(padded_dim_);
    for (std::uint64_t i = 0; i < padded_dim_; ++i) {
      order[i] = static_cast<std::uint16_t>(i);
      signs_.push_back((random.next() & 1U) != 0 ? -1.0F : 1.0F);
    }
    for (std::uint64_t i = padded_dim_; i > 1; --i) {
      std::swap(order[i - 1], order[random.below(i)]);
    }
    permutation_.insert(permutation_.end(), order.begin(), order.end());
  }
}

Rotation::Rotation(std::uint64_t dim, std::span<const std::byte> bytes) : dim_(dim), padded_dim_(padded(dim)) {
  const std::uint64_t entries = kRounds * padded_dim_;
  if (bytes.size() != 2 * entries) {
    throw InvalidInput("a rotation of " + std::to_string(dim) + " dimensions takes " + std::to_string(2 * entries) +
                       " bytes, not " + std::to_string(bytes.size()));
  }
  std::vector<bool> seen(entries);
  for (std::uint64_t i = 0; i < entries; ++i) {
    const auto entry = static_cast<std::uint16_t>(std::to_integer<unsigned>(bytes[2 * i]) |
                                                  std::to_integer<unsigned>(bytes[2 * i + 1]) << 8);
    const auto from = static_cast<std::uint16_t>(entry & ~kNegative);
    const std::uint64_t slot = i / padded_dim_ * padded_dim_ + from;
    if (from >= padded_dim_ || seen[slot]) {
      throw InvalidInput("entry " + std::to_string(i) + " of a rotation takes dimension " + std::to_string(from) +
                         ", which is out of range or taken twice");
    }
    seen[slot] = true;
    permutation_.push_back(from);
    signs_.push_back((entry & kNegative) != 0 ? -1.0F : 1.0F);
  }
}

std::vector<std::byte> Rotation::to_bytes() const {
  std::vector<std::byte> bytes;
  bytes.reserve(2 * permutation_.size());
  for (std::uint64_t i = 0; i < permutation_.size(); ++i) {
    const unsigned entry = permutation_[i] | (signs_[i] < 0 ? kNegative : 0U);
    bytes.push_back(static_cast<std::byte>(entry & 0xFFU));
    bytes.push_back(static_cast<std::byte>(entry >> 8));
  }
  return bytes;
}

void Rotation::apply(const float* source, std::uint64_t count, float* target) const {
  AlignedBuffer<float> buffers(2 * padded_dim_ * kLanes);
  std::ranges::fill(buffers.first(2 * padded_dim_ * kLanes), 0.0F);
  float* from = buffers.data();
  float* to = from + padded_dim_ * kLanes;
  const float factor = total_factor(padded_dim_, kRounds);
  for (std::uint64_t first = 0; first < count; first += kLanes) {
    const std::uint64_t lanes = std::min(kLanes, count - first);
    load_lanes(source + first * dim_, lanes, dim_, factor, from);
    std::fill(from + dim_ * kLanes, from + padded_dim_ * kLanes, 0.0F);
    for (std::uint64_t round = 0; round < kRounds; ++round) {
      for (std::uint64_t i = 0; i < padded_dim_; ++i) {
        const std::uint64_t at = round * padded_dim_ + i;
        copy_signed(from + permutation_[at] * kLanes, signs_[at], to + i * kLanes);
      }
      hadamard(to, padded_dim_);
      std::swap(from, to);
    }
    store_lanes(from, lanes, padded_dim_, target + first * padded_dim_);
  }
}

void Rotation::undo(const float* source, std::uint64_t count, float* target) const {
  AlignedBuffer<float> buffers(2 * padded_dim_ * kLanes);
  std::ranges::fill(buffers.first(2 * padded_dim_ * kLanes), 0.0F);
  float* from = buffers.data();
  float* to = from + padded_dim_ * kLanes;
  const float factor = total_factor(padded_dim_, kRounds);
  for (std::uint64_t first = 0; first < count; first += kLanes) {
    const std::uint64_t lanes = std::min(kLanes, count - first);
    load_lanes(source + first * padded_dim_, lanes, padded_dim_, factor, from);
    for (std::uint64_t round = kRounds; round-- > 0;) {
      hadamard(from, padded_dim_);
      for (std::uint64_t i = 0; i < padded_dim_; ++i) {
        const std::uint64_t at = round * padded_dim_ + i;
        copy_signed(from + i * kLanes, signs_[at], to + permutation_[at] * kLanes);
      }
      std::swap(from, to);
    }
    store_lanes(from, lanes, dim_, target + first * dim_);
  }
}

}  // namespace serotine::codec
