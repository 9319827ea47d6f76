#include "segment/segment.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <utility>

#include "base/checked.h"
#include "segment/document_key.h"
#include "segment/parameters.h"
#include "segment/postings.h"

namespace serotine::segment {
namespace {

constexpr std::uint64_t kCellPadding = 8;

constexpr std::uint32_t id_of(SegmentSection section) { return static_cast<std::uint32_t>(section); }

[[noreturn]] void refuse(const format::FileReader& reader, SegmentSection section, const std::string& expected,
                         const std::string& found) {
  throw CorruptIndex(reader.path(), expected, found, reader.offset(id_of(section)));
}

// A structural section: of exactly that size, and with the checksum that was written.
template <typename T>
std::span<const T> structure(const format::FileReader& reader, SegmentSection section, std::uint64_t count) {
  const std::span<const T> values = reader.array<T>(id_of(section), count);
  reader.verify(id_of(section));
  return values;
}

Parameters expected_parameters(const format::SegmentRef& ref, const format::Settings& settings,
                               const codec::Codebook* codebook, const Parameters& found) {
  Parameters expected = found;
  expected.num_documents = ref.num_documents;
  expected.num_tokens = ref.num_tokens;
  expected.dim = settings.dim;
  expected.num_cells = codebook == nullptr ? 0 : codebook->num_cells();
  expected.nbits = codebook == nullptr ? 0 : codebook->nbits();
  expected.padded_dim = codebook == nullptr ? 0 : static_cast<std::uint32_t>(codebook->padded_dim());
  expected.cell_width = codebook == nullptr ? 0 : codebook->cell_width();
  expected.reserved = 0;
  expected.reserved_2 = 0;
  return expected;
}

bool flags_agree(std::uint32_t flags, bool has_codebook) {
  if ((flags & ~kAllParameterFlags) != 0 || ((flags & kHasCodes) != 0) != has_codebook) {
    return false;
  }
  return has_codebook || flags == kHasOriginals;
}

// Reads kParameters and compares it with the manifest, the settings and the codebook.
Parameters read_parameters(const format::FileReader& reader, const format::SegmentRef& ref,
                           const format::Settings& settings, const codec::Codebook* codebook) {
  Parameters found;
  const auto bytes = structure<std::byte>(reader, SegmentSection::kParameters, sizeof found);
  std::memcpy(&found, bytes.data(), sizeof found);
  const Parameters expected = expected_parameters(ref, settings, codebook, found);
  if (std::memcmp(&found, &expected, sizeof found) != 0) {
    refuse(reader, SegmentSection::kParameters,
           std::to_string(expected.num_documents) + " documents, " + std::to_string(expected.num_tokens) +
               " tokens of " + std::to_string(expected.dim) + " dimensions, " + std::to_string(expected.num_cells) +
               " cells, " + std::to_string(expected.nbits) + " bits, as manifest and codebook say",
           std::to_string(found.num_documents) + " documents, " + std::to_string(found.num_tokens) + " tokens of " +
               std::to_string(found.dim) + " dimensions, " + std::to_string(found.num_cells) + " cells, " +
               std::to_string(found.nbits) + " bits");
  }
  if (found.num_documents > kMaxSegmentDocuments || found.num_tokens > kMaxSegmentTokens) {
    refuse(reader, SegmentSection::kParameters, "at most 2^31 documents and fewer than 2^32 tokens",
           std::to_string(found.num_documents) + " and " + std::to_string(found.num_tokens));
  }
  if (!flags_agree(found.flags, codebook != nullptr)) {
    refuse(reader, SegmentSection::kParameters, "flags that agree with the codebook", std::to_string(found.flags));
  }
  if (!std::isfinite(found.residual_energy) || found.residual_energy < 0) {
    refuse(reader, SegmentSection::kParameters, "a residual energy", std::to_string(found.residual_energy));
  }
  return found;
}

// Sections that the flags do not announce must not be there: they would escape the checks.
void check_sections(const format::FileReader& reader, std::uint32_t flags) {
  const auto check = [&](SegmentSection section, std::uint32_t flag) {
    if (reader.has_section(id_of(section)) != ((flags & flag) != 0)) {
      throw CorruptIndex(reader.path(), "the sections that the parameters announce",
                         "section " + std::to_string(id_of(section)) + " against flags " + std::to_string(flags));
    }
  };
  check(SegmentSection::kCells, kHasCodes);
  check(SegmentSection::kBlocks, kHasCodes);
  check(SegmentSection::kPostingRanges, kHasPostings);
  check(SegmentSection::kPostings, kHasPostings);
  check(SegmentSection::kOriginals, kHasOriginals);
}

}  // namespace

Segment::Segment(std::shared_ptr<const io::MappedFile> file, const Uuid& index, const format::SegmentRef& ref,
                 const format::Settings& settings, std::shared_ptr<const codec::Codebook> codebook)
    : reader_(std::move(file), format::FileKind::kSegment, &index, &ref.file),
      codebook_(std::move(codebook)),
      dim_(settings.dim) {
  const Parameters parameters = read_parameters(reader_, ref, settings, codebook_.get());
  check_sections(reader_, parameters.flags);
  num_tokens_ = parameters.num_tokens;
  residual_energy_ = parameters.residual_energy;
  open_lengths(parameters.num_documents);
  open_ids();
  if (codebook_) {
    open_codes((parameters.flags & kHasGains) != 0);
  }
  if ((parameters.flags & kHasPostings) != 0) {
    open_postings();
  }
  if ((parameters.flags & kHasOriginals) != 0) {
    const std::uint64_t count = checked_multiply(num_tokens_, dim_);
    has_originals_ = true;
    originals_ = reader_.array<std::uint16_t>(id_of(SegmentSection::kOriginals), count).data();
  }
}

void Segment::open_lengths(std::uint64_t num_documents) {
  lengths_ = structure<std::uint16_t>(reader_, SegmentSection::kLengths, num_documents);
  first_tokens_.resize(num_documents + 1);
  std::uint64_t total = 0;
  for (std::uint64_t document = 0; document < num_documents; ++document) {
    first_tokens_[document] = static_cast<std::uint32_t>(total);
    total += lengths_[document];
  }
  if (total != num_tokens_) {
    refuse(reader_, SegmentSection::kLengths, std::to_string(num_tokens_) + " tokens", std::to_string(total));
  }
  first_tokens_[num_documents] = static_cast<std::uint32_t>(total);
}

void Segment::open_ids() {
  id_ends_ = structure<std::uint64_t>(reader_, SegmentSection::kIdEnds, num_documents());
  const std::uint64_t num_bytes = id_ends_.empty() ? 0 : id_ends_.back();
  id_bytes_ = structure<char>(reader_, SegmentSection::kIdBytes, num_bytes).data();
  std::uint64_t begin = 0;
  for (std::uint64_t document = 0; document < num_documents(); ++document) {
    const std::uint64_t end = id_ends_[document];
    if (end < begin || end > num_bytes) {
      refuse(reader_, SegmentSection::kIdEnds, "ends of ids that rise to " + std::to_string(num_bytes),
             std::to_string(begin) + " before " + std::to_string(end));
    }
    if (!is_valid_key({id_bytes_ + begin, end - begin})) {
      refuse(reader_, SegmentSection::kIdBytes, "ids of valid UTF-8 or 64 bits",
             "another one for document " + std::to_string(document));
    }
    begin = end;
  }
  // Distinct ids in ascending order: so each document is named once.
  id_order_ = structure<std::uint32_t>(reader_, SegmentSection::kIdOrder, num_documents());
  for (std::uint64_t i = 0; i < id_order_.size(); ++i) {
    if (id_order_[i] >= num_documents() || (i > 0 && key(id_order_[i - 1]) >= key(id_order_[i]))) {
      refuse(reader_, SegmentSection::kIdOrder, "documents in ascending order of distinct ids",
             "document " + std::to_string(id_order_[i]) + " at place " + std::to_string(i));
    }
  }
}

void Segment::open_codes(bool has_gains) {
  has_gains_ = has_gains;
  code_format_ = codebook_->code_format(has_gains);
  const std::uint32_t width = code_format_.cell_width;
  const std::uint64_t cell_bytes = checked_multiply(num_tokens_, width);
  const auto cells = structure<std::uint8_t>(reader_, SegmentSection::kCells, checked_add(cell_bytes, kCellPadding));
  for (std::uint64_t i = 0; i < kCellPadding; ++i) {
    if (cells[cell_bytes + i] != 0) {
      refuse(reader_, SegmentSection::kCells, "8 bytes of 0 at the end", "others");
    }
  }
  if (!cells_below(cells.data(), width, num_tokens_, codebook_->num_cells())) {
    refuse(reader_, SegmentSection::kCells, "cells below " + std::to_string(codebook_->num_cells()), "a larger one");
  }
  cells_ = cells.data();
  const std::uint64_t block_bytes = checked_multiply(num_tokens_, code_format_.token_bytes());
  blocks_ = reader_.array<std::uint8_t>(id_of(SegmentSection::kBlocks), block_bytes).data();
}

void Segment::open_postings() {
  const std::uint64_t num_cells = codebook_->num_cells();
  const std::uint64_t count = checked_multiply(num_ranges(), num_cells + 1);
  if (count == 0) {
    refuse(reader_, SegmentSection::kPostingRanges, "documents that have postings", "none");
  }
  posting_ranges_ = structure<std::uint32_t>(reader_, SegmentSection::kPostingRanges, count);
  const auto postings = structure<std::uint16_t>(reader_, SegmentSection::kPostings, posting_ranges_.back());
  const std::string problem = find_posting_problem(posting_ranges_, postings, num_cells, num_documents());
  if (!problem.empty()) {
    refuse(reader_, SegmentSection::kPostings, "ascending documents in ascending cells", problem);
  }
  postings_ = postings.data();
}

std::string_view Segment::key(std::uint64_t document) const noexcept {
  const std::uint64_t begin = document == 0 ? 0 : id_ends_[document - 1];
  return {id_bytes_ + begin, id_ends_[document] - begin};
}

std::optional<std::uint32_t> Segment::find(std::string_view wanted) const noexcept {
  const auto found =
      std::lower_bound(id_order_.begin(), id_order_.end(), wanted,
                       [this](std::uint32_t document, std::string_view id) { return key(document) < id; });
  if (found == id_order_.end() || key(*found) != wanted) {
    return std::nullopt;
  }
  return *found;
}

kernels::DocumentCells Segment::cells(std::uint64_t document) const noexcept {
  return {cells_ + first_token(document) * code_format_.cell_width, length(document)};
}

kernels::CodedDocument Segment::coded(std::uint64_t document) const noexcept {
  return {cells(document).cells, blocks_ + first_token(document) * code_format_.token_bytes(), length(document)};
}

std::uint64_t Segment::num_ranges() const noexcept { return divide_up(num_documents(), kRangeDocuments); }

std::span<const std::uint16_t> Segment::postings(std::uint64_t range, std::uint64_t cell) const noexcept {
  const std::uint32_t* begin = posting_ranges_.data() + range * (codebook_->num_cells() + 1) + cell;
  return {postings_ + begin[0], begin[1] - begin[0]};
}

std::span<const std::uint16_t> Segment::originals(std::uint64_t document) const noexcept {
  return {originals_ + first_token(document) * dim_, length(document) * dim_};
}

}  // namespace serotine::segment
