#include "index/calibration.h"

#include <algorithm>

#include "base/half.h"
#include "codec/encode.h"
#include "index/open.h"

namespace serotine::index {
namespace {

constexpr std::uint64_t kMinSpan = 16;
constexpr std::uint64_t kSpanChoices = 17;  // 16..32 tokens

struct Span {
  std::uint64_t first;
  std::uint64_t count;
};

// The span of the number-th query in a document of `length` tokens: lengths and places in turn, no chance involved.
Span span_of(std::uint64_t number, std::uint64_t length) {
  const std::uint64_t count = std::min(length, kMinSpan + number * 7 % kSpanChoices);
  return {(length - count) * (number % 5) / 4, count};
}

// Takes num_queries of `places` at even distances.
template <typename Place>
std::vector<Place> spread(const std::vector<Place>& places, std::uint64_t num_queries) {
  if (places.size() <= num_queries) {
    return places;
  }
  std::vector<Place> chosen;
  for (std::uint64_t i = 0; i < num_queries; ++i) {
    chosen.push_back(places[(2 * i + 1) * places.size() / (2 * num_queries)]);
  }
  return chosen;
}

struct Place {
  std::uint32_t part;
  std::uint32_t document;
};

// The whole document as it is stored.
std::vector<float> stored_vectors(const segment::Segment& segment, std::uint32_t document, std::uint64_t dim) {
  std::vector<float> vectors(segment.length(document) * dim);
  if (segment.has_originals()) {
    const auto originals = segment.originals(document);
    halves_to_floats(originals.data(), originals.size(), vectors.data());
  } else {
    codec::decode_document(*segment.codebook(), segment.code_format(), segment.coded(document), vectors.data());
  }
  return vectors;
}

}  // namespace

std::vector<search::PseudoQuery> pseudo_queries(std::span<const OriginalDocuments> documents, const search::View& view,
                                                std::uint64_t num_queries) {
  std::vector<Place> places;
  for (std::uint32_t part = 0; part < documents.size(); ++part) {
    for (std::uint32_t document = 0; document < documents[part].num_documents(); ++document) {
      if (documents[part].alive[document] != 0 && documents[part].lengths[document] > 0) {
        places.push_back({part, document});
      }
    }
  }
  std::vector<search::PseudoQuery> queries;
  for (const Place& place : spread(places, num_queries)) {
    const OriginalDocuments& part = documents[place.part];
    const Span span = span_of(queries.size(), part.lengths[place.document]);
    search::PseudoQuery query;
    query.num_tokens = span.count;
    query.tokens.resize(span.count * part.dim);
    halves_to_floats(part.document(place.document) + span.first * part.dim, query.tokens.size(), query.tokens.data());
    query.source = find_document(view, part.keys[place.document]);
    queries.push_back(std::move(query));
  }
  return queries;
}

std::vector<search::PseudoQuery> stored_pseudo_queries(const search::View& view, std::uint64_t num_queries) {
  std::vector<Place> places;
  for (std::uint32_t part = 0; part < view.segments.size(); ++part) {
    const search::SegmentView& segment = view.segments[part];
    for (std::uint32_t document = 0; document < segment.segment->num_documents(); ++document) {
      if (segment.segment->length(document) > 0 && !segment.deletions->contains(document)) {
        places.push_back({part, document});
      }
    }
  }
  std::vector<search::PseudoQuery> queries;
  for (const Place& place : spread(places, num_queries)) {
    const segment::Segment& segment = *view.segments[place.part].segment;
    const Span span = span_of(queries.size(), segment.length(place.document));
    const std::vector<float> vectors = stored_vectors(segment, place.document, view.dim);
    const auto first = vectors.begin() + static_cast<std::ptrdiff_t>(span.first * view.dim);
    search::PseudoQuery query;
    query.num_tokens = span.count;
    query.tokens.assign(first, first + static_cast<std::ptrdiff_t>(span.count * view.dim));
    query.source = search::Hit{place.part, place.document, 0.0F};
    queries.push_back(std::move(query));
  }
  return queries;
}

}  // namespace serotine::index
