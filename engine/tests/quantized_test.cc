// The integer kernels of the index equal their definitions, and have the same bits on every instruction set. Every
// array is exactly as long as it must be, so that the address sanitizer sees a read beyond it.
#include "kernels/quantized.h"

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

constexpr std::uint64_t kDims[] = {16, 32, 48, 64, 96, 112, 128, 144, 256, 768};
constexpr std::uint64_t kTokenCounts[] = {1, 16, 17, 32, 33, 48, 70, 112};

using Random = std::mt19937;

std::uint64_t below(Random& random, std::uint64_t bound) { return random() % bound; }

std::vector<std::int8_t> random_rows(Random& random, std::uint64_t size) {
  std::vector<std::int8_t> rows(size);
  std::generate(rows.begin(), rows.end(), [&] { return static_cast<std::int8_t>(below(random, 256)); });
  return rows;
}

std::vector<float> random_tokens(Random& random, std::uint64_t num_tokens, std::uint64_t dim) {
  std::normal_distribution<float> normal;
  std::vector<float> tokens(num_tokens * dim);
  std::generate(tokens.begin(), tokens.end(), [&] { return normal(random); });
  return tokens;
}

// Codes of one lane, read from the panels.
std::vector<std::int32_t> lane_codes(const Int8Tokens& tokens, std::uint64_t lane) {
  for (const Int8Panel& panel : tokens.panels()) {
    const std::uint64_t lanes = std::uint64_t{panel.groups} * kGroupLanes;
    if (lane < lanes) {
      std::vector<std::int32_t> codes;
      for (std::uint64_t k = 0; k < tokens.dim(); ++k) {
        codes.push_back(panel.codes[(k / 4 * lanes + lane) * 4 + k % 4]);
      }
      return codes;
    }
    lane -= lanes;
  }
  return {};
}

std::vector<std::int32_t> plain_dots(const std::vector<std::int8_t>& rows, const Int8Tokens& tokens) {
  const std::uint64_t num_rows = rows.size() / tokens.dim();
  std::vector<std::int32_t> dots(num_rows * tokens.num_lanes());
  for (std::uint64_t lane = 0; lane < tokens.num_lanes(); ++lane) {
    const std::vector<std::int32_t> codes = lane_codes(tokens, lane);
    for (std::uint64_t row = 0; row < num_rows; ++row) {
      for (std::uint64_t k = 0; k < tokens.dim(); ++k) {
        dots[row * tokens.num_lanes() + lane] += rows[row * tokens.dim() + k] * codes[k];
      }
    }
  }
  return dots;
}

// Runs a body for shapes that cover every dim and token count, with 0..26 rows more than a tile at random.
template <typename Body>
void for_shapes(std::uint32_t seed, const Body& body) {
  Random random(seed);
  for (const std::uint64_t dim : kDims) {
    for (const std::uint64_t num_tokens : kTokenCounts) {
      Int8Tokens tokens;
      tokens.build(random_tokens(random, num_tokens, dim).data(), num_tokens, dim);
      body(random, tokens, random_rows(random, dim * (1 + below(random, 27))));
    }
  }
}

