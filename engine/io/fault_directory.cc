#include "io/fault_directory.h"

#include <utility>

#include "base/error.h"

namespace serotine::io {

// What happens when. Shared with the files that were made, which may outlive the directory.
struct FaultDirectory::Script {
  enum class Operation { kRead, kWrite, kSync };

  mutable std::mutex mutex;
  Fault fault;
  SkippedSyncs skipped;
  std::uint64_t count = 0;
  bool has_fired = false;
  bool killed = false;
  std::vector<std::string> log;

  // The fault of this operation, or nothing. Throws if the process is dead.
  std::optional<Fault::Kind> next(std::string line) {
    const std::scoped_lock guard(mutex);
    if (killed) {
      throw Killed{};
    }
    ++count;
    log.push_back(std::move(line));
    if (fault.at == 0 || count < fault.at || (count > fault.at && !fault.persistent)) {
      return std::nullopt;
    }
    has_fired = true;
    if (fault.kind == Fault::Kind::kKill) {
      killed = true;
      throw Killed{};
    }
    return fault.kind;
  }

  // Runs an operation, or its fault.
  template <typename Work>
  auto run(Operation operation, const std::string& line, Work work) {
    const std::optional<Fault::Kind> kind = next(line);
    if (!kind) {
      return work();
    }
    if (*kind == Fault::Kind::kInputOutputAfter) {
      static_cast<void>(work());
    }
    raise(operation, line, *kind);
  }

  [[noreturn]] static void raise(Operation operation, const std::string& line, Fault::Kind kind) {
    const bool no_space = kind == Fault::Kind::kNoSpace || kind == Fault::Kind::kShortWrite;
    const std::string message = "injected at \"" + line + "\": " + (no_space ? "no space left" : "input/output error");
    if (operation == Operation::kSync) {
      throw CommitFailed(message, CommitFailed::Outcome::kUnknown);
    }
    if (operation == Operation::kWrite && no_space) {
      throw OutOfSpace(message, 1, 0);
    }
    throw StorageError(message);
  }
};

namespace {

using Script = FaultDirectory::Script;
using Operation = Script::Operation;

class FaultFile final : public WritableFile {
 public:
  FaultFile(std::string path, std::unique_ptr<WritableFile> inner, std::shared_ptr<Script> script)
      : path_(std::move(path)), inner_(std::move(inner)), script_(std::move(script)) {}

  void append(std::span<const std::byte> bytes) override {
    const std::string line = "append " + path_ + " " + std::to_string(bytes.size());
    const std::optional<Fault::Kind> kind = script_->next(line);
    if (kind == Fault::Kind::kShortWrite) {
      inner_->append(bytes.first(bytes.size() / 2));
    }
    if (!kind || kind == Fault::Kind::kInputOutputAfter) {
      inner_->append(bytes);
    }
    if (kind) {
      Script::raise(Operation::kWrite, line, *kind);
    }
  }
  void sync() override {
    script_->run(Operation::kSync, "sync " + path_, [&] {
      if (!script_->skipped.files) {
        inner_->sync();
      }
    });
  }
  void close() override {
    script_->run(Operation::kWrite, "close " + path_, [&] { inner_->close(); });
  }

 private:
  std::string path_;
  std::unique_ptr<WritableFile> inner_;
  std::shared_ptr<Script> script_;
};

}  // namespace

FaultDirectory::FaultDirectory(std::shared_ptr<Directory> inner, Fault fault, SkippedSyncs skipped)
    : inner_(std::move(inner)), script_(std::make_shared<Script>()) {
  script_->fault = fault;
  script_->skipped = skipped;
}

std::vector<std::string> FaultDirectory::list(const std::string& folder) const {
  return script_->run(Operation::kRead, "list " + folder, [&] { return inner_->list(folder); });
}

std::optional<std::uint64_t> FaultDirectory::size(const std::string& path) const {
  return script_->run(Operation::kRead, "size " + path, [&] { return inner_->size(path); });
}

std::shared_ptr<const MappedFile> FaultDirectory::map(const std::string& path) const {
  return script_->run(Operation::kRead, "map " + path, [&] { return inner_->map(path); });
}

std::unique_ptr<WritableFile> FaultDirectory::create(const std::string& path) {
  return script_->run(Operation::kWrite, "create " + path, [&]() -> std::unique_ptr<WritableFile> {
    return std::make_unique<FaultFile>(path, inner_->create(path), script_);
  });
}

void FaultDirectory::make_folder(const std::string& folder) {
  script_->run(Operation::kWrite, "make_folder " + folder, [&] { inner_->make_folder(folder); });
}

void FaultDirectory::rename(const std::string& from, const std::string& to) {
  script_->run(Operation::kWrite, "rename " + from + " " + to, [&] { inner_->rename(from, to); });
}

void FaultDirectory::remove(const std::string& path) {
  script_->run(Operation::kRead, "remove " + path, [&] { inner_->remove(path); });
}

void FaultDirectory::sync_folder(const std::string& folder) {
  script_->run(Operation::kSync, "sync_folder " + folder, [&] {
    if (!(folder.empty() ? script_->skipped.root : script_->skipped.folders)) {
      inner_->sync_folder(folder);
    }
  });
}

std::unique_ptr<Lock> FaultDirectory::lock(std::chrono::milliseconds timeout) {
  return script_->run(Operation::kWrite, "lock", [&] { return inner_->lock(timeout); });
}

std::optional<std::uint64_t> FaultDirectory::free_bytes() const {
  return script_->run(Operation::kRead, "free_bytes", [&] { return inner_->free_bytes(); });
}

std::uint64_t FaultDirectory::num_operations() const {
  const std::scoped_lock guard(script_->mutex);
  return script_->count;
}

bool FaultDirectory::fired() const {
  const std::scoped_lock guard(script_->mutex);
  return script_->has_fired;
}

std::vector<std::string> FaultDirectory::log() const {
  const std::scoped_lock guard(script_->mutex);
  return script_->log;
}

void FaultDirectory::heal() {
  const std::scoped_lock guard(script_->mutex);
  script_->fault.at = 0;
}

}  // namespace serotine::io
