#include "format/file.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <stdexcept>
#include <utility>

#include "base/checked.h"
#include "base/crc32c.h"
#include "base/error.h"
#include "format/bytes.h"
#include "format/limits.h"

namespace serotine::format {
namespace {

using Magic = std::array<char, 8>;

// A byte that is no text, and line ends that a transfer as text would change: damage shows in the first bytes.
constexpr Magic kMagic = {'\x89', 'S', 'R', 'T', 'N', '\r', '\n', '\x1A'};
constexpr Magic kEndMagic = {'\x1A', '\n', '\r', 'N', 'T', 'R', 'S', '\x89'};
constexpr std::uint32_t kEndianMark = 0x0102'0304;

constexpr std::uint64_t kHeaderBytes = 64;
constexpr std::uint64_t kFooterBytes = 64;
constexpr std::uint64_t kEntryBytes = 24;
constexpr std::uint64_t kFooterChecked = 28;       // bytes of the footer before its own checksum
constexpr std::uint64_t kBufferBytes = 256 << 10;  // small appends reach the system together

std::span<const std::byte> bytes_of(const Magic& magic) { return std::as_bytes(std::span(magic)); }

std::uint64_t padding_after(std::uint64_t position) { return (kAlignment - position % kAlignment) % kAlignment; }

std::string hex(std::uint32_t value) {
  std::array<char, 16> text{};
  std::snprintf(text.data(), text.size(), "%08x", value);
  return text.data();
}

std::string kind_name(FileKind kind) {
  switch (kind) {
    case FileKind::kManifest:
      return "a manifest";
    case FileKind::kSegment:
      return "a segment";
    case FileKind::kDeletions:
      return "deletions";
    case FileKind::kCodebook:
      return "a codebook";
  }
  return "kind " + std::to_string(static_cast<std::uint32_t>(kind));
}

bool all_zero(std::span<const std::byte> bytes) {
  return std::all_of(bytes.begin(), bytes.end(), [](std::byte byte) { return byte == std::byte{0}; });
}

}  // namespace

struct FileWriter::State {
  struct Entry {
    std::uint32_t id;
    std::uint32_t crc;
    std::uint64_t offset;
    std::uint64_t length;
  };

  std::unique_ptr<io::WritableFile> file;
  Uuid uuid;
  std::vector<std::byte> header;
  std::vector<std::byte> buffer;
  std::vector<Entry> entries;
  std::uint64_t position = 0;

  void write(std::span<const std::byte> bytes) {
    position = checked_add(position, bytes.size());
    if (buffer.size() + bytes.size() > kBufferBytes) {
      flush();
    }
    if (bytes.size() >= kBufferBytes) {
      file->append(bytes);
    } else {
      buffer.insert(buffer.end(), bytes.begin(), bytes.end());
    }
  }

  void flush() {
    if (!buffer.empty()) {
      file->append(buffer);
      buffer.clear();
    }
  }

  void pad() {
    constexpr std::array<std::byte, kAlignment> kZeros{};
    write(std::span(kZeros).first(padding_after(position)));
  }

  void require_open() const {
    if (!file) {
      throw std::logic_error("FileWriter: the file was finished");
    }
  }
};

FileWriter::FileWriter(std::unique_ptr<io::WritableFile> file, FileKind kind, const Uuid& index, const Uuid& uuid)
    : state_(std::make_unique<State>()) {
  ByteWriter header;
  header.put_bytes(bytes_of(kMagic));
  header.put(static_cast<std::uint32_t>(kind));
  header.put(kFormatVersion);
  header.put(kEndianMark);
  header.put_zeros(4);
  header.put(index);
  header.put(uuid);
  header.put_zeros(8);
  state_->file = std::move(file);
  state_->uuid = uuid;
  state_->header.assign(header.bytes().begin(), header.bytes().end());
  state_->write(state_->header);
}

FileWriter::~FileWriter() = default;

void FileWriter::begin_section(std::uint32_t id) {
  State& state = *state_;
  state.require_open();
  const bool repeated =
      std::any_of(state.entries.begin(), state.entries.end(), [id](const auto& entry) { return entry.id == id; });
  if (repeated || state.entries.size() == kMaxSections) {
    throw std::logic_error("FileWriter: section " + std::to_string(id) + " comes twice, or is one too many");
  }
  state.pad();
  state.entries.push_back({id, 0, state.position, 0});
}

void FileWriter::append(std::span<const std::byte> bytes) {
  State& state = *state_;
  state.require_open();
  if (state.entries.empty()) {
    throw std::logic_error("FileWriter: no section was begun");
  }
  State::Entry& entry = state.entries.back();
  entry.crc = crc32c(bytes, entry.crc);
  entry.length += bytes.size();
  state.write(bytes);
}

void FileWriter::add_section(std::uint32_t id, std::span<const std::byte> bytes) {
  begin_section(id);
  append(bytes);
}

FileRef FileWriter::finish() {
  State& state = *state_;
  state.require_open();
  state.pad();
  const std::uint64_t table_offset = state.position;
  ByteWriter table;
  ByteWriter checksums;
  for (const State::Entry& entry : state.entries) {
    table.put(entry.id);
    table.put(entry.crc);
    table.put(entry.offset);
    table.put(entry.length);
    checksums.put(entry.crc);
  }
  state.write(table.bytes());
  state.pad();

  FileRef ref{state.uuid, checked_add(state.position, kFooterBytes), crc32c(table.bytes(), crc32c(state.header))};
  ByteWriter footer;
  footer.put(table_offset);
  footer.put(ref.length);
  footer.put(static_cast<std::uint32_t>(state.entries.size()));
  footer.put(ref.crc);
  footer.put(crc32c(checksums.bytes()));
  footer.put(crc32c(footer.bytes()));
  footer.put_zeros(24);
  footer.put_bytes(bytes_of(kEndMagic));
  state.write(footer.bytes());
  state.flush();

  const std::unique_ptr<io::WritableFile> file = std::move(state.file);
  file->sync();
  file->close();
  return ref;
}

namespace {

// Checks the parts of a file in the order in which they can be trusted. Each function relies on those before it.
class FrameCheck {
 public:
  explicit FrameCheck(const io::MappedFile& file) : path_(file.path()), bytes_(file.bytes()) {}

