// Whatever ends a writer at whatever moment, an index is found as it was before a commit or after it; and files that
// were changed, swapped or lost are noticed.
#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "fault_harness.h"
#include "index/index.h"
#include "index/store.h"
#include "index_fixture.h"
#include "io/memory_directory.h"

namespace serotine::index {
namespace {

using io::MemoryDirectory;
using testing::Batch;
using testing::DirectoryPtr;
using testing::index_text;
using testing::key_of;
using testing::Report;
using testing::small_options;

const codec::Progress kNoProgress;

IndexOptions options_of_scripts() {
  IndexOptions options = small_options();
  options.limits.first_codebook_tokens = 40;
  options.limits.max_segment_tokens = 300;
  return options;
}

// One commit after the other, of 12-token documents.
class Session {
 public:
  Session(DirectoryPtr directory, std::function<void()> acknowledge, IndexOptions options)
      : index_(std::move(directory), std::move(options)), acknowledge_(std::move(acknowledge)) {}

  void add(std::uint64_t first, std::uint64_t last, std::uint64_t version = 0) { change(first, last, version, 0, 0); }
  void remove(std::uint64_t first, std::uint64_t last) { change(0, 0, 0, first, last); }
  void change(std::uint64_t first, std::uint64_t last, std::uint64_t version, std::uint64_t first_removed,
              std::uint64_t last_removed) {
    const auto writer = index_.begin_write();
    std::vector<std::string> removed;
    for (std::uint64_t i = first_removed; i < last_removed; ++i) {
      removed.push_back(key_of(i));
    }
    writer->remove(removed);
    Batch batch;
    for (std::uint64_t i = first; i < last; ++i) {
      batch.add(key_of(i), i + version, 12);
    }
    batch.stage(*writer, true);
    writer->commit(1, kNoProgress);
    acknowledge_();
  }
  void optimize() {
    index_.begin_write()->optimize(false, 1, kNoProgress);
    acknowledge_();
  }