TEST_CASE("tokens become codes of 127 steps, padded with zeros to whole groups") {
  Random random(1);
  for (const std::uint64_t num_tokens : {std::uint64_t{1}, std::uint64_t{40}, std::uint64_t{4'096}}) {
    std::vector<float> values = random_tokens(random, num_tokens, 32);
    std::fill_n(values.begin(), 32, 0.0F);
    Int8Tokens tokens;
    tokens.build(values.data(), num_tokens, 32);
    REQUIRE(tokens.num_lanes() == (num_tokens + 15) / 16 * 16);
    for (std::uint64_t lane = 0; lane < tokens.num_lanes(); ++lane) {
      const std::vector<std::int32_t> codes = lane_codes(tokens, lane);
      const auto largest = std::abs(*std::max_element(
          codes.begin(), codes.end(), [](std::int32_t a, std::int32_t b) { return std::abs(a) < std::abs(b); }));
      CHECK(largest == (lane == 0 || lane >= num_tokens ? 0 : 127));
      for (std::uint64_t k = 0; k < 32 && lane < num_tokens; ++k) {
        CHECK(std::abs(static_cast<float>(codes[k]) * tokens.scales()[lane] - values[lane * 32 + k]) <=
              .5001F * tokens.scales()[lane]);
      }
      CHECK((tokens.scales()[lane] == 0.0F) == (largest == 0));
    }
  }
}

TEST_CASE("dots are the exact integers, on every instruction set") {
  for_shapes(2, [](Random&, const Int8Tokens& tokens, const std::vector<std::int8_t>& rows) {
    const std::vector<std::int32_t> expected = plain_dots(rows, tokens);
    for (const std::string_view isa : available_instruction_sets()) {
      std::vector<std::int32_t> dots(expected.size(), 7);
      int8_dots(rows.data(), rows.size() / tokens.dim(), tokens, dots.data(), isa);
      CHECK(dots == expected);
    }
  });
}

TEST_CASE("the largest codes of one sign do not saturate a sum") {
  for (const std::uint64_t dim : {std::uint64_t{16}, std::uint64_t{128}, std::uint64_t{768}}) {
    for (const float token : {1.0F, -1.0F}) {
      for (const int code : {-128, -127, 127}) {
        Int8Tokens tokens;
        tokens.build(std::vector<float>(dim * 20, token).data(), 20, dim);
        const std::vector<std::int8_t> rows(dim * 13, static_cast<std::int8_t>(code));
        for (const std::string_view isa : available_instruction_sets()) {
          std::vector<std::int32_t> dots(13 * 32);
          int8_dots(rows.data(), 13, tokens, dots.data(), isa);
          CHECK(dots[12 * 32 + 19] == static_cast<int>(dim) * code * (token > 0 ? 127 : -127));
          CHECK(dots[12 * 32 + 20] == 0);
        }
      }
    }
  }
}

TEST_CASE("no rows give no dots") {
  Int8Tokens tokens;
  tokens.build(std::vector<float>(16, 1.0F).data(), 1, 16);
  for (const std::string_view isa : available_instruction_sets()) {
    int8_dots(nullptr, 0, tokens, nullptr, isa);
  }
}

TEST_CASE("scores of cells are rounded to even and clamped, and the bytes beyond the lanes stay") {
  for_shapes(3, [](Random& random, const Int8Tokens& tokens, const std::vector<std::int8_t>& rows) {
    const std::uint64_t num_lanes = tokens.num_lanes();
    const std::uint64_t stride = num_lanes + 16 * below(random, 3);
    const std::uint64_t num_rows = rows.size() / tokens.dim();
    std::vector<float> multiplier(num_lanes);
    for (float& value : multiplier) {  // from all alike to all clamped; halves for ties
      value = below(random, 4) == 0 ? .5F : std::ldexp(1.0F, static_cast<int>(below(random, 50)) - 20);
    }
    const float addend = static_cast<float>(below(random, 400)) - 100.0F;
    std::vector<std::uint8_t> expected(num_rows * stride, 99);
    const std::vector<std::int32_t> dots = plain_dots(rows, tokens);
    for (std::uint64_t i = 0; i < dots.size(); ++i) {
      const float score = static_cast<float>(dots[i]) * multiplier[i % num_lanes] + addend;
      expected[i / num_lanes * stride + i % num_lanes] =
          static_cast<std::uint8_t>(std::clamp(std::nearbyint(score), 0.0F, 255.0F));
    }
    for (const std::string_view isa : available_instruction_sets()) {
      std::vector<std::uint8_t> bytes(expected.size(), 99);
      cell_scores(rows.data(), num_rows, tokens, multiplier.data(), addend, bytes.data(), stride, isa);
      CHECK(bytes == expected);
    }
  });
}

TEST_CASE("the nearest row is the first of the largest dots, over several calls") {
  for_shapes(4, [](Random& random, const Int8Tokens& tokens, std::vector<std::int8_t> rows) {
    const std::uint64_t dim = tokens.dim();
    const std::uint64_t num_rows = rows.size() / dim;
    for (std::uint64_t i = 0; i < num_rows / 2; ++i) {  // equal rows, so equal dots
      std::copy_n(rows.begin() + static_cast<std::ptrdiff_t>(below(random, num_rows) * dim), dim,
                  rows.begin() + static_cast<std::ptrdiff_t>(below(random, num_rows) * dim));
    }
    const std::vector<std::int32_t> dots = plain_dots(rows, tokens);
    const std::uint64_t cut = below(random, num_rows + 1);
    for (const std::string_view isa : available_instruction_sets()) {
      std::vector<std::int32_t> best(tokens.num_lanes(), std::numeric_limits<std::int32_t>::min());
      std::vector<std::uint32_t> nearest(tokens.num_lanes());
      nearest_rows(rows.data(), cut, 100, tokens, best.data(), nearest.data(), isa);
      nearest_rows(rows.data() + cut * dim, num_rows - cut, 100 + static_cast<std::uint32_t>(cut), tokens, best.data(),
                   nearest.data(), isa);
      for (std::uint64_t lane = 0; lane < tokens.num_lanes(); ++lane) {
        std::uint64_t first = 0;
        for (std::uint64_t row = 1; row < num_rows; ++row) {
          first = dots[row * tokens.num_lanes() + lane] > dots[first * tokens.num_lanes() + lane] ? row : first;
        }
        CHECK(nearest[lane] == 100 + first);
        CHECK(best[lane] == dots[first * tokens.num_lanes() + lane]);
      }
    }
  });
}

TEST_CASE("a row that only equals the best so far does not replace it") {
  Int8Tokens tokens;
  tokens.build(std::vector<float>(16, 1.0F).data(), 1, 16);
  const std::vector<std::int8_t> rows(16 * 5, 1);
  for (const std::string_view isa : available_instruction_sets()) {
    std::vector<std::int32_t> best(16, 127 * 16);
    std::vector<std::uint32_t> nearest(16, 77);
    nearest_rows(rows.data(), 5, 0, tokens, best.data(), nearest.data(), isa);
    CHECK(nearest[0] == 77);
  }
}

}  // namespace
}  // namespace serotine::kernels
