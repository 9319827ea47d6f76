#include "codec/cell_finder.h"

#include <algorithm>
#include <limits>

#include "base/checked.h"

namespace serotine::codec {
namespace {

constexpr std::uint64_t kTokensPerPanel = 128;
constexpr std::int32_t kNothing = std::numeric_limits<std::int32_t>::min();

// The `probed` largest of values[row * stride], row < num_rows, largest first; ties: the lowest row first.
void largest_rows(const std::int32_t* values, std::uint64_t num_rows, std::uint64_t stride, std::uint64_t probed,
                  std::uint32_t* rows, std::int32_t* scratch) {
  std::fill_n(scratch, probed, kNothing);
  for (std::uint64_t row = 0; row < num_rows; ++row) {
    const std::int32_t value = values[row * stride];
    if (value <= scratch[probed - 1] && row >= probed) {
      continue;
    }
    std::uint64_t slot = std::min(row, probed - 1);
    for (; slot > 0 && scratch[slot - 1] < value; --slot) {
      scratch[slot] = scratch[slot - 1];
      rows[slot] = rows[slot - 1];
    }
    scratch[slot] = value;
    rows[slot] = static_cast<std::uint32_t>(row);
  }
}

}  // namespace

CellFinder::CellFinder(const CellTree& tree, std::uint64_t probed)
    : tree_(tree), probed_(std::min(probed, tree.num_supers())) {
  gathered_.resize(kTokensPerPanel * tree_.dim);
  best_.resize(kTokensPerPanel);
  nearest_.resize(kTokensPerPanel);
}

void CellFinder::find(const float* tokens, std::uint64_t count, std::uint32_t* cells) {
  probes_.resize(count * probed_);
  for (std::uint64_t first = 0; first < count; first += kTokensPerPanel) {
    choose_supers(tokens, first, std::min(kTokensPerPanel, count - first));
  }
  group_by_super(count);
  best_dot_.assign(count, kNothing);
  std::fill_n(cells, count, 0U);
  for (std::uint32_t super = 0; super < tree_.num_supers(); ++super) {
    const std::span<const std::uint32_t> members{members_.data() + group_begin_[super],
                                                 group_begin_[super + 1] - group_begin_[super]};
    for (std::uint64_t first = 0; first < members.size(); first += kTokensPerPanel) {
      search_children(tokens, super, members.subspan(first, std::min(kTokensPerPanel, members.size() - first)), cells);
    }
  }
}

void CellFinder::choose_supers(const float* tokens, std::uint64_t first, std::uint64_t count) {
  std::int32_t scratch[16];
  if (probed_ == tree_.num_supers()) {
    for (std::uint64_t i = 0; i < count * probed_; ++i) {
      probes_[first * probed_ + i] = static_cast<std::uint32_t>(i % probed_);
    }
    return;
  }
  panel_.build(tokens + first * tree_.dim, count, tree_.dim);
  dots_.resize(tree_.num_supers() * panel_.num_lanes());
  kernels::int8_dots(tree_.supers, tree_.num_supers(), panel_, dots_.data());
  for (std::uint64_t i = 0; i < count; ++i) {
    largest_rows(dots_.data() + i, tree_.num_supers(), panel_.num_lanes(), probed_,
                 probes_.data() + (first + i) * probed_, scratch);
  }
}

// Counting sort: tokens of a super end up in ascending order.
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

void CellFinder::search_children(const float* tokens, std::uint32_t super, std::span<const std::uint32_t> members,
                                 std::uint32_t* cells) {
  for (std::uint64_t i = 0; i < members.size(); ++i) {
    std::copy_n(tokens + members[i] * tree_.dim, tree_.dim, gathered_.data() + i * tree_.dim);
  }
  panel_.build(gathered_.data(), members.size(), tree_.dim);
  std::ranges::fill(best_, kNothing);
  const std::uint32_t begin = tree_.super_begin[super];
  kernels::nearest_rows(tree_.centroids + begin * tree_.dim, tree_.super_begin[super + 1] - begin, begin, panel_,
                        best_.data(), nearest_.data());
  for (std::uint64_t i = 0; i < members.size(); ++i) {
    const std::uint32_t token = members[i];
    // Supers come in ascending order, and so do their cells: on a tie the earlier, lower one stays.
    if (best_[i] > best_dot_[token]) {
      best_dot_[token] = best_[i];
      cells[token] = nearest_[i];
    }
  }
}

}  // namespace serotine::codec
