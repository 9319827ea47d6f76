// What does a session remember?  Private to store, session and commit.
#pragma once

#include <sys/types.h>

#include <map>
#include <memory>
#include <optional>
#include <string>

#include "index/store.h"

namespace serotine::index {

inline constexpr const char* kStagingFolder = "tmp";

[[nodiscard]] std::string staging_path(const Uuid& uuid);
// The folder of a kind of published file, and how its name ends. Manifests have neither.
[[nodiscard]] std::string folder_of(format::FileKind kind);
[[nodiscard]] std::string extension_of(format::FileKind kind);

// How far a staged file is; shared with whoever writes it.
struct StagedStatus {
  bool synced = false;  // everything that was appended
  bool closed = false;
};

struct Staged {
  format::FileKind kind;
  std::shared_ptr<StagedStatus> status;
};

// Throws CommitFailed in any other process than `process`: a forked child has copies of its parent's objects.
void require_process(pid_t process);

struct WriteSession::State {
  pid_t process = 0;  // whose session it is; a copy in a forked child may touch no file
  std::shared_ptr<io::Directory> directory;
  std::unique_ptr<io::Lock> lock;
  std::optional<format::Manifest> current;
  bool current_is_durable = false;  // committed by this session, so that all it consists of is on the disk
  std::map<Uuid, Staged> staged;
  std::shared_ptr<bool> poisoned = std::make_shared<bool>(false);

  // Throws CommitFailed in a forked child, and if a sync has failed: the disk may hold what was committed, or not.
  void require_usable() const;
  // Removes what was staged, and `published` files. Whatever cannot be removed is left to the next writer.
  void drop_staged(const std::vector<std::string>& published) noexcept;
  // Called while an exception is handled: undoes an attempt at a commit and throws what the caller is to see. With
  // `may_be_visible`, readers may have seen the new manifest already: then nothing is undone.
  [[noreturn]] void abandon(bool may_be_visible, const std::vector<std::string>& published);
};

}  // namespace serotine::index
