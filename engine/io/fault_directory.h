// What if any one operation fails, or is the last that happens?  For tests.
//
// Wraps another directory, counts every operation that goes through it, its locks and its files, and lets a chosen one
// fail or end the process as far as the wrapped directory can tell.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "io/directory.h"

namespace serotine::io {

// Thrown by the operation at which the process was killed, and by every one after it. Not a std::exception: nothing
// that handles errors may handle this.
struct Killed {};

struct Fault {
  enum class Kind {
    kInputOutput,       // EIO, nothing done
    kInputOutputAfter,  // EIO reported of an operation that was done
    kNoSpace,           // ENOSPC, nothing done
    kShortWrite,        // half of an append, then ENOSPC; nothing done by other operations
    kKill,              // the process ends before the operation
  };
  std::uint64_t at = 0;  // number of the operation, the first is 1; 0: none
  Kind kind = Kind::kInputOutput;
  bool persistent = false;  // all from then on, not that one alone
};

// Syncs that are skipped and reported as done: what the tests of durability must notice.
struct SkippedSyncs {
  bool files = false;
  bool root = false;
  bool folders = false;  // other than the root
};

class FaultDirectory final : public Directory {
 public:
  explicit FaultDirectory(std::shared_ptr<Directory> inner, Fault fault = {}, SkippedSyncs skipped = {});

  [[nodiscard]] std::vector<std::string> list(const std::string& folder) const override;
  [[nodiscard]] std::optional<std::uint64_t> size(const std::string& path) const override;
  [[nodiscard]] std::shared_ptr<const MappedFile> map(const std::string& path) const override;
  [[nodiscard]] std::unique_ptr<WritableFile> create(const std::string& path) override;
  void make_folder(const std::string& folder) override;
  void rename(const std::string& from, const std::string& to) override;
  void remove(const std::string& path) override;
  void sync_folder(const std::string& folder) override;
  [[nodiscard]] std::unique_ptr<Lock> lock(std::chrono::milliseconds timeout) override;
  [[nodiscard]] std::optional<std::uint64_t> free_bytes() const override;
  [[nodiscard]] std::string describe(const std::string& path) const override { return inner_->describe(path); }

  [[nodiscard]] std::uint64_t num_operations() const;
  [[nodiscard]] bool fired() const;                    // the fault has happened
  [[nodiscard]] std::vector<std::string> log() const;  // one line per operation: "rename tmp/a segments/a"
  void heal();                                         // no more faults, but a killed process stays dead

  struct Script;

 private:
  std::shared_ptr<Directory> inner_;
  std::shared_ptr<Script> script_;
};

}  // namespace serotine::io
