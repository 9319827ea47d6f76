// An index holds what a plain list holds, in the same order, after any sequence of changes, and few segments.
#include "index/index.h"

#include <doctest/doctest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <filesystem>
#include <map>
#include <mutex>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "base/parallel.h"
#include "index/growth.h"
#include "index/merge.h"
#include "index/store.h"
#include "index_fixture.h"
#include "io/fault_directory.h"
#include "io/memory_directory.h"

namespace serotine::index {
namespace {

using io::MemoryDirectory;
using testing::Batch;
using testing::document_text;
using testing::index_text;
using testing::kDim;
using testing::key_of;
using testing::small_options;

const codec::Progress kNoProgress;

// A folder that is gone afterwards.
class TemporaryFolder {
 public:
  TemporaryFolder() : path_(std::filesystem::temp_directory_path() / ("serotine-" + random_uuid().to_hex())) {}
  ~TemporaryFolder() { std::filesystem::remove_all(path_); }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  [[nodiscard]] std::string path() const { return path_.string(); }

 private:
  std::filesystem::path path_;
};

// What an index should hold: documents in the order in which they were added.
struct Model {
  struct Document {
    std::string key;
    std::uint64_t version;
    std::uint32_t num_tokens;
  };
  std::vector<Document> documents;

  bool remove(const std::string& key) {
    return std::erase_if(documents, [&](const Document& document) { return document.key == key; }) > 0;
  }
  void add(const std::string& key, std::uint64_t version, std::uint32_t num_tokens) {
    remove(key);
    documents.push_back({key, version, num_tokens});
  }
  [[nodiscard]] std::string text() const {
    std::string text;
    for (const Document& document : documents) {
      text += testing::document_text(document.key, document.version, document.num_tokens);
    }
    return text;
  }
  [[nodiscard]] std::uint64_t num_tokens() const {
    std::uint64_t total = 0;
    for (const Document& document : documents) {
      total += document.num_tokens;
    }
    return total;
  }
};

void check_equal(Index& index, const Model& model) {
  const auto snapshot = index.snapshot();
  REQUIRE(index_text(*snapshot) == model.text());
  CHECK(snapshot->num_documents() == model.documents.size());
  CHECK(snapshot->num_tokens() == model.num_tokens());
  for (const Model::Document& document : model.documents) {
    const auto place = snapshot->find(document.key);
    REQUIRE(place);
    CHECK(snapshot->view().segments[place->segment].segment->key(place->document) == document.key);
  }
  std::set<std::string> held;
  for (const Model::Document& document : model.documents) {
    held.insert(document.key);
  }
  for (std::uint64_t i = 0; i < 160; ++i) {
    REQUIRE(snapshot->find(key_of(i)).has_value() == held.contains(key_of(i)));
  }
}

// Random changes to an index and its model side by side.
class Life {
 public:
  Life(std::shared_ptr<io::Directory> directory, IndexOptions options, std::uint64_t seed)
      : directory_(std::move(directory)),
        options_(std::move(options)),
        random_(seed),
        index_(std::make_unique<Index>(directory_, options_)) {}

  void step() {
    Model changed = model_;
    std::unique_ptr<Writer> writer = index_->begin_write();
    for (std::uint64_t change = 0; change <= random_() % 3; ++change) {
      stage(*writer, changed);
    }
    const std::uint64_t end = random_() % 20;
    if (end == 0) {
      writer.reset();  // aborted
    } else {
      if (end == 1) {
        writer->optimize(options_.settings->keep_originals && random_() % 2 == 0, 2, kNoProgress);
      } else {
        writer->commit(1, kNoProgress);
      }
      model_ = changed;
    }
    writer.reset();
    if (random_() % 5 == 0) {
      index_ = std::make_unique<Index>(directory_, options_);
    }
    check_equal(*index_, model_);
    CHECK(directory_->list("tmp").empty());
  }

  Index& index() { return *index_; }
  [[nodiscard]] const Model& model() const { return model_; }

 private:
  std::string any_key() { return key_of(random_() % 150); }

  void stage(Writer& writer, Model& changed) {
    Batch batch;
    const std::uint64_t kind = random_() % 8;
    if (kind < 6) {
      const std::uint64_t count = random_() % 30 == 0 ? 80 : random_() % 4;
      for (std::uint64_t i = 0; i < count; ++i) {
        const std::string key = any_key();
        const std::uint64_t version = random_() % 1000;
        const auto num_tokens = static_cast<std::uint32_t>(random_() % 9);
        batch.add(key, version, num_tokens);
        changed.add(key, version, num_tokens);
      }
      batch.stage(writer, true);
    } else {
      std::uint64_t expected = 0;
      for (std::uint64_t i = 0; i < (random_() % 12 == 0 ? 100 : 3); ++i) {
        batch.keys.push_back(any_key());
        expected += changed.remove(batch.keys.back()) ? 1 : 0;
      }
      CHECK(writer.remove(batch.keys) == expected);
    }
  }

