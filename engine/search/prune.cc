#include "search/prune.h"

#include <algorithm>
#include <array>
#include <cstring>

namespace serotine::search {
namespace {

constexpr std::uint64_t kPieceBytes = 16;
using Piece = std::uint8_t __attribute__((vector_size(kPieceBytes)));
using Words = std::uint64_t __attribute__((vector_size(kPieceBytes)));

[[nodiscard]] Piece load(const std::uint8_t* source) noexcept {
  Piece piece;
  std::memcpy(&piece, source, sizeof(piece));
  return piece;
}

// Tokens that are kept for each lane, by the bytes of their cells. With 4 a third of the tokens of a document was left,
// and .2 % of the ten best were lost on SciFact (docs/engine.md).
constexpr std::size_t kKeptTokens = 8;

// Readable bytes beyond the last cell id of a document, see DocumentCells.
constexpr std::uint64_t kCellPadding = 3;

// Of 16 lanes, the kKeptTokens-th largest byte among the rows (0 if there are fewer).
[[nodiscard]] Piece nth_best(const std::vector<const std::uint8_t*>& rows, std::uint64_t offset) noexcept {
  std::array<Piece, kKeptTokens> best{};
  for (const std::uint8_t* row : rows) {
    Piece bytes = load(row + offset);
    for (Piece& each : best) {  // a sorted insertion; the compiler unrolls it
      const Piece larger = bytes > each ? bytes : each;
      bytes = bytes > each ? each : bytes;
      each = larger;
    }
  }
  return best.back();
}

template <std::uint64_t kWidth>
std::uint8_t* copy_fixed(const std::uint8_t* source, std::span<const std::uint32_t> tokens,
                         std::uint8_t* target) noexcept {
  for (const std::uint32_t token : tokens) {
    std::memcpy(target, source + token * kWidth, kWidth);
    target += kWidth;
  }
  return target;
}

// The usual widths have their own loops: a copy is then a move or two instead of a call.
std::uint8_t* copy_tokens(const std::uint8_t* source, std::uint64_t width, std::span<const std::uint32_t> tokens,
                          std::uint8_t* target) noexcept {
  switch (width) {
    case 1:
      return copy_fixed<1>(source, tokens, target);
    case 2:
      return copy_fixed<2>(source, tokens, target);
    case 16:
      return copy_fixed<16>(source, tokens, target);
    case 32:
      return copy_fixed<32>(source, tokens, target);
    case 64:
      return copy_fixed<64>(source, tokens, target);
    case 128:
      return copy_fixed<128>(source, tokens, target);
    default:
      for (const std::uint32_t token : tokens) {
        std::memcpy(target, source + token * width, width);
        target += width;
      }
      return target;
  }
}

// Where the codes begin in a document's block.
[[nodiscard]] std::uint64_t codes_begin(const kernels::CodeFormat& format, std::uint64_t num_tokens) noexcept {
  return num_tokens * (format.token_bytes() - format.code_bytes());
}

}  // namespace

void PrunedDocuments::find_rows(const kernels::CellTable& table, std::uint32_t cell_width,
                                const kernels::CodedDocument& document) {
  rows_.resize(document.num_tokens);
  const std::uint32_t mask = 0xFFFF'FFFFU >> (32 - 8 * cell_width);
  for (std::uint32_t token = 0; token < document.num_tokens; ++token) {
    std::uint32_t cell = 0;
    std::memcpy(&cell, document.cells + std::uint64_t{token} * cell_width, sizeof(cell));
    cell &= mask;
    rows_[token] = table.rows + (table.row_of_cell != nullptr ? table.row_of_cell[cell] : cell) * table.stride;
  }
}

// Appends the numbers of the tokens to keep.
void PrunedDocuments::choose_tokens(const kernels::CellTable& table) {
  least_.resize(table.num_lanes);
  for (std::uint64_t offset = 0; offset < table.num_lanes; offset += kPieceBytes) {
    const Piece last_best = nth_best(rows_, offset);
    for (std::uint64_t lane = 0; lane < kPieceBytes; ++lane) {
      // Padding holds the byte of a dot product of 0, which is below 255 in any map: nothing is kept for its sake.
      least_[offset + lane] = table.weights[offset + lane] == 0 ? 255 : last_best[lane];
    }
  }
  const std::size_t begin = kept_.size();
  kept_.resize(begin + rows_.size());
  std::uint32_t* kept = kept_.data() + begin;
  std::size_t count = 0;
  for (std::uint32_t token = 0; token < rows_.size(); ++token) {
    Words any{};
    for (std::uint64_t offset = 0; offset < table.num_lanes; offset += kPieceBytes) {
      any |= reinterpret_cast<Words>(load(rows_[token] + offset) >= load(least_.data() + offset));
    }
    kept[count] = token;
    count += (any[0] | any[1]) != 0 ? 1 : 0;
  }
  kept_.resize(begin + count);
}

std::uint8_t* PrunedDocuments::copy(const kernels::CodeFormat& format, const kernels::CodedDocument& source,
                                    std::span<const std::uint32_t> tokens, std::uint8_t* target) {
  documents_.push_back({target, target + tokens.size() * format.cell_width, static_cast<std::uint32_t>(tokens.size())});
  target = copy_tokens(source.cells, format.cell_width, tokens, target);
  const std::uint8_t* block = source.block;
  if (format.has_gains) {
    target = copy_tokens(block, 2, tokens, target);
    block += std::uint64_t{source.num_tokens} * 2;
  }
  if (format.nbits < 8) {
    target = copy_tokens(block, 1, tokens, target);
  }
  return copy_tokens(source.block + codes_begin(format, source.num_tokens), format.code_bytes(), tokens, target);
}

std::span<const kernels::CodedDocument> PrunedDocuments::prune(const kernels::CellTable& table,
                                                               const kernels::CodeFormat& format,
                                                               std::span<const kernels::CodedDocument> documents) {
  kept_.clear();
  documents_.clear();
  ends_.clear();
  for (const kernels::CodedDocument& document : documents) {
    find_rows(table, format.cell_width, document);
    const std::uint64_t begin = kept_.size();
    choose_tokens(table);
    ends_.push_back(kept_.size());
    // Codes are far apart in memory: all are on their way before the first is copied.
    const std::uint8_t* codes = document.block + codes_begin(format, document.num_tokens);
    for (std::uint64_t i = begin; i < kept_.size(); ++i) {
      __builtin_prefetch(codes + kept_[i] * format.code_bytes());
      __builtin_prefetch(codes + kept_[i] * format.code_bytes() + format.code_bytes() - 1);
    }
  }
  bytes_.reserve_discarding(kept_.size() * (format.cell_width + format.token_bytes()) + kCellPadding);
  std::uint8_t* target = bytes_.data();
  std::uint64_t begin = 0;
  for (std::size_t i = 0; i < documents.size(); ++i) {
    target = copy(format, documents[i], std::span(kept_).subspan(begin, ends_[i] - begin), target);
    begin = ends_[i];
  }
  std::fill_n(target, kCellPadding, std::uint8_t{0});
  return documents_;
}

}  // namespace serotine::search
