#include <unistd.h>

#include <span>
#include <utility>

#include "base/error.h"
#include "index/garbage.h"
#include "index/session_state.h"
#include "index/store.h"

namespace serotine::index {
namespace {

// A file in tmp/ that notes down what has become of it.
class StagedFile final : public io::WritableFile {
 public:
  StagedFile(std::unique_ptr<io::WritableFile> inner, std::shared_ptr<StagedStatus> status,
             std::shared_ptr<bool> poisoned, pid_t process)
      : inner_(std::move(inner)), status_(std::move(status)), poisoned_(std::move(poisoned)), process_(process) {}

  void append(std::span<const std::byte> bytes) override {
    require_process(process_);  // a forked child shares the parent's open file
    status_->synced = false;
    inner_->append(bytes);
  }
  void sync() override {
    try {
      inner_->sync();
    } catch (const CommitFailed& error) {
      *poisoned_ = *poisoned_ || error.outcome == CommitFailed::Outcome::kUnknown;
      throw;
    }
    status_->synced = true;
  }
  void close() override {
    inner_->close();
    status_->closed = true;
  }

 private:
  std::unique_ptr<io::WritableFile> inner_;
  std::shared_ptr<StagedStatus> status_;
  std::shared_ptr<bool> poisoned_;
  pid_t process_;
};

// Removing is tidying up: whatever goes wrong, the next writer does it. (...): also what the tests throw to end a
// process.
void remove_quietly(io::Directory& directory, const std::string& path) noexcept {
  try {
    directory.remove(path);
  } catch (...) {  // NOLINT(bugprone-empty-catch)
  }
}

// What a session builds on. One that starts over needs no more of a damaged index, or of one of a later version, than
// the number that its own commit must exceed.
std::optional<format::Manifest> manifest_to_follow(const io::Directory& directory, bool starts_over) {
  try {
    return load_newest_manifest(directory);
  } catch (const StorageError&) {
    if (!starts_over) {
      throw;
    }
    format::Manifest blank;
    blank.index = random_uuid();
    blank.generation = newest_generation(directory);
    return blank;
  }
}

}  // namespace

void require_process(pid_t process) {
  if (::getpid() != process) {
    throw CommitFailed("this writer belongs to process " + std::to_string(process) + ", of which this process (" +
                       std::to_string(::getpid()) + ") is a fork. Begin another one here.");
  }
}

void WriteSession::State::require_usable() const {
  require_process(process);
  if (*poisoned) {
    throw CommitFailed(directory->describe("") +
                           ": bringing a change to the disk has failed, and what the disk holds is unknown. Open the "
                           "index again to see.",
                       CommitFailed::Outcome::kUnknown);
  }
}

void WriteSession::State::drop_staged(const std::vector<std::string>& published) noexcept {
  for (const std::string& path : published) {
    remove_quietly(*directory, path);
  }
  for (const auto& [uuid, file] : staged) {
    remove_quietly(*directory, staging_path(uuid));
  }
  staged.clear();
}

void WriteSession::State::abandon(bool may_be_visible, const std::vector<std::string>& published) {
  const auto settle = [&](bool is_unknown) {
    *poisoned = *poisoned || is_unknown;
    if (!is_unknown) {
      drop_staged(published);
    }
  };
  try {
    throw;
  } catch (const CommitFailed& error) {
    const bool is_unknown = may_be_visible || error.outcome == CommitFailed::Outcome::kUnknown;
    settle(is_unknown);
    if (is_unknown) {
      throw CommitFailed(error.what(), CommitFailed::Outcome::kUnknown);
    }
    throw;
  } catch (const StorageError& error) {
    settle(may_be_visible);
    throw CommitFailed(error.what(),
                       may_be_visible ? CommitFailed::Outcome::kUnknown : CommitFailed::Outcome::kUnchanged);
  } catch (...) {
    settle(may_be_visible);
    throw;
  }
}

WriteSession::WriteSession(std::shared_ptr<io::Directory> directory, std::chrono::milliseconds lock_timeout,
                           bool starts_over)
    : state_(std::make_unique<State>()) {
  state_->process = ::getpid();
  state_->lock = directory->lock(lock_timeout);
  state_->current = manifest_to_follow(*directory, starts_over);
  try {
    collect_after_crash(*directory);
  } catch (const StorageError&) {  // NOLINT(bugprone-empty-catch): garbage does no harm
  }
  state_->directory = std::move(directory);
}

WriteSession::~WriteSession() {
  if (!*state_->poisoned && state_->process == ::getpid()) {
    state_->drop_staged({});
  }
}

const std::optional<format::Manifest>& WriteSession::current() const noexcept { return state_->current; }

std::unique_ptr<io::WritableFile> WriteSession::stage(format::FileKind kind, const Uuid& uuid) {
  state_->require_usable();
  static_cast<void>(file_path(kind, uuid));  // throws for a kind that is not published like this
  const std::string path = staging_path(uuid);
  if (state_->directory->size(path)) {
    state_->directory->remove(path);  // of an attempt that failed
  }
  state_->directory->make_folder(kStagingFolder);
  auto status = std::make_shared<StagedStatus>();
  // Noted down first: if create() fails after making the file, it is removed with the others.
  state_->staged.insert_or_assign(uuid, Staged{kind, status});
  return std::make_unique<StagedFile>(state_->directory->create(path), status, state_->poisoned, state_->process);
}

void WriteSession::require_space(std::uint64_t bytes) const {
  const std::optional<std::uint64_t> free = state_->directory->free_bytes();
  if (free && *free < bytes) {
    throw OutOfSpace(state_->directory->describe("") + ": " + std::to_string(bytes) + " bytes are needed and " +
                         std::to_string(*free) + " are free. Make room and try again.",
                     bytes, *free);
  }
}

void WriteSession::discard(const Uuid& uuid) {
  state_->require_usable();
  if (state_->staged.erase(uuid) == 1) {
    remove_quietly(*state_->directory, staging_path(uuid));
  }
}

std::shared_ptr<const io::MappedFile> WriteSession::map(format::FileKind kind, const Uuid& uuid) const {
  const bool is_staged = state_->staged.contains(uuid);
  return state_->directory->map(is_staged ? staging_path(uuid) : file_path(kind, uuid));
}

}  // namespace serotine::index
