#include <algorithm>
#include <set>
#include <stdexcept>
#include <utility>

#include "base/checked.h"
#include "base/error.h"
#include "index/garbage.h"
#include "index/session_state.h"
#include "index/store.h"

namespace serotine::index {
namespace {

using format::FileKind;
using format::FileRef;
using format::Manifest;

struct NamedFile {
  FileKind kind;
  FileRef file;
};

std::vector<NamedFile> files_of(const Manifest& manifest) {
  std::vector<NamedFile> files;
  for (const format::CodebookRef& codebook : manifest.codebooks) {
    files.push_back({FileKind::kCodebook, codebook.file});
  }
  for (const format::SegmentRef& segment : manifest.segments) {
    files.push_back({FileKind::kSegment, segment.file});
    if (segment.deletions) {
      files.push_back({FileKind::kDeletions, *segment.deletions});
    }
  }
  return files;
}

void require_successor(const Manifest& next, const std::optional<Manifest>& current) {
  if (current && (next.index != current->index || next.next_file < current->next_file)) {
    throw InvalidInput("commit: the manifest does not follow from generation " + std::to_string(current->generation) +
                       " of index " + current->index.to_hex());
  }
}

// The files to be published: all that `next` names and `current` does not. Each must be staged, whole and synced.
std::vector<NamedFile> files_to_publish(const Manifest& next, const std::optional<Manifest>& current,
                                        const std::map<Uuid, Staged>& staged, const io::Directory& directory) {
  std::map<Uuid, FileRef> published;
  for (const NamedFile& named : current ? files_of(*current) : std::vector<NamedFile>{}) {
    published.emplace(named.file.uuid, named.file);
  }
  std::vector<NamedFile> files;
  for (const NamedFile& named : files_of(next)) {
    const auto before = published.find(named.file.uuid);
    if (before != published.end() && before->second == named.file) {
      continue;
    }
    const auto found = staged.find(named.file.uuid);
    const bool whole = before == published.end() && found != staged.end() && found->second.kind == named.kind &&
                       found->second.status->synced && found->second.status->closed &&
                       directory.size(staging_path(named.file.uuid)) == named.file.length;
    if (!whole) {
      throw InvalidInput("commit: the manifest names " + file_path(named.kind, named.file.uuid) +
                         ", which was neither published before nor staged and finished with " +
                         std::to_string(named.file.length) + " bytes");
    }
    files.push_back(named);
  }
  return files;
}

// Whether a file goes to a folder in which the current generation has none: the folder's own name may not be on the
// disk.
bool is_folder_new(const std::vector<NamedFile>& files, const std::optional<Manifest>& current) {
  std::set<FileKind> used;
  for (const NamedFile& named : current ? files_of(*current) : std::vector<NamedFile>{}) {
    used.insert(named.kind);
  }
  return std::any_of(files.begin(), files.end(), [&](const NamedFile& named) { return !used.contains(named.kind); });
}

// Moves files to their places, and remembers which.
class Publication {
 public:
  Publication(io::Directory& directory, const std::vector<NamedFile>& files) : directory_(directory), files_(files) {}

  void sync_staging() {
    if (!files_.empty()) {
      directory_.sync_folder(kStagingFolder);
    }
  }

  void move_into_place() {
    for (const NamedFile& named : files_) {
      const std::string folder = folder_of(named.kind);
      const std::string target = file_path(named.kind, named.file.uuid);
      if (folders_.insert(folder).second) {
        directory_.make_folder(folder);
      }
      if (directory_.size(target)) {
        directory_.remove(target);  // of an attempt that failed: no manifest names it
      }
      moved_.push_back(target);  // before it is: a failure may be reported of a move that was made
      directory_.rename(staging_path(named.file.uuid), target);
    }
  }

  // `with_root`: the folders themselves may be new, and the generation that this one builds on not yet on the disk.
  void sync_places(bool with_root) {
    for (const std::string& folder : folders_) {
      directory_.sync_folder(folder);
    }
    if (with_root) {
      directory_.sync_folder("");
    }
  }

  void stage_manifest(const Manifest& next) {
    directory_.make_folder(kStagingFolder);
    manifest_ = staging_path(format::manifest_uuid(next.index, next.generation));
    if (directory_.size(manifest_)) {
      directory_.remove(manifest_);
    }
    moved_.push_back(manifest_);  // to be removed like the others
    static_cast<void>(format::write_manifest(next, directory_.create(manifest_)));
  }

  void move_manifest(std::uint64_t generation) {
    is_decided_ = true;
    directory_.rename(manifest_, manifest_path(generation));
  }

  // Whether the new manifest may be there after a failure. Its move can fail after it was made (network file systems).
  [[nodiscard]] bool may_be_visible(std::uint64_t generation) const noexcept {
    try {
      return is_decided_ && directory_.size(manifest_path(generation)).has_value();
    } catch (...) {
      return true;
    }
  }

  [[nodiscard]] const std::vector<std::string>& moved() const noexcept { return moved_; }

 private:
  io::Directory& directory_;
  const std::vector<NamedFile>& files_;
  std::set<std::string> folders_;
  std::vector<std::string> moved_;
  std::string manifest_;
  bool is_decided_ = false;
};

// An upper bound of a manifest's file.
std::uint64_t manifest_bytes(const Manifest& manifest) {
  return 1024 + 40 * manifest.codebooks.size() + 96 * manifest.segments.size() + 16 * manifest.calibration.size();
}

}  // namespace

std::uint64_t WriteSession::commit(Manifest next) {
  State& state = *state_;
  io::Directory& directory = *state.directory;
  state.require_usable();
  std::vector<NamedFile> files;
  Publication publication(directory, files);
  try {
    next.generation = state.current ? checked_add(state.current->generation, 1) : 1;
    require_successor(next, state.current);
    files = files_to_publish(next, state.current, state.staged, directory);  // each synced when it was finished
    require_space(manifest_bytes(next));
    publication.sync_staging();
    publication.move_into_place();
    publication.sync_places(!state.current_is_durable || is_folder_new(files, state.current));
    publication.stage_manifest(next);
    publication.move_manifest(next.generation);
  } catch (...) {
    state.abandon(publication.may_be_visible(next.generation), publication.moved());
  }
  try {
    directory.sync_folder("");  // the promise
  } catch (const std::exception& error) {
    *state.poisoned = true;
    throw CommitFailed(error.what(), CommitFailed::Outcome::kUnknown);
  }

  for (const NamedFile& named : files) {
    state.staged.erase(named.file.uuid);
  }
  const std::optional<Manifest> previous = std::exchange(state.current, std::move(next));
  state.current_is_durable = true;
  try {
    collect_after_commit(directory, *state.current, previous);
  } catch (const std::exception&) {  // NOLINT(bugprone-empty-catch): the change is made; the next commit collects
  }
  return state.current->generation;
}

}  // namespace serotine::index
