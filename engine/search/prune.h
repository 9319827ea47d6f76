// Which tokens of a document are likely to be some query token's best?  Those in the document's best cells for it.
//
// Of a document's hundreds of tokens a query of tens has use for a few; only their codes are worth decoding. What is
// left of a document is a smaller document of the same format, whose score is a little lower at most.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/aligned_buffer.h"
#include "kernels/quantized.h"

namespace serotine::search {

class PrunedDocuments {
 public:
  // Copies documents of one format without the tokens that are not among the first of any lane, by their cells' bytes
  // (equal ones stay together). What is returned stays valid until the next call.
  [[nodiscard]] std::span<const kernels::CodedDocument> prune(const kernels::CellTable& table,
                                                              const kernels::CodeFormat& format,
                                                              std::span<const kernels::CodedDocument> documents);
  // Of all documents of the last call.
  [[nodiscard]] std::uint64_t num_tokens() const noexcept { return kept_.size(); }

 private:
  void find_rows(const kernels::CellTable& table, std::uint32_t cell_width, const kernels::CodedDocument& document);
  void choose_tokens(const kernels::CellTable& table);
  std::uint8_t* copy(const kernels::CodeFormat& format, const kernels::CodedDocument& source,
                     std::span<const std::uint32_t> tokens, std::uint8_t* target);

  std::vector<const std::uint8_t*> rows_;  // of each token of a document
  std::vector<std::uint8_t> least_;        // [num_lanes]: no byte below it can be the best
  std::vector<std::uint32_t> kept_;        // tokens of all documents
  std::vector<std::uint64_t> ends_;        // of each document in kept_
  AlignedBuffer<std::uint8_t> bytes_;      // for each document its cells, its block
  std::vector<kernels::CodedDocument> documents_;
};

}  // namespace serotine::search
