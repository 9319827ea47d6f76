// MaxSim equals its definition in double precision, and has the same bits on every instruction set. Every array is
// exactly as long as it must be, so that the address sanitizer sees a read beyond it.
#include <doctest/doctest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <vector>

#include "kernels/maxsim.h"

namespace serotine::kernels {
namespace {

struct Texts {
  std::uint64_t dim;
  std::vector<std::int64_t> offsets;
  std::vector<float> values;
  std::vector<std::int8_t> codes;
  std::vector<float> scales;

  [[nodiscard]] PackedTokens floats() const { return {values.data(), ElementKind::kFloat32, dim, offsets, nullptr}; }
  [[nodiscard]] PackedTokens int8() const { return {codes.data(), ElementKind::kInt8, dim, offsets, scales.data()}; }
};

Texts random_texts(const std::vector<std::int64_t>& lengths, std::uint64_t dim, std::uint32_t seed) {
  Texts texts{dim, {0}, {}, {}, {}};
  for (const std::int64_t length : lengths) {
    texts.offsets.push_back(texts.offsets.back() + length);
  }
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::uniform_int_distribution<int> code(-128, 127);
  const auto num_tokens = static_cast<std::uint64_t>(texts.offsets.back());
  for (std::uint64_t i = 0; i < num_tokens * dim; ++i) {
    texts.values.push_back(normal(random));
    texts.codes.push_back(static_cast<std::int8_t>(code(random)));
  }
  for (std::uint64_t i = 0; i < num_tokens; ++i) {
    texts.scales.push_back(std::abs(normal(random)));
  }
  return texts;
}

double exact_score(const Texts& queries, std::size_t query, const Texts& documents, std::size_t document) {
  if (documents.offsets[document] == documents.offsets[document + 1]) {
    return -std::numeric_limits<double>::infinity();
  }
  double sum = 0;
  for (std::int64_t i = queries.offsets[query]; i < queries.offsets[query + 1]; ++i) {
    double best = -std::numeric_limits<double>::infinity();
    for (std::int64_t j = documents.offsets[document]; j < documents.offsets[document + 1]; ++j) {
      double dot = 0;
      for (std::uint64_t k = 0; k < queries.dim; ++k) {
        dot += static_cast<double>(queries.values[static_cast<std::uint64_t>(i) * queries.dim + k]) *
               static_cast<double>(documents.values[static_cast<std::uint64_t>(j) * queries.dim + k]);
      }
      best = std::max(best, dot);
    }
    sum += best;
  }
  return sum;
}

std::vector<std::uint32_t> score_bits(const Texts& queries, const PackedTokens& documents, std::string_view isa,
                                      std::uint64_t num_threads = 1) {
  std::vector<float> scores(queries.floats().num_texts() * documents.num_texts());
  maxsim(queries.floats(), documents, std::nullopt, {nullptr, num_threads, isa}, scores);
  std::vector<std::uint32_t> bits;
  std::transform(scores.begin(), scores.end(), std::back_inserter(bits),
                 [](float score) { return std::bit_cast<std::uint32_t>(score); });
  return bits;
}

TEST_CASE("scores equal the definition for ragged texts of awkward dimensions") {
  for (const std::uint64_t dim : {1, 2, 3, 15, 16, 17, 63, 130}) {
    const Texts queries = random_texts({1, 0, 33, 16, 5}, dim, 1);
    const Texts documents = random_texts({0, 1, 11, 12, 13, 0, 50}, dim, 2);
    for (const std::string_view isa : available_instruction_sets()) {
      const std::vector<std::uint32_t> bits = score_bits(queries, documents.floats(), isa);
      for (std::size_t query = 0; query < 5; ++query) {
        for (std::size_t document = 0; document < 7; ++document) {
          const double score = std::bit_cast<float>(bits[query * 7 + document]);
          const double expected = exact_score(queries, query, documents, document);
          CHECK((score == expected || std::abs(score - expected) < 1e-4 * static_cast<double>(dim)));
        }
      }
    }
  }
}

TEST_CASE("every instruction set and thread count gives the same bits") {
  std::mt19937 random(3);
  for (int round = 0; round < 20; ++round) {
    const std::uint64_t dim = 1 + random() % 80;
    std::vector<std::int64_t> lengths(1 + random() % 40);
    std::generate(lengths.begin(), lengths.end(), [&] { return static_cast<std::int64_t>(random() % 30); });
    const Texts queries =
        random_texts({static_cast<std::int64_t>(random() % 70), 3, 0}, dim, 100 + static_cast<std::uint32_t>(round));
    const Texts documents = random_texts(lengths, dim, 200 + static_cast<std::uint32_t>(round));
    for (const PackedTokens& packed : {documents.floats(), documents.int8()}) {
      const std::vector<std::uint32_t> expected = score_bits(queries, packed, "scalar");
      for (const std::string_view isa : available_instruction_sets()) {
        CHECK(score_bits(queries, packed, isa) == expected);
        CHECK(score_bits(queries, packed, isa, 3) == expected);
      }
    }
  }
}

TEST_CASE("threads that really run score the same bits") {
  const Texts queries = random_texts({32, 32}, 64, 4);
  const Texts documents = random_texts(std::vector<std::int64_t>(400, 40), 64, 5);  // enough work for 8 threads
  const std::vector<std::uint32_t> expected = score_bits(queries, documents.floats(), {});
  CHECK(score_bits(queries, documents.floats(), {}, 8) == expected);
  CHECK(score_bits(queries, documents.int8(), {}, 8) == score_bits(queries, documents.int8(), {}));
}

TEST_CASE("a selection and pairs have the scores of the whole matrix") {
  const Texts queries = random_texts({4, 20, 0}, 20, 6);
  const Texts documents = random_texts({7, 0, 30}, 20, 7);
  for (const PackedTokens& packed : {documents.floats(), documents.int8()}) {
    std::vector<float> all(9);
    std::vector<float> selected(12);
    std::vector<float> pairs(3);
    const std::vector<std::int64_t> selection{2, 0, 0, 1};
    maxsim(queries.floats(), packed, std::nullopt, {}, all);
    maxsim(queries.floats(), packed, selection, {}, selected);
    maxsim_pairwise(queries.floats(), packed, {}, pairs);
    for (std::size_t query = 0; query < 3; ++query) {
      CHECK(pairs[query] == all[query * 4]);
      for (std::size_t i = 0; i < selection.size(); ++i) {
        CHECK(selected[query * 4 + i] == all[query * 3 + static_cast<std::size_t>(selection[i])]);
      }
    }
  }
}

TEST_CASE("a not-a-number anywhere in a document reaches the score") {
  const Texts queries = random_texts({18}, 5, 8);
  for (std::size_t token = 0; token < 40; ++token) {
    Texts documents = random_texts({13, 27}, 5, 9);
    documents.values[token * 5 + token % 5] = std::numeric_limits<float>::quiet_NaN();
    for (const std::string_view isa : available_instruction_sets()) {
      const std::vector<std::uint32_t> bits = score_bits(queries, documents.floats(), isa);
      CHECK(std::isnan(std::bit_cast<float>(bits[0])) == (token < 13));
      CHECK(std::isnan(std::bit_cast<float>(bits[1])) == (token >= 13));
    }
  }
}

}  // namespace
}  // namespace serotine::kernels
