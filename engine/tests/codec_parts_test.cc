// Are the parts of the codec right by themselves?  Rotation, float16, levels, shares, k-means, the search for cells and
// codes.
#include <doctest/doctest.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <numeric>

#include "base/error.h"
#include "codec/cell_finder.h"
#include "codec/kmeans.h"
#include "codec/lloyd_max.h"
#include "codec/sample.h"
#include "codec/token_coder.h"
#include "codec/tree_training.h"
#include "codec_fixture.h"

namespace serotine::codec {
namespace {

using testing::gaussian;

TEST_CASE("every float16 is widened exactly and narrowed back to itself") {
  for (std::uint32_t bits = 0; bits <= 0xFFFF; ++bits) {
    const auto half = static_cast<std::uint16_t>(bits);
    const std::uint32_t exponent = (bits >> 10) & 31U;
    const float mantissa = static_cast<float>(bits & 1023U);
    const float value = half_to_float(half);
    if (exponent == 31 && mantissa != 0) {
      CHECK(std::isnan(value));
      CHECK(std::isnan(half_to_float(float_to_half(value))));
      continue;
    }
    float expected = exponent == 0    ? std::ldexp(mantissa, -24)
                     : exponent == 31 ? std::numeric_limits<float>::infinity()
                                      : std::ldexp(1024 + mantissa, static_cast<int>(exponent) - 25);
    expected = (bits & 0x8000U) != 0 ? -expected : expected;
    REQUIRE(value == expected);
    REQUIRE(std::signbit(value) == ((bits & 0x8000U) != 0));
    REQUIRE(float_to_half(value) == half);
  }
}

TEST_CASE("floats are rounded to the nearest float16, ties to even") {
  for (std::uint16_t half = 0; half < 0x7BFF; ++half) {
    const float low = half_to_float(half);
    const float high = half_to_float(static_cast<std::uint16_t>(half + 1));
    const float middle = (low + high) / 2;  // exact in float32
    REQUIRE(float_to_half(middle) == half + (half & 1U));
    REQUIRE(float_to_half(std::nextafter(middle, low)) == half);
    REQUIRE(float_to_half(std::nextafter(middle, high)) == half + 1);
  }
  CHECK(float_to_half(65'519.99F) == 0x7BFF);
  CHECK(float_to_half(65'520.0F) == 0x7C00);
  CHECK(float_to_half(1e30F) == 0x7C00);
  CHECK(float_to_half(-std::numeric_limits<float>::infinity()) == 0xFC00);
  CHECK(float_to_half(1e-30F) == 0);
}

TEST_CASE("a rotation keeps dot products and is undone") {
  SplitMix64 random(1);
  for (const std::uint64_t dim : {1U, 15U, 16U, 17U, 48U, 96U, 128U, 144U, 256U, 768U, 4096U}) {
    CAPTURE(dim);
    const Rotation rotation(dim, 42);
    CHECK(rotation.padded_dim() % 16 == 0);
    CHECK(rotation.padded_dim() - dim < 16);
    const std::uint64_t count = 19;  // more than a group of lanes
    std::vector<float> vectors(count * dim);
    for (float& value : vectors) {
      value = gaussian(random);
    }
    std::vector<float> rotated(count * rotation.padded_dim());
    rotation.apply(vectors.data(), count, rotated.data());
    std::vector<float> back(count * dim);
    rotation.undo(rotated.data(), count, back.data());
    const auto dot = [](const float* a, const float* b, std::uint64_t size) {
      double sum = 0;
      for (std::uint64_t i = 0; i < size; ++i) {
        sum += static_cast<double>(a[i]) * static_cast<double>(b[i]);
      }
      return sum;
    };
    for (std::uint64_t i = 0; i < count; ++i) {
      const float* padded = &rotated[i * rotation.padded_dim()];
      CHECK(dot(padded, rotated.data(), rotation.padded_dim()) ==
            doctest::Approx(dot(&vectors[i * dim], vectors.data(), dim)).epsilon(1e-5).scale(static_cast<double>(dim)));
    }
    for (std::uint64_t i = 0; i < vectors.size(); ++i) {
      REQUIRE(std::abs(back[i] - vectors[i]) <= 5e-6F);
    }
  }
}

TEST_CASE("a rotation spreads a single coordinate over all, and vectors do not depend on their neighbours") {
  const Rotation rotation(128, 42);
  std::vector<float> vector(128);
  vector[3] = 1;
  std::vector<float> rotated(128);
  rotation.apply(vector.data(), 1, rotated.data());
  CHECK(*std::ranges::max_element(rotated, {}, [](float value) { return std::abs(value); }) < 0.45F);
  std::vector<float> many(40 * 128, 0.25F);
  std::ranges::copy(vector, many.begin() + 33 * 128);
  std::vector<float> all(many.size());
  rotation.apply(many.data(), 40, all.data());
  CHECK(std::memcmp(&all[33 * 128], rotated.data(), 512) == 0);
}

TEST_CASE("a rotation is its bytes; bytes that are no rotation are refused") {
  const Rotation rotation(20, 7);
  std::vector<std::byte> bytes = rotation.to_bytes();
  CHECK(bytes.size() == 3 * 32 * 2);
  const Rotation again(20, bytes);
  CHECK(again.to_bytes() == bytes);
  std::vector<float> vector(20, 0.5F);
  std::vector<float> one(32);
  std::vector<float> other(32);
  rotation.apply(vector.data(), 1, one.data());
  again.apply(vector.data(), 1, other.data());
  CHECK(one == other);
  CHECK(Rotation(20, 8).to_bytes() != bytes);
  CHECK_THROWS_AS(Rotation(20, std::span(bytes).first(190)), InvalidInput);
  CHECK_THROWS_AS(Rotation(40, bytes), InvalidInput);
  std::vector<std::byte> twice = bytes;
  twice[0] = twice[2];
  twice[1] = twice[3];
  CHECK_THROWS_AS(Rotation(20, twice), InvalidInput);
  std::vector<std::byte> outside = bytes;
  outside[0] = std::byte{32};
  outside[1] = std::byte{0};
  CHECK_THROWS_AS(Rotation(20, outside), InvalidInput);
}

TEST_CASE("levels of a Gaussian are the textbook's (Max 1960, table I)") {
  MagnitudeHistogram histogram(6.0F);
  SplitMix64 random(2);
  for (int i = 0; i < 2'000'000; ++i) {
    histogram.add(gaussian(random));
  }
  const std::vector<float> one = histogram.levels(1);
  CHECK(one[1] == doctest::Approx(0.7979).epsilon(0.003));
  const std::vector<float> two = histogram.levels(2);
  CHECK(two[2] == doctest::Approx(0.4528).epsilon(0.005));
  CHECK(two[3] == doctest::Approx(1.510).epsilon(0.005));
  const std::vector<float> four = histogram.levels(8);
  const std::vector<double> expected = {0.1284, 0.3881, 0.6568, 0.9424, 1.256, 1.618, 2.069, 2.733};
  for (std::size_t i = 0; i < expected.size(); ++i) {
    CHECK(four[8 + i] == doctest::Approx(expected[i]).epsilon(0.01));
    CHECK(four[7 - i] == -four[8 + i]);
  }
}

TEST_CASE("levels exist for histograms of nothing, of one value and of less values than levels") {
  for (const std::uint64_t num_positive : {1U, 2U, 8U}) {
    MagnitudeHistogram histogram(1.0F);
    const auto rising = [](const std::vector<float>& levels) { return std::ranges::is_sorted(levels); };
    CHECK(rising(histogram.levels(num_positive)));
    histogram.add(-0.5F);
    CHECK(rising(histogram.levels(num_positive)));
    CHECK(histogram.levels(1)[1] == doctest::Approx(0.5).epsilon(0.001));
    histogram.add(7.0F);
    histogram.add(std::numeric_limits<float>::quiet_NaN());
    for (const float level : histogram.levels(num_positive)) {
      CHECK(std::abs(level) <= 1.0F);
    }
  }
}

TEST_CASE("children are allotted in proportion, at least one each, never more than rows, exactly as many as asked") {
  const std::vector<std::uint32_t> even = allot_children({1, 1, 2}, {100, 100, 100}, 16);
  CHECK(even == std::vector<std::uint32_t>{4, 4, 8});
  const std::vector<std::uint32_t> capped = allot_children({1, 1000, 1}, {100, 5, 100}, 16);
  CHECK(capped[1] == 5);
  CHECK(capped[0] + capped[1] + capped[2] == 16);
  CHECK(allot_children({0, 5, 0}, {0, 50, 0}, 8) == std::vector<std::uint32_t>{1, 6, 1});
  CHECK(allot_children({0, 0}, {9, 9}, 8) == std::vector<std::uint32_t>{1, 1});
  SplitMix64 random(3);
  for (int round = 0; round < 100; ++round) {
    std::vector<double> weights;
    std::vector<std::uint64_t> rows;
    std::uint64_t total = 0;
    for (int i = 0; i < 16; ++i) {
      rows.push_back(random.below(60));
      weights.push_back(static_cast<double>(rows.back() * (1 + random.below(9))));
      total += std::max<std::uint64_t>(rows.back(), 1);
    }
    const std::uint64_t wanted = 16 + random.below(total - 15);
    std::uint64_t sum = 0;
    const std::vector<std::uint32_t> children = allot_children(weights, rows, wanted);
    for (std::size_t i = 0; i < children.size(); ++i) {
      CHECK(children[i] >= 1);
      CHECK(children[i] <= std::max<std::uint64_t>(rows[i], 1));
      sum += children[i];
    }
    CHECK(sum == wanted);
  }
}

TEST_CASE("k-means finds clusters that lie apart, whatever it starts from") {
  // 16 directions, 100 rows each: k-means that leaves a cluster empty or two directions in one has a mean dot below 1.
  constexpr std::uint64_t kDim = 64;
  SplitMix64 random(4);
  std::vector<std::int8_t> rows;
  std::vector<std::int32_t> row(kDim);
  std::vector<float> centres(16 * kDim);
  for (float& value : centres) {
    value = gaussian(random);
  }
  for (std::uint64_t i = 0; i < 1600; ++i) {
    for (std::uint64_t j = 0; j < kDim; ++j) {
      row[j] = static_cast<std::int32_t>(1000 * (centres[i % 16 * kDim + j] + 0.05F * gaussian(random)));
    }
    rows.resize(rows.size() + kDim);
    REQUIRE(quantise_direction(row.data(), kDim, 250, rows.data() + i * kDim));
  }
  std::vector<std::int8_t> centroids(16 * kDim);
  KMeans kmeans;
  int found = 0;
  for (std::uint64_t seed = 0; seed < 5; ++seed) {
    kmeans.run(
        {.rows = rows.data(),
         .num_rows = 1600,
         .dim = kDim,
         .num_clusters = 16,
         .max_rounds = 30,
         .seed = seed,
         .length = 250},
        [] {}, centroids.data());
    std::vector<bool> taken(16);
    for (std::uint64_t cell = 0; cell < 16; ++cell) {
      for (std::uint64_t i = 0; i < 16; ++i) {
        std::int32_t dot = 0;
        for (std::uint64_t j = 0; j < kDim; ++j) {
          dot += centroids[cell * kDim + j] * rows[i * kDim + j];
        }
        taken[i] = taken[i] || dot > 0.98 * 250 * 250;
      }
    }
    found += static_cast<int>(std::ranges::count(taken, true));
  }
  CHECK(found >= 50);  // of 80; random starts cover 64 % of the directions
  kmeans.run(
      {.rows = rows.data(), .num_rows = 3, .dim = kDim, .num_clusters = 16, .seed = 1, .length = 250}, [] {},
      centroids.data());
  for (std::uint64_t i = 0; i < 3; ++i) {
    bool there = false;
    for (std::uint64_t cell = 0; cell < 16; ++cell) {
      there = there || std::equal(rows.begin() + static_cast<std::ptrdiff_t>(i * kDim),
                                  rows.begin() + static_cast<std::ptrdiff_t>((i + 1) * kDim),
                                  centroids.begin() + static_cast<std::ptrdiff_t>(cell * kDim));
    }
    CHECK(there);
  }
}

TEST_CASE("with every super-cell looked at, the cell found is the nearest of all, prepared or not") {
  SplitMix64 random(5);
  constexpr std::uint64_t kDim = 32;
  const std::vector<std::uint32_t> super_begin = {0, 1, 34, 35, 60};
  std::vector<std::int8_t> supers(4 * kDim);
  std::vector<std::int8_t> centroids(60 * kDim);
  std::vector<std::int8_t> rows(300 * kDim);
  for (auto* codes : {&supers, &centroids, &rows}) {
    for (std::int8_t& code : *codes) {
      code = static_cast<std::int8_t>(static_cast<int>(random.below(255)) - 127);
    }
  }
  for (std::uint64_t i = 0; i < 300; ++i) {
    rows[i * kDim] = random.below(2) == 0 ? std::int8_t{127} : std::int8_t{-127};
  }
  // The opposite of all other cells for one row: no dot is positive. A copy of a centroid makes ties.
  for (std::uint64_t cell = 0; cell < 60; ++cell) {
    centroids[cell * kDim] = static_cast<std::int8_t>(-std::abs(centroids[cell * kDim]) - (cell % 2));
    centroids[cell * kDim] = std::max<std::int8_t>(centroids[cell * kDim], -127);
  }
  std::fill_n(rows.begin() + kDim, kDim, std::int8_t{0});
  rows[kDim] = 127;
  std::copy_n(centroids.begin() + 3 * kDim, kDim, centroids.begin() + 50 * kDim);
  const CellTree tree{kDim, supers.data(), super_begin, centroids.data()};
  for (const std::uint64_t announced : {0U, 1000U}) {
    const CellPanels panels(tree, announced, 2);
    REQUIRE(panels.has_children() == (announced > 0));
    CellFinder finder(panels, 4);
    std::vector<std::uint32_t> cells(300);
    for (const std::uint64_t count : {300U, 1U, 49U}) {
      finder.find(rows.data(), count, cells.data());
      for (std::uint64_t i = 0; i < count; ++i) {
        std::int64_t best = std::numeric_limits<std::int64_t>::min();
        std::uint32_t nearest = 0;
        for (std::uint32_t cell = 0; cell < 60; ++cell) {
          std::int64_t dot = 0;
          for (std::uint64_t j = 0; j < kDim; ++j) {
            dot += centroids[cell * kDim + j] * rows[i * kDim + j];
          }
          if (dot > best) {
            best = dot;
            nearest = cell;
          }
        }
        REQUIRE(cells[i] == nearest);
      }
    }
  }
}

TEST_CASE("with fewer super-cells looked at, those with the largest dots are") {
  // Three supers along three axes with one child each: a row goes to its own although it looks at one only.
  const std::vector<std::uint32_t> super_begin = {0, 1, 2, 3};
  std::vector<std::int8_t> axes(3 * 16);
  axes[0] = axes[16 + 1] = axes[32 + 2] = 100;
  const CellPanels panels({16, axes.data(), super_begin, axes.data()}, 200, 1);
  CellFinder finder(panels, 1);
  std::vector<std::int8_t> rows(200 * 16);
  std::vector<std::uint32_t> cells(200);
  for (std::uint64_t i = 0; i < 200; ++i) {
    rows[i * 16 + i % 3] = 127;
  }
  finder.find(rows.data(), 200, cells.data());
  for (std::uint64_t i = 0; i < 200; ++i) {
    CHECK(cells[i] == i % 3);
  }
}

TEST_CASE("the largest values are taken in order, of equal ones the first") {
  SplitMix64 random(6);
  for (const std::uint64_t size : {1U, 4U, 16U, 17U, 130U, 5000U}) {
    std::vector<std::int32_t> values(size);
    for (std::int32_t& value : values) {
      value = static_cast<std::int32_t>(random.below(40)) - 50;
    }
    const std::uint64_t count = std::min<std::uint64_t>(size, 4);
    std::vector<std::uint32_t> expected(size);
    std::iota(expected.begin(), expected.end(), 0U);
    std::ranges::stable_sort(expected, std::greater<>(), [&](std::uint32_t place) { return values[place]; });
    expected.resize(count);
    std::vector<std::uint32_t> places(count);
    std::vector<std::int32_t> largest(count);
    std::vector<std::int32_t> copy = values;
    take_largest(copy.data(), size, count, places.data(), largest.data());
    CHECK(places == expected);
    for (std::uint64_t i = 0; i < count; ++i) {
      CHECK(largest[i] == values[places[i]]);
    }
  }
}

TEST_CASE("codes are the nearest levels of the best row, saturated as the decoder saturates") {
  const testing::Vectors vectors = testing::clustered(4000, 32, 30, 6);
  for (const std::uint32_t nbits : {1U, 2U, 4U}) {
    const CodebookContent content = train_codebook(vectors.originals(), {.dim = 32, .nbits = nbits, .progress = {}});
    const testing::Opened opened = testing::open(content);
    EncodedTokens tokens;
    encode_tokens(*opened.codebook, vectors.values.data(), 400, false, 1, tokens);
    std::vector<float> rotated(400 * 32);
    content.rotation.apply(vectors.floats().data(), 400, rotated.data());
    const std::uint64_t run_bytes = 32 * nbits / 8;
    for (std::uint64_t token = 0; token < 400; ++token) {
      const std::int8_t* levels = content.residuals.data() + (std::uint64_t{tokens.norms[token]} << nbits);
      for (std::uint64_t i = 0; i < 32; ++i) {
        const std::uint8_t byte = tokens.codes[token * run_bytes + i % run_bytes];
        const unsigned code = (byte >> (i / run_bytes * nbits)) & ((1U << nbits) - 1);
        const float residual = rotated[token * 32 + i] / content.unit -
                               static_cast<float>(content.centroids[tokens.cells[token] * 32 + i]);
        for (unsigned other = 0; other < 1U << nbits; ++other) {
          // A quarter of a step for the encoder's rounding.
          CHECK(std::abs(residual - levels[code]) <= std::abs(residual - levels[other]) + 0.25F);
        }
      }
    }
  }
}

TEST_CASE("trying scales brings codes nearer than the measured residual norm alone") {
  const testing::Vectors vectors = testing::clustered(4000, 64, 30, 7);
  const CodebookContent content = train_codebook(vectors.originals(), {.dim = 64, .nbits = 2, .progress = {}});
  const testing::Opened opened = testing::open(content);
  EncodedTokens searched;
  encode_tokens(*opened.codebook, vectors.values.data(), vectors.size(), false, 1, searched);
  EncodedTokens plain = searched;
  std::vector<float> unrotated(vectors.size() * 64);
  std::vector<float> rotated(vectors.size() * 64);
  load_directions(vectors.values.data(), vectors.size(), content.rotation, unrotated.data(), rotated.data(), nullptr);
  const double one[] = {1.0};
  TokenCoder coder({64, 2, content.unit, content.smallest_norm, content.norm_ratio, content.centroids.data(),
                    content.residuals.data()},
                   one);
  for (std::uint64_t i = 0; i < vectors.size(); ++i) {
    plain.norms[i] = coder.encode(&rotated[i * 64], plain.cells[i], &plain.codes[i * 16]).norm;
  }
  const std::vector<float> originals = vectors.floats();
  const std::vector<float> a = testing::decode(*opened.codebook, searched);
  const std::vector<float> b = testing::decode(*opened.codebook, plain);
  double better = 0;
  for (std::uint64_t i = 0; i < vectors.size(); ++i) {
    const double with = testing::cosine(&originals[i * 64], &a[i * 64], 64);
    const double without = testing::cosine(&originals[i * 64], &b[i * 64], 64);
    CHECK(with >= without - 2e-5);  // the measure is taken before codes are rounded
    better += with - without;
  }
  CHECK(better / static_cast<double>(vectors.size()) > 0.0004);
}

}  // namespace
}  // namespace serotine::codec
