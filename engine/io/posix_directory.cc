#include <dirent.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <system_error>
#include <utility>

#include "base/error.h"
#include "io/directory.h"
#include "io/posix_lock.h"

namespace serotine::io {
namespace {

std::string reason(int error) { return std::generic_category().message(error); }

[[noreturn]] void fail(const std::string& action, const std::string& path, int error) {
  throw StorageError("cannot " + action + " " + path + ": " + reason(error));
}

std::optional<std::uint64_t> free_bytes_at(const std::string& path) {
  struct statvfs facts{};
  if (::statvfs(path.c_str(), &facts) != 0) {
    return std::nullopt;
  }
  return static_cast<std::uint64_t>(facts.f_bavail) * static_cast<std::uint64_t>(facts.f_frsize);
}

// Failures of calls that need space. `needed`: bytes of the call that failed, as far as known.
[[noreturn]] void fail_writing(const std::string& action, const std::string& path, int error, std::uint64_t needed) {
  if (error != ENOSPC && error != EDQUOT) {
    fail(action, path, error);
  }
  const std::uint64_t free = free_bytes_at(std::filesystem::path(path).parent_path()).value_or(0);
  throw OutOfSpace("cannot " + action + " " + path + ": " + reason(error) + ", " + std::to_string(needed) +
                       " bytes more are needed and " + std::to_string(free) + " are free. Make room and try again.",
                   needed, free);
}

// 0, or what went wrong. Not tried again, whatever it was: after a failed fsync the kernel may have dropped the pages.
int sync_descriptor(int descriptor) noexcept {
#if defined(__APPLE__)
  // fsync() there stops at the drive's cache.
  return ::fcntl(descriptor, F_FULLFSYNC) == 0 ? 0 : errno;
#else
  return ::fsync(descriptor) == 0 ? 0 : errno;
#endif
}

[[noreturn]] void fail_sync(const std::string& path, int error) {
  throw CommitFailed("cannot bring " + path + " to the disk: " + reason(error) +
                         ". What the disk holds is unknown: open the index again.",
                     CommitFailed::Outcome::kUnknown);
}

void sync_folder_at(const std::string& path) {
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0) {
    fail_sync(path, errno);
  }
  const int error = sync_descriptor(descriptor);
  ::close(descriptor);
  if (error != 0) {
    fail_sync(path, error);
  }
}

class PosixWritableFile final : public WritableFile {
 public:
  PosixWritableFile(std::string path, int descriptor) : path_(std::move(path)), descriptor_(descriptor) {}
  PosixWritableFile(const PosixWritableFile&) = delete;
  PosixWritableFile& operator=(const PosixWritableFile&) = delete;
  ~PosixWritableFile() override {
    if (descriptor_ >= 0) {
      ::close(descriptor_);
    }
  }

  void append(std::span<const std::byte> bytes) override {
    constexpr std::size_t kMostAtOnce = std::size_t{1} << 30;  // Linux writes no more than 2 GiB in a call
    while (!bytes.empty()) {
      const ssize_t written = ::write(descriptor_, bytes.data(), std::min(bytes.size(), kMostAtOnce));
      if (written < 0 && errno == EINTR) {
        continue;
      }
      if (written <= 0) {
        fail_writing("write to", path_, written < 0 ? errno : EIO, bytes.size());
      }
      bytes = bytes.subspan(static_cast<std::size_t>(written));
    }
  }

  void sync() override {
    const int error = sync_descriptor(descriptor_);
    if (error != 0) {
      fail_sync(path_, error);
    }
  }

  void close() override {
    // Closed whatever is returned, EINTR included: a second close() could hit another thread's new descriptor.
    const int descriptor = std::exchange(descriptor_, -1);
    if (descriptor >= 0 && ::close(descriptor) != 0 && errno != EINTR) {
      fail_writing("close", path_, errno, 0);
    }
  }

