#include <set>
#include <utility>

#include "index/index.h"
#include "index/store.h"

namespace serotine::index {
namespace {

// Compares the checksums of what `previous` does not have open: what is shared with it was looked at before.
void verify_new(const OpenFiles& files, const OpenFiles* previous) {
  std::set<const void*> known;
  if (previous != nullptr) {
    for (const auto& codebook : previous->codebooks) {
      known.insert(codebook.get());
    }
    for (const search::SegmentView& view : previous->view.segments) {
      known.insert(view.segment.get());
    }
  }
  for (const auto& codebook : files.codebooks) {
    if (!known.contains(codebook.get())) {
      codebook->verify_all();
    }
  }
  for (const search::SegmentView& view : files.view.segments) {
    if (!known.contains(view.segment.get())) {
      view.segment->verify_all();
    }
  }
}

}  // namespace

std::shared_ptr<const Snapshot> Snapshot::open(const io::Directory& directory, format::Manifest manifest,
                                               const Snapshot* previous, bool verify_values) {
  const auto map = [&](format::FileKind kind, const Uuid& uuid) {
    std::shared_ptr<const io::MappedFile> file = directory.map(file_path(kind, uuid));
    if (!file) {
      throw CorruptIndex(directory.describe(file_path(kind, uuid)), "a file that the manifest names", "none");
    }
    return file;
  };
  auto snapshot = std::make_shared<Snapshot>();
  snapshot->manifest_bytes_ = directory.size(manifest_path(manifest.generation)).value_or(0);
  snapshot->files_ = open_files(manifest, map, previous == nullptr ? nullptr : &previous->files_,
                                previous == nullptr ? nullptr : &previous->manifest_);
  snapshot->manifest_ = std::move(manifest);
  if (verify_values) {
    verify_new(snapshot->files_, previous == nullptr ? nullptr : &previous->files_);
  }
  return snapshot;
}

std::uint64_t Snapshot::num_documents() const noexcept {
  std::uint64_t total = 0;
  for (const format::SegmentRef& segment : manifest_.segments) {
    total += segment.num_documents - segment.num_deleted;
  }
  return total;
}

std::uint64_t Snapshot::num_tokens() const noexcept {
  std::uint64_t total = 0;
  for (const format::SegmentRef& segment : manifest_.segments) {
    total += segment.num_tokens - segment.deleted_tokens;
  }
  return total;
}

std::uint64_t Snapshot::num_bytes() const noexcept {
  std::uint64_t total = manifest_bytes_;
  for (const format::CodebookRef& codebook : manifest_.codebooks) {
    total += codebook.file.length;
  }
  for (const format::SegmentRef& segment : manifest_.segments) {
    total += segment.file.length + (segment.deletions ? segment.deletions->length : 0);
  }
  return total;
}

std::optional<search::Hit> Snapshot::find(std::string_view key) const noexcept { return find_document(view(), key); }

}  // namespace serotine::index
