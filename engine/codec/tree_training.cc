#include "codec/tree_training.h"

#include <algorithm>
#include <bit>
#include <limits>
#include <numeric>
#include <utility>

#include "base/checked.h"
#include "base/parallel.h"
#include "codec/cell_refinement.h"
#include "codec/kmeans.h"

namespace serotine::codec {
namespace {

constexpr std::uint64_t kRowsPerSuper = 256;    // that supers are trained on
constexpr std::uint64_t kRowsPerSpread = 1024;  // that a super's spread is measured on
constexpr std::uint64_t kRowsPerChild = 256;    // at most: bounds the work where nearly all rows share a super

// Rows gathered from all over: row i of the result is rows[numbers[i * num_numbers / count]].
std::vector<std::int8_t> gather(const TreeTask& task, const std::uint32_t* numbers, std::uint64_t num_numbers,
                                std::uint64_t count) {
  std::vector<std::int8_t> gathered(checked_multiply(count, task.dim));
  for (std::uint64_t i = 0; i < count; ++i) {
    const std::uint64_t at = i * num_numbers / count;
    const std::uint64_t row = numbers == nullptr ? at : numbers[at];
    std::copy_n(task.rows + row * task.dim, task.dim, gathered.data() + i * task.dim);
  }
  return gathered;
}

std::vector<std::int8_t> train_supers(const TreeTask& task, std::uint64_t num_supers, Meter& meter) {
  const std::uint64_t count = std::min(task.num_rows, num_supers * kRowsPerSuper);
  const std::vector<std::int8_t> rows = gather(task, nullptr, task.num_rows, count);
  std::vector<std::int8_t> supers(num_supers * task.dim);
  KMeans kmeans;
  kmeans.run(
      {.rows = rows.data(),
       .num_rows = count,
       .dim = task.dim,
       .num_clusters = num_supers,
       .max_rounds = task.super_rounds,
       .seed = task.seed,
       .length = task.length},
      [&meter] { meter.poll(); }, supers.data());
  return supers;
}

// The nearest super of every row: supers taken as the children of one that has them all.
std::vector<std::uint32_t> assign_supers(const TreeTask& task, const std::vector<std::int8_t>& supers, Meter& meter) {
  const std::vector<std::int8_t> root(task.dim);
  const std::vector<std::uint32_t> begin = {0, static_cast<std::uint32_t>(supers.size() / task.dim)};
  std::vector<std::uint32_t> super_of(task.num_rows);
  find_cells(task, {task.dim, root.data(), begin, supers.data()}, super_of, meter);
  return super_of;
}

// Row numbers sorted by super: those of super s are order[begin[s]] .. order[begin[s + 1] - 1], ascending.
struct Groups {
  std::vector<std::uint64_t> begin;
  std::vector<std::uint32_t> order;

