#include "index/garbage.h"

#include <algorithm>
#include <array>
#include <set>
#include <string>
#include <string_view>

#include "base/error.h"
#include "format/limits.h"
#include "index/session_state.h"
#include "index/store.h"

namespace serotine::index {
namespace {

constexpr std::string_view kManifestPrefix = "manifest-";
constexpr std::size_t kGenerationDigits = 20;
constexpr std::size_t kUuidDigits = 32;
constexpr std::array kPublishedKinds = {format::FileKind::kSegment, format::FileKind::kDeletions,
                                        format::FileKind::kCodebook};

bool is_uuid(std::string_view text) {
  return text.size() == kUuidDigits && text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

// The number in a manifest's name; nothing if it is no such name.
std::optional<std::uint64_t> parse_generation(std::string_view name) {
  if (!name.starts_with(kManifestPrefix) || name.size() != kManifestPrefix.size() + kGenerationDigits) {
    return std::nullopt;
  }
  std::uint64_t value = 0;
  for (const char digit : name.substr(kManifestPrefix.size())) {
    if (digit < '0' || digit > '9' || __builtin_mul_overflow(value, 10, &value) ||
        __builtin_add_overflow(value, static_cast<std::uint64_t>(digit - '0'), &value)) {
      return std::nullopt;
    }
  }
  // Beyond the last generation there is none: no commit made it, and the next could not be numbered.
  return value == 0 || value >= format::kMaxGeneration ? std::nullopt : std::optional(value);
}

void add_files(const format::Manifest& manifest, std::set<std::string>& paths) {
  for (const format::CodebookRef& codebook : manifest.codebooks) {
    paths.insert(file_path(format::FileKind::kCodebook, codebook.file.uuid));
  }
  for (const format::SegmentRef& segment : manifest.segments) {
    paths.insert(file_path(format::FileKind::kSegment, segment.file.uuid));
    if (segment.deletions) {
      paths.insert(file_path(format::FileKind::kDeletions, segment.deletions->uuid));
    }
  }
}

// Published files by their names; what else lies in the folders is not ours.
std::vector<std::string> list_published(const io::Directory& directory) {
  std::vector<std::string> paths;
  for (const format::FileKind kind : kPublishedKinds) {
    const std::string folder = folder_of(kind);
    for (const std::string& name : directory.list(folder)) {
      const std::string path = folder + "/" + name;
      if (name.size() > kUuidDigits && is_uuid(std::string_view(name).substr(0, kUuidDigits)) &&
          name.substr(kUuidDigits) == extension_of(kind)) {
        paths.push_back(path);
      }
    }
  }
  return paths;
}

void remove_unmentioned(io::Directory& directory, const std::vector<std::string>& listed,
                        const std::set<std::string>& mentioned) {
  for (const std::string& path : listed) {
    if (!mentioned.contains(path)) {
      directory.remove(path);
    }
  }
}

}  // namespace

std::vector<std::uint64_t> list_generations(const io::Directory& directory) {
  std::vector<std::uint64_t> generations;
  for (const std::string& name : directory.list("")) {
    if (const std::optional<std::uint64_t> generation = parse_generation(name)) {
      generations.push_back(*generation);
    }
  }
  std::sort(generations.begin(), generations.end());
  return generations;
}

void collect_after_crash(io::Directory& directory) {
  for (const std::string& name : directory.list(kStagingFolder)) {
    if (is_uuid(name)) {
      directory.remove(std::string(kStagingFolder) + "/" + name);
    }
  }
  const std::vector<std::string> listed = list_published(directory);
  const std::vector<std::uint64_t> generations = list_generations(directory);
  std::set<std::string> mentioned;
  for (const std::uint64_t generation : generations) {
    const auto file = directory.map(manifest_path(generation));
    if (!file) {
      return;
    }
    try {
      add_files(format::read_manifest(file), mentioned);
    } catch (const StorageError&) {
      return;
    }
  }
  if (!generations.empty()) {
    remove_unmentioned(directory, listed, mentioned);
  }
}

void collect_after_commit(io::Directory& directory, const format::Manifest& newest,
                          const std::optional<format::Manifest>& previous) {
  const std::vector<std::string> listed = list_published(directory);
  std::set<std::string> mentioned;
  add_files(newest, mentioned);
  if (previous) {
    add_files(*previous, mentioned);
  }
  // Manifests first: one that is still there must find its files.
  for (const std::uint64_t generation : list_generations(directory)) {
    if (generation + 1 < newest.generation) {
      directory.remove(manifest_path(generation));
    }
  }
  remove_unmentioned(directory, listed, mentioned);
}

}  // namespace serotine::index
