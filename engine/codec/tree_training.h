// How are the cells found?  Few supers on a part of the sample, then children inside each, all supers side by side.
#pragma once

#include <cstdint>
#include <vector>

#include "codec/meter.h"

namespace serotine::codec {

struct TreeTask {
  const std::int8_t* rows = nullptr;  // [num_rows][dim]: unit vectors in steps, none of zeros
  std::uint64_t num_rows = 0;         // >= 1
  std::uint64_t dim = 0;
  std::uint64_t num_cells = 1;  // a power of two, <= num_rows
  double length = 0;            // of a unit vector, in steps
  std::uint64_t seed = 0;
  std::uint64_t num_threads = 1;
  std::uint64_t super_rounds = 8;
  std::uint64_t child_rounds = 6;
  std::uint64_t refinement_rounds = 2;  // over the whole tree
};

struct TrainedTree {
  std::vector<std::int8_t> supers;
  std::vector<std::uint32_t> super_begin;
  std::vector<std::int8_t> centroids;
};

// As many cells as asked for, but where rows are alike: a super whose rows are all equal has one child.
[[nodiscard]] TrainedTree train_tree(const TreeTask& task, Meter& meter);

// Children of each super: at least 1, at most its rows, in proportion to `weights`, `num_cells` in all; fewer only if
// no super with a weight can have more.
[[nodiscard]] std::vector<std::uint32_t> allot_children(const std::vector<double>& weights,
                                                        const std::vector<std::uint64_t>& rows,
                                                        std::uint64_t num_cells);

}  // namespace serotine::codec
