// Do trained codebooks and codes keep what vectors mean?  Training, encoding and decoding on synthetic vectors.
#include <doctest/doctest.h>

#include <algorithm>
#include <limits>
#include <string>

#include "base/error.h"
#include "codec_fixture.h"

namespace serotine::codec {
namespace {

using testing::clustered;
using testing::Vectors;

CodebookContent train(const Vectors& vectors, std::uint32_t nbits, std::uint64_t num_threads = 1,
                      std::uint64_t collection_tokens = 0) {
  return train_codebook(vectors.originals(), {.dim = vectors.dim,
                                              .nbits = nbits,
                                              .collection_tokens = collection_tokens,
                                              .num_threads = num_threads,
                                              .progress = {}});
}

EncodedTokens encode(const Codebook& codebook, const Vectors& vectors, bool with_gains, std::uint64_t num_threads = 1) {
  EncodedTokens tokens;
  encode_tokens(codebook, vectors.values.data(), vectors.size(), with_gains, num_threads, tokens);
  return tokens;
}

double mean_cosine(const Vectors& vectors, std::uint32_t nbits) {
  const testing::Opened opened = testing::open(train(vectors, nbits));
  const std::vector<float> decoded = testing::decode(*opened.codebook, encode(*opened.codebook, vectors, false));
  const std::vector<float> originals = vectors.floats();
  double sum = 0;
  for (std::uint64_t i = 0; i < vectors.size(); ++i) {
    sum += testing::cosine(&originals[i * vectors.dim], &decoded[i * vectors.dim], vectors.dim);
  }
  return sum / static_cast<double>(vectors.size());
}

bool same(const CodebookContent& a, const CodebookContent& b) {
  return a.unit == b.unit && a.residual_energy == b.residual_energy && a.smallest_norm == b.smallest_norm &&
         a.norm_ratio == b.norm_ratio && a.supers == b.supers && a.super_begin == b.super_begin &&
         a.centroids == b.centroids && a.residuals == b.residuals && a.rotation.to_bytes() == b.rotation.to_bytes();
}

// That an open codebook takes these vectors and gives back finite ones.
void check_round_trip(const Vectors& vectors, std::uint32_t nbits, std::uint64_t collection_tokens = 0) {
  const testing::Opened opened = testing::open(train(vectors, nbits, 1, collection_tokens));
  const EncodedTokens tokens = encode(*opened.codebook, vectors, true);
  REQUIRE(tokens.cells.size() == vectors.size());
  for (const std::uint32_t cell : tokens.cells) {
    REQUIRE(cell < opened.codebook->num_cells());
  }
  for (const float value : testing::decode(*opened.codebook, tokens)) {
    REQUIRE(std::isfinite(value));
  }
}

TEST_CASE("the number of cells is the power of two nearest to a 48th of the collection's tokens") {
  const Vectors vectors = clustered(4000, 32, 50, 1);
  CHECK(train(vectors, 4).super_begin.back() == 64);            // 83.3
  CHECK(train(vectors, 4, 1, 4800).super_begin.back() == 128);  // 100
  CHECK(train(vectors, 4, 1, 6'000).super_begin.back() == 128);
  CHECK(train(vectors, 4, 1, 1 << 30).super_begin.back() == 256);  // 8 sampled tokens a cell at least
}

TEST_CASE("every super-cell has a cell and cells are int8 directions of one length") {
  const Vectors vectors = clustered(20'000, 48, 300, 2);
  const CodebookContent content = train(vectors, 2);
  REQUIRE(content.super_begin.front() == 0);
  for (std::uint64_t super = 0; super + 1 < content.super_begin.size(); ++super) {
    CHECK(content.super_begin[super] < content.super_begin[super + 1]);
  }
  REQUIRE(content.centroids.size() == content.super_begin.back() * 48);
  for (std::uint64_t cell = 0; cell < content.super_begin.back(); ++cell) {
    double squares = 0;
    for (std::uint64_t i = 0; i < 48; ++i) {
      squares += content.centroids[cell * 48 + i] * content.centroids[cell * 48 + i];
    }
    CHECK(std::sqrt(squares) * static_cast<double>(content.unit) == doctest::Approx(1).epsilon(0.02));
  }
}

TEST_CASE("training and encoding give the same bits for any number of threads") {
  const Vectors vectors = clustered(12'000, 64, 200, 3);
  for (const std::uint32_t nbits : {1U, 2U, 4U, 8U}) {
    const CodebookContent content = train(vectors, nbits);
    const testing::Opened opened = testing::open(content);
    const EncodedTokens tokens = encode(*opened.codebook, vectors, true);
    for (const std::uint64_t num_threads : {2U, 3U}) {
      CHECK(same(content, train(vectors, nbits, num_threads)));
      const EncodedTokens others = encode(*opened.codebook, vectors, true, num_threads);
      CHECK(tokens.cells == others.cells);
      CHECK(tokens.norms == others.norms);
      CHECK(tokens.codes == others.codes);
      CHECK(tokens.gains == others.gains);
      CHECK(tokens.residual_energy == others.residual_energy);
    }
  }
}

TEST_CASE("a token's codes do not depend on how many are encoded with it") {
  const Vectors vectors = clustered(6000, 48, 100, 31);
  const testing::Opened opened = testing::open(train(vectors, 4));
  const EncodedTokens together = encode(*opened.codebook, vectors, false);
  for (std::uint64_t token = 0; token < 300; ++token) {
    EncodedTokens alone;
    encode_tokens(*opened.codebook, vectors.values.data() + token * 48, 1, false, 1, alone);
    REQUIRE(alone.cells[0] == together.cells[token]);
    REQUIRE(alone.norms[0] == together.norms[token]);
    REQUIRE(std::equal(alone.codes.begin(), alone.codes.end(),
                       together.codes.begin() + static_cast<std::ptrdiff_t>(token * 24)));
  }
}

TEST_CASE("a codebook depends on the tokens, not on how they are cut into pieces or documents") {
  const Vectors vectors = clustered(6000, 32, 80, 4);
  const CodebookContent whole = train(vectors, 4);
  Originals pieces;
  const std::vector<std::uint64_t> cuts = {0, 1, 77, 78, 4001, 4001, 6000};
  std::vector<std::uint32_t> lengths;
  for (std::size_t i = 0; i + 1 < cuts.size(); ++i) {
    lengths.push_back(static_cast<std::uint32_t>(cuts[i + 1] - cuts[i]));
  }
  for (std::size_t i = 0; i + 1 < cuts.size(); ++i) {
    pieces.push_back({vectors.values.data() + cuts[i] * 32, {&lengths[i], 1}, lengths[i]});
  }
  CHECK(same(whole, train_codebook(pieces, {.dim = 32, .nbits = 4, .progress = {}})));
}

TEST_CASE("a sample that is bounded by memory still covers all of the originals") {
  // The first half lies around one direction, the second around others: a sample of the beginning would not know them.
  Vectors vectors = clustered(4000, 32, 1, 5, 0.1F);
  const Vectors others = clustered(4000, 32, 20, 6, 0.1F);
  vectors.values.insert(vectors.values.end(), others.values.begin(), others.values.end());
  vectors.lengths.insert(vectors.lengths.end(), others.lengths.begin(), others.lengths.end());
  const CodebookContent content =
      train_codebook(vectors.originals(), {.dim = 32, .nbits = 4, .max_sample_bytes = 1024 * 32, .progress = {}});
  CHECK(content.super_begin.back() == 128);
  const testing::Opened opened = testing::open(content);
  const EncodedTokens tokens = encode(*opened.codebook, others, false);
  CHECK(tokens.residual_energy / 4000 < 0.05);
}

TEST_CASE("decoded vectors are nearer to the originals with more bits") {
  for (const std::uint64_t dim : {16U, 20U, 96U, 128U, 144U}) {
    CAPTURE(dim);
    const Vectors vectors = clustered(5000, dim, 100, 7 + dim);
    const double one = mean_cosine(vectors, 1);
    const double two = mean_cosine(vectors, 2);
    const double four = mean_cosine(vectors, 4);
    const double eight = mean_cosine(vectors, 8);
    CHECK(one > 0.88);
    CHECK(two > one + 0.02);
    CHECK(four > 0.997);
    CHECK(eight > four);
    CHECK(eight > 0.9999);
  }
}

TEST_CASE("codes of other vectors of the kind are as good as those of the sample") {
  const Vectors sample = clustered(20'000, 64, 40, 8);
  Vectors fresh = clustered(21'000, 64, 40, 8);  // the same centres; the last 1000 are not in the sample
  fresh.values.erase(fresh.values.begin(), fresh.values.end() - 1000 * 64);
  const testing::Opened opened = testing::open(train(sample, 4));
  const EncodedTokens tokens = encode(*opened.codebook, fresh, false);
  const double energy = tokens.residual_energy / 1000;
  CHECK(energy < 1.25 * static_cast<double>(opened.codebook->residual_energy()));
  CHECK(energy > 0.8 * static_cast<double>(opened.codebook->residual_energy()));
}

TEST_CASE("the energy of a codebook of many cells is that of other vectors, not of the few it was trained on") {
  const Vectors sample = clustered(20'000, 32, 400, 9);
  Vectors fresh = clustered(24'000, 32, 400, 9);
  fresh.values.erase(fresh.values.begin(), fresh.values.end() - 4'000 * 32);
  const testing::Opened opened = testing::open(train(sample, 4, 1, 8 * 20'000));
  CHECK(opened.codebook->num_cells() == 2'048);  // 10 vectors each
  const EncodedTokens tokens = encode(*opened.codebook, fresh, false);
  const double energy = tokens.residual_energy / 4'000;
  CHECK(energy < 1.05 * static_cast<double>(opened.codebook->residual_energy()));
  CHECK(energy > 0.95 * static_cast<double>(opened.codebook->residual_energy()));
}

TEST_CASE("collections of any small size and shape train, encode and decode") {
  for (const std::uint32_t nbits : {1U, 2U, 4U, 8U}) {
    CAPTURE(nbits);
    check_round_trip(clustered(1, 16, 1, 9), nbits);
    check_round_trip(clustered(2, 17, 2, 10), nbits, 1 << 20);
    check_round_trip(clustered(500, 128, 500, 11), nbits, 1 << 24);  // fewer tokens than cells are wanted
    check_round_trip(clustered(700, 768, 5, 12), nbits);
    check_round_trip(clustered(300, 1, 1, 13), nbits);
  }
}

TEST_CASE("equal vectors share a cell and come back as they were") {
  for (const std::uint32_t nbits : {1U, 2U, 4U, 8U}) {
    CAPTURE(nbits);
    Vectors vectors = clustered(1, 64, 1, 14);
    for (int copy = 0; copy < 4999; ++copy) {
      vectors.values.insert(vectors.values.end(), vectors.values.begin(), vectors.values.begin() + 64);
    }
    vectors.lengths.assign(50, 100);
    const testing::Opened opened = testing::open(train(vectors, nbits));
    const EncodedTokens tokens = encode(*opened.codebook, vectors, false);
    CHECK(std::ranges::count(tokens.cells, tokens.cells[0]) == 5000);
    const std::vector<float> decoded = testing::decode(*opened.codebook, tokens);
    CHECK(testing::cosine(decoded.data(), vectors.floats().data(), 64) > 0.9995);
  }
}

TEST_CASE("vectors of length 0 come back as zeros, and move nothing while training") {
  const Vectors vectors = clustered(3000, 32, 30, 15);
  Vectors with_zeros = vectors;
  with_zeros.values.resize(4000 * 32);
  with_zeros.lengths.push_back(1000);
  CHECK_FALSE(needs_gains(vectors.originals(), 32));
  CHECK(needs_gains(with_zeros.originals(), 32));
  for (const std::uint32_t nbits : {1U, 4U, 8U}) {
    const testing::Opened opened = testing::open(train(with_zeros, nbits));
    const EncodedTokens tokens = encode(*opened.codebook, with_zeros, true);
    const std::vector<float> decoded = testing::decode(*opened.codebook, tokens);
    CHECK(std::all_of(decoded.begin() + 3000 * 32, decoded.end(), [](float value) { return value == 0; }));
    CHECK(std::none_of(decoded.begin(), decoded.begin() + 32, [](float value) { return std::isnan(value); }));
    CHECK(tokens.residual_energy / 3000 ==
          doctest::Approx(static_cast<double>(opened.codebook->residual_energy())).epsilon(0.1));
  }
  Vectors zeros{32, std::vector<std::uint16_t>(100 * 32), {100}};
  for (const std::uint32_t nbits : {1U, 2U, 4U, 8U}) {
    check_round_trip(zeros, nbits);
  }
}

TEST_CASE("vectors that are not unit keep their length within a thousandth") {
  Vectors vectors = clustered(2000, 64, 20, 16);
  std::vector<float> scaled = vectors.floats();
  SplitMix64 random(17);
  for (std::uint64_t i = 0; i < 2000; ++i) {
    const float length = std::exp2(static_cast<float>(random.below(1600)) / 100 - 8);  // 1/256 .. 256
    for (std::uint64_t j = 0; j < 64; ++j) {
      scaled[i * 64 + j] *= length;
    }
  }
  floats_to_halves(scaled.data(), scaled.size(), vectors.values.data());
  scaled = vectors.floats();
  CHECK(needs_gains(vectors.originals(), 64));
  const testing::Opened opened = testing::open(train(vectors, 4));
  const std::vector<float> decoded = testing::decode(*opened.codebook, encode(*opened.codebook, vectors, true));
  for (std::uint64_t i = 0; i < 2000; ++i) {
    const auto length = [&](const std::vector<float>& all) {
      double squares = 0;
      for (std::uint64_t j = 0; j < 64; ++j) {
        squares += static_cast<double>(all[i * 64 + j]) * static_cast<double>(all[i * 64 + j]);
      }
      return std::sqrt(squares);
    };
    CHECK(length(decoded) == doctest::Approx(length(scaled)).epsilon(0.001));
    CHECK(testing::cosine(&decoded[i * 64], &scaled[i * 64], 64) > 0.98);
  }
}

TEST_CASE("progress rises from 0 to 1 and ends the training when it throws") {
  const Vectors vectors = clustered(20'000, 64, 100, 18);
  std::vector<double> told;
  TrainOptions options{.dim = 64, .nbits = 4, .num_threads = 2, .progress = {}};
  options.progress = [&told](double fraction) { told.push_back(fraction); };
  (void)train_codebook(vectors.originals(), options);
  REQUIRE(told.size() >= 2);
  CHECK(told.front() == 0);
  CHECK(told.back() == 1);
  CHECK(std::ranges::is_sorted(told));
  for (const double stop : {0.0, 0.3, 0.9}) {
    options.progress = [stop](double fraction) {
      if (fraction >= stop) {
        throw Interrupted("stopped");
      }
    };
    CHECK_THROWS_AS((void)train_codebook(vectors.originals(), options), Interrupted);
  }
}

}  // namespace
}  // namespace serotine::codec
