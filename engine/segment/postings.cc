#include "segment/postings.h"

#include <algorithm>
#include <cstring>

#include "base/checked.h"
#include "segment/segment.h"

namespace serotine::segment {
namespace {

// Calls visit(cell, document) once for every cell that a document has a token in, documents in ascending order.
// `stamps` [num_cells] tells which cells the current document has been seen in.
template <typename Visit>
void for_each_posting(std::span<const std::uint16_t> lengths, std::uint64_t first_token, const std::uint8_t* cells,
                      std::uint32_t width, std::vector<std::uint32_t>& stamps, const Visit& visit) {
  std::fill(stamps.begin(), stamps.end(), 0);
  std::uint64_t token = first_token;
  for (std::uint64_t document = 0; document < lengths.size(); ++document) {
    const auto stamp = static_cast<std::uint32_t>(document + 1);
    for (const std::uint64_t end = token + lengths[document]; token < end; ++token) {
      const std::uint32_t cell = cell_at(cells, width, token);
      if (stamps[cell] != stamp) {
        stamps[cell] = stamp;
        visit(cell, static_cast<std::uint16_t>(document));
      }
    }
  }
}

}  // namespace

Postings build_postings(std::span<const std::uint16_t> lengths, const std::uint8_t* cells, std::uint32_t width,
                        std::uint64_t num_cells) {
  const std::uint64_t num_ranges = divide_up(lengths.size(), kRangeDocuments);
  Postings out;
  out.ranges.resize(checked_multiply(num_ranges, num_cells + 1));
  std::vector<std::uint32_t> stamps(num_cells);
  std::vector<std::uint32_t> next(num_cells);
  std::uint64_t first_token = 0;
  std::uint64_t total = 0;
  for (std::uint64_t range = 0; range < num_ranges; ++range) {
    const std::uint64_t first = range * kRangeDocuments;
    const auto part = lengths.subspan(first, std::min(kRangeDocuments, lengths.size() - first));
    std::fill(next.begin(), next.end(), 0);
    for_each_posting(part, first_token, cells, width, stamps, [&](std::uint32_t cell, std::uint16_t) { ++next[cell]; });
    std::uint32_t* begin = out.ranges.data() + range * (num_cells + 1);
    for (std::uint64_t cell = 0; cell < num_cells; ++cell) {
      begin[cell] = static_cast<std::uint32_t>(total);
      total += next[cell];
      next[cell] = begin[cell];
    }
    begin[num_cells] = static_cast<std::uint32_t>(total);
    out.documents.resize(total);
    for_each_posting(part, first_token, cells, width, stamps,
                     [&](std::uint32_t cell, std::uint16_t document) { out.documents[next[cell]++] = document; });
    for (const std::uint16_t length : part) {
      first_token += length;
    }
  }
  return out;
}

std::string find_posting_problem(std::span<const std::uint32_t> ranges, std::span<const std::uint16_t> documents,
                                 std::uint64_t num_cells, std::uint64_t num_documents) {
  const std::uint64_t num_ranges = divide_up(num_documents, kRangeDocuments);
  std::uint64_t expected_begin = 0;
  for (std::uint64_t range = 0; range < num_ranges; ++range) {
    const std::uint32_t* begin = ranges.data() + range * (num_cells + 1);
    const std::uint64_t size = std::min(kRangeDocuments, num_documents - range * kRangeDocuments);
    if (begin[0] != expected_begin) {
      return "range " + std::to_string(range) + " beginning at " + std::to_string(begin[0]);
    }
    for (std::uint64_t cell = 0; cell < num_cells; ++cell) {
      if (begin[cell + 1] < begin[cell] || begin[cell + 1] > documents.size()) {
        return "cell " + std::to_string(cell) + " of range " + std::to_string(range) + " from " +
               std::to_string(begin[cell]) + " to " + std::to_string(begin[cell + 1]);
      }
      std::int64_t previous = -1;
      for (std::uint64_t i = begin[cell]; i < begin[cell + 1]; ++i) {
        if (documents[i] <= previous || documents[i] >= size) {
          return "document " + std::to_string(documents[i]) + " after " + std::to_string(previous) + " in cell " +
                 std::to_string(cell) + " of range " + std::to_string(range);
        }
        previous = documents[i];
      }
    }
    expected_begin = begin[num_cells];
  }
  return expected_begin == documents.size() ? "" : std::to_string(documents.size()) + " postings";
}

bool cells_below(const std::uint8_t* cells, std::uint32_t width, std::uint64_t num_tokens,
                 std::uint64_t num_cells) noexcept {
  std::uint32_t largest = 0;
  if (width == 1) {
    std::uint8_t byte = 0;  // a maximum of its own width: the compiler makes 32 or more comparisons at once
    for (std::uint64_t token = 0; token < num_tokens; ++token) {
      byte = std::max(byte, cells[token]);
    }
    largest = byte;
  } else if (width == 2) {
    std::uint16_t word = 0;
    for (std::uint64_t token = 0; token < num_tokens; ++token) {
      std::uint16_t cell = 0;
      std::memcpy(&cell, cells + 2 * token, sizeof cell);
      word = std::max(word, cell);
    }
    largest = word;
  } else {
    for (std::uint64_t token = 0; token < num_tokens; ++token) {
      largest = std::max(largest, cell_at(cells, 3, token));
    }
  }
  return num_tokens == 0 || largest < num_cells;
}

}  // namespace serotine::segment
