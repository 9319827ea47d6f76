#include "codec/cell_refinement.h"

#include <algorithm>
#include <memory>
#include <numeric>
#include <vector>

#include "base/checked.h"
#include "base/parallel.h"
#include "codec/cell_finder.h"
#include "codec/kmeans.h"

namespace serotine::codec {
namespace {

constexpr std::uint64_t kBatch = 4096;

// Rows by cell: those of cell c are order[begin[c]] .. order[begin[c + 1] - 1].
struct RowsOfCells {
  std::vector<std::uint32_t> begin;
  std::vector<std::uint32_t> order;
};

RowsOfCells sort_by_cell(const std::vector<std::uint32_t>& cell_of, std::uint64_t num_cells) {
  RowsOfCells rows{std::vector<std::uint32_t>(num_cells + 1), std::vector<std::uint32_t>(cell_of.size())};
  for (const std::uint32_t cell : cell_of) {
    ++rows.begin[cell + 1];
  }
  std::partial_sum(rows.begin.begin(), rows.begin.end(), rows.begin.begin());
  std::vector<std::uint32_t> next(rows.begin.begin(), rows.begin.end() - 1);
  for (std::uint64_t row = 0; row < cell_of.size(); ++row) {
    rows.order[next[cell_of[row]]++] = static_cast<std::uint32_t>(row);
  }
  return rows;
}

// `sum` += the rows of a cell, which lie anywhere in the sample.
void add_rows(const TreeTask& task, const RowsOfCells& rows, std::uint32_t cell, std::vector<std::int32_t>& sum) {
  constexpr std::uint32_t kAhead = 8;  // rows asked for before they are needed
  for (std::uint32_t i = rows.begin[cell]; i < rows.begin[cell + 1]; ++i) {
    if (i + kAhead < rows.order.size()) {
      const std::int8_t* upcoming = task.rows + rows.order[i + kAhead] * task.dim;
      for (std::uint64_t j = 0; j < task.dim; j += kCacheLine) {
        __builtin_prefetch(upcoming + j);
      }
    }
    const std::int8_t* row = task.rows + rows.order[i] * task.dim;
    for (std::uint64_t j = 0; j < task.dim; ++j) {
      sum[j] += row[j];
    }
  }
}

void move_to_means(const TreeTask& task, const RowsOfCells& rows, TrainedTree& tree, Meter& meter) {
  parallel_for(tree.super_begin.size() - 1, task.num_threads, [&](std::uint64_t worker, std::uint64_t super) {
    if (worker == 0) {
      meter.poll();
    }
    std::vector<std::int32_t> super_sum(task.dim);
    std::vector<std::int32_t> sum(task.dim);
    for (std::uint32_t cell = tree.super_begin[super]; cell < tree.super_begin[super + 1]; ++cell) {
      std::ranges::fill(sum, 0);
      add_rows(task, rows, cell, sum);
      quantise_direction(sum.data(), task.dim, task.length, tree.centroids.data() + cell * task.dim);
      for (std::uint64_t j = 0; j < task.dim; ++j) {
        super_sum[j] += sum[j];
      }
    }
    quantise_direction(super_sum.data(), task.dim, task.length, tree.supers.data() + super * task.dim);
  });
}

}  // namespace

void find_cells(const TreeTask& task, const CellTree& tree, std::vector<std::uint32_t>& cell_of, Meter& meter) {
  const CellPanels panels(tree, task.num_rows, task.num_threads);
  std::vector<std::unique_ptr<CellFinder>> finders(std::max<std::uint64_t>(task.num_threads, 1));
  const std::uint64_t num_batches = divide_up(task.num_rows, kBatch);
  parallel_for(num_batches, task.num_threads, [&](std::uint64_t worker, std::uint64_t batch) {
    if (worker == 0) {
      meter.tick(static_cast<double>(batch) / static_cast<double>(num_batches));
    }
    if (!finders[worker]) {
      finders[worker] = std::make_unique<CellFinder>(panels);
    }
    const std::uint64_t first = batch * kBatch;
    finders[worker]->find(task.rows + first * task.dim, std::min(kBatch, task.num_rows - first),
                          cell_of.data() + first);
  });
}

void refine_cells(const TreeTask& task, std::uint64_t num_rounds, TrainedTree& tree, Meter& meter) {
  std::vector<std::uint32_t> cell_of(task.num_rows);
  for (std::uint64_t round = 0; round < num_rounds; ++round) {
    const double share = 0.35 / static_cast<double>(num_rounds);
    meter.stage(0.60 + share * static_cast<double>(round), 0.60 + share * static_cast<double>(round + 1));
    find_cells(task, {task.dim, tree.supers.data(), tree.super_begin, tree.centroids.data()}, cell_of, meter);
    move_to_means(task, sort_by_cell(cell_of, tree.super_begin.back()), tree, meter);
  }
}

}  // namespace serotine::codec
