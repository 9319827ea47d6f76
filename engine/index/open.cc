#include "index/open.h"

#include <bit>
#include <map>

namespace serotine::index {
namespace {

using format::FileKind;
using format::FileRef;
using format::Manifest;
using format::SegmentRef;

// What the previous generation has open, by uuid.
struct Shared {
  std::map<Uuid, std::size_t> codebooks;
  std::map<Uuid, std::size_t> segments;
};

Shared index_by_uuid(const Manifest* manifest) {
  Shared shared;
  if (manifest != nullptr) {
    for (std::size_t i = 0; i < manifest->codebooks.size(); ++i) {
      shared.codebooks.emplace(manifest->codebooks[i].file.uuid, i);
    }
    for (std::size_t i = 0; i < manifest->segments.size(); ++i) {
      shared.segments.emplace(manifest->segments[i].file.uuid, i);
    }
  }
  return shared;
}

// The deletions must be of as many tokens as the manifest says: it is what len and statistics are computed from.
void check_deleted_tokens(const SegmentRef& ref, const segment::Segment& segment, const segment::Deletions& deletions) {
  std::uint64_t tokens = 0;
  const auto words = deletions.words();
  for (std::uint64_t word = 0; word < words.size(); ++word) {
    for (std::uint64_t bits = words[word]; bits != 0; bits &= bits - 1) {
      tokens += segment.length(word * 64 + static_cast<std::uint64_t>(std::countr_zero(bits)));
    }
  }
  if (tokens != ref.deleted_tokens) {
    throw CorruptIndex("segment " + ref.file.uuid.to_hex(), std::to_string(ref.deleted_tokens) + " deleted tokens",
                       std::to_string(tokens));
  }
}

std::shared_ptr<const segment::Deletions> open_deletions(const SegmentRef& ref, const Manifest& manifest,
                                                         const segment::Segment& segment, const MapFile& map) {
  if (!ref.deletions) {
    return std::make_shared<const segment::Deletions>();
  }
  auto deletions =
      std::make_shared<const segment::Deletions>(map(FileKind::kDeletions, ref.deletions->uuid), manifest.index, ref);
  check_deleted_tokens(ref, segment, *deletions);
  return deletions;
}

}  // namespace

OpenFiles open_files(const Manifest& manifest, const MapFile& map, const OpenFiles* previous,
                     const Manifest* previous_manifest) {
  const Shared shared = index_by_uuid(previous == nullptr ? nullptr : previous_manifest);
  OpenFiles files;
  files.view.calibration = manifest.calibration;
  files.view.dim = manifest.settings.dim;
  for (const format::CodebookRef& ref : manifest.codebooks) {
    const auto before = shared.codebooks.find(ref.file.uuid);
    if (before != shared.codebooks.end() && previous_manifest->codebooks[before->second].file == ref.file) {
      files.codebooks.push_back(previous->codebooks[before->second]);
    } else {
      files.codebooks.push_back(std::make_shared<const codec::Codebook>(map(FileKind::kCodebook, ref.file.uuid),
                                                                        manifest.index, ref.file, manifest.settings));
    }
  }
  for (const SegmentRef& ref : manifest.segments) {
    const auto codebook = ref.codebook == format::kNoCodebook ? nullptr : files.codebooks[ref.codebook];
    const auto before = shared.segments.find(ref.file.uuid);
    const SegmentRef* old = before == shared.segments.end() ? nullptr : &previous_manifest->segments[before->second];
    search::SegmentView view;
    if (old != nullptr && old->file == ref.file &&
        previous->view.segments[before->second].segment->codebook() == codebook.get()) {
      view = previous->view.segments[before->second];
    } else {
      view.segment = std::make_shared<const segment::Segment>(map(FileKind::kSegment, ref.file.uuid), manifest.index,
                                                              ref, manifest.settings, codebook);
    }
    if (!view.deletions || old->deletions != ref.deletions) {
      view.deletions = open_deletions(ref, manifest, *view.segment, map);
    }
    files.view.segments.push_back(std::move(view));
  }
  return files;
}

std::optional<search::Hit> find_document(const search::View& view, std::string_view key) noexcept {
  for (std::size_t i = view.segments.size(); i-- > 0;) {  // recent documents are asked for most
    const search::SegmentView& part = view.segments[i];
    const std::optional<std::uint32_t> document = part.segment->find(key);
    if (document && !part.deletions->contains(*document)) {
      return search::Hit{static_cast<std::uint32_t>(i), *document, 0.0F};
    }
  }
  return std::nullopt;
}

}  // namespace serotine::index
