#include "index/originals.h"

#include <limits>

namespace serotine::index {

void OriginalDocuments::add(std::string_view key, std::uint32_t length, bool is_alive) {
  keys.push_back(key);
  lengths.push_back(length);
  first_tokens.push_back(num_tokens_);
  alive.push_back(is_alive ? 1 : 0);
  num_tokens_ += length;
}

OriginalDocuments originals_of(const segment::Segment& segment, std::span<const std::uint64_t> deleted,
                               std::uint64_t dim) {
  OriginalDocuments documents;
  documents.values = segment.all_originals();
  documents.dim = dim;
  for (std::uint64_t document = 0; document < segment.num_documents(); ++document) {
    const bool dead = !deleted.empty() && ((deleted[document / 64] >> (document % 64)) & 1) != 0;
    documents.add(segment.key(document), segment.length(document), !dead);
  }
  return documents;
}

codec::Originals pieces_of(const OriginalDocuments& documents) {
  codec::Originals pieces;
  for_each_batch(documents, std::numeric_limits<std::uint64_t>::max(), [&](std::uint64_t first, std::uint64_t last) {
    codec::OriginalsPiece piece;
    piece.values = documents.document(first);
    piece.lengths = std::span(documents.lengths).subspan(first, last - first);
    for (const std::uint32_t length : piece.lengths) {
      piece.num_tokens += length;
    }
    if (piece.num_tokens > 0) {
      pieces.push_back(piece);
    }
  });
  return pieces;
}

void for_each_batch(const OriginalDocuments& documents, std::uint64_t max_tokens,
                    const std::function<void(std::uint64_t, std::uint64_t)>& visit) {
  for (std::uint64_t first = 0; first < documents.num_documents();) {
    if (documents.alive[first] == 0) {
      ++first;
      continue;
    }
    std::uint64_t last = first + 1;
    std::uint64_t num_tokens = documents.lengths[first];
    while (last < documents.num_documents() && documents.alive[last] != 0 && num_tokens <= max_tokens &&
           documents.lengths[last] <= max_tokens - num_tokens) {
      num_tokens += documents.lengths[last++];
    }
    visit(first, last);
    first = last;
  }
}

}  // namespace serotine::index