 private:
  Index index_;
  std::function<void()> acknowledge_;
};

// Exact documents, a first codebook, updates, deletions, originals beside codes, a second codebook, merges, rewriting.
void live(const DirectoryPtr& directory, const std::function<void()>& acknowledge) {
  Session session(directory, acknowledge, options_of_scripts());
  session.add(0, 3);
  session.add(3, 5);  // 60 tokens: the first codebook
  session.change(4, 8, 3, 0, 1);
  session.add(8, 23);  // 264 tokens: with originals
  session.remove(1, 3);
  session.optimize();
  session.add(30, 52);  // 504: the second codebook
  session.change(60, 61, 0, 3, 7);
  session.remove(8, 40);
}

std::string read_whole(const DirectoryPtr& directory) {
  Index index(directory, options_of_scripts());
  index.check({});
  return index_text(*index.snapshot());
}

void go_on(const DirectoryPtr& directory) {
  Index index(directory, options_of_scripts());
  const auto writer = index.begin_write();
  Batch batch;
  batch.add(key_of(1'000 + index.snapshot()->num_documents()), 3, 5);
  batch.stage(*writer);
  writer->commit(1, kNoProgress);
}

testing::Script life_script() { return {live, read_whole, go_on}; }

// Replaces an index by another one.
testing::Script override_script() {
  const auto run = [](const DirectoryPtr& directory, const std::function<void()>& acknowledge) {
    Session(directory, acknowledge, options_of_scripts()).add(0, 8);
    IndexOptions options = options_of_scripts();
    options.override_existing = true;
    Session session(directory, acknowledge, options);
    session.add(2, 9, 5);
    session.add(20, 21);
  };
  return {run, read_whole, go_on};
}

void check_report(const Report& report) {
  MESSAGE(report.num_operations << " operations, " << report.num_trials << " trials");
  CHECK(report.num_trials > 0);
  CHECK_MESSAGE(report.failures.empty(), report.first());
}

TEST_CASE("the script lives through every kind of segment") {
  const auto directory = std::make_shared<MemoryDirectory>();
  bool has_exact = false;
  bool has_codes = false;
  bool has_both = false;
  bool has_deletions = false;
  std::uint64_t most_codebooks = 0;
  Uuid last_codebook;
  std::uint64_t num_codebooks = 0;
  live(directory, [&] {
    Index index(directory, options_of_scripts());
    const auto snapshot = index.snapshot();
    for (const search::SegmentView& view : snapshot->view().segments) {
      const bool coded = view.segment->codebook() != nullptr;
      has_exact = has_exact || !coded;
      has_codes = has_codes || (coded && !view.segment->has_originals());
      has_both = has_both || (coded && view.segment->has_originals());
      has_deletions = has_deletions || !view.deletions->empty();
    }
    most_codebooks = std::max<std::uint64_t>(most_codebooks, snapshot->codebooks().size());
    if (!snapshot->codebooks().empty() && snapshot->codebooks().back()->uuid() != last_codebook) {
      last_codebook = snapshot->codebooks().back()->uuid();
      ++num_codebooks;
    }
  });
  CHECK(has_exact);
  CHECK(has_codes);
  CHECK(has_both);
  CHECK(has_deletions);
  CHECK(num_codebooks == 2);
  CHECK(most_codebooks == 2);
}

TEST_CASE("a writer killed at any operation leaves the state before its commit or after it") {
  check_report(testing::kill_everywhere(life_script()));
  check_report(testing::kill_everywhere(override_script()));
}

TEST_CASE("an error at any operation, once or for good, leaves the state before the commit unless it says otherwise") {
  using enum io::Fault::Kind;
  for (const auto kind : {kInputOutput, kInputOutputAfter, kNoSpace, kShortWrite}) {
    check_report(testing::fail_everywhere(life_script(), kind, false));
  }
  for (const auto kind : {kInputOutput, kNoSpace}) {
    check_report(testing::fail_everywhere(life_script(), kind, true));
  }
  check_report(testing::fail_everywhere(override_script(), io::Fault::Kind::kInputOutput, false));
}

TEST_CASE("power lost at any moment leaves every acknowledged commit, and no half of another") {
  testing::PowerLoss how;
  how.max_exhaustive = 64;
  how.num_random = 12;
  check_report(testing::lose_power_everywhere(life_script(), how));
  check_report(testing::lose_power_everywhere(override_script(), how));
}

TEST_CASE("a loss of power is noticed where syncs are left out") {
  testing::PowerLoss how;
  how.max_exhaustive = 64;
  how.num_random = 12;
  how.stride = 7;
  how.skipped.files = true;
  CHECK_FALSE(testing::lose_power_everywhere(life_script(), how).failures.empty());
  how.skipped = {};
  how.skipped.root = true;
  CHECK_FALSE(testing::lose_power_everywhere(life_script(), how).failures.empty());
}

// An index of every kind of file, and what its directory holds.
struct Sample {
  std::shared_ptr<MemoryDirectory> directory = std::make_shared<MemoryDirectory>();
  std::vector<std::string> paths;  // of the newest generation

  explicit Sample(std::uint64_t first = 0) {
    Session session(directory, [] {}, options_of_scripts());
    session.add(first, first + 5);
    session.add(first + 5, first + 25);
    session.remove(first + 1, first + 2);
    Index index(directory, options_of_scripts());
    const format::Manifest& manifest = index.snapshot()->manifest();
    paths.push_back(manifest_path(manifest.generation));
    for (const format::CodebookRef& codebook : manifest.codebooks) {
      paths.push_back(file_path(format::FileKind::kCodebook, codebook.file.uuid));
    }
    for (const format::SegmentRef& segment : manifest.segments) {
      paths.push_back(file_path(format::FileKind::kSegment, segment.file.uuid));
      if (segment.deletions) {
        paths.push_back(file_path(format::FileKind::kDeletions, segment.deletions->uuid));
      }
    }
  }
  [[nodiscard]] std::vector<std::byte> bytes(const std::string& path) const {
    const auto file = directory->map(path);
    return {file->bytes().begin(), file->bytes().end()};
  }
  void put(const std::string& path, std::span<const std::byte> bytes) const {
    directory->remove(path);
    const auto file = directory->create(path);
    file->append(bytes);
    file->close();
  }
  [[nodiscard]] bool opens() const {
    try {
      Index index(directory, options_of_scripts());
      static_cast<void>(index.snapshot());
      return true;
    } catch (const CorruptIndex&) {
      return false;
    } catch (const IndexTooNew&) {
      return false;
    }
  }
  [[nodiscard]] bool checks() const {
    try {
      Index(directory, options_of_scripts()).check({});
      return true;
    } catch (const CorruptIndex&) {
      return false;
    } catch (const IndexTooNew&) {
      return false;
    }
  }
};

TEST_CASE("a file that was cut off is noticed when the index is opened, whichever it is") {
  const Sample sample;
  REQUIRE(sample.paths.size() >= 4);
  for (const std::string& path : sample.paths) {
    const std::vector<std::byte> whole = sample.bytes(path);
    for (std::size_t length = 0; length < whole.size(); ++length) {
      CAPTURE(path);
      CAPTURE(length);
      sample.put(path, std::span(whole).first(length));
      REQUIRE_FALSE(sample.opens());
    }
    sample.put(path, whole);
    REQUIRE(sample.checks());
  }
}

TEST_CASE("a flipped bit anywhere is noticed by check") {
  const Sample sample;
  for (const std::string& path : sample.paths) {
    std::vector<std::byte> bytes = sample.bytes(path);
    for (std::size_t bit = 0; bit < bytes.size() * 8; bit += bytes.size() > 1'024 ? 37 : 3) {
      CAPTURE(path);
      CAPTURE(bit);
      const std::byte mask{static_cast<unsigned char>(1U << (bit % 8))};
      bytes[bit / 8] ^= mask;
      sample.put(path, bytes);
      REQUIRE_FALSE(sample.checks());
      bytes[bit / 8] ^= mask;
    }
    sample.put(path, bytes);
    REQUIRE(sample.checks());
  }
}

TEST_CASE("values that were changed are noticed at open if the reader asks for it") {
  const Sample sample;
  IndexOptions options = options_of_scripts();
  options.verify_values = true;
  for (const std::string& path : sample.paths) {
    if (!path.starts_with("segments/")) {
      continue;
    }
    std::vector<std::byte> bytes = sample.bytes(path);
    bytes[64] ^= std::byte{1};  // the first section is of values
    sample.put(path, bytes);
    CHECK(sample.opens());
    Index index(sample.directory, options);
    CHECK_THROWS_WITH_AS(index.snapshot(), doctest::Contains(path.c_str()), CorruptIndex);
    bytes[64] ^= std::byte{1};
    sample.put(path, bytes);
  }
}

TEST_CASE("a merge does not give damaged vectors or codes a new checksum") {
  for (const std::uint64_t count : {2, 6}) {  // exact, coded
    const auto directory = std::make_shared<MemoryDirectory>();
    Session(directory, [] {}, options_of_scripts()).add(0, count);
    Index index(directory, options_of_scripts());
    const std::string path =
        file_path(format::FileKind::kSegment, index.snapshot()->manifest().segments.at(0).file.uuid);
    const auto file = directory->map(path);
    std::vector<std::byte> bytes(file->bytes().begin(), file->bytes().end());
    bytes[64] ^= std::byte{1};
    directory->remove(path);
    const auto damaged = directory->create(path);
    damaged->append(bytes);
    damaged->close();
    Session session(directory, [] {}, options_of_scripts());
    CHECK_THROWS_WITH_AS(session.add(10, 10 + count), doctest::Contains(path.c_str()), CorruptIndex);
    CHECK(newest_generation(*directory) == 1);
    CHECK(directory->list("tmp").empty());
  }
}

TEST_CASE("missing, swapped and foreign files are noticed, junk is not") {
  const Sample sample;
  const Sample other(100);
  for (const std::string& path : sample.paths) {
    const std::vector<std::byte> bytes = sample.bytes(path);
    if (path != sample.paths[0]) {
      sample.directory->remove(path);
      CAPTURE(path);
      CHECK_FALSE(sample.opens());
    }
    for (const std::string& second : sample.paths) {
      sample.put(path, sample.bytes(second == path ? sample.paths[path == sample.paths[0] ? 1 : 0] : second));
      CHECK_FALSE(sample.opens());
      sample.put(path, bytes);
    }
    for (const std::string& foreign : other.paths) {
      sample.put(path, other.bytes(foreign));
      CHECK_FALSE(sample.opens());
      sample.put(path, bytes);
    }
  }
  sample.put("segments/junk", std::as_bytes(std::span("junk")));
  sample.put("junk", std::as_bytes(std::span("junk")));
  sample.put("manifest-junk", std::as_bytes(std::span("junk")));
  CHECK(sample.checks());
  CHECK(sample.opens());
}

}  // namespace
}  // namespace serotine::index
