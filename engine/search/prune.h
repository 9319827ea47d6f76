// Which tokens of a document can be some query token's best?  Those whose cell is not far below the document's best cell.
//
// A document's maximum for a lane lies in one of a few cells; only the codes of tokens there are worth decoding. What is
// left of a document is a smaller document of the same format.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/aligned_buffer.h"
#include "kernels/quantized.h"

namespace serotine::search {

class PrunedDocuments {
 public:
  // Copies documents of one format without the tokens whose bytes all lie more than `margin` below their lane's
  // largest. What is returned stays valid until the next call.
  [[nodiscard]] std::span<const kernels::CodedDocument> prune(const kernels::CellTable& table,
                                                              const kernels::CodeFormat& format,
                                                              std::span<const kernels::CodedDocument> documents,
                                                              std::uint8_t margin);
  // Of all documents of the last call.
  [[nodiscard]] std::uint64_t num_tokens() const noexcept { return kept_.size(); }

 private:
  void find_rows(const kernels::CellTable& table, std::uint32_t cell_width, const kernels::CodedDocument& document);
  void choose_tokens(const kernels::CellTable& table, std::uint8_t margin);
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
