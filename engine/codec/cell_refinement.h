// How do cells of different supers settle with each other?  Some rounds of k-means over the whole tree, with the search
// that the encoder uses: children alone only ever saw the rows of their own super.
#pragma once

#include <cstdint>
#include <vector>

#include "codec/cell_finder.h"
#include "codec/meter.h"
#include "codec/tree_training.h"

namespace serotine::codec {

// The cell of every row of the sample, with all threads. cell_of: [num_rows].
void find_cells(const TreeTask& task, const CellTree& tree, std::vector<std::uint32_t>& cell_of, Meter& meter);

// Moves every cell and super to the mean direction of the rows that now find it; those that no row finds stay.
void refine_cells(const TreeTask& task, std::uint64_t num_rounds, TrainedTree& tree, Meter& meter);

}  // namespace serotine::codec
