// A small collection to search in: clustered random vectors, in segments over a directory in memory.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "base/half.h"
#include "codec/encode.h"
#include "codec/train.h"
#include "io/memory_directory.h"
#include "search/search.h"
#include "segment/writer.h"

namespace serotine::search {

// Documents around shared directions, as words of a language would give.
struct Documents {
  std::uint64_t dim = 0;
  std::vector<std::uint32_t> lengths;
  std::vector<std::uint16_t> values;

  [[nodiscard]] codec::OriginalsPiece piece() const { return {values.data(), lengths, values.size() / dim}; }
};

class Language {
 public:
  Language(std::uint64_t dim, std::uint64_t num_words, std::uint32_t seed) : dim_(dim), random_(seed) {
    std::normal_distribution<float> normal;
    words_.resize(num_words * dim);
    std::generate(words_.begin(), words_.end(), [&] { return normal(random_); });
  }

  [[nodiscard]] std::vector<float> tokens(std::uint64_t count, float length = 1.0F) {
    std::normal_distribution<float> normal;
    std::uniform_int_distribution<std::uint64_t> word(0, words_.size() / dim_ - 1);
    std::vector<float> values;
    for (std::uint64_t token = 0; token < count; ++token) {
      const float* center = words_.data() + word(random_) * dim_;
      std::vector<float> vector(dim_);
      double sum = 0;
      for (std::uint64_t i = 0; i < dim_; ++i) {
        vector[i] = center[i] + 0.3F * normal(random_);
        sum += static_cast<double>(vector[i]) * static_cast<double>(vector[i]);
      }
      for (const float value : vector) {
        values.push_back(static_cast<float>(value / std::sqrt(sum)) * length);
      }
    }
    return values;
  }

  [[nodiscard]] Documents documents(const std::vector<std::uint32_t>& lengths, bool with_gains = false) {
    Documents documents{dim_, lengths, {}};
    std::uniform_real_distribution<float> gain(0.5F, 2.0F);
    for (const std::uint32_t length : lengths) {
      for (std::uint32_t token = 0; token < length; ++token) {
        for (const float value : tokens(1, with_gains ? gain(random_) : 1.0F)) {
          documents.values.push_back(float_to_half(value));
        }
      }
    }
    return documents;
  }

  [[nodiscard]] std::vector<std::uint32_t> lengths(std::uint64_t count, std::uint32_t longest) {
    std::uniform_int_distribution<std::uint32_t> length(1, longest);
    std::vector<std::uint32_t> lengths(count);
    std::generate(lengths.begin(), lengths.end(), [&] { return length(random_); });
    return lengths;
  }

 private:
  std::uint64_t dim_;
  std::mt19937 random_;
  std::vector<float> words_;
};

// Segments as an index would hold them.
class Collection {
 public:
  explicit Collection(std::uint64_t dim, std::uint32_t nbits = 4) : index_(derived_uuid({}, 1)) {
    settings_.dim = static_cast<std::uint32_t>(dim);
    settings_.nbits = nbits;
    view.dim = dim;
  }

  std::shared_ptr<const codec::Codebook> train(const Documents& documents, std::uint64_t collection_tokens) {
    codec::TrainOptions options;
    options.dim = settings_.dim;
    options.nbits = settings_.nbits;
    options.collection_tokens = collection_tokens;
    const auto [name, uuid] = next();
    const format::FileRef ref = codec::write_codebook(codec::train_codebook({documents.piece()}, options),
                                                      directory_.create(name), index_, uuid);
    return std::make_shared<codec::Codebook>(directory_.map(name), index_, ref, settings_);
  }

  // Returns the segment's number in the view. codebook: null for float16 vectors alone.
  std::uint32_t add(const Documents& documents, const std::shared_ptr<const codec::Codebook>& codebook) {
    std::vector<std::string> keys;
    for (std::size_t i = 0; i < documents.lengths.size(); ++i) {
      keys.push_back(std::string("s").append(std::to_string(num_keys_++)));
    }
    const std::vector<std::string_view> views(keys.begin(), keys.end());
    segment::SegmentPlan plan;
    plan.dim = settings_.dim;
    plan.codebook = codebook;
    plan.has_gains = codebook != nullptr && codec::needs_gains({documents.piece()}, settings_.dim);
    const auto [name, uuid] = next();
    segment::SegmentWriter writer(plan, directory_.create(name), index_, uuid);
    writer.add(views, documents.lengths, documents.values.data(), 1);
    format::SegmentRef ref = writer.finish();
    ref.codebook = codebook != nullptr ? 0 : format::kNoCodebook;
    auto opened = std::make_shared<segment::Segment>(directory_.map(name), index_, ref, settings_, codebook);
    view.segments.push_back({opened, std::make_shared<segment::Deletions>()});
    refs_.push_back(ref);
    return static_cast<std::uint32_t>(view.segments.size() - 1);
  }

  void remove(std::uint32_t number, const std::vector<std::uint32_t>& documents) {
    format::SegmentRef& ref = refs_[number];
    std::vector<std::uint64_t> words((ref.num_documents + 63) / 64);
    for (const std::uint32_t document : documents) {
      if (((words[document / 64] >> (document % 64)) & 1) == 0) {
        words[document / 64] |= std::uint64_t{1} << (document % 64);
        ++ref.num_deleted;
        ref.deleted_tokens += view.segments[number].segment->length(document);
      }
    }
    const auto [name, uuid] = next();
    ref.deletions = segment::write_deletions(words, ref.file.uuid, directory_.create(name), index_, uuid);
    view.segments[number].deletions = std::make_shared<segment::Deletions>(directory_.map(name), index_, ref);
  }

  View view;

 private:
  std::pair<std::string, Uuid> next() {
    const Uuid uuid = derived_uuid(index_, ++num_files_);
    return {uuid.to_hex(), uuid};
  }

  io::MemoryDirectory directory_;
  Uuid index_;
  format::Settings settings_;
  std::uint64_t num_files_ = 0;
  std::uint64_t num_keys_ = 0;
  std::vector<format::SegmentRef> refs_;
};

// Vectors of a document as they are stored: float16 or decoded.
[[nodiscard]] inline std::vector<float> stored_vectors(const View& view, std::uint32_t number, std::uint32_t document) {
  const segment::Segment& segment = *view.segments[number].segment;
  std::vector<float> values(segment.length(document) * view.dim);
  if (values.empty()) {
    return values;
  }
  if (segment.codebook() != nullptr) {
    codec::decode_document(*segment.codebook(), segment.code_format(), segment.coded(document), values.data());
  } else {
    halves_to_floats(segment.originals(document).data(), values.size(), values.data());
  }
  return values;
}

// MaxSim by its definition.
[[nodiscard]] inline double exact_score(const Query& query, const std::vector<float>& document, std::uint64_t dim) {
  double score = 0;
  for (std::uint64_t token = 0; token < query.num_tokens; ++token) {
    double best = -INFINITY;
    for (std::uint64_t row = 0; row < document.size() / dim; ++row) {
      double dot = 0;
      for (std::uint64_t i = 0; i < dim; ++i) {
        dot += static_cast<double>(query.tokens[token * dim + i]) * static_cast<double>(document[row * dim + i]);
      }
      best = std::max(best, dot);
    }
    score += best * (query.weights != nullptr ? static_cast<double>(query.weights[token]) : 1.0);
  }
  return score;
}

}  // namespace serotine::search
