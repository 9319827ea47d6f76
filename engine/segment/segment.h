// What is one immutable piece of an index?  Documents in the order in which they were added, in one file.
//
// Two kinds, and their union: a segment without a codebook holds float16 vectors alone and is scored exactly; one with
// a codebook holds cells and codes, and, while a successor of its codebook is in sight or the user asked for it,
// the float16 vectors too. Tokens keep their order. Documents have numbers from 0; ids are looked up by binary search.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "codec/codebook.h"
#include "format/file.h"
#include "format/manifest.h"
#include "kernels/quantized.h"

namespace serotine::segment {

// Sections of a file of kind kSegment.
enum class SegmentSection : std::uint32_t {
  kParameters = 1,     // see FORMAT.md
  kLengths = 2,        // uint16 [num_documents]: tokens of each, 0 allowed
  kIdEnds = 3,         // uint64 [num_documents]: where each id ends in kIdBytes
  kIdBytes = 4,        // the ids, one after the other, see DocumentKey
  kIdOrder = 5,        // uint32 [num_documents]: document numbers in ascending order of their id's bytes
  kCells = 6,          // cell_width bytes per token, then 8 bytes of 0
  kPostingRanges = 7,  // uint32 [num_ranges][num_cells + 1]: where each cell's postings begin in kPostings
  kPostings = 8,       // uint16: documents of a cell, minus the range's first, ascending, each once
  kBlocks = 9,         // per document num_tokens * token_bytes, see kernels::CodedDocument
  kOriginals = 10,     // uint16 [num_tokens][dim]: float16 bits
};

inline constexpr std::uint64_t kMaxDocumentTokens = 65'535;
inline constexpr std::uint64_t kMaxSegmentDocuments = std::uint64_t{1} << 31;
inline constexpr std::uint64_t kMaxSegmentTokens = (std::uint64_t{1} << 32) - 1;
// Documents whose postings stand together; a posting is a 16-bit distance from the first of them.
inline constexpr std::uint64_t kRangeDocuments = std::uint64_t{1} << 16;
// Segments of fewer tokens have no postings: all of their documents are candidates.
inline constexpr std::uint64_t kMinPostingTokens = std::uint64_t{1} << 16;

// The bytes that stand for an id: 's' and its UTF-8, or 'i' and a 64-bit integer, big-endian with the sign bit flipped.
using DocumentKey = std::string;

// A segment in its file. Structural sections (all but kBlocks, kOriginals) are checksummed and range-checked at open:
// cells are below num_cells, postings rise within their range, ids are in order and distinct.
class Segment {
 public:
  // codebook: the one that ref names; null for a segment without. Throws CorruptIndex, IndexTooNew.
  Segment(std::shared_ptr<const io::MappedFile> file, const Uuid& index, const format::SegmentRef& ref,
          const format::Settings& settings, std::shared_ptr<const codec::Codebook> codebook);

  [[nodiscard]] std::uint64_t num_documents() const noexcept { return lengths_.size(); }
  [[nodiscard]] std::uint64_t num_tokens() const noexcept { return num_tokens_; }
  [[nodiscard]] std::uint32_t length(std::uint64_t document) const noexcept { return lengths_[document]; }
  [[nodiscard]] std::uint64_t first_token(std::uint64_t document) const noexcept { return first_tokens_[document]; }
  [[nodiscard]] std::string_view key(std::uint64_t document) const noexcept;
  [[nodiscard]] std::optional<std::uint32_t> find(std::string_view key) const noexcept;

  [[nodiscard]] const codec::Codebook* codebook() const noexcept { return codebook_.get(); }  // null: exact
  [[nodiscard]] bool has_gains() const noexcept { return has_gains_; }
  [[nodiscard]] const kernels::CodeFormat& code_format() const noexcept { return code_format_; }
  [[nodiscard]] kernels::DocumentCells cells(std::uint64_t document) const noexcept;
  [[nodiscard]] kernels::CodedDocument coded(std::uint64_t document) const noexcept;
  [[nodiscard]] double residual_energy() const noexcept { return residual_energy_; }  // mean per token, for drift

  [[nodiscard]] bool has_postings() const noexcept { return !posting_ranges_.empty(); }
  [[nodiscard]] std::uint64_t num_ranges() const noexcept;
  // Documents of a cell in a range, as distances from range * kRangeDocuments.
  [[nodiscard]] std::span<const std::uint16_t> postings(std::uint64_t range, std::uint64_t cell) const noexcept;

  [[nodiscard]] bool has_originals() const noexcept { return has_originals_; }
  [[nodiscard]] std::span<const std::uint16_t> originals(std::uint64_t document) const noexcept;
  [[nodiscard]] const std::uint16_t* all_originals() const noexcept { return originals_; }

  [[nodiscard]] const Uuid& uuid() const noexcept { return reader_.uuid(); }
  void verify_all() const { reader_.verify_all(); }

 private:
  // Parts of the constructor: each maps and checks the sections of its name, and relies on those before it.
  void open_lengths(std::uint64_t num_documents);
  void open_ids();
  void open_codes(bool has_gains);
  void open_postings();

  format::FileReader reader_;
  std::shared_ptr<const codec::Codebook> codebook_;
  std::uint64_t dim_ = 0;
  std::uint64_t num_tokens_ = 0;
  bool has_gains_ = false;
  double residual_energy_ = 0;
  kernels::CodeFormat code_format_{};
  std::span<const std::uint16_t> lengths_;
  std::vector<std::uint32_t> first_tokens_;  // [num_documents + 1]; the one array that is not mapped
  std::span<const std::uint64_t> id_ends_;
  const char* id_bytes_ = nullptr;
  std::span<const std::uint32_t> id_order_;
  const std::uint8_t* cells_ = nullptr;
  std::span<const std::uint32_t> posting_ranges_;
  const std::uint16_t* postings_ = nullptr;
  const std::uint8_t* blocks_ = nullptr;
  bool has_originals_ = false;
  const std::uint16_t* originals_ = nullptr;
};

// Which documents of a segment are deleted: a bitmap in a file of kind kDeletions, or all zero without one.
class Deletions {
 public:
  Deletions() = default;  // none
  Deletions(std::shared_ptr<const io::MappedFile> file, const Uuid& index, const format::SegmentRef& ref);

  [[nodiscard]] bool empty() const noexcept { return words_.empty(); }
  [[nodiscard]] bool contains(std::uint64_t document) const noexcept {
    return !words_.empty() && ((words_[document / 64] >> (document % 64)) & 1) != 0;
  }
  [[nodiscard]] std::span<const std::uint64_t> words() const noexcept { return words_; }

 private:
  std::vector<std::uint64_t> words_;
};

// sections of kDeletions: 1 = {uuid of the segment}, 2 = uint64 [ceil(num_documents / 64)]
format::FileRef write_deletions(std::span<const std::uint64_t> words, const Uuid& segment,
                                std::unique_ptr<io::WritableFile> file, const Uuid& index, const Uuid& uuid);

}  // namespace serotine::segment
