// Where do many bytes wait until they are needed?  In memory while they are few, then in a file that nobody else sees.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "io/directory.h"

namespace serotine::segment {

// How a spool gets its file, in a folder of temporary files.
struct SpoolFile {
  std::function<std::unique_ptr<io::WritableFile>()> create;
  std::function<std::shared_ptr<const io::MappedFile>()> map;
  std::function<void()> remove;
};

// Appended to, then read as a whole.
class Spool {
 public:
  // Beyond max_memory_bytes the bytes go to the file; without create() all of them stay in memory.
  Spool(std::uint64_t max_memory_bytes, SpoolFile file);
  ~Spool();
  Spool(const Spool&) = delete;
  Spool& operator=(const Spool&) = delete;

  void append(std::span<const std::byte> bytes);
  [[nodiscard]] std::uint64_t size() const noexcept { return size_; }
  // All bytes, in order; nothing can be appended afterwards. They live as long as the spool. The file's name is gone
  // once this returns.
  [[nodiscard]] std::span<const std::byte> finish();

 private:
  void flush();

  std::uint64_t max_memory_bytes_;
  SpoolFile file_;
  std::uint64_t size_ = 0;
  std::vector<std::byte> memory_;
  std::unique_ptr<io::WritableFile> writing_;
  std::shared_ptr<const io::MappedFile> mapped_;
};

}  // namespace serotine::segment
