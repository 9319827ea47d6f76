#include "codec/cell_finder.h"

#include <algorithm>
#include <limits>

#include "base/checked.h"
#include "base/parallel.h"

namespace serotine::codec {
namespace {

// Int8Tokens quantises what it is given by its largest coordinate. Cells get this many more dimensions, the first of
// them 127, in which rows have 0: their codes then stay what they are, and dots are exact.
constexpr std::uint64_t kExtra = 16;
constexpr std::uint64_t kRowsPerCall = 48;      // their dots with some hundred cells stay in the nearest cache
constexpr std::uint64_t kTokensPerPanel = 128;  // of unprepared children
constexpr std::uint64_t kPayingCells = 4;       // per token: up to so many, preparing them pays
constexpr std::uint64_t kBlock = 16;            // values whose maximum is kept
constexpr std::int32_t kNothing = std::numeric_limits<std::int32_t>::min();

void build_lanes(const std::int8_t* rows, std::uint64_t count, std::uint64_t dim, kernels::Int8Tokens& lanes) {
  std::vector<float> wide(count * (dim + kExtra));
  for (std::uint64_t row = 0; row < count; ++row) {
    float* target = wide.data() + row * (dim + kExtra);
    std::copy_n(rows + row * dim, dim, target);
    target[dim] = 127;
  }
  lanes.build(wide.data(), count, dim + kExtra);
}

std::int32_t largest_of(const std::int32_t* values, std::uint64_t count) noexcept {
  std::int32_t largest = kNothing;
  for (std::uint64_t i = 0; i < count; ++i) {
    largest = values[i] > largest ? values[i] : largest;
  }
  return largest;
}

std::uint64_t place_of(const std::int32_t* values, std::int32_t value) noexcept {
  std::uint64_t place = 0;
  while (values[place] != value) {
    ++place;
  }
  return place;
}

}  // namespace

void take_largest(std::int32_t* values, std::uint64_t num_values, std::uint64_t count, std::uint32_t* places,
                  std::int32_t* largest) {
  constexpr std::uint64_t kStackBlocks = 256;
  std::int32_t on_stack[kStackBlocks];
  std::vector<std::int32_t> on_heap;
  const std::uint64_t num_blocks = divide_up(num_values, kBlock);
  std::int32_t* maxima = on_stack;
  if (num_blocks > kStackBlocks) {
    on_heap.resize(num_blocks);
    maxima = on_heap.data();
  }
  for (std::uint64_t block = 0; block < num_values / kBlock; ++block) {
    maxima[block] = largest_of(values + block * kBlock, kBlock);
  }
  if (num_values % kBlock != 0) {
    maxima[num_blocks - 1] = largest_of(values + (num_blocks - 1) * kBlock, num_values % kBlock);
  }
  for (std::uint64_t i = 0; i < count; ++i) {
    largest[i] = largest_of(maxima, num_blocks);
    const std::uint64_t first = place_of(maxima, largest[i]) * kBlock;
    const std::uint64_t place = first + place_of(values + first, largest[i]);
    places[i] = static_cast<std::uint32_t>(place);
    if (i + 1 < count) {
      values[place] = kNothing;
      maxima[first / kBlock] = largest_of(values + first, std::min(kBlock, num_values - first));
    }
  }
}

CellPanels::CellPanels(const CellTree& tree, std::uint64_t num_tokens, std::uint64_t num_threads) : tree_(tree) {
  build_lanes(tree.supers, tree.num_supers(), tree.dim, supers_);
  if (checked_multiply(num_tokens, kPayingCells) < tree.num_cells()) {
    return;
  }
  children_.resize(tree.num_supers());
  parallel_for(tree.num_supers(), num_threads, [&](std::uint64_t, std::uint64_t super) {
    const std::uint32_t begin = tree_.super_begin[super];
    build_lanes(tree_.centroids + begin * tree_.dim, tree_.super_begin[super + 1] - begin, tree_.dim, children_[super]);
  });
}

CellFinder::CellFinder(const CellPanels& panels, std::uint64_t probed)
    : panels_(panels),
      tree_(panels.tree()),
      probed_(std::min({probed, tree_.num_supers(), kMaxProbedSupers})),
      wide_(tree_.dim + kExtra),
      gathered_(kRowsPerCall * wide_),
      floats_(kTokensPerPanel * tree_.dim),
      best_(kTokensPerPanel),
      nearest_(kTokensPerPanel) {}

void CellFinder::find(const std::int8_t* rows, std::uint64_t count, std::uint32_t* cells) {
  wide_rows_.reserve_discarding(checked_multiply(count, wide_));
  for (std::uint64_t row = 0; row < count; ++row) {
    std::int8_t* target = wide_rows_.data() + row * wide_;
    std::copy_n(rows + row * tree_.dim, tree_.dim, target);
    std::fill_n(target + tree_.dim, kExtra, std::int8_t{0});
  }
  probes_.resize(count * probed_);
  for (std::uint64_t first = 0; first < count; first += kRowsPerCall) {
    choose_supers(first, std::min(kRowsPerCall, count - first));
  }
  group_by_super(count);
  best_dot_.assign(count, kNothing);
  std::fill_n(cells, count, 0U);
  // Supers in ascending order, and so their cells: of equal dots the first, lowest cell stays.
  for (std::uint32_t super = 0; super < tree_.num_supers(); ++super) {
    const std::span<const std::uint32_t> members{members_.data() + group_begin_[super],
                                                 group_begin_[super + 1] - group_begin_[super]};
    if (panels_.has_children()) {
      search_prepared({super, members}, cells);
    } else {
      search_unprepared(rows, {super, members}, cells);
    }
  }
}

void CellFinder::choose_supers(std::uint64_t first, std::uint64_t count) {
  const std::uint64_t num_lanes = panels_.supers().num_lanes();
  std::int32_t largest[kMaxProbedSupers];
  dots_.reserve_discarding(kRowsPerCall * num_lanes);
  kernels::int8_dots(wide_rows_.data() + first * wide_, count, panels_.supers(), dots_.data());
  for (std::uint64_t i = 0; i < count; ++i) {
    take_largest(dots_.data() + i * num_lanes, tree_.num_supers(), probed_, probes_.data() + (first + i) * probed_,
                 largest);
  }
}

// Counting sort: rows of a super end up in ascending order.
void CellFinder::group_by_super(std::uint64_t count) {
  group_begin_.assign(tree_.num_supers() + 1, 0);
  for (const std::uint32_t super : probes_) {
    ++group_begin_[super + 1];
  }
  for (std::uint64_t super = 0; super < tree_.num_supers(); ++super) {
    group_begin_[super + 1] += group_begin_[super];
  }
  members_.resize(count * probed_);
  std::vector<std::uint32_t> next(group_begin_.begin(), group_begin_.end() - 1);
  for (std::uint64_t i = 0; i < count * probed_; ++i) {
    members_[next[probes_[i]]++] = static_cast<std::uint32_t>(i / probed_);
  }
}

void CellFinder::search_prepared(const Group& group, std::uint32_t* cells) {
  const kernels::Int8Tokens& children = panels_.children(group.super);
  const std::uint32_t begin = tree_.super_begin[group.super];
  dots_.reserve_discarding(kRowsPerCall * children.num_lanes());
  for (std::uint64_t first = 0; first < group.members.size(); first += kRowsPerCall) {
    const std::uint64_t count = std::min(kRowsPerCall, group.members.size() - first);
    for (std::uint64_t i = 0; i < count; ++i) {
      std::copy_n(wide_rows_.data() + group.members[first + i] * wide_, wide_, gathered_.data() + i * wide_);
    }
    kernels::int8_dots(gathered_.data(), count, children, dots_.data());
    for (std::uint64_t i = 0; i < count; ++i) {
      std::uint32_t place = 0;
      std::int32_t dot = 0;
      take_largest(dots_.data() + i * children.num_lanes(), children.num_tokens(), 1, &place, &dot);
      offer(group.members[first + i], dot, begin + place, cells);
    }
  }
}

void CellFinder::search_unprepared(const std::int8_t* rows, const Group& group, std::uint32_t* cells) {
  const std::uint32_t begin = tree_.super_begin[group.super];
  for (std::uint64_t first = 0; first < group.members.size(); first += kTokensPerPanel) {
    const std::uint64_t count = std::min(kTokensPerPanel, group.members.size() - first);
    for (std::uint64_t i = 0; i < count; ++i) {
      std::copy_n(rows + group.members[first + i] * tree_.dim, tree_.dim, floats_.data() + i * tree_.dim);
    }
    panel_.build(floats_.data(), count, tree_.dim);
    std::ranges::fill(best_, kNothing);
    kernels::nearest_rows(tree_.centroids + begin * tree_.dim, tree_.super_begin[group.super + 1] - begin, begin,
                          panel_, best_.data(), nearest_.data());
    for (std::uint64_t i = 0; i < count; ++i) {
      offer(group.members[first + i], best_[i], nearest_[i], cells);
    }
  }
}

void CellFinder::offer(std::uint32_t row, std::int32_t dot, std::uint32_t cell, std::uint32_t* cells) {
  if (dot > best_dot_[row]) {
    best_dot_[row] = dot;
    cells[row] = cell;
  }
}

}  // namespace serotine::codec
