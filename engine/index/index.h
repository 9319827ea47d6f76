// What is an index as a whole?  Snapshots to read, one writer to change it.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/fork_safe_mutex.h"
#include "codec/train.h"
#include "format/manifest.h"
#include "index/limits.h"
#include "index/open.h"
#include "index/store.h"
#include "io/directory.h"
#include "search/search.h"
#include "search/view.h"

namespace serotine::index {

// One generation, open. Never changes; its files stay readable as long as it lives, whatever writers do.
class Snapshot {
 public:
  // verify_values: also compare every checksum of codes and vectors, except in files that `previous` has open.
  static std::shared_ptr<const Snapshot> open(const io::Directory& directory, format::Manifest manifest,
                                              const Snapshot* previous, bool verify_values);

  [[nodiscard]] const format::Manifest& manifest() const noexcept { return manifest_; }
  [[nodiscard]] const search::View& view() const noexcept { return files_.view; }
  // As in the manifest.
  [[nodiscard]] const std::vector<std::shared_ptr<const codec::Codebook>>& codebooks() const noexcept {
    return files_.codebooks;
  }
  [[nodiscard]] const OpenFiles& files() const noexcept { return files_; }
  [[nodiscard]] std::uint64_t num_documents() const noexcept;  // deleted ones not counted
  [[nodiscard]] std::uint64_t num_tokens() const noexcept;
  [[nodiscard]] std::uint64_t num_bytes() const noexcept;  // of all live files, the manifest included
  // Where a document is: segment and number; nothing if it is unknown or deleted.
  [[nodiscard]] std::optional<search::Hit> find(std::string_view key) const noexcept;

 private:
  format::Manifest manifest_;
  OpenFiles files_;
  std::uint64_t manifest_bytes_ = 0;
};

struct IndexOptions {
  std::optional<format::Settings> settings;  // of a new index; what an existing one has is checked by the caller
  std::chrono::milliseconds lock_timeout{1000};
  bool override_existing = false;  // the first commit replaces everything
  bool verify_values = false;
  bool recover_previous = false;
  Limits limits;
};

class Index;

// A change in the making: holds the writer's lock. Documents are staged; commit() publishes all or nothing.
// Destroying it without commit leaves the index as it was. Its index must outlive it. After a commit it goes on from
// there; after an error in commit() or optimize(), or one of add() or remove() that is no InvalidInput (the
// change may be staged in part), it can only be destroyed: every call throws CommitFailed.
class Writer {
 public:
  ~Writer();

  // Stages documents: keys, tokens of each (<= segment::kMaxDocumentTokens), float16 vectors one after the other.
  // replace: a key that is in the index, or was staged before, replaces the older document; else DuplicateDocument.
  // Vectors are spooled to tmp/ beyond 64 MiB. Throws DimensionMismatch, InvalidInput, storage errors.
  void add(std::span<const std::string> keys, std::span<const std::uint32_t> lengths, const std::uint16_t* values,
           std::uint64_t dim, bool replace);
  // Stages deletions; returns how many keys were there.
  std::uint64_t remove(std::span<const std::string> keys);

  // Trains codebooks if due, encodes, merges, commits. Returns the generation (the current one if nothing changed).
  std::uint64_t commit(std::uint64_t num_threads, const codec::Progress& progress);

  // Merges all segments of each codebook into as few as the segment limit allows, drops deleted documents; with
  // originals of everything at hand, also trains one new codebook for all (retrain).
  std::uint64_t optimize(bool retrain, std::uint64_t num_threads, const codec::Progress& progress);

 private:
  friend class Index;
  struct State;
  explicit Writer(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

// Thread-safe, and readers go on in a forked child. Opening takes no lock and writes nothing.
class Index {
 public:
  Index(std::shared_ptr<io::Directory> directory, IndexOptions options);

  // The newest committed generation: one listing of the directory, and what is new is opened. Threads that come while
  // another one opens it open it too, instead of waiting.
  [[nodiscard]] std::shared_ptr<const Snapshot> snapshot();
  [[nodiscard]] std::unique_ptr<Writer> begin_write();
  // Reads everything and compares it with its checksums; throws CorruptIndex at the first difference. progress: told
  // before each file and every so many documents.
  void check(const codec::Progress& progress) const;

 private:
  friend class Writer;
  [[nodiscard]] std::shared_ptr<const Snapshot> empty_snapshot() const;
  // Null if the directory holds no index.
  [[nodiscard]] std::shared_ptr<const Snapshot> open_newest(const Snapshot* previous, bool verify_values) const;
  // The same, and where the newest generation is damaged the newest before it that is not.
  [[nodiscard]] std::shared_ptr<const Snapshot> open_recovered(const Snapshot* previous, bool verify_values) const;
  // Keeps what a thread found when it had looked at `newest` and `previous` was the newest snapshot, unless another
  // thread's is newer. Returns the newest; null if the caller must look again.
  [[nodiscard]] std::shared_ptr<const Snapshot> keep_newest(std::shared_ptr<const Snapshot> opened,
                                                            const Newest& newest, const Snapshot* previous);
  // Keeps what the writer knows to be the newest.
  std::shared_ptr<const Snapshot> keep_written(std::shared_ptr<const Snapshot> opened, const Newest& newest);
  // What a writer starts from, given what its session found.
  [[nodiscard]] std::shared_ptr<const Snapshot> base_of(const std::optional<format::Manifest>& current);
  // Takes note of a writer's commit.
  std::shared_ptr<const Snapshot> committed(const format::Manifest& manifest);

  std::shared_ptr<io::Directory> directory_;
  IndexOptions options_;
  ForkSafeMutex mutex_;  // of what follows; nothing is opened or read while it is held
  std::shared_ptr<const Snapshot> newest_;
  std::optional<Newest> seen_;  // what was newest when newest_ was opened, or could be taken for it
  bool override_pending_ = false;
};

}  // namespace serotine::index
