// How does a change become durable?  The one commit sequence, the one lock, and what may be deleted when.
//
//   LOCK                                  held by the writer
//   manifest-<20 digits>                  the highest number is the index
//   segments/<uuid>.seg, codebooks/<uuid>.cbk, deletes/<uuid>.del        immutable
//   tmp/<uuid>                            garbage unless its writer lives
//
// Knows files, not what is in them.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "format/file.h"
#include "format/manifest.h"
#include "io/directory.h"

namespace serotine::index {

// Folder and name of a published file, from nothing but its kind and uuid.
[[nodiscard]] std::string file_path(format::FileKind kind, const Uuid& uuid);
[[nodiscard]] std::string manifest_path(std::uint64_t generation);

// Number of the newest manifest, 0 if there is none. One listing of the root.
[[nodiscard]] std::uint64_t newest_generation(const io::Directory& directory);

// The newest manifest's number and a checksum of its bytes: equal for equal states of a directory, and different if an
// index was deleted and built anew, or restored, up to the same number. {0, 0} if there is none. Reads about a
// kilobyte.
struct Newest {
  std::uint64_t generation = 0;
  std::uint32_t checksum = 0;

  bool operator==(const Newest&) const = default;
};
[[nodiscard]] Newest look_at_newest(const io::Directory& directory);

// A manifest, checked; nothing if it is gone: a writer has removed it because there are newer ones.
[[nodiscard]] std::optional<format::Manifest> load_manifest(const io::Directory& directory, std::uint64_t generation);

// The newest manifest, checked; nothing if the directory holds no index. A corrupt newest manifest is an error, never
// a reason to take an older one.
[[nodiscard]] std::optional<format::Manifest> load_newest_manifest(const io::Directory& directory);

// The one writer of a directory, from taking the lock to letting it go.
class WriteSession {
 public:
  // Takes the lock (IndexLocked after the timeout), reads the newest manifest, removes garbage of crashed writers: all
  // that is in tmp/, and published files that no manifest mentions. One thread at a time may use a session.
  // starts_over: what is there will be replaced as a whole, so it need not be readable: then only its number counts.
  WriteSession(std::shared_ptr<io::Directory> directory, std::chrono::milliseconds lock_timeout,
               bool starts_over = false);
  ~WriteSession();  // removes what was staged and not committed; nothing in a forked child

  // What was there when the session began or was committed last; nothing for a new index.
  [[nodiscard]] const std::optional<format::Manifest>& current() const noexcept;

  // A new file in tmp/. Its uuid must come from derived_uuid(index uuid, next_file++) of the manifest to be committed.
  // Staging a uuid again starts its file over: what a caller does after an attempt that failed.
  [[nodiscard]] std::unique_ptr<io::WritableFile> stage(format::FileKind kind, const Uuid& uuid);
  // Throws OutOfSpace if fewer bytes than this are known to be free: to be asked before a large change is begun.
  void require_space(std::uint64_t bytes) const;
  // Drops a staged file (a segment that was merged away before its commit).
  void discard(const Uuid& uuid);
  // A staged file (finished, not yet published) or a published one, mapped; nullptr if neither is there.
  [[nodiscard]] std::shared_ptr<const io::MappedFile> map(format::FileKind kind, const Uuid& uuid) const;

  // Publishes every staged file that `next` refers to, then `next` itself as generation current + 1 (set here), then
  // collects garbage. Returns the generation: from then on the change survives anything.
  // Throws CommitFailed (kUnchanged: the index is as before, the session usable; kUnknown: this session is poisoned
  // and every later call throws) or OutOfSpace; InvalidInput if `next` does not follow from current(). After any of
  // them nothing is staged any more. Files that `next` does not refer to stay staged if the commit succeeds.
  std::uint64_t commit(format::Manifest next);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace serotine::index
