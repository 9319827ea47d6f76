#include <bit>
#include <utility>

#include "base/checked.h"
#include "segment/segment.h"

namespace serotine::segment {
namespace {

constexpr std::uint32_t kSegmentUuid = 1;
constexpr std::uint32_t kWords = 2;

}  // namespace

Deletions::Deletions(std::shared_ptr<const io::MappedFile> file, const Uuid& index, const format::SegmentRef& ref) {
  if (!ref.deletions) {
    return;
  }
  const format::FileReader reader(std::move(file), format::FileKind::kDeletions, &index, &*ref.deletions);
  reader.verify_all();
  const auto uuid = reader.array<std::uint8_t>(kSegmentUuid, ref.file.uuid.bytes.size());
  if (!std::equal(uuid.begin(), uuid.end(), ref.file.uuid.bytes.begin())) {
    throw CorruptIndex(reader.path(), "deletions of the segment " + ref.file.uuid.to_hex(), "those of another",
                       reader.offset(kSegmentUuid));
  }
  const auto words = reader.array<std::uint64_t>(kWords, divide_up(ref.num_documents, 64));
  std::uint64_t num_deleted = 0;
  for (const std::uint64_t word : words) {
    num_deleted += static_cast<std::uint64_t>(std::popcount(word));
  }
  const std::uint64_t last_bits = ref.num_documents % 64;
  if (last_bits != 0 && (words.back() >> last_bits) != 0) {
    throw CorruptIndex(reader.path(), "no deletions beyond document " + std::to_string(ref.num_documents), "some",
                       reader.offset(kWords));
  }
  if (num_deleted != ref.num_deleted) {
    throw CorruptIndex(reader.path(), std::to_string(ref.num_deleted) + " deleted documents",
                       std::to_string(num_deleted), reader.offset(kWords));
  }
  words_.assign(words.begin(), words.end());
}

format::FileRef write_deletions(std::span<const std::uint64_t> words, const Uuid& segment,
                                std::unique_ptr<io::WritableFile> file, const Uuid& index, const Uuid& uuid) {
  format::FileWriter writer(std::move(file), format::FileKind::kDeletions, index, uuid);
  writer.add_section(kSegmentUuid, std::as_bytes(std::span(segment.bytes)));
  writer.add_section(kWords, std::as_bytes(words));
  return writer.finish();
}

}  // namespace serotine::segment
