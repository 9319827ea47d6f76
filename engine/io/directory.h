// Where do bytes live?  The one seam between the index and a file system.
//
// Everything that the index does to a disk goes through a Directory, so that the tests can fail, cut off or forget any
// single operation. Paths are relative to the directory, parts joined by '/': the root is "". Names are made by the
// index from numbers and uuids; no path read from a file is ever used.
//
// Errors: StorageError naming the full path and the system's reason; OutOfSpace for ENOSPC and EDQUOT; CommitFailed
// with outcome kUnknown from sync() and sync_folder(), which are never retried.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace serotine::io {

// A new file being written. Destroying it closes it; what was not synced may be lost.
class WritableFile {
 public:
  virtual ~WritableFile() = default;
  virtual void append(std::span<const std::byte> bytes) = 0;
  virtual void sync() = 0;   // fsync: the bytes are on the disk when it returns
  virtual void close() = 0;  // reports what close() reports
};

// A file's bytes, mapped or held. They stay valid and unchanged as long as this lives, even if the file is removed.
class MappedFile {
 public:
  virtual ~MappedFile() = default;
  [[nodiscard]] virtual std::span<const std::byte> bytes() const noexcept = 0;
  [[nodiscard]] virtual const std::string& path() const noexcept = 0;  // for messages
};

// Held by the one writer; destroying it lets go.
class Lock {
 public:
  virtual ~Lock() = default;
};

class Directory {
 public:
  virtual ~Directory() = default;

  // Names of the files and folders in a folder, sorted; empty if the folder does not exist.
  [[nodiscard]] virtual std::vector<std::string> list(const std::string& folder) const = 0;
  // Length of a file, or nothing if there is none.
  [[nodiscard]] virtual std::optional<std::uint64_t> size(const std::string& path) const = 0;
  // nullptr if there is no such file.
  [[nodiscard]] virtual std::shared_ptr<const MappedFile> map(const std::string& path) const = 0;

  // A new file; an error if it exists.
  [[nodiscard]] virtual std::unique_ptr<WritableFile> create(const std::string& path) = 0;
  // Makes a folder and its parents; nothing if it exists.
  virtual void make_folder(const std::string& folder) = 0;
  // Moves a file. An error, and nothing moved, if the target exists.
  virtual void rename(const std::string& from, const std::string& to) = 0;
  // Removes a file or an empty folder; nothing if it does not exist.
  virtual void remove(const std::string& path) = 0;
  // fsync of a folder: its entries are on the disk when it returns.
  virtual void sync_folder(const std::string& folder) = 0;

  // Waits until no other writer (in this process or another) holds the directory. Throws IndexLocked after `timeout`.
  [[nodiscard]] virtual std::unique_ptr<Lock> lock(std::chrono::milliseconds timeout) = 0;

  // Bytes that can still be written, if known.
  [[nodiscard]] virtual std::optional<std::uint64_t> free_bytes() const = 0;
  // The full path, for messages.
  [[nodiscard]] virtual std::string describe(const std::string& path) const = 0;
};

// A folder of the file system; made by the first write if it does not exist. Opening reads and locks nothing.
[[nodiscard]] std::shared_ptr<Directory> open_posix_directory(const std::string& root);

}  // namespace serotine::io
