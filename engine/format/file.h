// What is a file of an index?  Header, sections, section table, footer: the same frame for every kind of file.
//
//   header (64 bytes) | section, padded to 64 bytes | ... | section table | footer (64 bytes)
//
// Numbers are little-endian. The header carries magic, kind, format version, endianness mark, the index's uuid and the
// file's own. A table entry is (section id, offset, length, crc32c). The footer holds the table's offset, the number
// of sections, the file's length, the crc32c of header and table, that of all sections' checksums, and the magic.
// Every byte is described in FORMAT.md. Nothing read from a file is used before it was checked against its bounds.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/uuid.h"
#include "io/directory.h"

namespace serotine::format {

enum class FileKind : std::uint32_t { kManifest = 1, kSegment = 2, kDeletions = 3, kCodebook = 4 };

inline constexpr std::uint32_t kFormatVersion = 1;
inline constexpr std::uint64_t kAlignment = 64;

// Identity of a file as the manifest knows it: enough to find it, and to see that it is the right one and whole.
struct FileRef {
  Uuid uuid;
  std::uint64_t length = 0;
  std::uint32_t crc = 0;  // the footer's checksum of the section table, and so of all content

  bool operator==(const FileRef&) const = default;
};

// Writes one file from front to back. Section ids are the caller's (see each kind); each at most once.
class FileWriter {
 public:
  FileWriter(std::unique_ptr<io::WritableFile> file, FileKind kind, const Uuid& index, const Uuid& uuid);
  ~FileWriter();

  void begin_section(std::uint32_t id);
  void append(std::span<const std::byte> bytes);  // to the section that was begun last
  void add_section(std::uint32_t id, std::span<const std::byte> bytes);

  // Writes table and footer, syncs and closes. Nothing can be appended afterwards.
  FileRef finish();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// A file whose frame has been checked: header, table, footer, length, kind, uuids and version.
// Errors: CorruptIndex with path and offset, IndexTooNew.
class FileReader {
 public:
  // `expected`: what the manifest says (nullptr for the manifest itself).
  FileReader(std::shared_ptr<const io::MappedFile> file, FileKind kind, const Uuid* index, const FileRef* expected);

  // Throws CorruptIndex if there is no such section.
  [[nodiscard]] std::span<const std::byte> section(std::uint32_t id) const;
  [[nodiscard]] bool has_section(std::uint32_t id) const noexcept;
  // The section as an array of T; throws CorruptIndex unless it has exactly `count` elements.
  template <typename T>
  [[nodiscard]] std::span<const T> array(std::uint32_t id, std::uint64_t count) const {
    const std::span<const std::byte> bytes = section_of_size(id, count, sizeof(T));
    return {reinterpret_cast<const T*>(bytes.data()), static_cast<std::size_t>(count)};
  }
  // Compares a section with its checksum; throws CorruptIndex. Structural sections: at open, always.
  void verify(std::uint32_t id) const;
  void verify_all() const;

  [[nodiscard]] const Uuid& uuid() const noexcept { return uuid_; }
  [[nodiscard]] const Uuid& index() const noexcept { return index_; }
  [[nodiscard]] const std::string& path() const noexcept { return file_->path(); }
  // Offset of a section in the file, for messages.
  [[nodiscard]] std::uint64_t offset(std::uint32_t id) const;

 private:
  struct Section {
    std::uint32_t id;
    std::uint32_t crc;
    std::uint64_t offset;
    std::uint64_t length;
  };
  [[nodiscard]] const Section& find(std::uint32_t id) const;
  [[nodiscard]] std::span<const std::byte> section_of_size(std::uint32_t id, std::uint64_t count,
                                                           std::uint64_t element_bytes) const;

  std::shared_ptr<const io::MappedFile> file_;
  Uuid index_;
  Uuid uuid_;
  std::vector<Section> sections_;
};

}  // namespace serotine::format
