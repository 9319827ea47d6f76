// A commit that returned survives everything; one that did not is all or nothing; a failure is an error that leaves the
// index as it was. Over a toy index whose segments hold a line of text.
#include <doctest/doctest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <thread>

#include "base/error.h"
#include "fault_harness.h"
#include "format/limits.h"
#include "index/store.h"
#include "io/fault_directory.h"
#include "io/memory_directory.h"

namespace serotine::index {
namespace {

using format::FileKind;
using format::FileRef;
using format::Manifest;
using testing::DirectoryPtr;
using testing::Report;
using namespace std::chrono_literals;

constexpr std::uint32_t kText = 1;  // the toy's one section
constexpr Uuid kIndex{{1, 2, 3, 4}};

std::span<const std::byte> bytes_of(std::string_view text) { return std::as_bytes(std::span(text)); }

Manifest start_from(const WriteSession& session) {
  if (session.current()) {
    return *session.current();
  }
  Manifest manifest;
  manifest.index = kIndex;
  manifest.settings.dim = 16;
  return manifest;
}

FileRef stage(WriteSession& session, Manifest& manifest, FileKind kind, std::string_view text) {
  const Uuid uuid = derived_uuid(manifest.index, manifest.next_file++);
  format::FileWriter writer(session.stage(kind, uuid), kind, manifest.index, uuid);
  writer.add_section(kText, bytes_of(text));
  return writer.finish();
}

void add_segment(WriteSession& session, Manifest& manifest, std::string_view text) {
  format::SegmentRef segment;
  segment.file = stage(session, manifest, FileKind::kSegment, text);
  segment.num_documents = 3;
  segment.num_tokens = text.size();
  manifest.segments.push_back(segment);
}

void delete_from(WriteSession& session, Manifest& manifest, std::size_t segment, std::string_view text) {
  manifest.segments[segment].deletions = stage(session, manifest, FileKind::kDeletions, text);
  manifest.segments[segment].num_deleted += 1;
}

std::uint64_t commit_segment(const DirectoryPtr& directory, std::string_view text) {
  WriteSession session(directory, 1000ms);
  Manifest next = start_from(session);
  add_segment(session, next, text);
  return session.commit(next);
}

std::string text_of(const DirectoryPtr& directory, FileKind kind, const FileRef& file) {
  const auto mapped = directory->map(file_path(kind, file.uuid));
  if (!mapped) {
    throw CorruptIndex(directory->describe(file_path(kind, file.uuid)), "a file", "none");
  }
  const format::FileReader reader(mapped, kind, &kIndex, &file);
  reader.verify_all();
  const std::span<const std::byte> text = reader.section(kText);
  return {reinterpret_cast<const char*>(text.data()), text.size()};
}

std::string read(const DirectoryPtr& directory) {
  const std::optional<Manifest> manifest = load_newest_manifest(*directory);
  if (!manifest) {
    return "nothing";
  }
  std::string found = std::to_string(manifest->generation) + ":";
  for (const format::CodebookRef& codebook : manifest->codebooks) {
    found.append(" codebook ").append(text_of(directory, FileKind::kCodebook, codebook.file));
  }
  for (const format::SegmentRef& segment : manifest->segments) {
    found.append(" ").append(text_of(directory, FileKind::kSegment, segment.file));
    if (segment.deletions) {
      found.append(" without ").append(text_of(directory, FileKind::kDeletions, *segment.deletions));
    }
  }
  return found.append(" seed ").append(std::to_string(manifest->settings.seed));
}

// Adds, deletes, merges, discards and commits settings alone; some commits share a session, others have their own.
void run(const DirectoryPtr& directory, const std::function<void()>& acknowledge) {
  const auto commit = [&](WriteSession& session, const Manifest& next) {
    session.commit(next);
    acknowledge();
  };
  commit_segment(directory, "first");
  acknowledge();
  {
    WriteSession session(directory, 1000ms);
    Manifest next = start_from(session);
    add_segment(session, next, std::string(300, 'x'));
    next.codebooks.push_back({stage(session, next, FileKind::kCodebook, "cells"), 7});
    next.segments.back().codebook = 0;
    commit(session, next);
    next = *session.current();
    delete_from(session, next, 0, "one");
    commit(session, next);
    next = *session.current();
    delete_from(session, next, 0, "one and two");
    const FileRef unused = stage(session, next, FileKind::kSegment, "never mentioned");
    session.discard(unused.uuid);
    commit(session, next);
    next = *session.current();
    next.settings.seed = 43;
    commit(session, next);
  }
  WriteSession session(directory, 1000ms);
  Manifest next = start_from(session);
  next.segments.clear();
  next.codebooks.clear();
  add_segment(session, next, "merged");
  commit(session, next);
  next = *session.current();
  add_segment(session, next, "last");
  commit(session, next);
}

const testing::Script kScript{run, read, [](const DirectoryPtr& directory) { commit_segment(directory, "more"); }};

std::string random_folder() {
  return (std::filesystem::temp_directory_path() / ("serotine-test-" + random_uuid().to_hex())).string();
}

struct TemporaryFolder {
  std::string path = random_folder();
  ~TemporaryFolder() { std::filesystem::remove_all(path); }
};

std::size_t num_files(const io::Directory& directory) {
  return directory.list("segments").size() + directory.list("deletes").size() + directory.list("codebooks").size();
}

TEST_CASE("a writer that is killed at any operation leaves the last commit or the one under way") {
  const Report report = testing::kill_everywhere(kScript);
  MESSAGE(report.num_operations << " operations, " << report.num_trials << " trials");
  CHECK(report.num_trials > 100);
  CHECK_MESSAGE(report.failures.empty(), report.first());
}

TEST_CASE("an error at any operation is reported and leaves the index as it was") {
  using Kind = io::Fault::Kind;
  for (const Kind kind : {Kind::kInputOutput, Kind::kInputOutputAfter, Kind::kNoSpace, Kind::kShortWrite}) {
    for (const bool persistent : {false, true}) {
      CAPTURE(static_cast<int>(kind));
      CAPTURE(persistent);
      const Report report = testing::fail_everywhere(kScript, kind, persistent);
      CHECK(report.num_trials > 100);
      CHECK_MESSAGE(report.failures.empty(), report.first());
    }
  }
}

TEST_CASE("power that is lost after any operation leaves the last commit or the one under way") {
  const Report report = testing::lose_power_everywhere(kScript);
  MESSAGE(report.num_operations << " operations, " << report.num_trials << " states after losing power");
  CHECK(report.num_trials > 1000);
  CHECK_MESSAGE(report.failures.empty(), report.first());
}

TEST_CASE("the test of power loss notices every kind of sync that is left out") {
  for (const io::SkippedSyncs skipped : {io::SkippedSyncs{true, false, false}, io::SkippedSyncs{false, true, false},
                                         io::SkippedSyncs{false, false, true}}) {
    const Report report = testing::lose_power_everywhere(kScript, {.skipped = skipped, .max_exhaustive = 64});
    CHECK_FALSE(report.failures.empty());
  }
}

TEST_CASE("a posix folder and memory hold the same after the same commits, and keep no more than two generations") {
  const TemporaryFolder folder;
  const DirectoryPtr posix = io::open_posix_directory(folder.path);
  const DirectoryPtr memory = std::make_shared<io::MemoryDirectory>();
  run(posix, [] {});
  run(memory, [] {});
  CHECK(read(posix) == "7: merged last seed 43");
  CHECK(read(posix) == read(memory));
  for (const DirectoryPtr& directory : {posix, memory}) {
    CHECK(directory->list("tmp").empty());
    CHECK(num_files(*directory) == 2);  // of generations 6 and 7
    const std::vector<std::string> root = directory->list("");
    CHECK(std::count_if(root.begin(), root.end(), [](const auto& name) { return name.starts_with("manifest-"); }) == 2);
  }
}

TEST_CASE("a sync that fails poisons the session, and is never tried again") {
  const auto memory = std::make_shared<io::MemoryDirectory>();
  commit_segment(memory, "first");
  const auto counter = std::make_shared<io::FaultDirectory>(memory);
  commit_segment(counter, "second");
  std::uint64_t num_syncs = 0;
  const std::vector<std::string> log = counter->log();
  for (std::size_t i = 0; i < log.size(); ++i) {
    if (!log[i].starts_with("sync")) {
      continue;
    }
    ++num_syncs;
    CAPTURE(log[i]);
    const auto fresh = std::make_shared<io::MemoryDirectory>();
    commit_segment(fresh, "first");
    const auto disturbed = std::make_shared<io::FaultDirectory>(fresh, io::Fault{i + 1, io::Fault::Kind::kInputOutput});
    WriteSession session(disturbed, 1000ms);
    Manifest next = start_from(session);
    bool failed = false;
    try {
      add_segment(session, next, "second");
      session.commit(next);
    } catch (const CommitFailed& error) {
      failed = error.outcome == CommitFailed::Outcome::kUnknown;
    }
    CHECK(failed);
    const std::uint64_t before = disturbed->num_operations();
    CHECK_THROWS_AS(session.commit(next), CommitFailed);
    CHECK_THROWS_AS(static_cast<void>(session.stage(FileKind::kSegment, random_uuid())), CommitFailed);
    CHECK(disturbed->num_operations() == before);
  }
  CHECK(num_syncs >= 5);
}

TEST_CASE("after an error that left the index unchanged the same session commits") {
  const auto memory = std::make_shared<io::MemoryDirectory>();
  commit_segment(memory, "first");
  const auto counter = std::make_shared<io::FaultDirectory>(memory);
  commit_segment(counter, "second");
  const std::vector<std::string> log = counter->log();
  std::uint64_t num_trials = 0;
  for (std::size_t i = 0; i < log.size(); ++i) {
    const auto fresh = std::make_shared<io::MemoryDirectory>();
    commit_segment(fresh, "first");
    const auto disturbed = std::make_shared<io::FaultDirectory>(fresh, io::Fault{i + 1, io::Fault::Kind::kNoSpace});
    std::optional<WriteSession> session;
    try {
      session.emplace(disturbed, 1000ms);
      Manifest next = start_from(*session);
      add_segment(*session, next, "second");
      session->commit(next);
    } catch (const CommitFailed& error) {
      if (error.outcome == CommitFailed::Outcome::kUnknown || !session) {
        continue;
      }
      CAPTURE(log[i]);
      CHECK(read(fresh) == "1: first seed 42");
      Manifest next = start_from(*session);
      add_segment(*session, next, "again");
      CHECK(session->commit(next) == 2);
      CHECK(read(fresh) == "2: first again seed 42");
      ++num_trials;
    } catch (const StorageError&) {
    }
  }
  CHECK(num_trials > 5);
}

// Says that a few bytes are free.
class FullDirectory final : public io::Directory {
 public:
  explicit FullDirectory(DirectoryPtr inner) : inner_(std::move(inner)) {}
  std::vector<std::string> list(const std::string& folder) const override { return inner_->list(folder); }
  std::optional<std::uint64_t> size(const std::string& path) const override { return inner_->size(path); }
  std::shared_ptr<const io::MappedFile> map(const std::string& path) const override { return inner_->map(path); }
  std::unique_ptr<io::WritableFile> create(const std::string& path) override { return inner_->create(path); }
  void make_folder(const std::string& folder) override { inner_->make_folder(folder); }
  void rename(const std::string& from, const std::string& to) override { inner_->rename(from, to); }
  void remove(const std::string& path) override { inner_->remove(path); }
  void sync_folder(const std::string& folder) override { inner_->sync_folder(folder); }
  std::unique_ptr<io::Lock> lock(std::chrono::milliseconds timeout) override { return inner_->lock(timeout); }
  std::optional<std::uint64_t> free_bytes() const override { return 100; }
  std::string describe(const std::string& path) const override { return inner_->describe(path); }

