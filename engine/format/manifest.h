// What does an index consist of?  One generation: its settings and its live files, in the order of their documents.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "base/uuid.h"
#include "format/file.h"

namespace serotine::format {

// What an index was made with; never changes during its life.
struct Settings {
  std::uint32_t dim = 0;  // 0 until the first document tells it
  std::uint32_t nbits = 4;
  std::uint64_t seed = 42;
  bool keep_originals = false;  // every segment keeps the float16 vectors: the exact tier

  bool operator==(const Settings&) const = default;
};

struct CodebookRef {
  FileRef file;
  std::uint64_t trained_tokens = 0;  // tokens in the index when it was trained: when it is due for a successor

  bool operator==(const CodebookRef&) const = default;
};

inline constexpr std::uint32_t kNoCodebook = 0xFFFF'FFFF;

struct SegmentRef {
  FileRef file;
  std::uint32_t codebook = kNoCodebook;  // position in Manifest::codebooks; kNoCodebook: float16 vectors alone
  std::uint64_t num_documents = 0;       // deleted ones included
  std::uint64_t num_tokens = 0;
  std::uint64_t num_deleted = 0;
  std::uint64_t deleted_tokens = 0;
  std::optional<FileRef> deletions;  // present if num_deleted > 0

  bool operator==(const SegmentRef&) const = default;
};

// Most cells that a search probes per query token, whatever a file or a caller says.
inline constexpr std::uint32_t kMaxProbedCells = 4'096;

// One measured setting of the search: what recall of an exhaustive scan's ten best it reached on pseudo-queries.
struct CalibrationPoint {
  std::uint32_t cells = 0;       // probed per query token
  std::uint32_t candidates = 0;  // documents kept for the mid stage
  std::uint32_t rescored = 0;    // documents rescored from their codes
  float recall = 0;              // of the exhaustive scan's top 10

  bool operator==(const CalibrationPoint&) const = default;
};

struct Manifest {
  Uuid index;
  std::uint64_t generation = 0;  // of this commit; also in the file's name
  std::uint64_t next_file = 1;   // number of the next file, see derived_uuid
  Settings settings;
  std::vector<CodebookRef> codebooks;         // oldest first; those in use only
  std::vector<SegmentRef> segments;           // oldest documents first: the order of equal scores
  std::vector<CalibrationPoint> calibration;  // cheapest first; empty if never calibrated

  bool operator==(const Manifest&) const = default;
};

// The uuid of a manifest's own file. Generations count from the other end of the numbers than files do.
[[nodiscard]] Uuid manifest_uuid(const Uuid& index, std::uint64_t generation) noexcept;

// The manifest as a file of kind kManifest. read_manifest throws CorruptIndex or IndexTooNew; every count, length and
// reference in what it returns is within bounds (codebook positions exist, deleted <= documents, ...).
FileRef write_manifest(const Manifest& manifest, std::unique_ptr<io::WritableFile> file);
[[nodiscard]] Manifest read_manifest(std::shared_ptr<const io::MappedFile> file);

}  // namespace serotine::format
