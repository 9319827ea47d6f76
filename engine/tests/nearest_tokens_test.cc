// The nearest tokens of a query token are those that a plain loop over the stored vectors finds, under filters and
// deletions, whatever their segment has: codes, postings, both or neither.
#include "search/nearest_tokens.h"

#include <doctest/doctest.h>

#include "search_fixture.h"

namespace serotine::search {
namespace {

constexpr std::uint64_t kDim = 32;

// Two codebooks, the second of tokens of any length; segments with postings, without, and without a codebook.
struct Stored {
  Collection collection{kDim};
  Language language{kDim, 300, 11};

  Stored() {
    const Documents large = language.documents(language.lengths(3'000, 60));
    const auto first = collection.train(large, 80'000);
    collection.add(large, first);
    const auto second = collection.train(large, 40'000);
    collection.add(language.documents({1, 0, 5, 70, 300, 1}, true), second);
    collection.add(language.documents(language.lengths(100, 40)), nullptr);
    collection.remove(0, {0, 1, 2, 64, 999, 2'999});
    collection.remove(2, {99});
  }

  [[nodiscard]] const View& view() const { return collection.view; }
};

Stored& stored() {
  static Stored collection;
  return collection;
}

[[nodiscard]] bool is_eligible(const View& view, const Filter* filter, std::uint32_t number, std::uint32_t document) {
  return !view.segments[number].deletions->contains(document) &&
         (filter == nullptr || ((filter->allowed[number][document / 64] >> (document % 64)) & 1) != 0);
}

// Similarities of a vector with every eligible token, largest first.
[[nodiscard]] std::vector<double> all_similarities(const View& view, const Filter* filter, const float* vector) {
  std::vector<double> similarities;
  for (std::uint32_t number = 0; number < view.segments.size(); ++number) {
    for (std::uint32_t document = 0; document < view.segments[number].segment->num_documents(); ++document) {
      if (is_eligible(view, filter, number, document)) {
        const std::vector<float> values = stored_vectors(view, number, document);
        for (std::size_t row = 0; row < values.size() / kDim; ++row) {
          double dot = 0;
          for (std::size_t i = 0; i < kDim; ++i) {
            dot += static_cast<double>(vector[i]) * static_cast<double>(values[row * kDim + i]);
          }
          similarities.push_back(dot);
        }
      }
    }
  }
  std::sort(similarities.begin(), similarities.end(), std::greater<>());
  return similarities;
}

// Documents 0, 3, 6, ... of each segment.
[[nodiscard]] Filter every_third(const View& view) {
  Filter filter;
  for (const SegmentView& segment : view.segments) {
    std::vector<std::uint64_t> words((segment.segment->num_documents() + 63) / 64);
    for (std::uint64_t document = 0; document < segment.segment->num_documents(); document += 3) {
      words[document / 64] |= std::uint64_t{1} << (document % 64);
    }
    filter.allowed.push_back(words);
  }
  return filter;
}

void check_against_loop(const Query& query, const Filter* filter, const NearestOptions& options) {
  const View& view = stored().view();
  const auto hits = nearest_tokens(view, query, filter, options);
  REQUIRE(hits.size() == query.num_tokens);
  for (std::uint64_t token = 0; token < query.num_tokens; ++token) {
    const std::vector<double> wanted = all_similarities(view, filter, query.tokens + token * kDim);
    REQUIRE(hits[token].size() == std::min<std::uint64_t>(options.k, wanted.size()));
    for (std::size_t i = 0; i < hits[token].size(); ++i) {
      const Hit& hit = hits[token][i];
      CHECK(is_eligible(view, filter, hit.segment, hit.document));
      CHECK(std::abs(static_cast<double>(hit.score) - wanted[i]) < 0.02);
      CHECK((i == 0 || hits[token][i - 1].score >= hit.score));
    }
  }
}

TEST_CASE("an exhaustive search for tokens is a loop over all of them") {
  const std::vector<float> tokens = stored().language.tokens(5);
  const Query query{tokens.data(), 5, nullptr};
  const Filter filter = every_third(stored().view());
  for (const std::uint64_t k : {1U, 50U, 5'000U}) {
    NearestOptions options;
    options.k = k;
    options.exhaustive = true;
    check_against_loop(query, nullptr, options);
    check_against_loop(query, &filter, options);
  }
}

TEST_CASE("more than there are gives all there are") {
  const std::vector<float> tokens = stored().language.tokens(2);
  NearestOptions options;
  options.k = 10'000'000;
  check_against_loop({tokens.data(), 2, nullptr}, nullptr, options);
}

TEST_CASE("what the cells lead to is nearly all of what is nearest, with a filter and without") {
  const Filter filter = every_third(stored().view());
  for (const Filter* allowed : {static_cast<const Filter*>(nullptr), &filter}) {
    double found = 0;
    double wanted = 0;
    for (int i = 0; i < 10; ++i) {
      const std::vector<float> tokens = stored().language.tokens(8);
      const Query query{tokens.data(), 8, nullptr};
      NearestOptions options;
      options.k = 100;
      const auto some = nearest_tokens(stored().view(), query, allowed, options);
      options.exhaustive = true;
      const auto all = nearest_tokens(stored().view(), query, allowed, options);
      for (std::size_t token = 0; token < 8; ++token) {
        REQUIRE(some[token].size() == 100);
        const float bound = all[token].back().score;
        wanted += 100;
        found += static_cast<double>(
            std::count_if(some[token].begin(), some[token].end(), [&](const Hit& hit) { return hit.score >= bound; }));
        for (const Hit& hit : some[token]) {
          CHECK(is_eligible(stored().view(), allowed, hit.segment, hit.document));
        }
      }
    }
    CHECK(found >= 0.97 * wanted);
  }
}

TEST_CASE("a filter that leaves a handful is answered with all of it") {
  Filter filter = every_third(stored().view());
  for (std::vector<std::uint64_t>& words : filter.allowed) {
    std::fill(words.begin() + 1, words.end(), 0);
  }
  const std::vector<float> tokens = stored().language.tokens(3);
  NearestOptions options;
  options.k = 40;
  check_against_loop({tokens.data(), 3, nullptr}, &filter, options);
  filter.allowed.assign(filter.allowed.size(), {});
  for (std::size_t number = 0; number < filter.allowed.size(); ++number) {
    filter.allowed[number].assign((stored().view().segments[number].segment->num_documents() + 63) / 64, 0);
  }
  for (const auto& hits : nearest_tokens(stored().view(), {tokens.data(), 3, nullptr}, &filter, options)) {
    CHECK(hits.empty());
  }
}

TEST_CASE("a token of length 0 finds nothing, and lengths multiply similarities") {
  std::vector<float> tokens = stored().language.tokens(3);
  for (std::size_t i = 0; i < kDim; ++i) {
    tokens[i] = 0;
    tokens[2 * kDim + i] = 2 * tokens[kDim + i];
  }
  NearestOptions options;
  options.k = 20;
  options.exhaustive = true;
  const auto hits = nearest_tokens(stored().view(), {tokens.data(), 3, nullptr}, nullptr, options);
  CHECK(hits[0].empty());
  REQUIRE(hits[1].size() == 20);
  for (std::size_t i = 0; i < 20; ++i) {
    CHECK(hits[2][i].score == doctest::Approx(2 * hits[1][i].score));
  }
}

TEST_CASE("many queries on many threads give what each gives alone") {
  const std::vector<float> tokens = stored().language.tokens(12);
  const std::vector<Query> queries{{tokens.data(), 5, nullptr}, {tokens.data() + 5 * kDim, 7, nullptr}};
  const std::vector<Filter> filters{every_third(stored().view())};
  NearestOptions options;
  options.k = 30;
  options.num_threads = 3;
  const auto together = nearest_tokens_batch(stored().view(), queries, filters, options);
  for (std::size_t number = 0; number < 2; ++number) {
    const auto alone = nearest_tokens(stored().view(), queries[number], filters.data(), options);
    REQUIRE(alone.size() == together[number].size());
    for (std::size_t token = 0; token < alone.size(); ++token) {
      REQUIRE(alone[token].size() == together[number][token].size());
      for (std::size_t i = 0; i < alone[token].size(); ++i) {
        CHECK(alone[token][i].document == together[number][token][i].document);
        CHECK(alone[token][i].score == together[number][token][i].score);
      }
    }
  }
}

}  // namespace
}  // namespace serotine::search
