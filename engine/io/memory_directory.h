// An index without a disk, and a disk that can lose power.
//
// Remembers for every file how many of its bytes, and for every folder which of its entries, have reached the disk.
// crash() makes the directory that a machine might find after losing power: whatever was not synced has happened, has
// not, or has in part, each independently of the others. A real file system keeps more order than this one.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "io/directory.h"

namespace serotine::io {

class MemoryDirectory final : public Directory {
 public:
  MemoryDirectory();

  [[nodiscard]] std::vector<std::string> list(const std::string& folder) const override;
  [[nodiscard]] std::optional<std::uint64_t> size(const std::string& path) const override;
  [[nodiscard]] std::shared_ptr<const MappedFile> map(const std::string& path) const override;
  [[nodiscard]] std::unique_ptr<WritableFile> create(const std::string& path) override;
  void make_folder(const std::string& folder) override;
  void rename(const std::string& from, const std::string& to) override;
  void remove(const std::string& path) override;
  void sync_folder(const std::string& folder) override;
  [[nodiscard]] std::unique_ptr<Lock> lock(std::chrono::milliseconds timeout) override;
  [[nodiscard]] std::optional<std::uint64_t> free_bytes() const override { return std::nullopt; }
  [[nodiscard]] std::string describe(const std::string& path) const override { return "memory:/" + path; }

  // For each thing that has not reached the disk, the number of ways in which it may be found after losing power.
  // Entry: every state since the last sync of its folder. Data: as synced, all, half of the rest, zeros for the rest.
  [[nodiscard]] std::vector<std::uint64_t> pending() const;
  // The state after losing power now: choices[i] < pending()[i]. All 0: nothing more than what was synced.
  [[nodiscard]] std::shared_ptr<MemoryDirectory> crash(const std::vector<std::uint64_t>& choices) const;
  // Bytes of all files that have a name.
  [[nodiscard]] std::uint64_t total_bytes() const;

  struct Tree;

 private:
  std::shared_ptr<Tree> tree_;
};

}  // namespace serotine::io
