// Flooding, decoding and rescoring documents equals the definitions, and has the same bits on every instruction set.
// Every array is exactly as long as it must be, so that the address sanitizer sees a read beyond it.
#include <doctest/doctest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <vector>

#include "kernels/maxsim.h"
#include "kernels/quantized.h"

namespace serotine::kernels {
namespace {

using Random = std::mt19937;

constexpr std::uint64_t kDims[] = {16, 32, 48, 64, 80, 96, 112, 128, 144, 256, 768};
constexpr std::uint32_t kBitCounts[] = {1, 2, 4, 8};

std::uint64_t below(Random& random, std::uint64_t bound) { return random() % bound; }

template <typename T>
std::vector<T> random_values(Random& random, std::uint64_t size, std::uint64_t bound = 256) {
  std::vector<T> values(size);
  std::generate(values.begin(), values.end(), [&] { return static_cast<T>(below(random, bound)); });
  return values;
}

void append_cell(std::vector<std::uint8_t>& cells, std::uint64_t cell, std::uint32_t width) {
  for (std::uint32_t i = 0; i < width; ++i) {
    cells.push_back(static_cast<std::uint8_t>(cell >> (8 * i)));
  }
}

// ---- Flood ----

struct FloodCase {
  std::vector<std::uint8_t> rows;
  std::vector<std::uint32_t> row_of_cell;
  std::vector<std::uint16_t> weights;
  std::vector<std::vector<std::uint64_t>> ids;
  std::vector<std::vector<std::uint8_t>> cells;
  std::vector<DocumentCells> documents;
  CellTable table;
  std::uint32_t width;
};

FloodCase flood_case(Random& random, std::uint64_t num_lanes, std::uint32_t width, bool indirect) {
  FloodCase made;
  made.width = width;
  const std::uint64_t num_cells = width == 1 ? 256 : width == 2 ? 3'000 : 70'000;
  const std::uint64_t num_rows = indirect ? 50 : num_cells;
  const std::uint64_t stride = num_lanes + 16 * below(random, 2);
  made.rows = random_values<std::uint8_t>(random, num_rows * stride);
  made.row_of_cell = random_values<std::uint32_t>(random, num_cells, num_rows);
  made.weights = random_values<std::uint16_t>(random, num_lanes, kMaxLaneWeight + 1);
  for (const std::uint64_t num_tokens : {1, 2, 7, 8, 9, 11, 12, 13, 500}) {
    made.ids.push_back(random_values<std::uint64_t>(random, num_tokens, num_cells));
    made.cells.emplace_back();
    for (const std::uint64_t id : made.ids.back()) {
      append_cell(made.cells.back(), id, width);
    }
    made.cells.back().resize(made.cells.back().size() + 3);
    made.documents.push_back({made.cells.back().data(), static_cast<std::uint32_t>(num_tokens)});
  }
  made.table = {made.rows.data(), stride, indirect ? made.row_of_cell.data() : nullptr, made.weights.data(), num_lanes};
  return made;
}

std::int32_t plain_flood(const FloodCase& input, std::uint64_t document) {
  std::int32_t score = 0;
  for (std::uint64_t lane = 0; lane < input.table.num_lanes; ++lane) {
    std::int32_t best = 0;
    for (const std::uint64_t id : input.ids[document]) {
      const std::uint64_t row = input.table.row_of_cell == nullptr ? id : input.row_of_cell[id];
      best = std::max<std::int32_t>(best, input.rows[row * input.table.stride + lane]);
    }
    score += best * input.weights[lane];
  }
  return score;
}

TEST_CASE("flood is the weighted sum of each lane's largest byte, whatever the width of ids and lanes") {
  Random random(11);
  for (const std::uint64_t num_lanes : {16, 32, 48, 64, 80, 112, 128, 144, 176, 192, 256, 272, 528}) {
    for (const std::uint32_t width : {1U, 2U, 3U}) {
      for (const bool indirect : {false, true}) {
        if (width == 3 && num_lanes > 64 && !indirect) {
          continue;  // a table of many MB would test nothing new
        }
        const FloodCase input = flood_case(random, num_lanes, width, indirect);
        for (const std::string_view isa : available_instruction_sets()) {
          std::vector<std::int32_t> scores(input.documents.size(), -1);
          flood(input.table, width, input.documents, scores.data(), isa);
          for (std::uint64_t i = 0; i < scores.size(); ++i) {
            CHECK(scores[i] == plain_flood(input, i));
          }
        }
      }
    }
  }
}

TEST_CASE("the largest bytes and weights of 4,096 lanes do not overflow") {
  const std::vector<std::uint8_t> rows(4'096, 255);
  const std::vector<std::uint16_t> weights(4'096, kMaxLaneWeight);
  const std::uint8_t cells[4] = {};
  const std::vector<DocumentCells> documents{{cells, 1}};
  for (const std::string_view isa : available_instruction_sets()) {
    std::int32_t score = 0;
    flood({rows.data(), 4'096, nullptr, weights.data(), 4'096}, 1, documents, &score, isa);
    CHECK(score == 255 * 2'047 * 4'096);
  }
}

// ---- Codes ----

TEST_CASE("a gain comes back within half a step, and the ends of the range are kept") {
  CHECK(gain_of(0) == 0.0F);
  CHECK(gain_bits(0.0F) == 0);
  CHECK(gain_bits(-1.0F) == 0);
  CHECK(gain_of(gain_bits(1.0F)) == 1.0F);
  CHECK(gain_bits(std::numeric_limits<float>::denorm_min()) == 1);
  CHECK(gain_bits(std::numeric_limits<float>::infinity()) == 0xFFFF);
  CHECK(gain_of(1) == std::ldexp(1025.0F / 1024.0F, -32));
  CHECK(gain_of(0xFFFF) == std::ldexp(2047.0F / 1024.0F, 31));
  for (std::uint32_t bits = 0; bits <= 0xFFFF; ++bits) {
    CHECK(gain_bits(gain_of(static_cast<std::uint16_t>(bits))) == bits);
  }
  Random random(12);
  for (int i = 0; i < 10'000; ++i) {
    const float gain = std::exp2(static_cast<float>(below(random, 60'000)) / 1'000.0F - 30.0F);
    CHECK(std::abs(gain_of(gain_bits(gain)) / gain - 1.0F) <= 1.0F / 2'048.0F);
  }
}

struct Coded {
  CodeFormat format;
  std::vector<std::int8_t> centroids;
  std::vector<std::int8_t> residuals;
  std::vector<std::vector<std::uint8_t>> blocks;
  std::vector<std::vector<std::uint8_t>> cells;
  std::vector<CodedDocument> documents;
  std::vector<std::vector<std::int8_t>> rows;  // what decoding must give
  std::vector<std::vector<float>> scales;
};

constexpr std::uint64_t kNumCells = 40;

// One document of random cells, norms, codes and gains, with its decoded form computed from the unpacked codes.
void add_document(Random& random, std::uint32_t num_tokens, Coded& coded) {
  const CodeFormat& format = coded.format;
  std::vector<std::uint8_t> gains;
  const auto norms = random_values<std::uint8_t>(random, num_tokens);
  std::vector<std::uint8_t> packed;
  std::vector<std::uint8_t> cells;
  std::vector<std::int8_t>& rows = coded.rows.emplace_back();
  std::vector<float>& scales = coded.scales.emplace_back();
  for (std::uint32_t token = 0; token < num_tokens; ++token) {
    const std::uint64_t cell = below(random, kNumCells);
    append_cell(cells, cell, format.cell_width);
    const auto codes = token % 16 == 5 ? std::vector<std::uint8_t>(format.dim)
                                       : random_values<std::uint8_t>(random, format.dim, 1U << format.nbits);
    packed.resize(packed.size() + format.code_bytes());
    pack_codes(codes.data(), format.dim, format.nbits, packed.data() + token * format.code_bytes());
    double squares = 0;
    for (std::uint64_t k = 0; k < format.dim; ++k) {
      const int sum = format.nbits == 8 ? static_cast<std::int8_t>(codes[k])
                                        : coded.centroids[cell * format.dim + k] +
                                              coded.residuals[(norms[token] << format.nbits) + codes[k]];
      rows.push_back(static_cast<std::int8_t>(std::clamp(sum, -128, 127)));
      squares += rows.back() * rows.back();
    }
    const auto gain = static_cast<std::uint16_t>(token % 7 == 0   ? 0
                                                 : token % 7 == 1 ? 1
                                                 : token % 7 == 2 ? 0xFFFF
                                                                  : below(random, 0x10000));
    append_cell(gains, gain, 2);
    const float numerator = format.has_gains ? gain_of(gain) : 1.0F;
    scales.push_back(squares == 0 ? 0.0F : numerator / std::sqrt(static_cast<float>(squares)));
  }
  std::vector<std::uint8_t>& block = coded.blocks.emplace_back();
  if (format.has_gains) {
    block = gains;
  }
  if (format.nbits < 8) {
    block.insert(block.end(), norms.begin(), norms.end());
  }
  block.insert(block.end(), packed.begin(), packed.end());
  CHECK(block.size() == num_tokens * format.token_bytes());
  cells.resize(cells.size() + 3);
  coded.cells.push_back(std::move(cells));
  coded.documents.push_back({coded.cells.back().data(), coded.blocks.back().data(), num_tokens});
}

Coded random_coded(Random& random, std::uint64_t dim, std::uint32_t nbits, bool has_gains,
                   const std::vector<std::uint32_t>& lengths) {
  Coded coded;
  coded.centroids = random_values<std::int8_t>(random, kNumCells * dim);
  std::fill_n(coded.centroids.begin(), dim, std::int8_t{-128});
  std::fill_n(coded.centroids.begin() + static_cast<std::ptrdiff_t>(dim), dim, std::int8_t{127});
  std::fill_n(coded.centroids.begin() + static_cast<std::ptrdiff_t>(2 * dim), 5 * dim, std::int8_t{0});
  coded.residuals = random_values<std::int8_t>(random, 256U << nbits);
  for (std::uint32_t norm = 0; norm < 64 && nbits < 8; ++norm) {  // code 0 of some norms adds nothing: rows of zeros
    coded.residuals[norm << nbits] = 0;
  }
  const auto width = static_cast<std::uint32_t>(1 + below(random, 3));
  coded.format = {nbits, dim, width, has_gains, coded.centroids.data(), coded.residuals.data()};
  for (const std::uint32_t num_tokens : lengths) {
    add_document(random, num_tokens, coded);
  }
  return coded;
}

template <typename Body>
void for_formats(std::uint32_t seed, const std::vector<std::uint32_t>& lengths, const Body& body) {
  Random random(seed);
  for (const std::uint64_t dim : kDims) {
    for (const std::uint32_t nbits : kBitCounts) {
      for (const bool has_gains : {false, true}) {
        body(random, random_coded(random, dim, nbits, has_gains, lengths));
      }
    }
  }
}

std::vector<std::uint32_t> bits_of(const std::vector<float>& values) {
  std::vector<std::uint32_t> bits;
  std::transform(values.begin(), values.end(), std::back_inserter(bits),
                 [](float value) { return std::bit_cast<std::uint32_t>(value); });
  return bits;
}

TEST_CASE("decoding undoes packing: saturated centroid plus residual, and gain over length") {
  for_formats(13, {1, 40}, [](Random& random, const Coded& coded) {
    for (std::size_t i = 0; i < coded.documents.size(); ++i) {
      const std::uint32_t num_tokens = coded.documents[i].num_tokens;
      const auto first = static_cast<std::uint32_t>(below(random, num_tokens));
      const auto count = static_cast<std::uint32_t>(1 + below(random, num_tokens - first));
      const std::uint64_t dim = coded.format.dim;
      const auto from = coded.rows[i].begin() + static_cast<std::ptrdiff_t>(first * dim);
      const std::vector<std::int8_t> expected(from, from + static_cast<std::ptrdiff_t>(count * dim));
      const std::vector<float> expected_scales(coded.scales[i].begin() + first,
                                               coded.scales[i].begin() + first + count);
      for (const std::string_view isa : available_instruction_sets()) {
        std::vector<std::int8_t> rows(count * dim, 77);
        std::vector<float> scales(count, -1.0F);
        decode(coded.format, coded.documents[i], first, count, rows.data(), scales.data(), isa);
        CHECK(rows == expected);
        CHECK(bits_of(scales) == bits_of(expected_scales));
      }
    }
  });
}

// The definition in double precision; the largest magnitude of a term is returned too, to judge the error by.
double plain_score(const Coded& coded, std::size_t document, const Int8Tokens& query,
                   const std::vector<std::int32_t>& dots, const std::vector<float>& multiplier, double& magnitude) {
  double score = 0;
  magnitude = 0;
  for (std::uint64_t lane = 0; lane < query.num_lanes(); ++lane) {
    double best = -std::numeric_limits<double>::infinity();
    for (std::uint64_t token = 0; token < coded.documents[document].num_tokens; ++token) {
      best = std::max(best, static_cast<double>(dots[token * query.num_lanes() + lane]) *
                                static_cast<double>(coded.scales[document][token]));
    }
    score += best * static_cast<double>(multiplier[lane]);
    magnitude += std::abs(best) * static_cast<double>(std::abs(multiplier[lane]));
  }
  return score;
}

TEST_CASE("rescoring is MaxSim over the decoded rows, and the same bits on every instruction set") {
  RescoreScratch scratch;
  for_formats(14, {13, 1, 2, 11, 12, 110, 1, 1, 500}, [&](Random& random, const Coded& coded) {
    const std::uint64_t num_tokens = 1 + below(random, 112);
    std::normal_distribution<float> normal;
    std::vector<float> tokens(num_tokens * coded.format.dim);
    std::generate(tokens.begin(), tokens.end(), [&] { return normal(random); });
    Int8Tokens query;
    query.build(tokens.data(), num_tokens, coded.format.dim);
    const std::vector<float> multiplier(query.scales(), query.scales() + query.num_lanes());
    std::vector<float> expected(coded.documents.size());
    rescore(coded.format, coded.documents, query, multiplier.data(), scratch, expected.data(), "scalar");
    for (std::size_t i = 0; i < coded.documents.size(); ++i) {
      std::vector<std::int32_t> dots(coded.documents[i].num_tokens * query.num_lanes());
      int8_dots(coded.rows[i].data(), coded.documents[i].num_tokens, query, dots.data());
      double magnitude = 0;
      const double score = plain_score(coded, i, query, dots, multiplier, magnitude);
      CHECK(std::abs(static_cast<double>(expected[i]) - score) <= 1e-5 * magnitude);
    }
    for (const std::string_view isa : available_instruction_sets()) {
      std::vector<float> scores(coded.documents.size());
      rescore(coded.format, coded.documents, query, multiplier.data(), scratch, scores.data(), isa);
      CHECK(bits_of(scores) == bits_of(expected));
    }
  });
}

TEST_CASE("a document's score does not depend on its neighbours, and no documents have no scores") {
  Random random(15);
  const Coded coded = random_coded(random, 128, 4, true, {5, 200, 1, 96, 12, 60});
  std::vector<float> tokens(4'096 * 128);
  std::normal_distribution<float> normal;
  std::generate(tokens.begin(), tokens.end(), [&] { return normal(random); });
  Int8Tokens query;
  query.build(tokens.data(), 4'096, 128);
  const std::vector<float> multiplier(query.scales(), query.scales() + query.num_lanes());
  RescoreScratch scratch;
  std::vector<float> together(6);
  rescore(coded.format, coded.documents, query, multiplier.data(), scratch, together.data());
  for (std::size_t i = 0; i < 6; ++i) {
    float alone = 0;
    rescore(coded.format, {&coded.documents[i], 1}, query, multiplier.data(), scratch, &alone);
    CHECK(std::bit_cast<std::uint32_t>(alone) == std::bit_cast<std::uint32_t>(together[i]));
  }
  rescore(coded.format, {}, query, multiplier.data(), scratch, nullptr);
}

}  // namespace
}  // namespace serotine::kernels
