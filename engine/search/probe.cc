#include "search/probe.h"

#include <algorithm>
#include <array>
#include <cstring>

namespace serotine::search {
namespace {

// Rows whose maxima are taken together. The n-th largest maximum bounds the n-th largest byte from below, so only the
// blocks that reach it are looked at, cell by cell: fewer, larger blocks find maxima faster but look at more cells.
constexpr std::uint64_t kBlockRows = 32;

// A piece of a row in a register of any instruction set.
constexpr std::uint64_t kPieceBytes = 16;
using Piece = std::uint8_t __attribute__((vector_size(kPieceBytes)));

[[nodiscard]] Piece load(const std::uint8_t* source) noexcept {
  Piece piece;
  std::memcpy(&piece, source, sizeof(piece));
  return piece;
}

}  // namespace

void Probes::clear() {
  cells_.clear();
  ends_.clear();
}

void Probes::find_maxima(const CellScores& scores) {
  const std::uint64_t stride = scores.stride();
  const std::uint64_t num_rows = scores.num_rows() - scores.first_row();
  num_blocks_ = divide_up(num_rows, kBlockRows);
  maxima_.reserve_discarding(num_blocks_ * stride);
  for (std::uint64_t block = 0; block < num_blocks_; ++block) {
    const std::uint64_t begin = scores.first_row() + block * kBlockRows;
    const std::uint64_t end = std::min(begin + kBlockRows, scores.num_rows());
    for (std::uint64_t offset = 0; offset < stride; offset += kPieceBytes) {
      const std::uint8_t* source = scores.row(begin) + offset;
      Piece best = load(source);
      for (std::uint64_t row = begin + 1; row < end; ++row) {
        source += stride;
        const Piece bytes = load(source);
        best = bytes > best ? bytes : best;
      }
      std::memcpy(maxima_.data() + block * stride + offset, &best, sizeof(best));
    }
  }
}

void Probes::collect(const CellScores& scores, std::uint64_t lane, std::uint64_t wanted) {
  const std::uint64_t stride = scores.stride();
  const std::uint8_t* maxima = maxima_.data() + lane;
  std::array<std::uint32_t, 256> histogram{};
  for (std::uint64_t block = 0; block < num_blocks_; ++block) {
    ++histogram[maxima[block * stride]];
  }
  std::uint32_t threshold = 255;
  for (std::uint64_t reached = histogram[255]; reached < wanted && threshold > 0;) {
    reached += histogram[--threshold];
  }
  found_.clear();
  for (std::uint64_t block = 0; block < num_blocks_; ++block) {
    if (maxima[block * stride] < threshold) {
      continue;
    }
    const std::uint64_t begin = scores.first_row() + block * kBlockRows;
    const std::uint64_t end = std::min(begin + kBlockRows, scores.num_rows());
    for (std::uint64_t row = begin; row < end; ++row) {
      const std::uint32_t byte = scores.row(row)[lane];
      if (byte >= threshold) {
        found_.push_back(((255 - byte) << 24) | static_cast<std::uint32_t>(row - scores.first_row()));
      }
    }
  }
}

void Probes::add(const CellScores& scores, std::uint64_t cells) {
  find_maxima(scores);
  const std::uint16_t* weights = scores.table().weights;
  for (std::uint64_t lane = 0; lane < scores.num_lanes(); ++lane) {
    collect(scores, lane, cells + 1);
    const std::uint64_t kept = std::min<std::uint64_t>(cells, found_.size());
    const auto end = found_.begin() + static_cast<std::ptrdiff_t>(std::min<std::uint64_t>(cells + 1, found_.size()));
    std::partial_sort(found_.begin(), end, found_.end());
    const std::uint32_t unprobed = kept < found_.size() ? 255 - (found_[kept] >> 24) : 0;
    for (std::uint64_t i = 0; i < kept; ++i) {
      const std::uint32_t byte = 255 - (found_[i] >> 24);
      const std::uint64_t row = scores.first_row() + (found_[i] & 0xFF'FFFF);
      cells_.push_back({scores.cell_of_row(row), weights[lane] * (byte - unprobed)});
    }
    ends_.push_back(cells_.size());
  }
}

}  // namespace serotine::search
