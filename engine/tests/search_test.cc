// A search returns what its documents' stored vectors deserve: against plain sums in double precision, against the
// exhaustive scan, under filters and deletions, and the same for every number of threads and instruction set.
#include <doctest/doctest.h>

#include <numeric>
#include <set>

#include "kernels/maxsim.h"
#include "search/calibrate.h"
#include "search_fixture.h"

namespace serotine::search {
namespace {

constexpr std::uint64_t kDim = 32;

// Two codebooks, segments with and without postings, with and without gains, and one without a codebook.
struct Mixed {
  Collection collection{kDim};
  Language language{kDim, 300, 7};

  Mixed() {
    const Documents large = language.documents(language.lengths(3'000, 60));
    const auto first = collection.train(large, 80'000);
    collection.add(large, first);
    collection.add(language.documents(language.lengths(150, 40)), first);
    const Documents second_large = language.documents(language.lengths(3'000, 60), true);
    const auto second = collection.train(second_large, 40'000);
    collection.add(second_large, second);
    collection.add(language.documents({1, 0, 5, 70, 300, 1}), second);
    collection.add(language.documents(language.lengths(100, 40)), nullptr);
    collection.remove(0, {0, 1, 2, 64, 999, 2'999});
    collection.remove(2, {5, 1'500});
    collection.remove(4, {99});
  }

  [[nodiscard]] const View& view() const { return collection.view; }
};

Mixed& mixed() {
  static Mixed collection;
  return collection;
}

std::vector<Hit> run(const View& view, const Query& query, const SearchOptions& options, const Filter* filter = nullptr,
                     SearchTrace* trace = nullptr) {
  Scratch scratch;
  return search(view, query, filter, options, scratch, trace);
}

SearchOptions exhaustive(std::uint64_t k) {
  SearchOptions options;
  options.k = k;
  options.exhaustive = true;
  return options;
}

void check_same(const std::vector<Hit>& a, const std::vector<Hit>& b) {
  REQUIRE(a.size() == b.size());
  for (std::size_t i = 0; i < a.size(); ++i) {
    CHECK(a[i].segment == b[i].segment);
    CHECK(a[i].document == b[i].document);
    CHECK(a[i].score == b[i].score);
  }
}

bool is_eligible(const View& view, const Filter* filter, const Hit& hit) {
  return !view.segments[hit.segment].deletions->contains(hit.document) &&
         view.segments[hit.segment].segment->length(hit.document) > 0 &&
         (filter == nullptr || ((filter->allowed[hit.segment][hit.document / 64] >> (hit.document % 64)) & 1) != 0);
}

std::vector<Hit> eligible_documents(const View& view, const Filter* filter) {
  std::vector<Hit> documents;
  for (std::uint32_t number = 0; number < view.segments.size(); ++number) {
    for (std::uint32_t document = 0; document < view.segments[number].segment->num_documents(); ++document) {
      if (is_eligible(view, filter, {number, document, 0})) {
        documents.push_back({number, document, 0});
      }
    }
  }
  return documents;
}

// The hits must be the best by exact_score, up to what quantising the query may cost.
void check_against_definition(const View& view, const Query& query, const Filter* filter, const std::vector<Hit>& hits,
                              std::uint64_t k, double tolerance) {
  std::vector<double> scores;
  for (const Hit& document : eligible_documents(view, filter)) {
    scores.push_back(exact_score(query, stored_vectors(view, document.segment, document.document), view.dim));
  }
  std::sort(scores.begin(), scores.end(), std::greater<>());
  REQUIRE(hits.size() == std::min<std::uint64_t>(k, scores.size()));
  std::set<std::pair<std::uint32_t, std::uint32_t>> seen;
  for (std::size_t i = 0; i < hits.size(); ++i) {
    const Hit& hit = hits[i];
    CHECK(is_eligible(view, filter, hit));
    CHECK(seen.emplace(hit.segment, hit.document).second);
    const double score = exact_score(query, stored_vectors(view, hit.segment, hit.document), view.dim);
    CHECK(std::abs(static_cast<double>(hit.score) - score) <= tolerance);
    CHECK(std::abs(static_cast<double>(hit.score) - scores[i]) <= tolerance);
    if (i > 0) {
      const bool in_order = hits[i - 1].score > hit.score ||
                            (hits[i - 1].score == hit.score && std::pair(hits[i - 1].segment, hits[i - 1].document) <
                                                                   std::pair(hit.segment, hit.document));
      CHECK(in_order);
    }
  }
}

double recall_of(const std::vector<Hit>& found, const std::vector<Hit>& wanted) {
  double count = 0;
  for (const Hit& hit : wanted) {
    count +=
        std::any_of(found.begin(), found.end(),
                    [&](const Hit& other) {
                      return other.segment == hit.segment && other.document == hit.document && other.score == hit.score;
                    })
            ? 1
            : 0;
  }
  return count / static_cast<double>(wanted.size());
}

Filter random_filter(const View& view, double fraction, std::uint32_t seed) {
  std::mt19937 random(seed);
  std::bernoulli_distribution allowed(fraction);
  Filter filter;
  for (const SegmentView& segment : view.segments) {
    std::vector<std::uint64_t> words((segment.segment->num_documents() + 63) / 64);
    for (std::uint64_t document = 0; document < segment.segment->num_documents(); ++document) {
      words[document / 64] |= std::uint64_t{allowed(random)} << (document % 64);
    }
    filter.allowed.push_back(words);
  }
  return filter;
}

TEST_CASE("an exhaustive search is MaxSim over the stored vectors") {
  for (const std::uint64_t num_tokens : {1U, 8U}) {
    const std::vector<float> tokens = mixed().language.tokens(num_tokens);
    const Query query{tokens.data(), num_tokens, nullptr};
    const std::vector<Hit> hits = run(mixed().view(), query, exhaustive(20));
    check_against_definition(mixed().view(), query, nullptr, hits, 20, 0.02 * static_cast<double>(num_tokens));
  }
}

TEST_CASE("weights multiply what a token adds, whatever its length") {
  std::vector<float> tokens = mixed().language.tokens(4);
  for (std::size_t i = 0; i < kDim; ++i) {
    tokens[i] *= 3;
    tokens[kDim + i] *= 0.01F;
    tokens[3 * kDim + i] = tokens[2 * kDim + i];  // equal tokens share a lane
  }
  const std::vector<float> weights{0.5F, 2, 1, 0.25F};
  const Query query{tokens.data(), 4, weights.data()};
  check_against_definition(mixed().view(), query, nullptr, run(mixed().view(), query, exhaustive(20)), 20, 0.1);
}

TEST_CASE("a wide search finds what an exhaustive one finds, a default one nearly all") {
  for (const bool through_tree : {false, true}) {
    double recall = 0;
    SearchTrace trace;
    constexpr int kQueries = 30;
    for (int i = 0; i < kQueries; ++i) {
      const std::vector<float> tokens = mixed().language.tokens(16);
      const Query query{tokens.data(), 16, nullptr};
      const std::vector<Hit> wanted = run(mixed().view(), query, exhaustive(10));
      SearchOptions options;
      options.always_probe = true;
      options.tree_above = through_tree ? 1 : options.tree_above;
      options.cells = 64;
      options.candidates = 2'500;
      options.rescored = 2'000;
      check_same(run(mixed().view(), query, options, nullptr, &trace), wanted);
      options.cells.reset();
      options.candidates = 300;
      options.rescored = 150;
      recall += recall_of(run(mixed().view(), query, options, nullptr, &trace), wanted) / kQueries;
    }
    CHECK(recall > 0.85);
    CHECK(trace.postings > 0);  // the approximate way was taken
    CHECK(trace.flooded_tokens > 0);
    CHECK(trace.exact_documents > 0);
  }
}

TEST_CASE("filters let through what they allow, and the search finds as many as it can") {
  const View& view = mixed().view();
  const std::vector<float> tokens = mixed().language.tokens(8);
  const Query query{tokens.data(), 8, nullptr};
  for (const double fraction : {1.0, 0.5, 0.1, 0.03, 0.01, 0.001}) {
    const Filter filter = random_filter(view, fraction, 3);
    const std::vector<Hit> wanted = run(view, query, exhaustive(10), &filter);
    check_against_definition(view, query, &filter, wanted, 10, 0.2);
    CHECK(recall_of(run(view, query, {}, &filter), wanted) > 0.69);
    if (fraction < 0.05) {  // few enough to be rescored outright
      check_same(run(view, query, {}, &filter), wanted);
    }
  }
}

TEST_CASE("an empty filter returns nothing, one document itself, a deleted one nothing") {
  const View& view = mixed().view();
  const std::vector<float> tokens = mixed().language.tokens(8);
  const Query query{tokens.data(), 8, nullptr};
  Filter filter = random_filter(view, 0, 1);
  CHECK(run(view, query, {}, &filter).empty());
  filter.allowed[2][10] = 2;
  const std::vector<Hit> hits = run(view, query, {}, &filter);
  REQUIRE(hits.size() == 1);
  CHECK(hits[0].segment == 2);
  CHECK(hits[0].document == 641);
  filter.allowed[2][10] = 0;
  filter.allowed[0][1] = 1;  // document 64 is deleted
  CHECK(run(view, query, {}, &filter).empty());
  filter.allowed[3][0] = 2;  // a document without tokens
  CHECK(run(view, query, {}, &filter).empty());
}

TEST_CASE("bits of a filter beyond the last document are ignored") {
  const View& view = mixed().view();
  const std::vector<float> tokens = mixed().language.tokens(8);
  const Query query{tokens.data(), 8, nullptr};
  Filter filter = random_filter(view, 1, 1);
  for (std::vector<std::uint64_t>& words : filter.allowed) {
    words.back() = ~std::uint64_t{0};
  }
  check_same(run(view, query, exhaustive(10'000), &filter), run(view, query, exhaustive(10'000)));
}

TEST_CASE("more than there is returns all there is") {
  const View& view = mixed().view();
  const std::vector<float> tokens = mixed().language.tokens(3);
  const Query query{tokens.data(), 3, nullptr};
  SearchOptions options;
  options.k = 1'000'000;
  const std::vector<Hit> hits = run(view, query, options);
  CHECK(hits.size() == eligible_documents(view, nullptr).size());
  check_same(hits, run(view, query, exhaustive(options.k)));
  options.k = 0;
  CHECK(run(view, query, options).empty());
  // Candidates fall short of k: the rest is found all the same.
  options.k = 2'000;
  options.always_probe = true;
  options.cells = 1;
  options.candidates = 1;
  options.rescored = 1;
  CHECK(run(view, {tokens.data(), 1, nullptr}, options).size() == 2'000);
}

TEST_CASE("equal documents come oldest first, across segments") {
  Collection collection(kDim);
  Language language(kDim, 300, 3);
  const Documents documents = language.documents(language.lengths(3'500, 40));
  const auto codebook = collection.train(documents, 40'000);
  collection.add(documents, codebook);
  collection.add(documents, codebook);
  const std::vector<float> tokens = language.tokens(12);
  for (const bool is_exhaustive : {true, false}) {
    SearchOptions options;
    options.k = 20;
    options.exhaustive = is_exhaustive;
    const std::vector<Hit> hits = run(collection.view, {tokens.data(), 12, nullptr}, options);
    REQUIRE(hits.size() == 20);
    for (std::size_t i = 0; i < hits.size(); i += 2) {
      CHECK(hits[i].segment == 0);
      CHECK(hits[i + 1].segment == 1);
      CHECK(hits[i].document == hits[i + 1].document);
      CHECK(hits[i].score == hits[i + 1].score);
    }
  }
}

TEST_CASE("a query of zeros scores every document 0: the oldest come first") {
  const View& view = mixed().view();
  const std::vector<float> tokens(2 * kDim);
  const std::vector<Hit> hits = run(view, {tokens.data(), 2, nullptr}, {});
  REQUIRE(hits.size() == 10);
  CHECK(hits[0].document == 3);  // 0, 1 and 2 are deleted
  CHECK(hits[9].document == 12);
  CHECK(hits[0].score == 0);
  const std::vector<float> some = mixed().language.tokens(2);
  const std::vector<float> no_weight{0, 0};
  check_same(run(view, {some.data(), 2, no_weight.data()}, {}), hits);
}

TEST_CASE("tokens of length or weight 0 change nothing") {
  std::vector<float> tokens = mixed().language.tokens(6);
  const std::vector<Hit> wanted = run(mixed().view(), {tokens.data(), 6, nullptr}, {});
  tokens.insert(tokens.end(), kDim, 0.0F);
  const std::vector<float> more = mixed().language.tokens(1);
  tokens.insert(tokens.end(), more.begin(), more.end());
  const std::vector<float> weights{1, 1, 1, 1, 1, 1, 1, 0};
  const std::vector<Hit> hits = run(mixed().view(), {tokens.data(), 8, weights.data()}, {});
  REQUIRE(hits.size() == wanted.size());
  for (std::size_t i = 0; i < hits.size(); ++i) {
    CHECK(hits[i].document == wanted[i].document);
    CHECK(hits[i].score == doctest::Approx(wanted[i].score).epsilon(1e-5));
  }
}

TEST_CASE("queries of any length are answered, the longest through several tables") {
  const View& view = mixed().view();
  const Filter few = random_filter(view, 0.01, 5);
  for (const std::uint64_t num_tokens : {1U, 31U, 33U, 200U, 257U, 600U}) {
    const std::vector<float> tokens = mixed().language.tokens(num_tokens);
    const Query query{tokens.data(), num_tokens, nullptr};
    check_against_definition(view, query, &few, run(view, query, exhaustive(10), &few), 10,
                             0.02 * static_cast<double>(num_tokens));
    const std::vector<Hit> wanted = run(view, query, exhaustive(10));
    SearchOptions options;
    options.cells = 32;
    options.candidates = 1'000;
    options.rescored = 500;
    CHECK(recall_of(run(view, query, options), wanted) > 0.89);
  }
  const std::vector<float> tokens = mixed().language.tokens(4'096);
  CHECK(run(view, {tokens.data(), 4'096, nullptr}, {}).size() == 10);
}

TEST_CASE("a query of one token over and over is that token with a weight") {
  const std::vector<float> token = mixed().language.tokens(1);
  std::vector<float> tokens;
  for (int i = 0; i < 32; ++i) {
    tokens.insert(tokens.end(), token.begin(), token.end());
  }
  const std::vector<float> weight{32};
  const std::vector<Hit> once = run(mixed().view(), {token.data(), 1, weight.data()}, {});
  const std::vector<Hit> often = run(mixed().view(), {tokens.data(), 32, nullptr}, {});
  REQUIRE(once.size() == often.size());
  for (std::size_t i = 0; i < once.size(); ++i) {
    CHECK(once[i].document == often[i].document);
    CHECK(once[i].score == doctest::Approx(often[i].score).epsilon(1e-5));
  }
}

TEST_CASE("results have the same bits for any number of threads and instruction set") {
  const View& view = mixed().view();
  for (const std::uint64_t num_tokens : {8U, 300U}) {
    const std::vector<float> tokens = mixed().language.tokens(num_tokens);
    const Query query{tokens.data(), num_tokens, nullptr};
    for (const bool is_exhaustive : {false, true}) {
      SearchOptions options;
      options.exhaustive = is_exhaustive;
      options.candidates = 300;
      options.rescored = 60;
      const std::vector<Hit> wanted = run(view, query, options);
      for (const std::string_view instruction_set : kernels::available_instruction_sets()) {
        if (instruction_set == "scalar" && num_tokens > 8) {
          continue;  // minutes under a sanitizer
        }
        for (const std::uint64_t num_threads : {1U, 2U, 3U}) {
          options.num_threads = num_threads;
          options.instruction_set = instruction_set;
          check_same(run(view, query, options), wanted);
        }
      }
    }
  }
}

TEST_CASE("a batch returns what its queries return one by one") {
  const View& view = mixed().view();
  std::vector<std::vector<float>> tokens;
  std::vector<Query> queries;
  std::vector<Filter> filters;
  for (std::uint32_t i = 0; i < 9; ++i) {
    tokens.push_back(mixed().language.tokens(1 + 5 * i));
    queries.push_back({tokens.back().data(), 1 + 5 * i, nullptr});
    filters.push_back(random_filter(view, 0.2, i));
  }
  SearchOptions options;
  options.num_threads = 2;
  const auto all = search_batch(view, queries, {}, options);
  const auto shared = search_batch(view, queries, std::span(filters).first(1), options);
  const auto own = search_batch(view, queries, filters, options);
  for (std::size_t i = 0; i < queries.size(); ++i) {
    check_same(all[i], run(view, queries[i], {}));
    check_same(shared[i], run(view, queries[i], {}, &filters[0]));
    check_same(own[i], run(view, queries[i], {}, &filters[i]));
  }
  CHECK(search_batch(view, {}, {}, options).empty());
}

TEST_CASE("a document of 65,535 tokens is scored like any other") {
  Collection collection(16, 2);
  Language language(16, 100, 5);
  const Documents documents = language.documents({3, 65'535, 40, 7});
  const auto codebook = collection.train(documents, 40'000);
  collection.add(documents, codebook);
  const std::vector<float> tokens = language.tokens(5);
  const Query query{tokens.data(), 5, nullptr};
  const std::vector<Hit> hits = run(collection.view, query, {});
  check_against_definition(collection.view, query, nullptr, hits, 10, 0.1);
  CHECK(hits[0].document == 1);
  SearchOptions options;
  options.k = 1;
  options.rescored = 1;
  CHECK(run(collection.view, query, options)[0].document == 1);
}

TEST_CASE("every number of bits per dimension is searched") {
  for (const std::uint32_t nbits : {1U, 2U, 8U}) {
    Collection collection(48, nbits);
    Language language(48, 300, 11);
    const Documents documents = language.documents(language.lengths(2'500, 60));
    collection.add(documents, collection.train(documents, 60'000));
    const std::vector<float> tokens = language.tokens(8);
    const Query query{tokens.data(), 8, nullptr};
    const std::vector<Hit> wanted = run(collection.view, query, exhaustive(10));
    check_against_definition(collection.view, query, nullptr, wanted, 10, 0.16);
    SearchOptions options;
    options.cells = 32;
    options.candidates = 1'000;
    options.rescored = 300;
    CHECK(recall_of(run(collection.view, query, options), wanted) > 0.89);
  }
}

TEST_CASE("a recall of 1 is an exhaustive search") {
  const std::vector<float> tokens = mixed().language.tokens(8);
  const Query query{tokens.data(), 8, nullptr};
  SearchOptions options;
  options.recall = 1;
  SearchTrace trace;
  check_same(run(mixed().view(), query, options, nullptr, &trace), run(mixed().view(), query, exhaustive(10)));
  CHECK(trace.flooded_tokens == 0);
}

TEST_CASE("an empty view returns nothing") {
  const std::vector<float> tokens(kDim, 1.0F);
  View view;
  view.dim = kDim;
  CHECK(run(view, {tokens.data(), 1, nullptr}, {}).empty());
}

// The beginnings of documents of the first segment.
std::vector<PseudoQuery> pseudo_queries(const View& view) {
  std::vector<PseudoQuery> queries;
  for (std::uint32_t i = 0; i < 24; ++i) {
    const std::uint32_t document = 10 + 100 * i;
    std::vector<float> tokens = stored_vectors(view, 0, document);
    tokens.resize(std::min<std::size_t>(tokens.size(), 16 * kDim));
    queries.push_back({tokens, tokens.size() / kDim, Hit{0, document, 0}});
  }
  return queries;
}

TEST_CASE("calibration rises along its ladder, and does not depend on threads") {
  const View& view = mixed().view();
  const std::vector<PseudoQuery> queries = pseudo_queries(view);
  double last = 0;
  const auto points = calibrate(view, queries, 1, [&](double fraction) {
    CHECK(fraction >= last);
    last = fraction;
  });
  CHECK(last == 1);
  REQUIRE(points.size() >= 5);
  for (std::size_t i = 1; i < points.size(); ++i) {
    CHECK(points[i].recall >= points[i - 1].recall);
    CHECK(points[i].candidates >= points[i - 1].candidates);
  }
  CHECK(points.back().recall > 0.99F);
  CHECK(calibrate(view, queries, 3, {}) == points);
  CHECK(calibrate(view, {}, 1, {}).empty());
  CHECK(point_for({}, 0.9F).rescored > 0);
}

TEST_CASE("copies of a pseudo-query's source do not make a calibration easy") {
  View view = mixed().view();
  view.segments.resize(1);
  const std::vector<PseudoQuery> queries = pseudo_queries(view);
  view.segments.resize(12, view.segments.front());
  CHECK(calibrate(view, queries, 1, {}).front().recall < 0.9F);  // any setting finds the eleven copies
}

TEST_CASE("a search takes the cheapest point that reached its recall, and two beyond it, or four for nearly all") {
  const std::vector<format::CalibrationPoint> points{{1, 10, 10, 0.5F},  {2, 20, 20, 0.9F},  {3, 30, 30, 0.99F},
                                                     {4, 40, 40, 0.99F}, {5, 50, 50, 0.99F}, {6, 60, 60, 0.99F},
                                                     {7, 70, 70, 0.99F}, {8, 80, 80, 0.99F}};
  CHECK(point_for(points, 0.4F) == points[2]);
  CHECK(point_for(points, 0.9F) == points[3]);
  CHECK(point_for(points, 0.99F) == points[6]);
  CHECK(point_for(points, 2.0F) == points[6]);  // none reached it: as if the best that was reached were asked for
  CHECK(point_for({points.begin(), points.begin() + 3}, 0.99F) == points[2]);
}

}  // namespace
}  // namespace serotine::search
