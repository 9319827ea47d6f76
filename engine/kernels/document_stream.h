// How does a list of documents become tiles?  One stream of token rows, cut every kTileRows rows.
//
// Documents follow each other without gaps, so that a short remainder costs nothing: a tile may hold the end of one
// document and the start of the next. A tile whose rows lie together in memory, in the form that the kernels read, is
// used where it lies; any other is staged: copied, widened to float32, or padded. The last tile is filled up by
// repeating the last row, which moves no maximum.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

#include "base/aligned_buffer.h"
#include "kernels/contract.h"
#include "kernels/maxsim.h"

namespace serotine::kernels {

// The documents at the positions [first, last) of a list: `selection[position]`, or `position` itself without one.
struct DocumentRange {
  const PackedTokens* documents;
  const std::int64_t* selection;  // nullable
  std::uint64_t first;
  std::uint64_t last;

  [[nodiscard]] std::uint64_t document_at(std::uint64_t position) const noexcept {
    return selection == nullptr ? position : static_cast<std::uint64_t>(selection[position]);
  }
};

// The token rows of the non-empty documents of a range. Reused: build() replaces the content.
class DocumentStream {
 public:
  void build(const DocumentRange& range);

  // Rows of the stream, rounded up to whole tiles.
  [[nodiscard]] std::uint64_t num_padded_rows() const noexcept { return ends_.empty() ? 0 : ends_.back(); }
  // Where each non-empty document ends; the padding belongs to the last.
  [[nodiscard]] std::span<const std::uint64_t> ends() const noexcept { return ends_; }
  // Which position of the range each non-empty document has.
  [[nodiscard]] std::span<const std::uint64_t> positions() const noexcept { return positions_; }

  // Source row of the first row of a tile (of the last tile, for any beyond it): where to prefetch.
  [[nodiscard]] std::uint64_t tile_source(std::uint64_t tile) const noexcept {
    return tile_sources_[std::min<std::uint64_t>(tile, tile_sources_.size() - 1)];
  }

  // Calls visit(source_row, count, offset) for the pieces that the stream rows [first, first + count) consist of;
  // `offset` is the piece's distance from `first`. Rows of the padding are the last row, one piece each.
  template <typename Visit>
  void for_each_piece(std::uint64_t first, std::uint64_t count, const Visit& visit) const;

 private:
  // Rows that lie together in memory: stream rows from `start` on are the source rows from `source` on.
  struct Extent {
    std::uint64_t start;
    std::uint64_t source;
  };

  std::vector<Extent> extents_;
  std::vector<std::uint64_t> ends_;
  std::vector<std::uint64_t> positions_;
  std::vector<std::uint64_t> tile_sources_;
  std::uint64_t num_rows_ = 0;
};

// What a block of tiles is cut for.
struct BlockPlan {
  const DocumentStream* stream;
  std::uint64_t first_row;
  std::uint64_t num_tiles;
  const std::uint64_t* segment_ends;
  bool small;  // a few tiles, done with soon: if they are staged, the next block's memory is wanted during this one
};

// Tiles of float32 rows.
class FloatTileCutter {
 public:
  FloatTileCutter(const PackedTokens& documents, const KernelTable& kernels);

  // Cuts the stream rows [first_row, first_row + num_tiles * kTileRows). Valid until the next call.
  [[nodiscard]] FloatTiles cut(const BlockPlan& plan);
  // Bytes of a row as the kernels read it, and whether every tile is staged.
  [[nodiscard]] std::uint64_t row_bytes() const noexcept { return documents_->dim * sizeof(float); }
  [[nodiscard]] bool stages_every_tile() const noexcept { return documents_->kind != ElementKind::kFloat32; }

 private:
  void stage(std::uint64_t source_row, std::uint64_t num_rows, float* target) const noexcept;

  const PackedTokens* documents_;
  const KernelTable* kernels_;
  std::vector<const float*> tiles_;
  std::vector<const void*> upcoming_;
  AlignedBuffer<float> staged_;
};

// Tiles of int8 rows, zero-padded to a multiple of 4 codes, with their scales.
class Int8TileCutter {
 public:
  Int8TileCutter(const PackedTokens& documents, const KernelTable& kernels);

  [[nodiscard]] Int8Tiles cut(const BlockPlan& plan);
  [[nodiscard]] std::uint64_t row_bytes() const noexcept { return num_quads_ * 4; }
  [[nodiscard]] bool stages_every_tile() const noexcept { return documents_->dim % 4 != 0; }

 private:
  void stage(std::uint64_t source_row, std::uint64_t num_rows, std::int8_t* target) const noexcept;

  const PackedTokens* documents_;
  std::uint64_t num_quads_;
  std::vector<const std::int8_t*> tiles_;
  std::vector<const void*> upcoming_;
  AlignedBuffer<std::int8_t> staged_;
  AlignedBuffer<float> scales_;
};

template <typename Visit>
void DocumentStream::for_each_piece(std::uint64_t first, std::uint64_t count, const Visit& visit) const {
  auto extent = std::upper_bound(extents_.begin(), extents_.end(), first,
                                 [](std::uint64_t row, const Extent& candidate) { return row < candidate.start; }) -
                1;
  std::uint64_t offset = 0;
  while (offset < count && first + offset < num_rows_) {
    const std::uint64_t row = first + offset;
    const auto next = extent + 1;
    const std::uint64_t extent_end = next == extents_.end() ? num_rows_ : next->start;
    const std::uint64_t length = std::min(extent_end - row, count - offset);
    visit(extent->source + (row - extent->start), length, offset);
    offset += length;
    extent = next;
  }
  const std::uint64_t last_source_row = extents_.back().source + (num_rows_ - 1 - extents_.back().start);
  for (; offset < count; ++offset) {
    visit(last_source_row, std::uint64_t{1}, offset);
  }
}

}  // namespace serotine::kernels