  std::shared_ptr<io::Directory> directory_;
  IndexOptions options_;
  std::mt19937_64 random_;
  std::unique_ptr<Index> index_;
  Model model_;
};

TEST_CASE("an index holds what a list holds after any changes, in memory") {
  for (std::uint64_t seed = 0; seed < 12; ++seed) {
    constexpr std::uint32_t kBits[] = {4, 8, 2, 4};
    Life life(std::make_shared<MemoryDirectory>(), small_options(kBits[seed % 4], seed % 3 == 0), seed);
    for (int step = 0; step < 60; ++step) {
      life.step();
    }
    life.index().check({});
  }
}

TEST_CASE("an index holds what a list holds after any changes, in a folder") {
  for (std::uint64_t seed = 100; seed < 102; ++seed) {
    const TemporaryFolder folder;
    Life life(io::open_posix_directory(folder.path()), small_options(), seed);
    for (int step = 0; step < 40; ++step) {
      life.step();
    }
    life.index().check({});
    Index again(io::open_posix_directory(folder.path()), small_options());
    check_equal(again, life.model());
  }
}

std::shared_ptr<const Snapshot> commit(Index& index, const Batch& batch, std::uint64_t num_threads = 1) {
  const auto writer = index.begin_write();
  batch.stage(*writer);
  writer->commit(num_threads, kNoProgress);
  return index.snapshot();
}

TEST_CASE("a new index is empty, takes the width of its first document and keeps its settings") {
  const auto directory = std::make_shared<MemoryDirectory>();
  Index index(directory, small_options(2));
  CHECK(index.snapshot()->num_documents() == 0);
  CHECK(index.snapshot()->view().dim == 0);
  CHECK(directory->list("").empty());  // opening writes nothing
  index.check({});
  {
    const auto writer = index.begin_write();
    CHECK(writer->commit(1, kNoProgress) == 0);  // nothing was changed
    CHECK(writer->optimize(false, 1, kNoProgress) == 0);
  }
  Batch batch;
  batch.add("sa", 1, 3);
  commit(index, batch);
  Index again(directory, small_options(4));
  CHECK(again.snapshot()->view().dim == kDim);
  CHECK(again.snapshot()->manifest().settings.nbits == 2);
  CHECK(again.snapshot()->num_bytes() == directory->total_bytes() - directory->size("LOCK").value_or(0));
}

TEST_CASE("what is refused changes nothing") {
  Index index(std::make_shared<MemoryDirectory>(), small_options());
  Batch first;
  first.add("sa", 1, 3);
  first.add("sb", 2, 0);
  commit(index, first);
  const auto writer = index.begin_write();
  const auto stage = [&](const Batch& batch, std::uint64_t dim, bool replace) {
    writer->add(batch.keys, batch.lengths, batch.values.data(), dim, replace);
  };
  Batch twice;
  twice.add("sc", 1, 2);
  twice.add("sc", 2, 2);
  CHECK_THROWS_AS(stage(twice, kDim, false), DuplicateDocument);
  Batch there;
  there.add("sd", 1, 2);
  there.add("sa", 2, 2);
  CHECK_THROWS_AS(stage(there, kDim, false), DuplicateDocument);
  CHECK_THROWS_AS(stage(first, kDim * 2, true), DimensionMismatch);
  CHECK_THROWS_AS(stage(first, 0, true), InvalidInput);
  Batch bad_key;
  bad_key.add("s\xFF", 1, 1);
  CHECK_THROWS_AS(stage(bad_key, kDim, false), InvalidInput);
  CHECK_THROWS_AS(writer->remove(bad_key.keys), InvalidInput);
  for (const std::uint16_t bits : std::vector<std::uint16_t>{0x7C00, 0xFC00, 0x7E01}) {
    Batch infinite;
    infinite.add("sgood", 1, 2);
    infinite.add("sbad", 1, 2);
    infinite.values[3 * kDim + 1] = bits;
    CHECK_THROWS_WITH_AS(stage(infinite, kDim, false), doctest::Contains("'bad', token 1"), InvalidInput);
  }
  Batch too_long;
  too_long.keys = {"slong"};
  too_long.lengths = {65'536};
  CHECK_THROWS_AS(stage(too_long, kDim, false), InvalidInput);
  writer->commit(1, kNoProgress);
  CHECK(index.snapshot()->manifest().generation == 1);
}

TEST_CASE("a writer whose staging failed half way can only be destroyed") {
  Batch first;
  first.add("sfirst", 1, 5);
  Batch batch;  // more than is kept in memory
  for (std::uint64_t i = 0; i < 100; ++i) {
    batch.add(key_of(i), i, 10);
  }
  std::uint64_t num_failed = 0;
  bool has_fired = true;
  for (std::uint64_t at = 1; has_fired; ++at) {
    const auto memory = std::make_shared<MemoryDirectory>();
    Index before(memory, small_options());
    commit(before, first);
    const auto disturbed = std::make_shared<io::FaultDirectory>(memory, io::Fault{at, io::Fault::Kind::kShortWrite});
    Index index(disturbed, small_options());
    std::unique_ptr<Writer> writer;
    try {
      writer = index.begin_write();
      batch.stage(*writer);
    } catch (const StorageError&) {
      if (writer) {
        ++num_failed;
        CHECK_THROWS_WITH_AS(batch.stage(*writer), doctest::Contains("Begin another one"), CommitFailed);
        CHECK_THROWS_WITH_AS(writer->remove(first.keys), doctest::Contains("Begin another one"), CommitFailed);
        CHECK_THROWS_WITH_AS(writer->commit(1, kNoProgress), doctest::Contains("Begin another one"), CommitFailed);
      }
    }
    has_fired = disturbed->fired();
    disturbed->heal();
    writer.reset();
    CHECK(index_text(*before.snapshot()) == testing::document_text("sfirst", 1, 5));
    CHECK(memory->list("tmp").empty());
  }
  CHECK(num_failed > 0);
}

TEST_CASE("the longest document goes through exact and coded segments") {
  IndexOptions options = small_options(4);
  Index index(std::make_shared<MemoryDirectory>(), options);
  Batch batch;
  batch.add("slong", 3, 65'535);
  batch.add("sempty", 3, 0);
  batch.add("sshort", 4, 1);
  const auto snapshot = commit(index, batch, 2);
  CHECK(snapshot->codebooks().size() == 1);
  CHECK(snapshot->num_tokens() == 65'536);
  CHECK(snapshot->find("sempty"));
  index.check({});
}

TEST_CASE("a document staged twice is the later one, and what is removed while staged never was") {
  Index index(std::make_shared<MemoryDirectory>(), small_options());
  const auto writer = index.begin_write();
  Batch a;
  a.add("sa", 1, 2);
  a.add("sb", 2, 2);
  a.stage(*writer);
  Batch b;
  b.add("sa", 5, 3);
  b.add("sa", 6, 1);
  b.stage(*writer, true);
  CHECK(writer->remove(std::vector<std::string>{"sb", "sb", "sx"}) == 1);
  writer->commit(1, kNoProgress);
  CHECK(index_text(*index.snapshot()) == testing::document_text("sa", 6, 1));
  // Removed and added again in one change is no duplicate.
  CHECK(writer->remove(std::vector<std::string>{"sa"}) == 1);
  Batch c;
  c.add("sa", 7, 2);
  c.stage(*writer);
  writer->commit(1, kNoProgress);
  CHECK(index_text(*index.snapshot()) == testing::document_text("sa", 7, 2));
  CHECK(writer->remove(std::vector<std::string>{"sa"}) == 1);
  CHECK(writer->commit(1, kNoProgress) == 3);
  CHECK(index.snapshot()->num_documents() == 0);
  CHECK(index.snapshot()->manifest().segments.empty());
  CHECK(index.snapshot()->view().dim == kDim);
}

// 20-token documents one by one: the whole life of codebooks.
struct Growing {
  explicit Growing(bool keep_originals = false, std::uint32_t nbits = 4)
      : index(std::make_shared<MemoryDirectory>(), small_options(nbits, keep_originals)) {}

  void add(std::uint64_t count) {
    for (std::uint64_t i = 0; i < count; ++i) {
      Batch batch;
      batch.add(key_of(number), number, 20);
      expected += testing::document_text(batch.keys[0], number++, 20);
      commit(index, batch);
    }
    CHECK(index_text(*index.snapshot()) == expected);
  }
  [[nodiscard]] std::vector<std::uint64_t> trained() {
    std::vector<std::uint64_t> tokens;
    for (const format::CodebookRef& codebook : index.snapshot()->manifest().codebooks) {
      tokens.push_back(codebook.trained_tokens);
    }
    return tokens;
  }
  [[nodiscard]] std::uint64_t tokens_with_originals() {
    std::uint64_t tokens = 0;
    for (const search::SegmentView& view : index.snapshot()->view().segments) {
      tokens += view.segment->has_originals() ? view.segment->num_tokens() : 0;
    }
    return tokens;
  }

  Index index;
  std::uint64_t number = 0;
  std::string expected;
};

TEST_CASE("codebooks come at their sizes: exact, coded, with originals from four times on, retrained beyond eight") {
  Growing growing;
  growing.add(4);
  CHECK(growing.trained().empty());
  growing.add(1);  // 100 tokens
  CHECK(growing.trained() == std::vector<std::uint64_t>{100});
  CHECK(growing.tokens_with_originals() == 0);
  growing.add(15);  // 400 tokens: four times
  CHECK(growing.tokens_with_originals() == 0);
  growing.add(20);  // 800: eight times
  CHECK(growing.trained() == std::vector<std::uint64_t>{100});
  CHECK(growing.tokens_with_originals() == 400);
  growing.add(1);
  CHECK(growing.trained() == std::vector<std::uint64_t>{100, 820});
  CHECK(growing.tokens_with_originals() == 0);
  const auto& segments = growing.index.snapshot()->view().segments;
  CHECK(segments.front().segment->codebook() != segments.back().segment->codebook());
  CHECK(segments.size() == 2);
  growing.index.check({});
}

TEST_CASE("with kept originals every segment has them and a new codebook is for everything") {
  Growing growing(true);
  growing.add(45);
  CHECK(growing.trained() == std::vector<std::uint64_t>{820});
  CHECK(growing.tokens_with_originals() == 900);
  {
    const auto writer = growing.index.begin_write();
    writer->optimize(true, 1, kNoProgress);
  }
  CHECK(growing.trained() == std::vector<std::uint64_t>{900});
  CHECK(growing.tokens_with_originals() == 900);
  CHECK(growing.index.snapshot()->view().segments.size() == 1);
  CHECK(index_text(*growing.index.snapshot()) == growing.expected);
}

TEST_CASE("retraining without originals is refused, and the writer can go on") {
  Growing growing;
  growing.add(10);
  const auto writer = growing.index.begin_write();
  CHECK_THROWS_AS(writer->optimize(true, 1, kNoProgress), InvalidInput);
  CHECK(writer->optimize(false, 1, kNoProgress) == 11);
}

TEST_CASE("a codebook that no segment uses is dropped, and a small index becomes exact again") {
  Growing growing;
  growing.add(50);
  REQUIRE(growing.trained().size() == 2);
  const auto writer = growing.index.begin_write();
  std::vector<std::string> keys;
  for (std::uint64_t i = 0; i < 20; ++i) {
    keys.push_back(key_of(i));
  }
  CHECK(writer->remove(keys) == 20);
  writer->commit(1, kNoProgress);
  CHECK(growing.trained().size() == 1);
  for (std::uint64_t i = 20; i < 50; ++i) {
    keys.push_back(key_of(i));
  }
  CHECK(writer->remove(keys) == 30);
  Batch batch;
  batch.add("snew", 1, 5);
  batch.stage(*writer);
  writer->commit(1, kNoProgress);
  CHECK(growing.trained().empty());
  CHECK(growing.index.snapshot()->view().segments.at(0).segment->codebook() == nullptr);
  CHECK(growing.index.snapshot()->manifest().calibration.empty());
}

TEST_CASE("a bulk of documents becomes segments of at most the limit, whatever the number of threads and the memory") {
  std::string texts[2];
  std::vector<std::vector<std::byte>> blocks[2];
  for (const std::uint64_t run : {0, 1}) {
    IndexOptions options = small_options();
    options.limits.max_memory_bytes = run == 0 ? 100 : 1 << 20;
    const auto directory = std::make_shared<MemoryDirectory>();
    Index index(directory, options);
    Batch batch;
    for (std::uint64_t i = 0; i < 400; ++i) {
      batch.add(key_of(i), i, static_cast<std::uint32_t>(i % 20));
    }
    const auto snapshot = commit(index, batch, 1 + run * 2);
    texts[run] = index_text(*snapshot);
    CHECK(snapshot->view().segments.size() == 3);  // 3,800 tokens, 1,500 each
    for (const format::SegmentRef& ref : snapshot->manifest().segments) {
      CHECK(ref.num_tokens <= 1'500);
      const auto file = directory->map(file_path(format::FileKind::kSegment, ref.file.uuid));
      const format::FileReader reader(file, format::FileKind::kSegment, nullptr, nullptr);
      for (std::uint32_t id = 1; id <= 10; ++id) {
        if (reader.has_section(id)) {
          const auto bytes = reader.section(id);
          blocks[run].emplace_back(bytes.begin(), bytes.end());
        }
      }
    }
  }
  CHECK(texts[0] == texts[1]);
  CHECK(blocks[0] == blocks[1]);
}

TEST_CASE("equal scores stay in the order of adding through merges") {
  Index index(std::make_shared<MemoryDirectory>(), small_options());
  std::vector<std::string> order;
  for (std::uint64_t i = 0; i < 30; ++i) {
    Batch batch;
    for (std::uint64_t j = 0; j <= i % 3; ++j) {
      const std::string key = key_of((i * 37 + j * 11) % 101) + "-" + std::to_string(i);
      batch.add(key, 5, 4);  // all the same
      order.push_back(key);
    }
    commit(index, batch);
  }
  const auto snapshot = index.snapshot();
  std::vector<float> query(kDim);
  query[5] = 1;
  search::Scratch scratch;
  search::SearchOptions options;
  options.k = order.size();
  const auto hits = search::search(snapshot->view(), {query.data(), 1, nullptr}, nullptr, options, scratch);
  REQUIRE(hits.size() == order.size());
  for (std::size_t i = 0; i < hits.size(); ++i) {
    CHECK(snapshot->view().segments[hits[i].segment].segment->key(hits[i].document) == order[i]);
  }
}

TEST_CASE("a calibration is made when a codebook is trained, and kept by other commits") {
  Growing growing;
  growing.add(5);
  const auto first = growing.index.snapshot()->manifest().calibration;
  CHECK_FALSE(first.empty());
  growing.add(10);
  CHECK(growing.index.snapshot()->manifest().calibration == first);
}

TEST_CASE("an interrupted commit changes nothing and leaves nothing") {
  const auto directory = std::make_shared<MemoryDirectory>();
  Index index(directory, small_options());
  Batch first;
  first.add("sfirst", 1, 5);
  commit(index, first);
  Batch batch;
  for (std::uint64_t i = 0; i < 300; ++i) {
    batch.add(key_of(i), i, 10);
  }
  int num_calls = 0;
  {
    const auto writer = index.begin_write();
    batch.stage(*writer);
    writer->commit(1, [&](double) { ++num_calls; });
    CHECK(num_calls > 3);
    Batch again;
    again.add("slast", 1, 5);
    again.stage(*writer);
    writer->remove(batch.keys);
    writer->commit(1, kNoProgress);
  }
  const std::string before = index_text(*index.snapshot());
  for (int at = 1; at <= num_calls; ++at) {
    const auto writer = index.begin_write();
    batch.stage(*writer);
    int call = 0;
    double last = 0;
    const auto progress = [&](double fraction) {
      CHECK(fraction >= last);
      CHECK(fraction <= 1.0);
      last = fraction;
      if (++call == at) {
        throw Interrupted("enough");
      }
    };
    try {
      writer->commit(1, progress);
      break;  // fewer calls than the other time
    } catch (const Interrupted&) {
    }
    CHECK_THROWS_AS(writer->commit(1, kNoProgress), CommitFailed);
    CHECK(index_text(*index.snapshot()) == before);
    CHECK(directory->list("tmp").empty());
  }
}

TEST_CASE("overriding shows an empty index, keeps the old one until the first commit, then replaces it at once") {
  const auto directory = std::make_shared<MemoryDirectory>();
  Index old(directory, small_options());
  Batch batch;
  for (std::uint64_t i = 0; i < 30; ++i) {
    batch.add(key_of(i), i, 10);
  }
  commit(old, batch);
  const std::string before = index_text(*old.snapshot());

  IndexOptions options = small_options(2);
  options.override_existing = true;
  Index index(directory, options);
  CHECK(index.snapshot()->num_documents() == 0);
  CHECK(index.snapshot()->manifest().settings.nbits == 2);
  {
    const auto writer = index.begin_write();
    Batch aborted;
    aborted.add("saborted", 1, 4);
    aborted.stage(*writer);
  }
  CHECK(index.snapshot()->num_documents() == 0);
  CHECK(index_text(*old.snapshot()) == before);
  const auto pinned = old.snapshot();

  Batch other;
  other.add("s1", 9, 4);  // also in the old one
  std::vector<std::uint16_t> wider(4 * 32, 0x3C00);
  auto writer = index.begin_write();
  writer->add(other.keys, other.lengths, wider.data(), 32, false);
  CHECK(writer->commit(1, kNoProgress) == 2);
  writer.reset();
  CHECK(index.snapshot()->num_documents() == 1);
  CHECK(index.snapshot()->view().dim == 32);
  CHECK(old.snapshot()->num_documents() == 1);
  CHECK(index_text(*pinned) == before);
  // The next commits are ordinary ones.
  wider.resize(32);
  writer = index.begin_write();
  writer->add(std::vector<std::string>{"s2"}, std::vector<std::uint32_t>{1}, wider.data(), 32, false);
  writer->commit(1, kNoProgress);
  CHECK(index.snapshot()->num_documents() == 2);
  index.check({});
}

TEST_CASE("two indexes on one directory write in turn, see each other, and exclude each other") {
  const auto directory = std::make_shared<MemoryDirectory>();
  Index a(directory, small_options());
  Index b(directory, small_options());
  Model model;
  for (std::uint64_t i = 0; i < 20; ++i) {
    const std::string key = key_of(i % 7);
    const auto writer = (i % 2 == 0 ? a : b).begin_write();
    CHECK_THROWS_AS((i % 2 == 0 ? b : a).begin_write(), IndexLocked);
    Batch batch;
    batch.add(key, i, 6);
    batch.stage(*writer, true);
    writer->commit(1, kNoProgress);
    model.add(key, i, 6);
  }
  check_equal(a, model);
  check_equal(b, model);
}

TEST_CASE("a reader opens whole generations while a writer commits, merges and collects") {
  const TemporaryFolder folder;
  Index writing(io::open_posix_directory(folder.path()), small_options());
  std::atomic<bool> done{false};
  std::atomic<int> num_failures{0};
  std::thread reader([&] {
    while (!done) {
      try {
        Index index(io::open_posix_directory(folder.path()), small_options());
        std::uint64_t last = 0;
        for (int i = 0; i < 5; ++i) {
          const auto snapshot = index.snapshot();
          const std::string text = index_text(*snapshot);
          // Generation g holds the documents 0..g-1 in order.
          std::string expected;
          for (std::uint64_t g = 0; g < snapshot->manifest().generation; ++g) {
            expected += testing::document_text(key_of(g), g, 3);
          }
          num_failures += text != expected || snapshot->manifest().generation < last ? 1 : 0;
          last = snapshot->manifest().generation;
        }
      } catch (const std::exception& error) {
        MESSAGE(error.what());
        ++num_failures;
      }
    }
  });
  for (std::uint64_t g = 0; g < 150; ++g) {
    Batch batch;
    batch.add(key_of(g), g, 3);
    commit(writing, batch);
  }
  done = true;
  reader.join();
  CHECK(num_failures == 0);
}

// One map of a segment, after hold() was called, waits until release().
class HeldDirectory final : public io::Directory {
 public:
  explicit HeldDirectory(std::shared_ptr<io::Directory> inner) : inner_(std::move(inner)) {}
  std::vector<std::string> list(const std::string& folder) const override { return inner_->list(folder); }
  std::optional<std::uint64_t> size(const std::string& path) const override { return inner_->size(path); }
  std::shared_ptr<const io::MappedFile> map(const std::string& path) const override {
    std::unique_lock lock(mutex_);
    if (path.starts_with("segments/") && stage_ == Stage::kArmed) {
      move_to(Stage::kHeld);
      // Ends by itself, so that a mistake is a failure and not a test without end.
      was_released_ = changed_.wait_for(lock, kPatience, [&] { return stage_ == Stage::kOpen; });
    }
    lock.unlock();
    return inner_->map(path);
  }
  std::unique_ptr<io::WritableFile> create(const std::string& path) override { return inner_->create(path); }
  void make_folder(const std::string& folder) override { inner_->make_folder(folder); }
  void rename(const std::string& from, const std::string& to) override { inner_->rename(from, to); }
  void remove(const std::string& path) override { inner_->remove(path); }
  void sync_folder(const std::string& folder) override { inner_->sync_folder(folder); }
  std::unique_ptr<io::Lock> lock(std::chrono::milliseconds timeout) override { return inner_->lock(timeout); }
  std::optional<std::uint64_t> free_bytes() const override { return inner_->free_bytes(); }
  std::string describe(const std::string& path) const override { return inner_->describe(path); }

  void hold() {
    const std::scoped_lock lock(mutex_);
    move_to(Stage::kArmed);
  }
  [[nodiscard]] bool wait_until_held() {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, kPatience, [&] { return stage_ == Stage::kHeld; });
  }
  void release() {
    const std::scoped_lock lock(mutex_);
    move_to(Stage::kOpen);
  }
  [[nodiscard]] bool was_released() const {
    const std::scoped_lock lock(mutex_);
    return was_released_;
  }

 private:
  enum class Stage { kOpen, kArmed, kHeld };
  static constexpr std::chrono::seconds kPatience{10};

  void move_to(Stage stage) const {
    stage_ = stage;
    changed_.notify_all();
  }

  std::shared_ptr<io::Directory> inner_;
  mutable std::mutex mutex_;
  mutable std::condition_variable changed_;
  mutable Stage stage_ = Stage::kOpen;
  mutable bool was_released_ = false;
};

TEST_CASE("a reader does not wait for one that is opening files, and a late one does not bring back what is older") {
  const auto memory = std::make_shared<MemoryDirectory>();
  const auto held = std::make_shared<HeldDirectory>(memory);
  Index index(held, small_options());
  Index other(memory, small_options());
  const auto add = [](Index& to, const std::string& key) {
    Batch batch;
    batch.add(key, 1, 3);
    commit(to, batch);
  };
  add(other, "sa");
  held->hold();
  std::uint64_t late = 0;
  std::thread reader([&] { late = index.snapshot()->manifest().generation; });
  const bool is_held = held->wait_until_held();
  const std::uint64_t generation = index.snapshot()->manifest().generation;
  add(index, "sb");  // while the reader still opens the one before
  held->release();
  reader.join();
  CHECK(is_held);
  CHECK(held->was_released());
  CHECK(generation == 1);
  CHECK(late == 2);
  CHECK(index.snapshot()->manifest().generation == 2);
  CHECK(index_text(*index.snapshot()) == index_text(*other.snapshot()));
}

TEST_CASE("values are compared with their checksums once, when their file is opened") {
  const auto directory = std::make_shared<MemoryDirectory>();
  Index writing(directory, small_options());
  Batch batch;
  for (std::uint64_t i = 0; i < 20; ++i) {
    batch.add(key_of(i), i, 4);
  }
  commit(writing, batch);
  IndexOptions options = small_options();
  options.verify_values = true;
  Index index(directory, options);
  const auto first = index.snapshot();
  // A directory in memory lends its own bytes: this changes the file.
  const segment::Segment& segment = *first->view().segments.front().segment;
  const_cast<std::uint16_t*>(segment.originals(3).data())[0] ^= 1;
  {
    const auto writer = writing.begin_write();
    CHECK(writer->remove(std::vector<std::string>{key_of(7)}) == 1);
    writer->commit(1, kNoProgress);
  }
  const auto second = index.snapshot();
  CHECK(second->manifest().generation == 2);
  REQUIRE(second->view().segments.front().segment == first->view().segments.front().segment);
  Index fresh(directory, options);
  CHECK_THROWS_AS(static_cast<void>(fresh.snapshot()), CorruptIndex);
  CHECK_THROWS_AS(index.check({}), CorruptIndex);
}

TEST_CASE("values of a file that a later generation adds are compared too") {
  const auto directory = std::make_shared<MemoryDirectory>();
  Index writing(directory, small_options());
  IndexOptions options = small_options();
  options.verify_values = true;
  Index index(directory, options);
  CHECK(index.snapshot()->num_documents() == 0);
  Batch batch;
  batch.add("sa", 1, 4);
  const auto written = commit(writing, batch);
  const_cast<std::uint16_t*>(written->view().segments.front().segment->originals(0).data())[0] ^= 1;
  CHECK_THROWS_AS(static_cast<void>(index.snapshot()), CorruptIndex);
}

TEST_CASE("a check can be stopped before every file that it reads") {
  const auto directory = std::make_shared<MemoryDirectory>();
  Index index(directory, small_options());
  for (std::uint64_t i = 0; i < 40; ++i) {  // a codebook and several segments
    Batch batch;
    batch.add(key_of(i), i, 4);
    commit(index, batch);
  }
  const auto snapshot = index.snapshot();
  const std::uint64_t num_files = snapshot->codebooks().size() + snapshot->view().segments.size();
  REQUIRE(snapshot->codebooks().size() == 1);
  std::uint64_t num_reports = 0;
  index.check([&](double fraction) {
    CHECK(fraction >= 0);
    CHECK(fraction <= 1);
    ++num_reports;
  });
  CHECK(num_reports >= num_files);
  for (std::uint64_t last = 1; last <= num_reports; ++last) {
    std::uint64_t count = 0;
    CHECK_THROWS_AS(index.check([&](double) {
      if (++count == last) {
        throw Interrupted("stopped");
      }
    }),
                    Interrupted);
    CHECK(count == last);
  }
}

TEST_CASE("recovering the previous generation is explicit") {
  const auto directory = std::make_shared<MemoryDirectory>();
  Batch a;
  a.add("sa", 1, 2);
  Batch b;
  b.add("sb", 1, 2);
  {
    Index index(directory, small_options());
    commit(index, a);
    commit(index, b);
  }
  directory->remove(manifest_path(2));
  const auto junk = directory->create(manifest_path(2));
  junk->append(std::as_bytes(std::span("junk")));
  junk->close();
  Index index(directory, small_options());
  CHECK_THROWS_AS(index.snapshot(), CorruptIndex);
  IndexOptions options = small_options();
  options.recover_previous = true;
  Index recovering(directory, options);
  CHECK(index_text(*recovering.snapshot()) == testing::document_text("sa", 1, 2));
  CHECK(recovering.snapshot() == recovering.snapshot());
}

TEST_CASE("recovering goes back as well where it is a file of the newest generation that is missing") {
  const auto directory = std::make_shared<MemoryDirectory>();
  std::string newest;
  {
    Index index(directory, small_options());
    Batch a;
    a.add("sa", 1, 2);
    commit(index, a);
    Batch b;
    b.add("sb", 1, 2);
    const auto second = commit(index, b);
    newest = file_path(format::FileKind::kSegment, second->manifest().segments.back().file.uuid);
  }
  directory->remove(newest);
  IndexOptions options = small_options();
  CHECK_THROWS_AS(static_cast<void>(Index(directory, options).snapshot()), CorruptIndex);
  options.recover_previous = true;
  Index recovered(directory, options);
  CHECK(recovered.snapshot()->manifest().generation == 1);
  CHECK(index_text(*recovered.snapshot()) == document_text("sa", 1, 2));
  CHECK_THROWS_AS(static_cast<void>(recovered.begin_write()), CorruptIndex);  // what is damaged is not built upon
}

TEST_CASE("readers go on in children that are forked while another thread commits") {
  const std::vector<std::shared_ptr<io::Directory>> directories = {
      std::make_shared<MemoryDirectory>(),
      io::open_posix_directory((std::filesystem::temp_directory_path() / random_uuid().to_hex()).string())};
  IndexOptions options = small_options();
  options.lock_timeout = std::chrono::seconds(10);  // a child has the lock's file open until its first step
  for (const auto& directory : directories) {
    Index index(directory, options);
    std::atomic<bool> is_done{false};
    std::thread writer([&] {
      for (std::uint64_t i = 0; !is_done; ++i) {
        Batch batch;
        batch.add(key_of(i), i, 4);
        commit(index, batch);
      }
    });
    int num_failed = 0;
    for (int i = 0; i < 50; ++i) {
      const pid_t child = ::fork();
      if (child == 0) {
        ::alarm(10);  // ends a child that waits for good
        ::_exit(index.snapshot() ? 0 : 1);
      }
      int status = 0;
      ::waitpid(child, &status, 0);
      num_failed += status == 0 ? 0 : 1;
    }
    is_done = true;
    writer.join();
    CHECK(num_failed == 0);
  }
  std::filesystem::remove_all(directories[1]->describe(""));
}

TEST_CASE("sizes fall geometrically under the merge rule, and the order of pieces stays") {
  std::mt19937_64 random(3);
  for (const std::uint64_t max_tokens : {1'000'000UL, 5'000UL}) {
    std::vector<Piece> pieces;
    std::uint64_t written = 0;
    std::uint64_t added = 0;
    for (int step = 0; step < 20'000; ++step) {
      pieces.push_back({0, false, 1, 60, true});
      added += 61;
      if (random() % 10 == 0) {
        Piece& shrunk = pieces[random() % pieces.size()];
        shrunk.num_tokens -= std::min<std::uint64_t>(shrunk.num_tokens, random() % 200);
      }
      std::vector<Piece> merged;
      std::uint64_t next = 0;
      for (const MergeGroup& group : plan_merges(pieces, max_tokens, false)) {
        REQUIRE(group.first == next);
        REQUIRE(group.last > group.first);
        next = group.last;
        Piece sum{0, false, 0, 0, false};
        for (std::uint64_t i = group.first; i < group.last; ++i) {
          sum.num_documents += pieces[i].num_documents;
          sum.num_tokens += pieces[i].num_tokens;
        }
        if (group.last - group.first > 1 || pieces[group.first].needs_writing) {
          written += sum.weight();
        }
        REQUIRE((group.last - group.first == 1 || sum.num_tokens <= max_tokens));
        merged.push_back(sum);
      }
      REQUIRE(next == pieces.size());
      pieces = merged;
      if (max_tokens == 1'000'000UL) {
        REQUIRE(pieces.size() <= 16);
      }
    }
    MESSAGE(pieces.size() << " segments, each document written "
                          << static_cast<double>(written) / static_cast<double>(added) << " times");
    CHECK(written < added * 16);
  }
}

TEST_CASE("pieces of different kinds never merge, and what a change of kind left behind does at once") {
  const Piece a{0, false, 1, 100, false};
  const Piece b{0, true, 1, 100, false};
  const Piece small{0, false, 1, 10, false};
  const std::vector<Piece> pieces = {a, small, b, b};
  CHECK(plan_merges(pieces, 1000, false) == std::vector<MergeGroup>{{0, 2}, {2, 4}});
  CHECK(plan_merges(pieces, 105, false) == std::vector<MergeGroup>{{0, 1}, {1, 2}, {2, 3}, {3, 4}});
  const std::vector<Piece> tail = {b, a, small};
  CHECK(plan_merges(tail, 1000, false) == std::vector<MergeGroup>{{0, 1}, {1, 2}, {2, 3}});
  CHECK(plan_merges(tail, 1000, true) == std::vector<MergeGroup>{{0, 1}, {1, 3}});
  CHECK(plan_merges({}, 1000, true).empty());
}

TEST_CASE("a codebook's successor needs originals of an eighth of the index") {
  const std::uint64_t trained[] = {100};
  const std::vector<Piece> pieces = {{0, false, 1, 900, false}, {0, true, 1, 10, false}};
  GrowthState state{pieces, trained, 50, false, 100};
  CHECK(decide_growth(state).kind == Growth::Kind::kEncode);
  CHECK(decide_growth(state).keep_originals);
  // Once begun, originals are kept even if the index shrinks: kinds do not alternate.
  const std::vector<Piece> shrunk = {{0, false, 1, 90, false}, {0, true, 1, 10, false}};
  CHECK(decide_growth({shrunk, trained, 5, false, 100}).keep_originals);
  CHECK_FALSE(decide_growth({std::span(shrunk).first(1), trained, 5, false, 100}).keep_originals);
  state.staged_tokens = 200;
  const Growth growth = decide_growth(state);
  CHECK(growth.kind == Growth::Kind::kTrain);
  CHECK(growth.first_reencoded == 1);
  CHECK(growth.num_tokens == 1'110);
  CHECK(growth.made_for == 2 * 1'110);  // it came bit by bit and will go on
  state.staged_tokens = 2'000;
  CHECK(decide_growth(state).made_for == 2'910);  // most of it came at once
}

}  // namespace
}  // namespace serotine::index
