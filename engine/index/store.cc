#include "index/store.h"

#include <stdexcept>

#include "base/crc32c.h"
#include "base/error.h"
#include "format/limits.h"
#include "index/garbage.h"
#include "index/session_state.h"

namespace serotine::index {
namespace {

constexpr int kMaxAttempts = 16;  // at reading a manifest while a writer makes newer ones

}  // namespace

std::string extension_of(format::FileKind kind) {
  switch (kind) {
    case format::FileKind::kSegment:
      return ".seg";
    case format::FileKind::kDeletions:
      return ".del";
    case format::FileKind::kCodebook:
      return ".cbk";
    case format::FileKind::kManifest:
      break;
  }
  throw std::logic_error("only segments, codebooks and deletions are published under their uuids");
}

std::string folder_of(format::FileKind kind) {
  switch (kind) {
    case format::FileKind::kSegment:
      return "segments";
    case format::FileKind::kDeletions:
      return "deletes";
    case format::FileKind::kCodebook:
      return "codebooks";
    case format::FileKind::kManifest:
      break;
  }
  throw std::logic_error("manifests lie in the root");
}

std::string file_path(format::FileKind kind, const Uuid& uuid) {
  return folder_of(kind) + "/" + uuid.to_hex() + extension_of(kind);
}

std::string staging_path(const Uuid& uuid) { return std::string(kStagingFolder) + "/" + uuid.to_hex(); }

std::string manifest_path(std::uint64_t generation) {
  std::string digits = std::to_string(generation);
  return "manifest-" + std::string(20 - digits.size(), '0') + digits;
}

std::uint64_t newest_generation(const io::Directory& directory) {
  const std::vector<std::uint64_t> generations = list_generations(directory);
  return generations.empty() ? 0 : generations.back();
}

Newest look_at_newest(const io::Directory& directory) {
  const std::uint64_t generation = newest_generation(directory);
  const auto file = generation == 0 ? nullptr : directory.map(manifest_path(generation));
  // Gone between the two: the next look finds its successor. What is too long for a manifest is refused when it is
  // opened, and not read here either.
  const bool is_read = file && file->bytes().size() <= format::kMaxManifestBytes;
  return {generation, is_read ? crc32c(file->bytes()) : 0};
}

std::optional<format::Manifest> load_manifest(const io::Directory& directory, std::uint64_t generation) {
  auto file = directory.map(manifest_path(generation));
  if (!file) {
    return std::nullopt;
  }
  format::Manifest manifest = format::read_manifest(std::move(file));
  if (manifest.generation != generation) {
    throw CorruptIndex(directory.describe(manifest_path(generation)), "generation " + std::to_string(generation),
                       "generation " + std::to_string(manifest.generation));
  }
  return manifest;
}

std::optional<format::Manifest> load_newest_manifest(const io::Directory& directory) {
  for (int attempt = 0; attempt < kMaxAttempts; ++attempt) {
    const std::uint64_t generation = newest_generation(directory);
    if (generation == 0) {
      return std::nullopt;
    }
    if (std::optional<format::Manifest> manifest = load_manifest(directory, generation)) {
      return manifest;
    }
  }
  throw StorageError(directory.describe("") + ": every manifest that was listed was gone when it was opened, " +
                     std::to_string(kMaxAttempts) + " times. Is another program changing the folder?");
}

}  // namespace serotine::index
