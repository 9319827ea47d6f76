// Small documents whose vectors say what they are, and an index read back as a text.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <memory>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "base/half.h"
#include "codec/encode.h"
#include "index/index.h"

namespace serotine::testing {

inline constexpr std::uint64_t kDim = 16;

inline std::string key_of(std::uint64_t number) { return std::string("s").append(std::to_string(number)); }

// Token t points along axis (version + t) % kDim, with a little noise: it can be told from its codes.
inline void append_document(std::uint64_t version, std::uint32_t num_tokens, std::vector<std::uint16_t>& values) {
  std::mt19937_64 random(version * 1000 + num_tokens);
  for (std::uint32_t token = 0; token < num_tokens; ++token) {
    std::vector<float> vector(kDim);
    vector[(version + token) % kDim] = 1.0F;
    float squares = 0;
    for (float& value : vector) {
      value += 0.1F * (static_cast<float>(random() % 1000) / 1000.0F - 0.5F);
      squares += value * value;
    }
    for (const float value : vector) {
      values.push_back(float_to_half(value / std::sqrt(squares)));
    }
  }
}

struct Batch {
  std::vector<std::string> keys;
  std::vector<std::uint32_t> lengths;
  std::vector<std::uint16_t> values;

  void add(const std::string& key, std::uint64_t version, std::uint32_t num_tokens) {
    keys.push_back(key);
    lengths.push_back(num_tokens);
    append_document(version, num_tokens, values);
  }
  void stage(index::Writer& writer, bool replace = false) const {
    writer.add(keys, lengths, values.data(), kDim, replace);
  }
};

// "key=3.4.5 ": the axes of its tokens.
inline std::string document_text(const std::string& key, std::uint64_t version, std::uint32_t num_tokens) {
  std::string text = key + "=";
  for (std::uint32_t token = 0; token < num_tokens; ++token) {
    text += std::to_string((version + token) % kDim) + ".";
  }
  return text + " ";
}

inline std::string document_text(const segment::Segment& segment, std::uint64_t document) {
  std::vector<float> vectors(segment.length(document) * kDim);
  if (segment.codebook() == nullptr) {
    const auto originals = segment.originals(document);
    halves_to_floats(originals.data(), originals.size(), vectors.data());
  } else if (!vectors.empty()) {
    codec::decode_document(*segment.codebook(), segment.code_format(), segment.coded(document), vectors.data());
  }
  std::string text = std::string(segment.key(document)) + "=";
  for (std::uint64_t token = 0; token < segment.length(document); ++token) {
    const auto first = vectors.begin() + static_cast<std::ptrdiff_t>(token * kDim);
    text += std::to_string(std::max_element(first, first + kDim) - first) + ".";
  }
  return text + " ";
}

// All live documents in order.
inline std::string index_text(const index::Snapshot& snapshot) {
  std::string text;
  for (const search::SegmentView& view : snapshot.view().segments) {
    for (std::uint64_t document = 0; document < view.segment->num_documents(); ++document) {
      if (!view.deletions->contains(document)) {
        text += document_text(*view.segment, document);
      }
    }
  }
  return text;
}

// Limits at which a few dozen documents go through a whole life.
inline index::IndexOptions small_options(std::uint32_t nbits = 4, bool keep_originals = false) {
  index::IndexOptions options;
  options.settings = format::Settings{0, nbits, 42, keep_originals};
  options.lock_timeout = std::chrono::milliseconds(0);
  options.limits.first_codebook_tokens = 100;
  options.limits.max_segment_tokens = 1'500;
  options.limits.min_posting_tokens = 150;
  options.limits.max_memory_bytes = 2'000;
  options.limits.num_pseudo_queries = 4;
  return options;
}

}  // namespace serotine::testing
