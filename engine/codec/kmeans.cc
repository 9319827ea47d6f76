#include "codec/kmeans.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "base/checked.h"
#include "codec/random.h"

namespace serotine::codec {
namespace {

constexpr std::uint32_t kUnassigned = 0xFFFF'FFFF;

// Distinct rows, in random order, become the first centroids; beyond the number of rows they repeat.
void choose_first(const KMeansTask& task, std::int8_t* centroids) {
  SplitMix64 random(task.seed);
  std::vector<std::uint32_t> order(task.num_rows);
  for (std::uint64_t row = 0; row < task.num_rows; ++row) {
    order[row] = static_cast<std::uint32_t>(row);
  }
  for (std::uint64_t cluster = 0; cluster < task.num_clusters; ++cluster) {
    const std::uint64_t slot = cluster % task.num_rows;
    if (cluster < task.num_rows) {
      std::swap(order[slot], order[slot + random.below(task.num_rows - slot)]);
    }
    const std::int8_t* row = task.rows + order[slot] * task.dim;
    std::copy_n(row, task.dim, centroids + cluster * task.dim);
  }
}

void add_row(const std::int8_t* row, std::uint64_t dim, std::int32_t* sum) noexcept {
  for (std::uint64_t i = 0; i < dim; ++i) {
    sum[i] += row[i];
  }
}

}  // namespace

bool quantise_direction(const std::int32_t* values, std::uint64_t dim, double length, std::int8_t* row) noexcept {
  std::int64_t norm2 = 0;
  for (std::uint64_t i = 0; i < dim; ++i) {
    norm2 += static_cast<std::int64_t>(values[i]) * values[i];
  }
  if (norm2 == 0) {
    return false;
  }
  const double factor = length / std::sqrt(static_cast<double>(norm2));
  for (std::uint64_t i = 0; i < dim; ++i) {
    const double steps = std::clamp(std::nearbyint(values[i] * factor), -127.0, 127.0);
    row[i] = static_cast<std::int8_t>(steps);
  }
  return true;
}

void widen_rows(const std::int8_t* rows, std::uint64_t count, float* floats) noexcept {
  for (std::uint64_t i = 0; i < count; ++i) {
    floats[i] = static_cast<float>(rows[i]);
  }
}

void KMeans::run(const KMeansTask& task, const Poll& poll, std::int8_t* centroids) {
  if (task.num_rows == 0) {
    return;
  }
  choose_first(task, centroids);
  load_panels(task, poll);
  cluster_of_.assign(task.num_rows, kUnassigned);
  for (std::uint64_t round = 0; round < task.max_rounds && assign(task, poll, centroids); ++round) {
    update(task, centroids);
    fill_empty(task, round, centroids);
  }
}

void KMeans::load_panels(const KMeansTask& task, const Poll& poll) {
  const std::uint64_t num_blocks = divide_up(task.num_rows, kRowsPerBlock);
  if (panels_.size() < num_blocks) {
    panels_.resize(num_blocks);
  }
  floats_.resize(kRowsPerBlock * task.dim);
  best_.resize(kRowsPerBlock);
  nearest_.resize(kRowsPerBlock);
  for (std::uint64_t block = 0; block < num_blocks; ++block) {
    poll();
    const std::uint64_t first = block * kRowsPerBlock;
    const std::uint64_t count = std::min(kRowsPerBlock, task.num_rows - first);
    widen_rows(task.rows + first * task.dim, count * task.dim, floats_.data());
    panels_[block].build(floats_.data(), count, task.dim);
  }
}

// Whether some row changed its cluster.
bool KMeans::assign(const KMeansTask& task, const Poll& poll, const std::int8_t* centroids) {
  sums_.assign(task.num_clusters * task.dim, 0);
  counts_.assign(task.num_clusters, 0);
  bool changed = false;
  for (std::uint64_t first = 0; first < task.num_rows; first += kRowsPerBlock) {
    poll();
    const std::uint64_t count = std::min(kRowsPerBlock, task.num_rows - first);
    std::ranges::fill(best_, std::numeric_limits<std::int32_t>::min());
    kernels::nearest_rows(centroids, task.num_clusters, 0, panels_[first / kRowsPerBlock], best_.data(),
                          nearest_.data());
    for (std::uint64_t i = 0; i < count; ++i) {
      changed |= cluster_of_[first + i] != nearest_[i];
      cluster_of_[first + i] = nearest_[i];
      ++counts_[nearest_[i]];
      add_row(task.rows + (first + i) * task.dim, task.dim, sums_.data() + nearest_[i] * task.dim);
    }
  }
  return changed;
}

void KMeans::update(const KMeansTask& task, std::int8_t* centroids) {
  for (std::uint64_t cluster = 0; cluster < task.num_clusters; ++cluster) {
    // Opposite rows may cancel out: the centroid then stays where it is.
    quantise_direction(sums_.data() + cluster * task.dim, task.dim, task.length, centroids + cluster * task.dim);
  }
}

// An empty cluster takes half of the largest: both centroids move one small random step apart, and the next assignment
// parts the rows between them.
void KMeans::fill_empty(const KMeansTask& task, std::uint64_t round, std::int8_t* centroids) {
  std::vector<std::pair<std::uint64_t, std::uint64_t>> by_size;  // heap of (rows, ~cluster): ties to the lowest number
  for (std::uint64_t cluster = 0; cluster < task.num_clusters; ++cluster) {
    by_size.emplace_back(counts_[cluster], ~cluster);
  }
  std::ranges::make_heap(by_size);
  SplitMix64 random(task.seed + round + 1);
  for (std::uint64_t cluster = 0; cluster < task.num_clusters; ++cluster) {
    if (counts_[cluster] != 0) {
      continue;
    }
    std::ranges::pop_heap(by_size);
    const auto [rows, inverted] = by_size.back();
    if (rows < 2) {
      return;
    }
    std::int8_t* large = centroids + ~inverted * task.dim;
    std::int8_t* empty = centroids + cluster * task.dim;
    for (std::uint64_t i = 0; i < task.dim; ++i) {
      const int step = (random.next() & 1U) != 0 ? 1 : -1;
      const int value = large[i];
      empty[i] = static_cast<std::int8_t>(std::clamp(value + step, -127, 127));
      large[i] = static_cast<std::int8_t>(std::clamp(value - step, -127, 127));
    }
    by_size.back() = {(rows + 1) / 2, inverted};
    std::ranges::push_heap(by_size);
    by_size.emplace_back(rows / 2, ~cluster);
    std::ranges::push_heap(by_size);
  }
}

}  // namespace serotine::codec