  [[nodiscard]] std::uint64_t size(std::uint64_t super) const { return begin[super + 1] - begin[super]; }
};

Groups group(const std::vector<std::uint32_t>& super_of, std::uint64_t num_supers) {
  Groups groups{std::vector<std::uint64_t>(num_supers + 1), std::vector<std::uint32_t>(super_of.size())};
  for (const std::uint32_t super : super_of) {
    ++groups.begin[super + 1];
  }
  std::partial_sum(groups.begin.begin(), groups.begin.end(), groups.begin.begin());
  std::vector<std::uint64_t> next(groups.begin.begin(), groups.begin.end() - 1);
  for (std::uint64_t row = 0; row < super_of.size(); ++row) {
    groups.order[next[super_of[row]]++] = static_cast<std::uint32_t>(row);
  }
  return groups;
}

// Population x spread: the sum over a super's rows of the squared distance to their mean direction, from a part of
// them.
double weigh(const TreeTask& task, const Groups& groups, std::uint64_t super) {
  const std::uint64_t count = std::min(groups.size(super), kRowsPerSpread);
  const std::vector<std::int8_t> rows =
      gather(task, groups.order.data() + groups.begin[super], groups.size(super), count);
  std::vector<std::int32_t> sum(task.dim);
  std::int64_t squares = 0;
  for (std::uint64_t i = 0; i < count; ++i) {
    std::int32_t norm2 = 0;
    for (std::uint64_t j = 0; j < task.dim; ++j) {
      const std::int32_t value = rows[i * task.dim + j];
      sum[j] += value;
      norm2 += value * value;
    }
    squares += norm2;
  }
  std::int64_t length2 = 0;
  for (const std::int32_t value : sum) {
    length2 += static_cast<std::int64_t>(value) * value;
  }
  // Sum of |row - mean|^2 = sum of |row|^2 - |sum|^2 / count, kept whole so that equal rows give 0 exactly.
  const auto spread = static_cast<double>(squares * static_cast<std::int64_t>(count) - length2);
  const auto sampled = static_cast<double>(std::max<std::uint64_t>(count, 1));
  return spread / (sampled * sampled) * static_cast<double>(groups.size(super));
}

std::vector<double> weigh_all(const TreeTask& task, const Groups& groups) {
  std::vector<double> weights(groups.begin.size() - 1);
  parallel_for(weights.size(), task.num_threads,
               [&](std::uint64_t, std::uint64_t super) { weights[super] = weigh(task, groups, super); });
  return weights;
}

void train_children(const TreeTask& task, const Groups& groups, TrainedTree& tree, Meter& meter) {
  const std::uint64_t num_supers = groups.begin.size() - 1;
  std::vector<std::uint32_t> largest_first(num_supers);
  std::iota(largest_first.begin(), largest_first.end(), 0U);
  std::ranges::stable_sort(largest_first, std::greater<>(), [&](std::uint32_t super) { return groups.size(super); });
  std::vector<KMeans> kmeans(std::max<std::uint64_t>(task.num_threads, 1));
  parallel_for(num_supers, task.num_threads, [&](std::uint64_t worker, std::uint64_t chunk) {
    const std::uint32_t super = largest_first[chunk];
    const Poll poll = worker == 0 ? Poll([&meter] { meter.poll(); }) : Poll([] {});
    if (worker == 0) {
      meter.tick(static_cast<double>(chunk) / static_cast<double>(num_supers));
    }
    const std::uint64_t num_children = tree.super_begin[super + 1] - tree.super_begin[super];
    std::int8_t* centroids = tree.centroids.data() + tree.super_begin[super] * task.dim;
    // What stays if the super has no rows.
    std::copy_n(tree.supers.data() + super * task.dim, task.dim, centroids);
    const std::uint64_t count = std::min(groups.size(super), num_children * kRowsPerChild);
    const std::vector<std::int8_t> rows =
        gather(task, groups.order.data() + groups.begin[super], groups.size(super), count);
    kmeans[worker].run({.rows = rows.data(),
                        .num_rows = count,
                        .dim = task.dim,
                        .num_clusters = num_children,
                        .max_rounds = task.child_rounds,
                        .seed = task.seed + 1 + super,
                        .length = task.length},
                       poll, centroids);
  });
}

}  // namespace

std::vector<std::uint32_t> allot_children(const std::vector<double>& weights, const std::vector<std::uint64_t>& rows,
                                          std::uint64_t num_cells) {
  std::vector<std::uint32_t> children(weights.size(), 1);
  // One child at a time to whom the next would serve most (the highest quotient): shares in proportion, an exact sum.
  std::vector<std::pair<double, std::uint64_t>> heap;  // (weight per child, ~super): ties to the lowest number
  const auto offer = [&](std::uint64_t super) {
    if (weights[super] > 0 && children[super] < rows[super]) {
      heap.emplace_back(weights[super] / children[super], ~super);
      std::ranges::push_heap(heap);
    }
  };
  for (std::uint64_t super = 0; super < weights.size(); ++super) {
    offer(super);
  }
  for (std::uint64_t total = weights.size(); total < num_cells && !heap.empty(); ++total) {
    std::ranges::pop_heap(heap);
    const std::uint64_t super = ~heap.back().second;
    heap.pop_back();
    ++children[super];
    offer(super);
  }
  return children;
}

TrainedTree train_tree(const TreeTask& task, Meter& meter) {
  // The root of the number of cells, rounded up to a power of two.
  const std::uint64_t num_supers = std::uint64_t{1} << (static_cast<unsigned>(std::bit_width(task.num_cells)) / 2);
  TrainedTree tree;
  meter.stage(0.15, 0.20);
  tree.supers = train_supers(task, num_supers, meter);
  meter.stage(0.20, 0.40);
  const Groups groups = group(assign_supers(task, tree.supers, meter), num_supers);
  std::vector<std::uint64_t> sizes;
  for (std::uint64_t super = 0; super < num_supers; ++super) {
    sizes.push_back(groups.size(super));
  }
  tree.super_begin.push_back(0);
  for (const std::uint32_t children : allot_children(weigh_all(task, groups), sizes, task.num_cells)) {
    tree.super_begin.push_back(tree.super_begin.back() + children);
  }
  tree.centroids.resize(checked_multiply(tree.super_begin.back(), task.dim));
  meter.stage(0.40, 0.60);
  train_children(task, groups, tree, meter);
  refine_cells(task, task.refinement_rounds, tree, meter);
  return tree;
}

}  // namespace serotine::codec
