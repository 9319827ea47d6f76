#include "io/posix_lock.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <map>
#include <mutex>
#include <system_error>
#include <thread>
#include <utility>

#include "base/error.h"

namespace serotine::io {
namespace {

using FileId = std::pair<dev_t, ino_t>;

// The locks of this process. flock() already tells two opened files of one process apart; the table is here for fork():
// a child shares its parent's opened files, and would keep the lock of a parent that was killed.
struct Held {
  std::mutex mutex;
  std::map<FileId, int> files;  // to the descriptor that holds the lock; -1: it was the parent's, before a fork
};

Held& held() {
  static Held* const table = [] {
    auto* made = new Held;  // never destroyed: a lock may be let go during the exit of the process
    pthread_atfork([] { held().mutex.lock(); }, [] { held().mutex.unlock(); },
                   [] {
                     for (auto& [id, descriptor] : held().files) {
                       if (descriptor >= 0) {
                         ::close(std::exchange(descriptor, -1));
                       }
                     }
                     held().mutex.unlock();
                   });
    return made;
  }();
  return *table;
}

[[noreturn]] void fail(const std::string& action, const std::string& path, int error) {
  throw StorageError("cannot " + action + " " + path + ": " + std::generic_category().message(error));
}

class PosixLock final : public Lock {
 public:
  PosixLock(FileId id, int descriptor) : id_(id), descriptor_(descriptor), process_(::getpid()) {}
  PosixLock(const PosixLock&) = delete;
  PosixLock& operator=(const PosixLock&) = delete;
  ~PosixLock() override {
    if (::getpid() != process_) {
      return;  // a copy in a forked child: its descriptor was closed at the fork
    }
    const std::scoped_lock guard(held().mutex);
    held().files.erase(id_);
    ::close(descriptor_);
  }

 private:
  FileId id_;
  int descriptor_;
  pid_t process_;
};

// Closes a descriptor unless it was handed on.
class Descriptor {
 public:
  explicit Descriptor(int value) : value_(value) {}
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() {
    if (value_ >= 0) {
      ::close(value_);
    }
  }
  [[nodiscard]] int get() const noexcept { return value_; }
  int release() noexcept { return std::exchange(value_, -1); }

 private:
  int value_;
};

// Information for the message of whoever waits; nothing depends on it, so failures are ignored.
void write_holder(int descriptor) {
  const std::string text = "process " + std::to_string(::getpid()) + "\n";
  if (::ftruncate(descriptor, 0) == 0) {
    [[maybe_unused]] const ssize_t written = ::pwrite(descriptor, text.data(), text.size(), 0);
  }
}

std::string read_holder(const std::string& path) {
  const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  std::array<char, 64> text{};
  const ssize_t length = file.get() < 0 ? -1 : ::pread(file.get(), text.data(), text.size(), 0);
  std::string holder(text.data(), length > 0 ? static_cast<std::size_t>(length) : 0);
  holder.erase(std::find_if(holder.begin(), holder.end(), [](char c) { return c < ' ' || c > '~'; }), holder.end());
  return holder.empty() ? "another writer" : holder;
}

// nullptr if someone else holds it. Under the table's mutex, so that no fork() happens between opening and noting down.
std::unique_ptr<Lock> try_lock(const std::string& path) {
  const std::scoped_lock guard(held().mutex);
  // O_NOFOLLOW: the holder is written into it, which must not reach a file elsewhere that a link names.
  Descriptor file(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666));
  if (file.get() < 0) {
    fail("open", path, errno);
  }
  struct stat opened{};
  if (::fstat(file.get(), &opened) != 0) {
    fail("look at", path, errno);
  }
  const FileId id{opened.st_dev, opened.st_ino};
  const auto known = held().files.find(id);
  if (known != held().files.end() && known->second >= 0) {
    return nullptr;
  }
  if (::flock(file.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno == EWOULDBLOCK || errno == EINTR) {
      return nullptr;
    }
    fail("lock (does this file system support locks?)", path, errno);
  }
  struct stat named{};
  if (::stat(path.c_str(), &named) != 0 || FileId{named.st_dev, named.st_ino} != id) {
    return nullptr;  // replaced since it was opened: this lock would exclude nobody
  }
  write_holder(file.get());
  const auto noted = held().files.insert_or_assign(id, file.get()).first;
  try {
    auto lock = std::make_unique<PosixLock>(id, file.get());
    file.release();
    return lock;
  } catch (...) {  // out of memory: an entry without a lock would refuse everybody for good
    held().files.erase(noted);
    throw;
  }
}

}  // namespace

std::unique_ptr<Lock> lock_posix_file(const std::string& path, const std::string& root,
                                      std::chrono::milliseconds timeout) {
  using std::chrono::milliseconds;
  const auto start = std::chrono::steady_clock::now();
  for (milliseconds pause(1);; pause = std::min(2 * pause, milliseconds(16))) {
    if (std::unique_ptr<Lock> lock = try_lock(path)) {
      return lock;
    }
    const auto waited = std::chrono::duration_cast<milliseconds>(std::chrono::steady_clock::now() - start);
    if (waited >= timeout) {
      throw IndexLocked(root + " is being written by " + read_holder(path) + " (this is process " +
                        std::to_string(::getpid()) + "); waited " + std::to_string(waited.count()) +
                        " ms. Try again later, or wait longer: lock_timeout_s.");
    }
    std::this_thread::sleep_for(std::min(pause, timeout - waited));
  }
}

}  // namespace serotine::io
