#include "format/manifest.h"

#include <algorithm>
#include <set>
#include <span>
#include <string>
#include <utility>

#include "base/error.h"
#include "format/bytes.h"
#include "format/limits.h"

namespace serotine::format {
namespace {

enum Section : std::uint32_t { kHead = 1, kCodebooks = 2, kSegments = 3, kCalibration = 4 };

constexpr std::uint64_t kHeadBytes = 48;
constexpr std::uint64_t kCodebookBytes = 40;
constexpr std::uint64_t kSegmentBytes = 96;
constexpr std::uint64_t kPointBytes = 16;
constexpr std::uint32_t kKeepOriginals = 1;   // bit of the head's flags
constexpr std::uint64_t kSmallestFile = 128;  // header and footer

void put(ByteWriter& out, const FileRef& ref) {
  out.put(ref.uuid);
  out.put(ref.length);
  out.put(ref.crc);
}

FileRef take_ref(ByteReader& in) {
  FileRef ref;
  ref.uuid = in.take_uuid();
  ref.length = in.take<std::uint64_t>();
  ref.crc = in.take<std::uint32_t>();
  return ref;
}

ByteWriter head_bytes(const Manifest& manifest) {
  ByteWriter out;
  out.put(manifest.generation);
  out.put(manifest.next_file);
  out.put(manifest.settings.seed);
  out.put(manifest.settings.dim);
  out.put(manifest.settings.nbits);
  out.put(manifest.settings.keep_originals ? kKeepOriginals : std::uint32_t{0});
  out.put(static_cast<std::uint32_t>(manifest.codebooks.size()));
  out.put(static_cast<std::uint32_t>(manifest.segments.size()));
  out.put(static_cast<std::uint32_t>(manifest.calibration.size()));
  return out;
}

ByteWriter codebook_bytes(const Manifest& manifest) {
  ByteWriter out;
  for (const CodebookRef& codebook : manifest.codebooks) {
    put(out, codebook.file);
    out.put_zeros(4);
    out.put(codebook.trained_tokens);
  }
  return out;
}

ByteWriter segment_bytes(const Manifest& manifest) {
  ByteWriter out;
  for (const SegmentRef& segment : manifest.segments) {
    put(out, segment.file);
    out.put(segment.codebook);
    out.put(segment.num_documents);
    out.put(segment.num_tokens);
    out.put(segment.num_deleted);
    out.put(segment.deleted_tokens);
    put(out, segment.deletions.value_or(FileRef{}));
    out.put(static_cast<std::uint32_t>(segment.deletions ? 1 : 0));
  }
  return out;
}

ByteWriter calibration_bytes(const Manifest& manifest) {
  ByteWriter out;
  for (const CalibrationPoint& point : manifest.calibration) {
    out.put(point.cells);
    out.put(point.candidates);
    out.put(point.rescored);
    out.put(point.recall);
  }
  return out;
}

// What is wrong with a manifest, as (expected, found); nothing if it is sound.
using Problem = std::optional<std::pair<std::string, std::string>>;

Problem problem(std::string expected, std::string found) { return std::pair(std::move(expected), std::move(found)); }

Problem file_problem(const FileRef& ref, std::set<Uuid>& seen) {
  if (ref.length < kSmallestFile || ref.length % kAlignment != 0 || ref.length > kMaxCount) {
    return problem("a length that a file can have", std::to_string(ref.length) + " for " + ref.uuid.to_hex());
  }
  if (!seen.insert(ref.uuid).second) {
    return problem("each file once", ref.uuid.to_hex() + " twice");
  }
  return std::nullopt;
}

Problem segment_problem(const SegmentRef& segment, std::size_t num_codebooks) {
  if (segment.codebook != kNoCodebook && segment.codebook >= num_codebooks) {
    return problem("one of " + std::to_string(num_codebooks) + " codebooks", std::to_string(segment.codebook));
  }
  if (segment.num_documents > kMaxCount || segment.num_tokens > kMaxCount) {
    return problem("counts below 2^47", "a segment of " + std::to_string(segment.num_documents) + " documents and " +
                                            std::to_string(segment.num_tokens) + " tokens");
  }
  if (segment.num_deleted > segment.num_documents || segment.deleted_tokens > segment.num_tokens) {
    return problem("no more deleted than there is", std::to_string(segment.num_deleted) + " documents and " +
                                                        std::to_string(segment.deleted_tokens) + " tokens deleted");
  }
  if (segment.deletions.has_value() != (segment.num_deleted > 0)) {
    return problem("a deletions file where documents are deleted, and only there",
                   std::to_string(segment.num_deleted) + " documents deleted");
  }
  return std::nullopt;
}

Problem settings_problem(const Settings& settings) {
  if (settings.dim > kMaxDim) {
    return problem("at most " + std::to_string(kMaxDim) + " dimensions", std::to_string(settings.dim));
  }
  if (settings.nbits != 1 && settings.nbits != 2 && settings.nbits != 4 && settings.nbits != 8) {
    return problem("1, 2, 4 or 8 bits", std::to_string(settings.nbits));
  }
  return std::nullopt;
}

Problem counts_problem(const Manifest& manifest) {
  if (manifest.generation == 0 || manifest.generation > kMaxGeneration || manifest.next_file == 0 ||
      manifest.next_file > kMaxGeneration) {
    return problem("numbers from 1 to 2^62", "generation " + std::to_string(manifest.generation) + ", next file " +
                                                 std::to_string(manifest.next_file));
  }
  if (manifest.codebooks.size() > kMaxCodebooks || manifest.segments.size() > kMaxSegments ||
      manifest.calibration.size() > kMaxCalibrationPoints) {
    return problem("numbers of files and points within their limits",
                   std::to_string(manifest.codebooks.size()) + " codebooks, " +
                       std::to_string(manifest.segments.size()) + " segments, " +
                       std::to_string(manifest.calibration.size()) + " calibration points");
  }
  return std::nullopt;
}

Problem files_problem(const Manifest& manifest) {
  std::set<Uuid> seen;
  for (const CodebookRef& codebook : manifest.codebooks) {
    if (Problem found = file_problem(codebook.file, seen)) {
      return found;
    }
  }
  for (const SegmentRef& segment : manifest.segments) {
    if (Problem found = file_problem(segment.file, seen)) {
      return found;
    }
    if (Problem found = segment.deletions ? file_problem(*segment.deletions, seen) : std::nullopt) {
      return found;
    }
    if (Problem found = segment_problem(segment, manifest.codebooks.size())) {
      return found;
    }
    if (manifest.settings.dim == 0 && segment.num_tokens > 0) {
      return problem("a dimension, as there are tokens", "0");
    }
  }
  return std::nullopt;
}

Problem find_problem(const Manifest& manifest) {
  if (Problem found = counts_problem(manifest)) {
    return found;
  }
  if (Problem found = settings_problem(manifest.settings)) {
    return found;
  }
  for (const CalibrationPoint& point : manifest.calibration) {
    if (!(point.recall >= 0 && point.recall <= 1)) {  // so that NaN is refused too
      return problem("a recall from 0 to 1", std::to_string(point.recall));
    }
    if (point.cells > kMaxProbedCells) {  // memory of a search grows with it
      return problem("at most " + std::to_string(kMaxProbedCells) + " probed cells", std::to_string(point.cells));
    }
  }
  return files_problem(manifest);
}

// Records of a section, one reader each; the section has exactly that many.
ByteReader records(const FileReader& file, std::uint32_t id, std::uint32_t count, std::uint64_t record_bytes) {
  return ByteReader(file.array<std::byte>(id, count * record_bytes));
}

// Reads the head, and how many records the other sections have.
struct Counts {
  std::uint32_t codebooks;
  std::uint32_t segments;
  std::uint32_t calibration;
};

Counts read_head(const FileReader& file, Manifest& manifest) {
  ByteReader in = records(file, kHead, 1, kHeadBytes);
  manifest.generation = in.take<std::uint64_t>();
  manifest.next_file = in.take<std::uint64_t>();
  manifest.settings.seed = in.take<std::uint64_t>();
  manifest.settings.dim = in.take<std::uint32_t>();
  manifest.settings.nbits = in.take<std::uint32_t>();
  const auto flags = in.take<std::uint32_t>();
  if ((flags & ~kKeepOriginals) != 0) {
    throw CorruptIndex(file.path(), "flags that are known", std::to_string(flags), file.offset(kHead) + 32);
  }
  manifest.settings.keep_originals = (flags & kKeepOriginals) != 0;
  Counts counts{};
  counts.codebooks = in.take<std::uint32_t>();
  counts.segments = in.take<std::uint32_t>();
  counts.calibration = in.take<std::uint32_t>();
  return counts;
}

CodebookRef take_codebook(ByteReader& in, const FileReader& file) {
  CodebookRef codebook;
  codebook.file = take_ref(in);
  if (in.take<std::uint32_t>() != 0) {
    throw CorruptIndex(file.path(), "zeros in a codebook's record", "others", file.offset(kCodebooks));
  }
  codebook.trained_tokens = in.take<std::uint64_t>();
  return codebook;
}

SegmentRef take_segment(ByteReader& in, const FileReader& file) {
  SegmentRef segment;
  segment.file = take_ref(in);
  segment.codebook = in.take<std::uint32_t>();
  segment.num_documents = in.take<std::uint64_t>();
  segment.num_tokens = in.take<std::uint64_t>();
  segment.num_deleted = in.take<std::uint64_t>();
  segment.deleted_tokens = in.take<std::uint64_t>();
  const FileRef deletions = take_ref(in);
  const auto has_deletions = in.take<std::uint32_t>();
  if (has_deletions > 1 || (has_deletions == 0 && deletions != FileRef{})) {
    throw CorruptIndex(file.path(), "a deletions file or none", "neither", file.offset(kSegments));
  }
  if (has_deletions == 1) {
    segment.deletions = deletions;
  }
  return segment;
}

}  // namespace

FileRef write_manifest(const Manifest& manifest, std::unique_ptr<io::WritableFile> file) {
  if (const Problem found = find_problem(manifest)) {
    throw InvalidInput("manifest: expected " + found->first + ", found " + found->second);
  }
  FileWriter writer(std::move(file), FileKind::kManifest, manifest.index,
                    manifest_uuid(manifest.index, manifest.generation));
  writer.add_section(kHead, head_bytes(manifest).bytes());
  writer.add_section(kCodebooks, codebook_bytes(manifest).bytes());
  writer.add_section(kSegments, segment_bytes(manifest).bytes());
  writer.add_section(kCalibration, calibration_bytes(manifest).bytes());
  return writer.finish();
}

Uuid manifest_uuid(const Uuid& index, std::uint64_t generation) noexcept { return derived_uuid(index, ~generation); }

Manifest read_manifest(std::shared_ptr<const io::MappedFile> mapped) {
  if (mapped->bytes().size() > kMaxManifestBytes) {
    throw CorruptIndex(mapped->path(), "at most " + std::to_string(kMaxManifestBytes) + " bytes",
                       std::to_string(mapped->bytes().size()));
  }
  const FileReader file(std::move(mapped), FileKind::kManifest, nullptr, nullptr);
  file.verify_all();
  Manifest manifest;
  manifest.index = file.index();
  const Counts counts = read_head(file, manifest);
  ByteReader codebooks = records(file, kCodebooks, counts.codebooks, kCodebookBytes);
  for (std::uint32_t i = 0; i < counts.codebooks; ++i) {
    manifest.codebooks.push_back(take_codebook(codebooks, file));
  }
  ByteReader segments = records(file, kSegments, counts.segments, kSegmentBytes);
  for (std::uint32_t i = 0; i < counts.segments; ++i) {
    manifest.segments.push_back(take_segment(segments, file));
  }
  ByteReader points = records(file, kCalibration, counts.calibration, kPointBytes);
  for (std::uint32_t i = 0; i < counts.calibration; ++i) {
    CalibrationPoint point;
    point.cells = points.take<std::uint32_t>();
    point.candidates = points.take<std::uint32_t>();
    point.rescored = points.take<std::uint32_t>();
    point.recall = points.take<float>();
    manifest.calibration.push_back(point);
  }
  if (const Problem found = find_problem(manifest)) {
    throw CorruptIndex(file.path(), found->first, found->second);
  }
  if (file.uuid() != manifest_uuid(manifest.index, manifest.generation)) {
    throw CorruptIndex(file.path(), "the manifest of generation " + std::to_string(manifest.generation),
                       "another's uuid, " + file.uuid().to_hex(), 40);
  }
  return manifest;
}

}  // namespace serotine::format
