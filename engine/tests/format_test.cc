// A file that is not what was written is never accepted, wherever it was cut or changed.
#include <doctest/doctest.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "base/crc32c.h"
#include "base/error.h"
#include "base/uuid.h"
#include "format/file.h"
#include "format/limits.h"
#include "format/manifest.h"
#include "io/memory_directory.h"

namespace serotine::format {
namespace {

using Bytes = std::vector<std::byte>;

constexpr Uuid kIndex{{1, 2, 3}};
constexpr Uuid kFile{{4, 5, 6}};

std::shared_ptr<const io::MappedFile> mapped(const Bytes& bytes) {
  io::MemoryDirectory directory;
  directory.create("file")->append(bytes);
  return directory.map("file");
}

Bytes random_bytes(std::size_t size, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  Bytes bytes(size);
  for (std::byte& byte : bytes) {
    byte = static_cast<std::byte>(random());
  }
  return bytes;
}

Bytes bytes_of(const io::MappedFile& file) { return {file.bytes().begin(), file.bytes().end()}; }

// Sections of awkward sizes; returns the file's bytes.
struct Framed {
  Bytes bytes;
  FileRef ref;
};

const std::vector<std::size_t> kSizes = {0, 1, 63, 64, 65, 200};

Framed framed() {
  io::MemoryDirectory directory;
  FileWriter writer(directory.create("file"), FileKind::kSegment, kIndex, kFile);
  for (std::size_t i = 0; i < kSizes.size(); ++i) {
    writer.add_section(static_cast<std::uint32_t>(100 + i), random_bytes(kSizes[i], i));
  }
  const FileRef ref = writer.finish();
  return {bytes_of(*directory.map("file")), ref};
}

void read_framed(const Bytes& bytes, const FileRef* expected) {
  const FileReader reader(mapped(bytes), FileKind::kSegment, &kIndex, expected);
  reader.verify_all();
}

Manifest sample() {
  Manifest manifest;
  manifest.index = kIndex;
  manifest.generation = 17;
  manifest.next_file = 5;
  manifest.settings = {.dim = 128, .nbits = 2, .seed = 7, .keep_originals = true};
  manifest.codebooks.push_back({{derived_uuid(kIndex, 1), 640, 11}, 1000});
  manifest.segments.push_back({{derived_uuid(kIndex, 2), 1280, 22}, 0, 10, 500, 1, 40, FileRef{kFile, 192, 33}});
  manifest.segments.push_back({{derived_uuid(kIndex, 3), 128, 44}, kNoCodebook, 0, 0, 0, 0, std::nullopt});
  manifest.calibration.push_back({8, 1000, 150, 0.995F});
  return manifest;
}

Bytes manifest_bytes(const Manifest& manifest) {
  io::MemoryDirectory directory;
  static_cast<void>(write_manifest(manifest, directory.create("file")));
  return bytes_of(*directory.map("file"));
}

// Calls read(bytes) with every truncation and every flipped bit: each must throw. Returns how many were too new.
template <typename Read>
std::uint64_t refuse_all_damage(const Bytes& whole, Read read) {
  std::uint64_t num_accepted = 0;
  std::uint64_t num_too_new = 0;
  const auto attempt = [&](const Bytes& bytes) {
    try {
      read(bytes);
      ++num_accepted;
    } catch (const CorruptIndex&) {
    } catch (const IndexTooNew&) {
      ++num_too_new;
    }
  };
  for (std::size_t length = 0; length < whole.size(); ++length) {
    attempt({whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(length)});
  }
  for (std::size_t bit = 0; bit < 8 * whole.size(); ++bit) {
    Bytes damaged = whole;
    damaged[bit / 8] ^= std::byte{1} << (bit % 8);
    attempt(damaged);
  }
  Bytes longer = whole;
  longer.resize(whole.size() + 64);
  attempt(longer);
  CHECK(num_accepted == 0);
  return num_too_new;
}

TEST_CASE("checksums are CRC-32C, in one piece or several, by instruction or by table") {
  const std::string digits = "123456789";
  CHECK(crc32c(std::as_bytes(std::span(digits))) == 0xE306'9283);  // the check value of the CRC catalogue
  CHECK(crc32c({}) == 0);
  const Bytes bytes = random_bytes(1000, 1);
  for (std::size_t length = 0; length < 100; ++length) {
    const auto part = std::span(bytes).subspan(length % 9, 5 * length);
    const std::uint32_t crc = crc32c(part);
    CHECK(crc == crc32c_by_table(part));
    CHECK(crc == crc32c(part.subspan(length), crc32c(part.first(length))));
  }
}

TEST_CASE("derived uuids are stable and differ between numbers and indexes") {
  CHECK(derived_uuid(kIndex, 1) == derived_uuid(kIndex, 1));
  std::vector<Uuid> uuids;
  for (std::uint64_t number = 0; number < 1000; ++number) {
    uuids.push_back(derived_uuid(kIndex, number));
    uuids.push_back(derived_uuid(kFile, number));
    uuids.push_back(random_uuid());
  }
  std::sort(uuids.begin(), uuids.end());
  CHECK(std::adjacent_find(uuids.begin(), uuids.end()) == uuids.end());
  CHECK(kIndex.to_hex() == "01020300000000000000000000000000");
}

TEST_CASE("sections come back as written, on aligned addresses, in files of any sizes") {
  const Framed file = framed();
  CHECK(file.ref.length == file.bytes.size());
  const FileReader reader(mapped(file.bytes), FileKind::kSegment, &kIndex, &file.ref);
  reader.verify_all();
  CHECK(reader.uuid() == kFile);
  for (std::size_t i = 0; i < kSizes.size(); ++i) {
    const auto id = static_cast<std::uint32_t>(100 + i);
    const auto section = reader.section(id);
    CHECK(Bytes(section.begin(), section.end()) == random_bytes(kSizes[i], i));
    CHECK(reader.offset(id) % kAlignment == 0);
  }
  CHECK(reader.array<std::uint64_t>(103, 8).size() == 8);
  CHECK_THROWS_AS(static_cast<void>(reader.array<std::uint64_t>(103, 7)), CorruptIndex);
  CHECK_THROWS_AS(static_cast<void>(reader.array<std::uint64_t>(103, (std::uint64_t{1} << 61) + 8)), CorruptIndex);
  CHECK_THROWS_AS(static_cast<void>(reader.array<std::uint16_t>(101, 0)), CorruptIndex);
  CHECK_FALSE(reader.has_section(99));
  CHECK_THROWS_AS(static_cast<void>(reader.section(99)), CorruptIndex);
}

TEST_CASE("what is appended in small pieces and in large ones is the same file") {
  const Bytes content = random_bytes(1'000'000, 3);
  const auto write = [&](std::size_t piece) {
    io::MemoryDirectory directory;
    FileWriter writer(directory.create("file"), FileKind::kCodebook, kIndex, kFile);
    writer.begin_section(1);
    for (std::size_t start = 0; start < content.size(); start += piece) {
      writer.append(std::span(content).subspan(start, std::min(piece, content.size() - start)));
    }
    writer.finish();
    return bytes_of(*directory.map("file"));
  };
  const Bytes whole = write(content.size());
  CHECK(write(777) == whole);
  CHECK(write(300'000) == whole);
}

TEST_CASE("a framed file that was cut or changed anywhere is refused, and so is one for another place") {
  const Framed file = framed();
  read_framed(file.bytes, &file.ref);
  CHECK(refuse_all_damage(file.bytes, [](const Bytes& bytes) { read_framed(bytes, nullptr); }) == 31);
  const FileRef others[] = {{kIndex, file.ref.length, file.ref.crc},
                            {kFile, file.ref.length + 64, file.ref.crc},
                            {kFile, file.ref.length, file.ref.crc + 1}};
  for (const FileRef& other : others) {
    CHECK_THROWS_AS(read_framed(file.bytes, &other), CorruptIndex);
  }
  CHECK_THROWS_AS(FileReader(mapped(file.bytes), FileKind::kCodebook, &kIndex, nullptr), CorruptIndex);
  CHECK_THROWS_AS(FileReader(mapped(file.bytes), FileKind::kSegment, &kFile, nullptr), CorruptIndex);
  CHECK_THROWS_AS(read_framed(random_bytes(4096, 9), nullptr), CorruptIndex);
}

TEST_CASE("a manifest comes back as written") {
  CHECK(read_manifest(mapped(manifest_bytes(sample()))) == sample());
  Manifest empty;
  empty.index = kIndex;
  empty.generation = 1;
  CHECK(read_manifest(mapped(manifest_bytes(empty))) == empty);
}

TEST_CASE("a manifest that was cut or changed anywhere is refused") {
  const Bytes whole = manifest_bytes(sample());
  CHECK(refuse_all_damage(whole, [](const Bytes& bytes) { static_cast<void>(read_manifest(mapped(bytes))); }) == 31);
}

TEST_CASE("a manifest that makes no sense is refused when written") {
  const auto refuse = [](const auto& spoil) {
    Manifest manifest = sample();
    spoil(manifest);
    CHECK_THROWS_AS(manifest_bytes(manifest), InvalidInput);
  };
  refuse([](Manifest& m) { m.generation = 0; });
  refuse([](Manifest& m) { m.next_file = 0; });
  refuse([](Manifest& m) { m.settings.dim = kMaxDim + 1; });
  refuse([](Manifest& m) { m.settings.dim = 0; });
  refuse([](Manifest& m) { m.settings.nbits = 3; });
  refuse([](Manifest& m) { m.segments[0].codebook = 1; });
  refuse([](Manifest& m) { m.segments[0].num_deleted = 11; });
  refuse([](Manifest& m) { m.segments[0].deleted_tokens = 501; });
  refuse([](Manifest& m) { m.segments[0].deletions.reset(); });
  refuse([](Manifest& m) { m.segments[0].num_tokens = kMaxCount + 1; });
  refuse([](Manifest& m) { m.segments[0].file.length = 65; });
  refuse([](Manifest& m) { m.segments[1].file.uuid = m.segments[0].file.uuid; });
  refuse([](Manifest& m) { m.calibration[0].recall = std::numeric_limits<float>::quiet_NaN(); });
  refuse([](Manifest& m) { m.calibration.resize(kMaxCalibrationPoints + 1); });
}

void put_u32(Bytes& bytes, std::size_t offset, std::uint32_t value) {
  std::memcpy(bytes.data() + offset, &value, sizeof(value));
}

std::uint64_t get_u64(const Bytes& bytes, std::size_t offset) {
  std::uint64_t value = 0;
  std::memcpy(&value, bytes.data() + offset, sizeof(value));
  return value;
}

// Makes every checksum right again, as an attacker would.
void fix_checksums(Bytes& bytes) {
  const std::size_t footer = bytes.size() - 64;
  const auto table = get_u64(bytes, footer);
  std::uint32_t count = 0;
  std::memcpy(&count, bytes.data() + footer + 16, sizeof(count));
  const auto all = std::span<const std::byte>(bytes);
  if (table > footer || count > (footer - table) / 24) {
    return;
  }
  std::uint32_t checksums = 0;
  for (std::uint32_t i = 0; i < count; ++i) {
    const std::size_t entry = table + 24 * i;
    const auto offset = get_u64(bytes, entry + 8);
    const auto length = get_u64(bytes, entry + 16);
    if (offset <= table && length <= table - offset) {
      put_u32(bytes, entry + 4, crc32c(all.subspan(offset, length)));
    }
    checksums = crc32c(all.subspan(entry + 4, 4), checksums);
  }
  put_u32(bytes, footer + 20, crc32c(all.subspan(table, 24 * count), crc32c(all.first(64))));
  put_u32(bytes, footer + 24, checksums);
  put_u32(bytes, footer + 28, crc32c(all.subspan(footer, 28)));
}

TEST_CASE("hostile manifests with right checksums are refused or make sense, and never crash") {
  const Bytes whole = manifest_bytes(sample());
  std::mt19937_64 random(5);
  std::uint64_t num_refused = 0;
  for (int trial = 0; trial < 20'000; ++trial) {
    Bytes hostile = whole;
    for (std::uint64_t change = 0; change <= random() % 3; ++change) {
      const std::size_t at = random() % hostile.size();
      const std::byte values[] = {std::byte{0}, std::byte{1}, std::byte{0x7F}, std::byte{0xFF},
                                  hostile[at] ^ std::byte{4}};
      hostile[at] = values[random() % 5];
    }
    fix_checksums(hostile);
    try {
      Manifest manifest = read_manifest(mapped(hostile));
      CHECK_NOTHROW(manifest_bytes(manifest));  // sound enough to be written again
    } catch (const StorageError&) {
      ++num_refused;
    }
  }
  CHECK(num_refused > 5'000);
}

TEST_CASE("a file of a later version is refused with both versions named") {
  Bytes future = framed().bytes;
  put_u32(future, 12, 999);
  fix_checksums(future);
  try {
    read_framed(future, nullptr);
    FAIL("accepted");
  } catch (const IndexTooNew& error) {
    const std::string message = error.what();
    CHECK(message.find("999") != std::string::npos);
    CHECK(message.find("version " + std::to_string(kFormatVersion)) != std::string::npos);
  }
}

}  // namespace
}  // namespace serotine::format
