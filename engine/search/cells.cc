#include "search/cells.h"

#include <algorithm>
#include <functional>

#include "base/parallel.h"

namespace serotine::search {
namespace {

constexpr float kMaxByte = 255.0F;

// Bytes reach up to a cosine of 1, and down to the mean of the lane that is farthest from the collection: a document's
// best cell of hundreds lies above the mean of all. A narrower range than this would only spread rounding errors.
constexpr float kHighest = 1.0F;
constexpr float kNarrowest = 0.1F;

// A thread must have this many multiply-adds to do, some 60 us, to pay for its start.
constexpr std::uint64_t kWorkPerThread = std::uint64_t{12} << 20;
constexpr std::uint64_t kChunkRows = 1'536;

// Super-cells of each lane whose children are scored. With 6, one in 3,000 of SciFact's ten best was not among a
// hundred found; where cells are many, more than 6 found no more (docs/engine.md).
constexpr std::uint64_t kSupers = 8;
constexpr std::uint64_t kManyCells = 65'536;
constexpr std::uint64_t kSupersOfMany = 6;

}  // namespace

void CellScores::begin(const codec::Codebook& codebook, const CodedLanes& lanes, const CellOptions& options) {
  codebook_ = &codebook;
  lanes_ = &lanes;
  options_ = options;
  const std::uint64_t num_lanes = lanes.tokens.num_lanes();
  super_dots_.reserve_discarding(checked_multiply(codebook.num_supers(), num_lanes));
  kernels::int8_dots(codebook.supers(), codebook.num_supers(), lanes.tokens, super_dots_.data(),
                     options.instruction_set);
  choose_map();
}

void CellScores::choose_map() {
  const std::uint64_t num_lanes = lanes_->tokens.num_lanes();
  const std::uint64_t num_supers = codebook_->num_supers();
  std::vector<std::int64_t> sums(num_lanes);
  for (std::uint64_t super = 0; super < num_supers; ++super) {
    for (std::uint64_t lane = 0; lane < num_lanes; ++lane) {
      sums[lane] += super_dots_.data()[super * num_lanes + lane];
    }
  }
  float low = kHighest - kNarrowest;
  for (std::uint64_t lane = 0; lane < lanes_->count; ++lane) {
    const float mean = static_cast<float>(sums[lane]) / static_cast<float>(num_supers);
    low = std::min(low, mean * lanes_->tokens.scales()[lane] * codebook_->unit());
  }
  map_ = {low, kMaxByte / (kHighest - low)};
}

void CellScores::build(std::uint64_t block) {
  first_lane_ = block * kTableLanes;
  num_lanes_ = std::min(lanes_->count - first_lane_, kTableLanes);
  tokens_ = &lanes_->tokens;
  if (num_blocks() > 1) {
    const std::uint64_t dim = codebook_->padded_dim();
    block_tokens_.build(lanes_->rotated.data() + first_lane_ * dim, num_lanes_, dim);
    tokens_ = &block_tokens_;
  }
  stride_ = tokens_->num_lanes();
  multiplier_.resize(stride_);
  for (std::uint64_t lane = 0; lane < stride_; ++lane) {
    multiplier_[lane] = tokens_->scales()[lane] * codebook_->unit() * map_.step;
  }
  if (codebook_->num_cells() <= options_.tree_above || codebook_->num_supers() <= num_expanded()) {
    row_of_cell_.clear();
    cell_of_row_.clear();
    first_row_ = 0;
    num_rows_ = codebook_->num_cells();
    rows_.reserve_discarding(checked_multiply(num_rows_, stride_));
    score(codebook_->centroids(), num_rows_, 0);
  } else {
    expand_supers();
  }
}

void CellScores::score(const std::int8_t* rows, std::uint64_t num_rows, std::uint64_t first_row) {
  const std::uint64_t dim = codebook_->padded_dim();
  const std::uint64_t num_chunks = divide_up(num_rows, kChunkRows);
  const std::uint64_t worth = num_rows * dim * stride_ / kWorkPerThread;
  const auto score_rows = [&](std::uint64_t begin, std::uint64_t end) {
    kernels::cell_scores(rows + begin * dim, end - begin, *tokens_, multiplier_.data(), -map_.low * map_.step,
                         rows_.data() + (first_row + begin) * stride_, stride_, options_.instruction_set);
  };
  if (std::min(worth, options_.num_threads) <= 1) {
    score_rows(0, num_rows);
    return;
  }
  parallel_for(num_chunks, std::min(worth, options_.num_threads), [&](std::uint64_t, std::uint64_t chunk) {
    score_rows(chunk * kChunkRows, std::min(num_rows, (chunk + 1) * kChunkRows));
  });
}

std::uint64_t CellScores::num_expanded() const noexcept {
  if (options_.supers > 0) {
    return options_.supers;
  }
  return codebook_->num_cells() > kManyCells ? kSupersOfMany : kSupers;
}

void CellScores::expand_supers() {
  const std::uint64_t all_lanes = lanes_->tokens.num_lanes();
  const std::uint64_t num_supers = codebook_->num_supers();
  expanded_.assign(num_supers, 0);
  column_.resize(num_supers);
  for (std::uint64_t lane = first_lane_; lane < first_lane_ + num_lanes_; ++lane) {
    const std::int32_t* dots = super_dots_.data() + lane;
    for (std::uint64_t super = 0; super < num_supers; ++super) {
      column_[super] = dots[super * all_lanes];
    }
    const auto last = column_.begin() + static_cast<std::ptrdiff_t>(num_expanded() - 1);
    std::nth_element(column_.begin(), last, column_.end(), std::greater<>());
    for (std::uint64_t super = 0; super < num_supers; ++super) {
      if (dots[super * all_lanes] >= *last) {
        expanded_[super] = 1;
      }
    }
  }
  const std::span<const std::uint32_t> begin = codebook_->super_begin();
  row_of_cell_.resize(codebook_->num_cells());
  cell_of_row_.assign(num_supers, 0);
  first_row_ = num_supers;
  for (std::uint64_t super = 0; super < num_supers; ++super) {
    for (std::uint32_t cell = begin[super]; cell < begin[super + 1]; ++cell) {
      row_of_cell_[cell] = static_cast<std::uint32_t>(expanded_[super] != 0 ? cell_of_row_.size() : super);
      if (expanded_[super] != 0) {
        cell_of_row_.push_back(cell);
      }
    }
  }
  num_rows_ = cell_of_row_.size();
  rows_.reserve_discarding(checked_multiply(num_rows_, stride_));
  score(codebook_->supers(), num_supers, 0);
  std::uint64_t row = num_supers;
  for (std::uint64_t super = 0; super < num_supers; ++super) {
    if (expanded_[super] != 0) {
      const std::uint64_t count = begin[super + 1] - begin[super];
      score(codebook_->centroids() + std::uint64_t{begin[super]} * codebook_->padded_dim(), count, row);
      row += count;
    }
  }
}

kernels::CellTable CellScores::table() const noexcept {
  return {rows_.data(), stride_, row_of_cell_.empty() ? nullptr : row_of_cell_.data(),
          lanes_->weights.data() + first_lane_, stride_};
}

}  // namespace serotine::search
