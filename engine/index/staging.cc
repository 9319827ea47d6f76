#include "index/staging.h"

#include <algorithm>
#include <unordered_set>
#include <utility>

#include "base/checked.h"
#include "format/limits.h"
#include "segment/document_key.h"

namespace serotine::index {
namespace {

constexpr std::uint16_t kExponentBits = 0x7C00;  // all set: infinity or NaN

std::string shown(std::string_view key) {
  if (key.size() != 9 || key[0] != 'i') {
    return "'" + std::string(key.substr(std::min<std::size_t>(1, key.size()))) + "'";
  }
  std::uint64_t bits = 0;
  for (const char byte : key.substr(1)) {
    bits = bits << 8 | static_cast<unsigned char>(byte);
  }
  return std::to_string(static_cast<std::int64_t>(bits ^ (std::uint64_t{1} << 63)));
}

void check_key(std::string_view key) {
  if (!segment::is_valid_key(key)) {
    throw InvalidInput("an id must be valid UTF-8 of 1 to " + std::to_string(segment::kMaxTextBytes) +
                       " bytes without NUL, or a 64-bit integer; found one of " +
                       std::to_string(key.empty() ? 0 : key.size() - 1) + " bytes");
  }
}

void check_finite(std::span<const std::uint16_t> values, std::string_view key, std::uint64_t dim) {
  bool is_finite = true;
  for (const std::uint16_t bits : values) {  // without an early end: the compiler compares many at once
    is_finite &= (bits & kExponentBits) != kExponentBits;
  }
  if (is_finite) {
    return;
  }
  const auto bad = std::find_if(values.begin(), values.end(),
                                [](std::uint16_t bits) { return (bits & kExponentBits) == kExponentBits; });
  throw InvalidInput("document " + shown(key) + ", token " +
                     std::to_string(static_cast<std::uint64_t>(bad - values.begin()) / dim) +
                     ": a value is NaN or infinite as float16; values must be finite and below 65,520");
}

}  // namespace

Staging::Staging(std::shared_ptr<const Snapshot> base, std::uint64_t max_memory_bytes, segment::SpoolFile spool)
    : base_(std::move(base)), dim_(base_->view().dim), values_(max_memory_bytes, std::move(spool)) {
  const std::vector<format::SegmentRef>& segments = base_->manifest().segments;
  deleted_.resize(segments.size());
  for (std::size_t i = 0; i < segments.size(); ++i) {
    const auto words = base_->view().segments[i].deletions->words();
    deleted_[i] = {{words.begin(), words.end()}, segments[i].num_deleted, segments[i].deleted_tokens, false};
  }
}

bool Staging::empty() const noexcept {
  return positions_.empty() &&
         std::none_of(deleted_.begin(), deleted_.end(), [](const DeletedDocuments& part) { return part.changed; });
}

void Staging::check(std::span<const std::string> keys, std::span<const std::uint32_t> lengths,
                    const std::uint16_t* values, std::uint64_t dim, bool replace) const {
  if (keys.size() != lengths.size()) {
    throw InvalidInput(std::to_string(keys.size()) + " ids for " + std::to_string(lengths.size()) + " documents");
  }
  if (dim == 0 || dim > format::kMaxDim) {
    throw InvalidInput("vectors must have 1 to " + std::to_string(format::kMaxDim) + " dimensions, found " +
                       std::to_string(dim));
  }
  if (dim_ != 0 && dim != dim_) {
    throw DimensionMismatch("the index holds vectors of " + std::to_string(dim_) + " dimensions, found " +
                            std::to_string(dim));
  }
  std::unordered_set<std::string_view> seen;
  std::uint64_t first_token = 0;
  for (std::size_t i = 0; i < keys.size(); ++i) {
    check_key(keys[i]);
    if (lengths[i] > segment::kMaxDocumentTokens) {
      throw InvalidInput("document " + shown(keys[i]) + " has " + std::to_string(lengths[i]) + " tokens, at most " +
                         std::to_string(segment::kMaxDocumentTokens) + " are possible");
    }
    check_finite({values + first_token * dim, lengths[i] * dim}, keys[i], dim);
    first_token += lengths[i];
    if (!replace && (!seen.insert(keys[i]).second || holds(keys[i]))) {
      throw DuplicateDocument("document " + shown(keys[i]) + " is in the index already, or twice in this change. " +
                              "Use update_documents to replace it.");
    }
  }
}

void Staging::add(std::span<const std::string> keys, std::span<const std::uint32_t> lengths,
                  const std::uint16_t* values, std::uint64_t dim, bool replace) {
  if (keys.empty()) {
    return;
  }
  check(keys, lengths, values, dim, replace);
  dim_ = dim;
  std::uint64_t num_tokens = 0;
  for (const std::uint32_t length : lengths) {
    num_tokens += length;
  }
  values_.append(std::as_bytes(std::span(values, checked_multiply(num_tokens, dim))));
  for (std::size_t i = 0; i < keys.size(); ++i) {
    if (replace) {
      remove_one(keys[i]);
    }
    keys_.push_back(keys[i]);
    lengths_.push_back(lengths[i]);
    alive_.push_back(1);
    positions_.emplace(keys_.back(), keys_.size() - 1);
    live_tokens_ += lengths[i];
  }
}

std::uint64_t Staging::remove(std::span<const std::string> keys) {
  for (const std::string& key : keys) {
    check_key(key);
  }
  std::uint64_t num_removed = 0;
  for (const std::string& key : keys) {
    num_removed += remove_one(key) ? 1 : 0;
  }
  return num_removed;
}

bool Staging::holds(std::string_view key) const {
  if (positions_.contains(key)) {
    return true;
  }
  const std::optional<search::Hit> place = base_->find(key);
  if (!place) {
    return false;
  }
  const std::vector<std::uint64_t>& words = deleted_[place->segment].words;
  return words.empty() || ((words[place->document / 64] >> (place->document % 64)) & 1) == 0;
}

bool Staging::remove_one(std::string_view key) {
  const auto staged = positions_.find(key);
  if (staged != positions_.end()) {
    alive_[staged->second] = 0;
    live_tokens_ -= lengths_[staged->second];
    positions_.erase(staged);
    return true;
  }
  if (!holds(key)) {
    return false;
  }
  delete_from_base(*base_->find(key));
  return true;
}

void Staging::delete_from_base(const search::Hit& place) {
  const segment::Segment& segment = *base_->view().segments[place.segment].segment;
  DeletedDocuments& part = deleted_[place.segment];
  part.words.resize(divide_up(segment.num_documents(), 64));
  part.words[place.document / 64] |= std::uint64_t{1} << (place.document % 64);
  ++part.num_documents;
  part.num_tokens += segment.length(place.document);
  part.changed = true;
}

OriginalDocuments Staging::finish() {
  OriginalDocuments documents;
  documents.values = reinterpret_cast<const std::uint16_t*>(values_.finish().data());
  documents.dim = dim_;
  for (std::size_t i = 0; i < keys_.size(); ++i) {
    documents.add(keys_[i], lengths_[i], alive_[i] != 0);
  }
  return documents;
}

}  // namespace serotine::index