 private:
  std::string path_;
  int descriptor_;
};

class PosixMappedFile final : public MappedFile {
 public:
  PosixMappedFile(std::string path, void* address, std::size_t length)
      : path_(std::move(path)), address_(address), length_(length) {}
  PosixMappedFile(const PosixMappedFile&) = delete;
  PosixMappedFile& operator=(const PosixMappedFile&) = delete;
  ~PosixMappedFile() override {
    if (address_ != nullptr) {
      ::munmap(address_, length_);
    }
  }

  [[nodiscard]] std::span<const std::byte> bytes() const noexcept override {
    return {static_cast<const std::byte*>(address_), length_};
  }

  [[nodiscard]] const std::string& path() const noexcept override { return path_; }

 private:
  std::string path_;
  void* address_;  // nullptr for an empty file, which cannot be mapped
  std::size_t length_;
};

std::shared_ptr<const MappedFile> map_descriptor(const std::string& path, int descriptor) {
  struct stat facts{};
  if (::fstat(descriptor, &facts) != 0) {
    fail("look at", path, errno);
  }
  if (!S_ISREG(facts.st_mode)) {
    throw StorageError("cannot read " + path + ": it is not a file");
  }
  const auto length = static_cast<std::size_t>(facts.st_size);
  void* address = nullptr;
  if (length > 0) {
    address = ::mmap(nullptr, length, PROT_READ, MAP_SHARED, descriptor, 0);
    if (address == MAP_FAILED) {
      fail("map", path, errno);
    }
  }
  return std::make_shared<PosixMappedFile>(path, address, length);
}

// 0, or what went wrong.
int rename_noreplace(const char* from, const char* to) noexcept {
#if defined(__linux__)
  if (::renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE) == 0) {
    return 0;
  }
  if (errno != EINVAL && errno != ENOSYS) {
    return errno;
  }
#elif defined(__APPLE__)
  if (::renamex_np(from, to, RENAME_EXCL) == 0) {
    return 0;
  }
  if (errno != ENOTSUP && errno != EINVAL) {
    return errno;
  }
#endif
  // link() never replaces either. What unlink() may leave behind is a second name in tmp/, which is garbage.
  if (::link(from, to) != 0) {
    return errno;
  }
  ::unlink(from);
  return 0;
}

class PosixDirectory final : public Directory {
 public:
  // Absolute, so that a later chdir() moves nothing.
  explicit PosixDirectory(const std::string& root) : root_(std::filesystem::absolute(root).lexically_normal()) {
    while (root_.size() > 1 && root_.back() == '/') {
      root_.pop_back();
    }
  }

  [[nodiscard]] std::vector<std::string> list(const std::string& folder) const override {
    require_own_folder(folder);
    const std::string path = describe(folder);
    const std::unique_ptr<DIR, int (*)(DIR*)> opened(::opendir(path.c_str()), ::closedir);
    if (!opened) {
      if (errno == ENOENT) {
        return {};
      }
      fail("list", path, errno);
    }
    std::vector<std::string> names;
    errno = 0;
    while (const dirent* entry = ::readdir(opened.get())) {
      const std::string name = entry->d_name;
      if (name != "." && name != "..") {
        names.push_back(name);
      }
      errno = 0;
    }
    if (errno != 0) {
      fail("list", path, errno);
    }
    std::sort(names.begin(), names.end());
    return names;
  }

  [[nodiscard]] std::optional<std::uint64_t> size(const std::string& path) const override {
    const std::string full = describe(path);
    struct stat facts{};
    if (::stat(full.c_str(), &facts) != 0) {
      if (errno == ENOENT || errno == ENOTDIR) {
        return std::nullopt;
      }
      fail("look at", full, errno);
    }
    return static_cast<std::uint64_t>(facts.st_size);
  }