 private:
  DirectoryPtr inner_;
};

TEST_CASE("a disk without room is seen before anything is moved, and harms nothing") {
  const DirectoryPtr memory = std::make_shared<io::MemoryDirectory>();
  commit_segment(memory, "first");
  try {
    commit_segment(std::make_shared<FullDirectory>(memory), "second");
    FAIL("committed on a full disk");
  } catch (const OutOfSpace& error) {
    CHECK(error.free == 100);
    CHECK(error.needed > 100);
    CHECK(error.outcome == CommitFailed::Outcome::kUnchanged);
  }
  CHECK(read(memory) == "1: first seed 42");
  CHECK(num_files(*memory) == 1);
  CHECK(commit_segment(memory, "second") == 2);
}

TEST_CASE("a manifest that names what was not staged, not finished, or of another index is refused") {
  const DirectoryPtr memory = std::make_shared<io::MemoryDirectory>();
  commit_segment(memory, "first");
  WriteSession session(memory, 1000ms);
  const auto refuse = [&](const auto& spoil) {
    Manifest next = start_from(session);
    add_segment(session, next, "second");
    spoil(next);
    CHECK_THROWS_AS(session.commit(next), InvalidInput);
    CHECK(memory->list("tmp").empty());
  };
  refuse([](Manifest& next) { next.segments.back().file.uuid = random_uuid(); });
  refuse([](Manifest& next) { next.segments.back().file.length += 64; });
  refuse([](Manifest& next) { next.segments.front().file.crc ^= 1; });
  refuse([](Manifest& next) { next.index = random_uuid(); });
  refuse([](Manifest& next) { next.next_file = 1; });
  refuse([](Manifest& next) { next.settings.nbits = 3; });
  std::unique_ptr<io::WritableFile> open;
  refuse([&](Manifest& next) {
    const Uuid uuid = derived_uuid(next.index, next.next_file++);
    open = session.stage(FileKind::kSegment, uuid);
    open->append(std::vector<std::byte>(128));
    next.segments.push_back({.file = {uuid, 128, 0}, .deletions = {}});
  });
  CHECK(read(memory) == "1: first seed 42");
}

TEST_CASE("missing, foreign and damaged files are found, junk is left alone") {
  const TemporaryFolder folder;
  const DirectoryPtr directory = io::open_posix_directory(folder.path);
  commit_segment(directory, "first");
  commit_segment(directory, "second");
  const Manifest manifest = *load_newest_manifest(*directory);
  const std::string first = folder.path + "/" + file_path(FileKind::kSegment, manifest.segments[0].file.uuid);
  const std::string second = folder.path + "/" + file_path(FileKind::kSegment, manifest.segments[1].file.uuid);
  const std::string aside = folder.path + "/segments/aside";
  std::filesystem::rename(first, aside);
  CHECK_THROWS_AS(read(directory), CorruptIndex);  // missing
  std::filesystem::copy_file(second, first);
  CHECK_THROWS_AS(read(directory), CorruptIndex);  // the other segment in its place
  std::filesystem::remove(first);
  std::filesystem::rename(aside, first);
  CHECK(read(directory) == "2: first second seed 42");

  const std::vector<std::string> junk = {"/segments/notes.txt", "/tmp/notes.txt", "/manifest-12", "/manifest-0000x"};
  for (const std::string& name : junk) {
    std::filesystem::copy_file(first, folder.path + name);
  }
  CHECK(commit_segment(directory, "third") == 3);
  for (const std::string& name : junk) {
    CHECK(std::filesystem::exists(folder.path + name));
  }
}

TEST_CASE("a corrupt newest manifest is an error") {
  const TemporaryFolder folder;
  const DirectoryPtr directory = io::open_posix_directory(folder.path);
  commit_segment(directory, "first");
  commit_segment(directory, "second");
  std::filesystem::resize_file(folder.path + "/" + manifest_path(2), 100);
  CHECK_THROWS_AS(static_cast<void>(load_newest_manifest(*directory)), CorruptIndex);
  CHECK_THROWS_AS(WriteSession(directory, 1000ms), CorruptIndex);
  CHECK(load_manifest(*directory, 1)->generation == 1);
  std::filesystem::remove(folder.path + "/" + manifest_path(2));
  std::filesystem::rename(folder.path + "/" + manifest_path(1), folder.path + "/" + manifest_path(9));
  CHECK_THROWS_AS(static_cast<void>(load_newest_manifest(*directory)), CorruptIndex);
}

TEST_CASE("names beyond the last generation are junk, so that there is always a next one") {
  const TemporaryFolder folder;
  const DirectoryPtr directory = io::open_posix_directory(folder.path);
  commit_segment(directory, "first");
  for (const std::uint64_t generation : {format::kMaxGeneration, ~std::uint64_t{0}}) {
    std::filesystem::copy_file(folder.path + "/" + manifest_path(1), folder.path + "/" + manifest_path(generation));
  }
  CHECK(newest_generation(*directory) == 1);
  CHECK(commit_segment(directory, "second") == 2);
}

TEST_CASE("a manifest beyond its bound is refused without being read") {
  const TemporaryFolder folder;
  const DirectoryPtr directory = io::open_posix_directory(folder.path);
  commit_segment(directory, "first");
  std::filesystem::copy_file(folder.path + "/" + manifest_path(1), folder.path + "/" + manifest_path(2));
  std::filesystem::resize_file(folder.path + "/" + manifest_path(2), std::uint64_t{1} << 42);  // sparse
  CHECK(look_at_newest(*directory) == Newest{2, 0});
  CHECK_THROWS_AS(static_cast<void>(load_newest_manifest(*directory)), CorruptIndex);
}

TEST_CASE("folders that are links are refused, and what they link to stays as it is") {
  const TemporaryFolder mine;
  const TemporaryFolder other;
  const DirectoryPtr directory = io::open_posix_directory(mine.path);
  const DirectoryPtr victim = io::open_posix_directory(other.path);
  commit_segment(directory, "mine");
  commit_segment(victim, "other");
  for (const std::string name : {"segments", "tmp"}) {
    std::filesystem::remove_all(mine.path + "/" + name);
    std::filesystem::create_directory_symlink(other.path + "/" + name, mine.path + "/" + name);
    CHECK_THROWS_WITH_AS(commit_segment(directory, "second"), doctest::Contains("is a link"), StorageError);
    CHECK(read(victim) == "1: other seed 42");
    std::filesystem::remove(mine.path + "/" + name);
    std::filesystem::create_directory(mine.path + "/" + name);
  }
  CHECK(commit_segment(directory, "second") == 2);
}

TEST_CASE("a session that starts over needs nothing of a damaged index but its number") {
  const TemporaryFolder folder;
  const DirectoryPtr directory = io::open_posix_directory(folder.path);
  commit_segment(directory, "first");
  commit_segment(directory, "second");
  std::filesystem::resize_file(folder.path + "/" + manifest_path(2), 100);
  {
    WriteSession session(directory, 1000ms, true);
    REQUIRE(session.current());
    CHECK(session.current()->segments.empty());
    format::Manifest next;
    next.index = session.current()->index;
    CHECK(session.commit(next) == 3);
  }
  CHECK(load_newest_manifest(*directory)->generation == 3);
  CHECK(directory->list("segments").empty());
}

TEST_CASE("opening for reading makes nothing, locks nothing and needs no permission to write") {
  const TemporaryFolder folder;
  CHECK(read(io::open_posix_directory(folder.path)) == "nothing");
  CHECK_FALSE(std::filesystem::exists(folder.path));
  const DirectoryPtr directory = io::open_posix_directory(folder.path);
  commit_segment(directory, "first");
  const WriteSession writer(directory, 1000ms);
  std::filesystem::permissions(folder.path, std::filesystem::perms{0555});
  CHECK(read(io::open_posix_directory(folder.path)) == "1: first seed 42");
  std::filesystem::permissions(folder.path, std::filesystem::perms{0755});
}

TEST_CASE("writers of two objects take turns and see each other's commits") {
  const TemporaryFolder folder;
  const auto write = [&](const std::string& text) {
    const DirectoryPtr directory = io::open_posix_directory(folder.path);
    for (int i = 0; i < 10; ++i) {
      WriteSession session(directory, 60'000ms);
      Manifest next = start_from(session);
      add_segment(session, next, text);
      session.commit(next);
    }
  };
  std::thread other(write, "a");
  write("b");
  other.join();
  const Manifest manifest = *load_newest_manifest(*io::open_posix_directory(folder.path));
  CHECK(manifest.generation == 20);
  CHECK(manifest.segments.size() == 20);
}

TEST_CASE("a forked child neither commits nor removes what its parent has staged") {
  const TemporaryFolder folder;
  const DirectoryPtr directory = io::open_posix_directory(folder.path);
  commit_segment(directory, "first");
  const Uuid unfinished_uuid = random_uuid();
  std::optional<WriteSession> session(std::in_place, directory, 1000ms);
  Manifest next = start_from(*session);
  add_segment(*session, next, "second");
  const std::unique_ptr<io::WritableFile> unfinished = session->stage(FileKind::kSegment, unfinished_uuid);
  unfinished->append(bytes_of("parent"));
  const std::vector<std::string> staged = directory->list("tmp");
  const auto is_refused = [](const auto& call) {
    try {
      call();
    } catch (const CommitFailed& error) {
      return error.outcome == CommitFailed::Outcome::kUnchanged;
    }
    return false;
  };
  const pid_t child = ::fork();
  if (child == 0) {
    int status = 1;
    try {
      const bool is_harmless = is_refused([&] { session->commit(next); }) &&
                               is_refused([&] { unfinished->append(bytes_of("child")); }) &&
                               is_refused([&] { session->discard(next.segments.back().file.uuid); });
      session.reset();
      status = is_harmless ? 0 : 2;
    } catch (...) {  // NOLINT(bugprone-empty-catch): the status says so
    }
    ::_exit(status);
  }
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  CHECK(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 0);
  CHECK(staged.size() == 2);
  CHECK(directory->list("tmp") == staged);
  CHECK(directory->size("tmp/" + unfinished_uuid.to_hex()) == 6);
  CHECK(session->commit(next) == 2);
  session.reset();
  CHECK(read(directory).starts_with("2: first second"));
  CHECK(directory->list("tmp").empty());
}

TEST_CASE("a second writer is told who holds the lock, and gets it when the holder is killed") {
  const TemporaryFolder folder;
  const DirectoryPtr directory = io::open_posix_directory(folder.path);
  commit_segment(directory, "first");
  int ready[2];
  REQUIRE(::pipe(ready) == 0);
  const pid_t child = ::fork();
  if (child == 0) {
    const WriteSession session(directory, 1000ms);
    [[maybe_unused]] const ssize_t told = ::write(ready[1], "x", 1);
    ::pause();
    ::_exit(0);
  }
  char byte = 0;
  REQUIRE(::read(ready[0], &byte, 1) == 1);
  try {
    const WriteSession session(directory, 30ms);
    FAIL("two writers");
  } catch (const IndexLocked& error) {
    CHECK(std::string(error.what()).find("process " + std::to_string(child)) != std::string::npos);
  }
  ::kill(child, SIGKILL);
  REQUIRE(::waitpid(child, nullptr, 0) == child);
  ::close(ready[0]);
  ::close(ready[1]);
  CHECK(commit_segment(directory, "second") == 2);
}

}  // namespace
}  // namespace serotine::index