  [[noreturn]] void fail(const std::string& expected, const std::string& found, std::uint64_t offset) const {
    throw CorruptIndex(path_, expected, found, offset);
  }

  template <typename T>
  [[nodiscard]] T at(std::uint64_t offset) const {
    return ByteReader(bytes_.subspan(offset, sizeof(T))).take<T>();
  }
  [[nodiscard]] Uuid uuid_at(std::uint64_t offset) const { return ByteReader(bytes_.subspan(offset, 16)).take_uuid(); }

  void expect_zeros(std::uint64_t offset, std::uint64_t length) const {
    if (!all_zero(bytes_.subspan(offset, length))) {
      fail(std::to_string(length) + " zero bytes", "others", offset);
    }
  }

  void header(FileKind kind) const {
    if (bytes_.size() < kHeaderBytes + kFooterBytes) {
      fail("at least " + std::to_string(kHeaderBytes + kFooterBytes) + " bytes", std::to_string(bytes_.size()),
           bytes_.size());
    }
    if (!std::ranges::equal(bytes_.first(8), bytes_of(kMagic))) {
      fail("a file of a Serotine index", "other bytes", 0);
    }
    const auto version = at<std::uint32_t>(12);
    if (version > kFormatVersion) {
      throw IndexTooNew(path_ + " has format version " + std::to_string(version) +
                        ", this Serotine reads up to version " + std::to_string(kFormatVersion) +
                        ". Install a newer Serotine.");
    }
    if (version == 0) {
      fail("format version 1 to " + std::to_string(kFormatVersion), "0", 12);
    }
    if (at<std::uint32_t>(16) != kEndianMark) {
      fail("little-endian numbers", "the mark " + hex(at<std::uint32_t>(16)), 16);
    }
    const auto found = static_cast<FileKind>(at<std::uint32_t>(8));
    if (found != kind) {
      fail(kind_name(kind), kind_name(found), 8);
    }
    expect_zeros(20, 4);
    expect_zeros(56, 8);
  }

  // Returns the number of sections. Afterwards the table is known to lie in the file.
  [[nodiscard]] std::uint32_t footer() const {
    const std::uint64_t start = bytes_.size() - kFooterBytes;
    if (!std::ranges::equal(bytes_.last(8), bytes_of(kEndMagic))) {
      fail("the end of a whole file", "other bytes: it was cut off, or damaged", start + 56);
    }
    const std::uint32_t crc = crc32c(bytes_.subspan(start, kFooterChecked));
    if (at<std::uint32_t>(start + 28) != crc) {
      fail("a footer with checksum " + hex(at<std::uint32_t>(start + 28)), hex(crc), start);
    }
    expect_zeros(start + 32, 24);
    if (at<std::uint64_t>(start + 8) != bytes_.size()) {
      fail(std::to_string(at<std::uint64_t>(start + 8)) + " bytes", std::to_string(bytes_.size()), start + 8);
    }
    const auto count = at<std::uint32_t>(start + 16);
    if (count > kMaxSections) {
      fail("at most " + std::to_string(kMaxSections) + " sections", std::to_string(count), start + 16);
    }
    const std::uint64_t table_bytes = count * kEntryBytes + padding_after(count * kEntryBytes);
    if (start < kHeaderBytes + table_bytes || at<std::uint64_t>(start) != start - table_bytes) {
      fail("a table of " + std::to_string(count) + " sections before the footer",
           "one at " + std::to_string(at<std::uint64_t>(start)), start);
    }
    return count;
  }

