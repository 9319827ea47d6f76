#include "kernels/query_panels.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>

namespace serotine::kernels {
namespace {

// The lanes of one panel: query tokens [first_lane, first_lane + 16 * groups) of those that are built.
struct PanelShape {
  std::uint64_t first_lane;
  std::uint32_t groups;
};

std::vector<PanelShape> panel_shapes(std::uint64_t num_tokens, std::uint32_t max_groups) {
  std::vector<PanelShape> shapes;
  const std::uint64_t num_groups = divide_up(num_tokens, kGroupLanes);
  for (std::uint64_t group = 0; group < num_groups; group += max_groups) {
    shapes.push_back(
        {group * kGroupLanes, static_cast<std::uint32_t>(std::min<std::uint64_t>(max_groups, num_groups - group))});
  }
  return shapes;
}

std::vector<std::uint64_t> lane_bounds(const PackedTokens& queries, std::uint64_t first, std::uint64_t last) {
  std::vector<std::uint64_t> bounds;
  bounds.reserve(last - first + 1);
  for (std::uint64_t query = first; query <= last; ++query) {
    bounds.push_back(static_cast<std::uint64_t>(queries.offsets[query] - queries.offsets[first]));
  }
  return bounds;
}

// Copies `count` query tokens from `row` on to `target` as float32.
void read_rows(const PackedTokens& queries, std::uint64_t row, std::uint64_t count, const KernelTable& kernels,
               float* target) {
  const std::uint64_t start = row * queries.dim;
  const std::uint64_t size = count * queries.dim;
  switch (queries.kind) {
    case ElementKind::kFloat16:
      return kernels.widen_float16(static_cast<const std::uint16_t*>(queries.values) + start, target, size);
    case ElementKind::kBfloat16:
      return kernels.widen_bfloat16(static_cast<const std::uint16_t*>(queries.values) + start, target, size);
    case ElementKind::kFloat32:
    case ElementKind::kInt8:  // refused by the bindings
      std::memcpy(target, static_cast<const float*>(queries.values) + start, size * sizeof(float));
  }
}

// Sum of multipliers[i] * best[i] in one fixed order: 16 partial sums, token i to sum i mod 16, then a tree. The sums
// start at +0, so the sign of a zero maximum (the one thing that the kernels may choose differently) cannot show.
float weighted_sum(const float* best, const float* multipliers, std::uint64_t count) noexcept {
  float partial[kGroupLanes] = {};
  std::uint64_t token = 0;
  for (; token + kGroupLanes <= count; token += kGroupLanes) {
    for (std::uint32_t lane = 0; lane < kGroupLanes; ++lane) {
      const float factor = multipliers == nullptr ? 1.0F : multipliers[token + lane];
      partial[lane] += factor * best[token + lane];
    }
  }
  for (std::uint32_t lane = 0; token < count; ++token, ++lane) {
    partial[lane] += (multipliers == nullptr ? 1.0F : multipliers[token]) * best[token];
  }
  for (std::uint32_t width = kGroupLanes / 2; width > 0; width /= 2) {
    for (std::uint32_t lane = 0; lane < width; ++lane) {
      partial[lane] += partial[lane + width];
    }
  }
  // Which of two NaNs an addition passes on differs between instructions; a score has one.
  return std::isnan(partial[0]) ? std::numeric_limits<float>::quiet_NaN() : partial[0];
}

// The nearest integer, ties to even, of a number below 2^51: what is added leaves no bits for the fraction. (Baseline
// x86-64 has no rounding instruction; std::nearbyint would be a call for each component.)
[[nodiscard]] double round_to_even(double value) noexcept {
  constexpr double kShift = 0x1.8p52;
  return (value + kShift) - kShift;
}

// target[k][lane] = source[lane][k], for `count` lanes of `lanes`, `dim` elements each.
template <typename Element>
void transpose(const Element* source, std::uint64_t count, std::uint64_t dim, std::uint64_t lanes, Element* target) {
  for (std::uint64_t lane = 0; lane < count; ++lane) {
    for (std::uint64_t k = 0; k < dim; ++k) {
      target[k * lanes + lane] = source[lane * dim + k];
    }
  }
}

}  // namespace

float quantize_row(std::span<const float> vector, std::int8_t* codes) noexcept {
  // Magnitudes are ordered as their bits are, and integers a compiler may compare in any order: several at a time.
  std::int32_t largest_bits = 0;
  for (const float value : vector) {
    largest_bits = std::max(largest_bits, std::bit_cast<std::int32_t>(value) & 0x7FFF'FFFF);
  }
  const float largest = std::bit_cast<float>(largest_bits);
  if (!std::isfinite(largest) || largest == 0.0F) {
    std::fill_n(codes, vector.size(), std::int8_t{0});
    return largest == 0.0F ? 0.0F : std::numeric_limits<float>::quiet_NaN();
  }
  // In double: 127 / largest overflows float32 when the vector is subnormal, and the codes must not depend on it.
  const double codes_per_unit = 127.0 / static_cast<double>(largest);
  for (std::size_t k = 0; k < vector.size(); ++k) {
    codes[k] = static_cast<std::int8_t>(round_to_even(static_cast<double>(vector[k]) * codes_per_unit));
  }
  return static_cast<float>(static_cast<double>(largest) / 127.0);
}

void FloatQueryPanels::build(const PackedTokens& queries, std::uint64_t first, std::uint64_t last, const float* weights,
                             const KernelTable& kernels) {
  bounds_ = lane_bounds(queries, first, last);
  const std::uint64_t num_tokens = bounds_.back();
  const auto first_row = static_cast<std::uint64_t>(queries.offsets[first]);
  multipliers_ = weights == nullptr ? nullptr : weights + first_row;
  num_lanes_ = divide_up(num_tokens, kGroupLanes) * kGroupLanes;
  const std::uint64_t num_values = checked_multiply(num_lanes_, queries.dim);
  values_.reserve_discarding(num_values);
  std::fill_n(values_.data(), num_values, 0.0F);

  std::vector<float> rows(std::uint64_t{kernels.max_panel_groups} * kGroupLanes * queries.dim);
  panels_.clear();
  for (const PanelShape& shape : panel_shapes(num_tokens, kernels.max_panel_groups)) {
    const std::uint64_t lanes = std::uint64_t{shape.groups} * kGroupLanes;
    const std::uint64_t count = std::min(lanes, num_tokens - shape.first_lane);
    float* panel = values_.data() + shape.first_lane * queries.dim;
    read_rows(queries, first_row + shape.first_lane, count, kernels, rows.data());
    transpose(rows.data(), count, queries.dim, lanes, panel);
    panels_.push_back({panel, shape.groups});
  }
}

float FloatQueryPanels::fold(const float* best, std::uint64_t query) const noexcept {
  const std::uint64_t start = bounds_[query];
  return weighted_sum(best + start, multipliers_ == nullptr ? nullptr : multipliers_ + start,
                      bounds_[query + 1] - start);
}

void Int8QueryPanels::build(const PackedTokens& queries, std::uint64_t first, std::uint64_t last, const float* weights,
                            const KernelTable& kernels) {
  bounds_ = lane_bounds(queries, first, last);
  const std::uint64_t num_tokens = bounds_.back();
  const auto first_row = static_cast<std::uint64_t>(queries.offsets[first]);
  const std::uint64_t num_quads = divide_up(queries.dim, 4);
  num_lanes_ = divide_up(num_tokens, kGroupLanes) * kGroupLanes;
  const std::uint64_t num_lane_quads = checked_multiply(num_lanes_, num_quads);
  codes_.reserve_discarding(num_lane_quads);
  std::fill_n(codes_.data(), num_lane_quads, Quad{});
  corrections_.reserve_discarding(num_lanes_);
  std::fill_n(corrections_.data(), num_lanes_, 0);
  multipliers_.resize(num_tokens);

  std::vector<float> rows(std::uint64_t{kernels.max_panel_groups} * kGroupLanes * queries.dim);
  std::vector<Quad> quads(std::uint64_t{kernels.max_panel_groups} * kGroupLanes * num_quads, Quad{});
  panels_.clear();
  for (const PanelShape& shape : panel_shapes(num_tokens, kernels.max_panel_groups)) {
    const std::uint64_t lanes = std::uint64_t{shape.groups} * kGroupLanes;
    const std::uint64_t count = std::min(lanes, num_tokens - shape.first_lane);
    read_rows(queries, first_row + shape.first_lane, count, kernels, rows.data());
    for (std::uint64_t lane = 0; lane < count; ++lane) {
      const std::uint64_t token = shape.first_lane + lane;
      std::int8_t* codes = quads[lane * num_quads].codes;
      const float scale = quantize_row({rows.data() + lane * queries.dim, queries.dim}, codes);
      multipliers_[token] = weights == nullptr ? scale : scale * weights[first_row + token];
      corrections_.data()[token] = -128 * std::accumulate(codes, codes + queries.dim, 0);
    }
    Quad* panel = codes_.data() + shape.first_lane * num_quads;
    transpose(quads.data(), count, num_quads, lanes, panel);
    panels_.push_back({panel->codes, corrections_.data() + shape.first_lane, shape.groups});
  }
}

float Int8QueryPanels::fold(const float* best, std::uint64_t query) const noexcept {
  const std::uint64_t start = bounds_[query];
  return weighted_sum(best + start, multipliers_.data() + start, bounds_[query + 1] - start);
}

}  // namespace serotine::kernels
