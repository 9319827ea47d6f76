// What do the tests of the codec train on?  Clustered vectors with known sizes, and a codebook in memory.
#pragma once

#include <cmath>
#include <cstdint>
#include <memory>
#include <vector>

#include "base/half.h"
#include "codec/encode.h"
#include "codec/random.h"
#include "codec/train.h"
#include "io/memory_directory.h"

namespace serotine::codec::testing {

// Standard normal by Box and Muller.
inline float gaussian(SplitMix64& random) {
  const auto uniform = [&random] { return (static_cast<double>(random.next() >> 11) + 0.5) * 0x1p-53; };
  const double radius = std::sqrt(-2 * std::log(uniform()));
  return static_cast<float>(radius * std::cos(6.283185307179586 * uniform()));
}

struct Vectors {
  std::uint64_t dim = 0;
  std::vector<std::uint16_t> values;
  std::vector<std::uint32_t> lengths;

  [[nodiscard]] std::uint64_t size() const { return values.size() / dim; }
  [[nodiscard]] Originals originals() const { return {{values.data(), lengths, size()}}; }
  [[nodiscard]] std::vector<float> floats() const {
    std::vector<float> all(values.size());
    halves_to_floats(values.data(), values.size(), all.data());
    return all;
  }
};

// Unit vectors around `num_centres` random directions, in documents of 1 to 40 tokens.
inline Vectors clustered(std::uint64_t num_tokens, std::uint64_t dim, std::uint64_t num_centres, std::uint64_t seed,
                         float noise = 0.6F) {
  SplitMix64 random(seed);
  std::vector<float> centres(num_centres * dim);
  for (float& value : centres) {
    value = gaussian(random);
  }
  Vectors vectors{dim, {}, {}};
  std::vector<float> vector(dim);
  for (std::uint64_t token = 0; token < num_tokens; ++token) {
    const float* centre = centres.data() + random.below(num_centres) * dim;
    double squares = 0;
    for (std::uint64_t i = 0; i < dim; ++i) {
      vector[i] = centre[i] + noise * gaussian(random);
      squares += static_cast<double>(vector[i]) * static_cast<double>(vector[i]);
    }
    for (const float value : vector) {
      vectors.values.push_back(float_to_half(value / static_cast<float>(std::sqrt(squares))));
    }
  }
  for (std::uint64_t left = num_tokens; left > 0;) {
    const std::uint64_t length = std::min<std::uint64_t>(left, 1 + random.below(40));
    vectors.lengths.push_back(static_cast<std::uint32_t>(length));
    left -= length;
  }
  return vectors;
}

// A codebook written to memory and opened again.
struct Opened {
  std::shared_ptr<io::Directory> directory = std::make_shared<io::MemoryDirectory>();
  Uuid index{{1}};
  format::FileRef ref;
  std::unique_ptr<Codebook> codebook;
};

inline Opened open(const CodebookContent& content) {
  Opened opened;
  opened.ref = write_codebook(content, opened.directory->create("codebook"), opened.index, Uuid{{2}});
  format::Settings settings;
  settings.dim = static_cast<std::uint32_t>(content.dim);
  settings.nbits = content.nbits;
  opened.codebook = std::make_unique<Codebook>(opened.directory->map("codebook"), opened.index, opened.ref, settings);
  return opened;
}

// All tokens as one document, decoded.
inline std::vector<float> decode(const Codebook& codebook, const EncodedTokens& tokens) {
  std::vector<std::uint8_t> cells;
  for (const std::uint32_t cell : tokens.cells) {
    for (std::uint32_t byte = 0; byte < codebook.cell_width(); ++byte) {
      cells.push_back(static_cast<std::uint8_t>(cell >> (8 * byte)));
    }
  }
  cells.resize(cells.size() + 3);
  std::vector<std::uint8_t> block;
  for (const std::uint16_t gain : tokens.gains) {
    block.push_back(static_cast<std::uint8_t>(gain & 0xFFU));
    block.push_back(static_cast<std::uint8_t>(gain >> 8));
  }
  block.insert(block.end(), tokens.norms.begin(), tokens.norms.end());
  block.insert(block.end(), tokens.codes.begin(), tokens.codes.end());
  std::vector<float> decoded(tokens.cells.size() * codebook.dim());
  decode_document(codebook, codebook.code_format(!tokens.gains.empty()),
                  {cells.data(), block.data(), static_cast<std::uint32_t>(tokens.cells.size())}, decoded.data());
  return decoded;
}

inline double cosine(const float* a, const float* b, std::uint64_t dim) {
  double dot = 0;
  double a2 = 0;
  double b2 = 0;
  for (std::uint64_t i = 0; i < dim; ++i) {
    dot += static_cast<double>(a[i]) * static_cast<double>(b[i]);
    a2 += static_cast<double>(a[i]) * static_cast<double>(a[i]);
    b2 += static_cast<double>(b[i]) * static_cast<double>(b[i]);
  }
  return dot / std::sqrt(a2 * b2);
}

}  // namespace serotine::codec::testing