  // Compares header and table with the footer's checksums, and with what the manifest says.
  void table(std::uint32_t count) const {
    const std::uint64_t start = bytes_.size() - kFooterBytes;
    const auto offset = at<std::uint64_t>(start);
    const std::uint64_t length = count * kEntryBytes;
    const std::uint32_t crc = crc32c(bytes_.subspan(offset, length), crc32c(bytes_.first(kHeaderBytes)));
    if (at<std::uint32_t>(start + 20) != crc) {
      fail("header and table with checksum " + hex(at<std::uint32_t>(start + 20)), hex(crc), offset);
    }
    expect_zeros(offset + length, padding_after(length));
    std::uint32_t checksums = 0;
    for (std::uint32_t i = 0; i < count; ++i) {
      checksums = crc32c(bytes_.subspan(offset + i * kEntryBytes + 4, 4), checksums);
    }
    if (at<std::uint32_t>(start + 24) != checksums) {
      fail("checksums of sections with checksum " + hex(at<std::uint32_t>(start + 24)), hex(checksums), start + 24);
    }
  }

  void identity(const Uuid* index, const FileRef* expected) const {
    if (index != nullptr && uuid_at(24) != *index) {
      fail("a file of the index " + index->to_hex(), "one of " + uuid_at(24).to_hex(), 24);
    }
    if (expected == nullptr) {
      return;
    }
    if (uuid_at(40) != expected->uuid) {
      fail("the file " + expected->uuid.to_hex(), "the file " + uuid_at(40).to_hex(), 40);
    }
    const std::uint64_t start = bytes_.size() - kFooterBytes;
    if (expected->length != bytes_.size()) {
      fail(std::to_string(expected->length) + " bytes, as the manifest says", std::to_string(bytes_.size()), start + 8);
    }
    if (expected->crc != at<std::uint32_t>(start + 20)) {
      fail("the checksum " + hex(expected->crc) + " that the manifest says", hex(at<std::uint32_t>(start + 20)),
           start + 20);
    }
  }

 private:
  const std::string& path_;
  std::span<const std::byte> bytes_;
};

}  // namespace

FileReader::FileReader(std::shared_ptr<const io::MappedFile> file, FileKind kind, const Uuid* index,
                       const FileRef* expected)
    : file_(std::move(file)) {
  const FrameCheck check(*file_);
  check.header(kind);
  const std::uint32_t count = check.footer();
  check.table(count);
  check.identity(index, expected);
  index_ = check.uuid_at(24);
  uuid_ = check.uuid_at(40);

  // Sections lie one after another, each at the first aligned byte after the one before: no gaps, no overlaps.
  const std::uint64_t table_offset = check.at<std::uint64_t>(file_->bytes().size() - kFooterBytes);
  std::uint64_t next = kHeaderBytes;
  for (std::uint32_t i = 0; i < count; ++i) {
    const std::uint64_t at = table_offset + i * kEntryBytes;
    const Section section{check.at<std::uint32_t>(at), check.at<std::uint32_t>(at + 4), check.at<std::uint64_t>(at + 8),
                          check.at<std::uint64_t>(at + 16)};
    if (section.offset != next || section.length > table_offset - next) {
      check.fail("section " + std::to_string(section.id) + " at byte " + std::to_string(next) + " and before byte " +
                     std::to_string(table_offset),
                 std::to_string(section.length) + " bytes at " + std::to_string(section.offset), at);
    }
    if (has_section(section.id)) {
      check.fail("each section once", "section " + std::to_string(section.id) + " twice", at);
    }
    next += section.length;
    next += padding_after(next);
    sections_.push_back(section);
  }
  if (next != table_offset) {
    check.fail("the section table at byte " + std::to_string(next), std::to_string(table_offset), next);
  }
}

const FileReader::Section& FileReader::find(std::uint32_t id) const {
  for (const Section& section : sections_) {
    if (section.id == id) {
      return section;
    }
  }
  throw CorruptIndex(path(), "section " + std::to_string(id), "none");
}

bool FileReader::has_section(std::uint32_t id) const noexcept {
  return std::any_of(sections_.begin(), sections_.end(), [id](const Section& section) { return section.id == id; });
}

std::span<const std::byte> FileReader::section(std::uint32_t id) const {
  const Section& found = find(id);
  return file_->bytes().subspan(found.offset, found.length);
}

std::uint64_t FileReader::offset(std::uint32_t id) const { return find(id).offset; }

std::span<const std::byte> FileReader::section_of_size(std::uint32_t id, std::uint64_t count,
                                                       std::uint64_t element_bytes) const {
  const Section& found = find(id);
  // Divided, not multiplied: a count read from a file must not wrap.
  if (found.length % element_bytes != 0 || found.length / element_bytes != count) {
    throw CorruptIndex(path(),
                       "section " + std::to_string(id) + " with " + std::to_string(count) + " elements of " +
                           std::to_string(element_bytes) + " bytes",
                       std::to_string(found.length) + " bytes", found.offset);
  }
  return section(id);
}

void FileReader::verify(std::uint32_t id) const {
  const Section& found = find(id);
  const std::uint32_t crc = crc32c(section(id));
  if (crc != found.crc) {
    throw CorruptIndex(path(), "section " + std::to_string(id) + " with checksum " + hex(found.crc), hex(crc),
                       found.offset);
  }
  const std::uint64_t end = found.offset + found.length;
  FrameCheck(*file_).expect_zeros(end, padding_after(end));
}

void FileReader::verify_all() const {
  for (const Section& found : sections_) {
    verify(found.id);
  }
}

}  // namespace serotine::format
