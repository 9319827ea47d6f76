// All directories keep the same contract; one can lose power, one can fail, and a lock has one holder.
#include <doctest/doctest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <thread>

#include "base/error.h"
#include "base/uuid.h"
#include "io/directory.h"
#include "io/fault_directory.h"
#include "io/memory_directory.h"

namespace serotine::io {
namespace {

using namespace std::chrono_literals;
using Names = std::vector<std::string>;

struct TemporaryFolder {
  std::string path = (std::filesystem::temp_directory_path() / ("serotine-test-" + random_uuid().to_hex())).string();
  ~TemporaryFolder() { std::filesystem::remove_all(path); }
};

std::span<const std::byte> bytes_of(std::string_view text) { return std::as_bytes(std::span(text)); }

void write(Directory& directory, const std::string& path, std::string_view text, bool synced = true) {
  const auto file = directory.create(path);
  file->append(bytes_of(text));
  if (synced) {
    file->sync();
  }
  file->close();
}

std::string read(const Directory& directory, const std::string& path) {
  const auto file = directory.map(path);
  return file ? std::string(reinterpret_cast<const char*>(file->bytes().data()), file->bytes().size()) : "nothing";
}

void check_contract(Directory& directory) {
  CHECK(directory.list("").empty());
  CHECK(directory.list("no/such").empty());
  CHECK_FALSE(directory.size("a").has_value());
  CHECK(directory.map("a") == nullptr);
  CHECK(directory.map("no/such") == nullptr);
  CHECK_THROWS_AS(static_cast<void>(directory.create("folder/a")), StorageError);

  directory.make_folder("folder/inner");
  directory.make_folder("folder/inner");
  write(directory, "folder/b", "two");
  write(directory, "folder/a", "one");
  write(directory, "folder/empty", "");
  CHECK(directory.list("folder") == Names{"a", "b", "empty", "inner"});
  CHECK(directory.size("folder/b") == 3);
  CHECK(read(directory, "folder/b") == "two");
  CHECK(read(directory, "folder/empty").empty());
  CHECK_THROWS_AS(static_cast<void>(directory.create("folder/a")), StorageError);
  CHECK_THROWS_AS(static_cast<void>(directory.map("folder")), StorageError);
  CHECK_THROWS_AS(directory.sync_folder("no/such"), CommitFailed);

  CHECK_THROWS_AS(directory.rename("folder/a", "folder/b"), StorageError);
  CHECK_THROWS_AS(directory.rename("folder/none", "folder/c"), StorageError);
  CHECK(read(directory, "folder/a") == "one");
  const auto kept = directory.map("folder/a");
  directory.rename("folder/a", "c");
  CHECK(read(directory, "c") == "one");
  CHECK_FALSE(directory.size("folder/a").has_value());
  directory.remove("c");
  directory.remove("c");
  CHECK(read(directory, "c") == "nothing");
  CHECK(kept->bytes().size() == 3);  // readable after it was removed
  CHECK(kept->bytes()[0] == std::byte{'o'});
  CHECK_THROWS_AS(directory.remove("folder"), StorageError);
  directory.remove("folder/inner");
  directory.sync_folder("folder");
  directory.sync_folder("");
  CHECK(directory.list("folder") == Names{"b", "empty"});
}

TEST_CASE("a folder, memory, and a directory without faults keep the contract") {
  const TemporaryFolder folder;
  check_contract(*open_posix_directory(folder.path + "/made/on/demand/"));
  MemoryDirectory memory;
  check_contract(memory);
  FaultDirectory faultless(std::make_shared<MemoryDirectory>());
  check_contract(faultless);
  CHECK(faultless.num_operations() == faultless.log().size());
  CHECK_THROWS_AS(static_cast<void>(open_posix_directory("")), InvalidInput);
}

TEST_CASE("a posix directory stays where it was when the process changes its folder, and knows its free space") {
  const TemporaryFolder folder;
  std::filesystem::create_directories(folder.path);
  const std::filesystem::path before = std::filesystem::current_path();
  std::filesystem::current_path(folder.path);
  const auto directory = open_posix_directory("relative");
  std::filesystem::current_path(before);
  CHECK(directory->free_bytes().value() > 0);  // of the folder that it will be made in
  directory->make_folder("");
  CHECK(std::filesystem::exists(folder.path + "/relative"));
}

TEST_CASE("losing power keeps what was synced, and any part of what was not") {
  MemoryDirectory memory;
  memory.make_folder("f");
  write(memory, "f/synced", "1234");
  memory.sync_folder("f");
  memory.sync_folder("");
  CHECK(memory.pending().empty());
  write(memory, "f/new", "abcd", false);
  memory.rename("f/synced", "moved");
  // Root: moved. Folder: new, synced. Data: new. In the order of the tree.
  const std::vector<std::uint64_t> ways = memory.pending();
  CHECK(ways.size() == 4);
  std::vector<std::string> found;
  std::vector<std::uint64_t> choices(ways.size(), 0);
  for (bool more = true; more;) {
    const auto after = memory.crash(choices);
    found.push_back(read(*after, "moved") + "," + read(*after, "f/synced") + "," + read(*after, "f/new"));
    more = false;
    for (std::size_t i = 0; i < ways.size() && !more; ++i) {
      more = ++choices[i] < ways[i];
      choices[i] = more ? choices[i] : 0;
    }
  }
  const auto has = [&](const std::string& state) {
    return std::find(found.begin(), found.end(), state) != found.end();
  };
  CHECK(has("nothing,1234,nothing"));
  CHECK(has("1234,1234,abcd"));
  CHECK(has("nothing,nothing,ab"));
  CHECK(has("1234,nothing,"));
  CHECK(has("1234,nothing," + std::string(4, '\0')));
  CHECK(found.size() == 32);
}

TEST_CASE("a fault happens at the operation that was asked for, once or for good, and the dead stay dead") {
  const auto memory = std::make_shared<MemoryDirectory>();
  FaultDirectory once(memory, {.at = 2, .kind = Fault::Kind::kNoSpace});
  once.make_folder("f");
  CHECK_THROWS_AS(static_cast<void>(once.create("f/a")), OutOfSpace);
  CHECK(once.fired());
  write(once, "f/a", "text");
  CHECK(once.log() == Names{"make_folder f", "create f/a", "create f/a", "append f/a 4", "sync f/a", "close f/a"});

  FaultDirectory shortened(memory, {.at = 2, .kind = Fault::Kind::kShortWrite});
  CHECK_THROWS_AS(write(shortened, "f/b", "text"), OutOfSpace);
  CHECK(read(*memory, "f/b") == "te");

  FaultDirectory after(memory, {.at = 1, .kind = Fault::Kind::kInputOutputAfter});
  CHECK_THROWS_AS(after.rename("f/b", "f/c"), StorageError);
  CHECK(read(*memory, "f/c") == "te");

  FaultDirectory lasting(memory, {.at = 1, .kind = Fault::Kind::kInputOutput, .persistent = true});
  CHECK_THROWS_AS(lasting.sync_folder("f"), CommitFailed);
  CHECK_THROWS_AS(lasting.remove("f/c"), StorageError);
  lasting.heal();
  lasting.remove("f/c");

  FaultDirectory killed(memory, {.at = 1, .kind = Fault::Kind::kKill});
  CHECK_THROWS_AS(killed.remove("f/a"), Killed);
  killed.heal();
  CHECK_THROWS_AS(killed.remove("f/a"), Killed);
  CHECK(read(*memory, "f/a") == "text");
}

void check_lock(Directory& one, Directory& other) {
  auto held = one.lock(0ms);
  CHECK_THROWS_AS(static_cast<void>(one.lock(0ms)), IndexLocked);
  const auto start = std::chrono::steady_clock::now();
  CHECK_THROWS_AS(static_cast<void>(other.lock(50ms)), IndexLocked);
  CHECK(std::chrono::steady_clock::now() - start >= 50ms);
  bool got = false;
  std::thread waiting([&] {
    const auto lock = other.lock(60'000ms);
    got = true;
  });
  std::this_thread::sleep_for(20ms);
  held.reset();
  waiting.join();
  CHECK(got);
  CHECK_NOTHROW(static_cast<void>(one.lock(0ms)));
}

TEST_CASE("a lock has one holder among objects and threads, and goes to who waits") {
  const TemporaryFolder folder;
  check_lock(*open_posix_directory(folder.path),
             *open_posix_directory(folder.path + "/../" + std::filesystem::path(folder.path).filename().string()));
  MemoryDirectory memory;
  check_lock(memory, memory);
}

// Runs `work` in a forked child; returns its exit status, 99 for an exception.
int in_child(const std::function<int()>& work) {
  const pid_t child = ::fork();
  if (child == 0) {
    int status = 99;
    try {
      status = work();
    } catch (...) {
    }
    ::_exit(status);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 98;
}

TEST_CASE("a forked child neither holds nor ends its parent's lock") {
  const TemporaryFolder folder;
  const auto directory = open_posix_directory(folder.path);
  auto held = directory->lock(0ms);
  const auto try_in_child = [&](bool drop_first) {
    return in_child([&] {
      if (drop_first) {
        held.reset();
      }
      try {
        static_cast<void>(directory->lock(0ms));
      } catch (const IndexLocked&) {
        return 7;
      }
      return 0;
    });
  };
  CHECK(try_in_child(false) == 7);
  CHECK(try_in_child(true) == 7);
  CHECK_THROWS_AS(static_cast<void>(directory->lock(0ms)), IndexLocked);
  held.reset();
  CHECK(try_in_child(false) == 0);
}

TEST_CASE("a killed holder's lock is free, even while a child that it forked lives") {
  const TemporaryFolder folder;
  const auto directory = open_posix_directory(folder.path);
  int ready[2];
  REQUIRE(::pipe(ready) == 0);
  const pid_t holder = ::fork();
  if (holder == 0) {
    const auto lock = directory->lock(0ms);
    const pid_t grandchild = ::fork();
    if (grandchild != 0) {
      [[maybe_unused]] const ssize_t told = ::write(ready[1], &grandchild, sizeof(grandchild));
    }
    ::pause();
    ::_exit(0);
  }
  pid_t grandchild = 0;
  REQUIRE(::read(ready[0], &grandchild, sizeof(grandchild)) == sizeof(grandchild));
  CHECK_THROWS_AS(static_cast<void>(directory->lock(0ms)), IndexLocked);
  ::kill(holder, SIGKILL);
  ::waitpid(holder, nullptr, 0);
  CHECK_NOTHROW(static_cast<void>(directory->lock(1000ms)));
  ::kill(grandchild, SIGKILL);
  ::close(ready[0]);
  ::close(ready[1]);
}

TEST_CASE("a lock file that was replaced is locked anew") {
  const TemporaryFolder folder;
  const auto directory = open_posix_directory(folder.path);
  const auto old = directory->lock(0ms);
  std::filesystem::remove(folder.path + "/LOCK");
  const auto renewed = directory->lock(0ms);
  CHECK_THROWS_AS(static_cast<void>(directory->lock(0ms)), IndexLocked);
}

}  // namespace
}  // namespace serotine::io