  [[nodiscard]] std::shared_ptr<const MappedFile> map(const std::string& path) const override {
    require_own_folder(folder_of(path));
    const std::string full = describe(path);
    // O_NONBLOCK: a pipe in the place of a file must not make the caller wait.
    const int descriptor = ::open(full.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (descriptor < 0) {
      if (errno == ENOENT || errno == ENOTDIR) {
        return nullptr;
      }
      fail("open", full, errno);
    }
    try {
      auto mapped = map_descriptor(full, descriptor);
      ::close(descriptor);
      return mapped;
    } catch (...) {
      ::close(descriptor);
      throw;
    }
  }

  [[nodiscard]] std::unique_ptr<WritableFile> create(const std::string& path) override {
    require_own_folder(folder_of(path));
    std::string full = describe(path);
    const int descriptor = ::open(full.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (descriptor < 0) {
      fail_writing("create", full, errno, 0);
    }
    return std::make_unique<PosixWritableFile>(std::move(full), descriptor);
  }

  void make_folder(const std::string& folder) override {
    make_root();
    for (std::size_t end = 0; !folder.empty() && end != std::string::npos;) {
      end = folder.find('/', end + 1);
      const std::string path = describe(folder.substr(0, end));
      if (::mkdir(path.c_str(), 0777) != 0 && errno != EEXIST) {
        fail_writing("make the folder", path, errno, 0);
      }
    }
  }

  void rename(const std::string& from, const std::string& to) override {
    require_own_folder(folder_of(from));
    require_own_folder(folder_of(to));
    const std::string target = describe(to);
    const int error = rename_noreplace(describe(from).c_str(), target.c_str());
    if (error != 0) {
      fail_writing("move " + describe(from) + " to", target, error, 0);
    }
  }

  void remove(const std::string& path) override {
    require_own_folder(folder_of(path));
    const std::string full = describe(path);
    if (::remove(full.c_str()) != 0 && errno != ENOENT) {
      fail("remove", full, errno);
    }
  }

  void sync_folder(const std::string& folder) override { sync_folder_at(describe(folder)); }

  [[nodiscard]] std::unique_ptr<Lock> lock(std::chrono::milliseconds timeout) override {
    make_root();
    return lock_posix_file(describe("LOCK"), root_, timeout);
  }

  [[nodiscard]] std::optional<std::uint64_t> free_bytes() const override {
    std::filesystem::path existing = root_;
    std::optional<std::uint64_t> free = free_bytes_at(existing);
    while (!free && existing.has_relative_path()) {  // not made yet: ask the folder that it will be made in
      existing = existing.parent_path();
      free = free_bytes_at(existing);
    }
    return free;
  }

  [[nodiscard]] std::string describe(const std::string& path) const override {
    return path.empty() ? root_ : root_ + "/" + path;
  }

 private:
  [[nodiscard]] static std::string folder_of(const std::string& path) {
    const std::size_t end = path.rfind('/');
    return end == std::string::npos ? std::string() : path.substr(0, end);
  }

  // A folder of a copied or downloaded index may be a link to anywhere, and what lies there is not ours to write or
  // remove. Links to files are followed where they are read: the caches of model hubs consist of them, and what is read
  // is checked.
  void require_own_folder(const std::string& folder) const {
    const std::string path = describe(folder);
    struct stat facts{};
    if (!folder.empty() && ::lstat(path.c_str(), &facts) == 0 && S_ISLNK(facts.st_mode)) {
      throw StorageError(path + " is a link to another folder. Folders of an index must lie in it: copy " +
                         "what it links to into its place.");
    }
  }

  // The root and its parents. Nobody else will sync the folders above it, so that is done here.
  void make_root() const {
    std::vector<std::filesystem::path> missing;
    std::filesystem::path path = root_;
    struct stat facts{};
    while (::stat(path.c_str(), &facts) != 0 && path.has_relative_path()) {
      missing.push_back(path);
      path = path.parent_path();
    }
    for (auto folder = missing.rbegin(); folder != missing.rend(); ++folder) {
      if (::mkdir(folder->c_str(), 0777) != 0 && errno != EEXIST) {
        fail_writing("make the folder", folder->string(), errno, 0);
      }
      sync_folder_at(folder->parent_path());
    }
  }

  std::string root_;
};

}  // namespace

std::shared_ptr<Directory> open_posix_directory(const std::string& root) {
  if (root.empty() || root.find('\0') != std::string::npos) {
    throw InvalidInput("the path of an index is empty or contains a zero byte");
  }
  return std::make_shared<PosixDirectory>(root);
}

}  // namespace serotine::io
