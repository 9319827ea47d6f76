// Which documents have a token in a cell?  Built once when a segment is sealed, checked once when it is opened.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace serotine::segment {

// Cell of a token; ids are `width` bytes (1, 2 or 3), little-endian.
[[nodiscard]] inline std::uint32_t cell_at(const std::uint8_t* cells, std::uint32_t width,
                                           std::uint64_t token) noexcept {
  const std::uint8_t* id = cells + token * width;
  std::uint32_t cell = id[0];
  if (width > 1) {
    cell |= static_cast<std::uint32_t>(id[1]) << 8;
  }
  if (width > 2) {
    cell |= static_cast<std::uint32_t>(id[2]) << 16;
  }
  return cell;
}

// The contents of the sections kPostingRanges and kPostings.
struct Postings {
  std::vector<std::uint32_t> ranges;     // [num_ranges][num_cells + 1]
  std::vector<std::uint16_t> documents;  // minus the range's first
};

// Two passes over the cells: count, then place. Every cell id is below num_cells.
[[nodiscard]] Postings build_postings(std::span<const std::uint16_t> lengths, const std::uint8_t* cells,
                                      std::uint32_t width, std::uint64_t num_cells);

// What is wrong with postings read from a file; empty if nothing. ranges: whole rows of num_cells + 1.
[[nodiscard]] std::string find_posting_problem(std::span<const std::uint32_t> ranges,
                                               std::span<const std::uint16_t> documents, std::uint64_t num_cells,
                                               std::uint64_t num_documents);

// Whether all cell ids are below num_cells.
[[nodiscard]] bool cells_below(const std::uint8_t* cells, std::uint32_t width, std::uint64_t num_tokens,
                               std::uint64_t num_cells) noexcept;

}  // namespace serotine::segment
