// A segment gives back what was written, copies are the same bytes, and nothing that was changed in its file is
// believed.
#include "segment/segment.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "base/half.h"
#include "codec/encode.h"
#include "codec/train.h"
#include "io/memory_directory.h"
#include "segment/document_key.h"
#include "segment/postings.h"
#include "segment/writer.h"

namespace serotine::segment {
namespace {

using io::MemoryDirectory;

constexpr std::uint64_t kDim = 16;

struct Documents {
  std::vector<std::string> keys;
  std::vector<std::uint32_t> lengths;
  std::vector<std::uint16_t> values;

  [[nodiscard]] std::vector<std::string_view> views() const { return {keys.begin(), keys.end()}; }
  [[nodiscard]] std::uint64_t num_tokens() const { return values.size() / kDim; }
};

// Directions near one of 8, so that cells have something to find; unit: else of length 1 to 2.
Documents random_documents(std::uint64_t num_documents, std::uint64_t max_length, bool unit, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  Documents out;
  for (std::uint64_t i = 0; i < num_documents; ++i) {
    out.keys.push_back("sdocument " + std::to_string(random() % 1'000'000) + "-" + std::to_string(i));
    out.lengths.push_back(static_cast<std::uint32_t>(random() % (max_length + 1)));
    for (std::uint64_t token = 0; token < out.lengths.back(); ++token) {
      std::array<float, kDim> vector{};
      vector[random() % 8] = 1.0F;
      float squares = 0;
      for (float& value : vector) {
        value += 0.2F * (static_cast<float>(random() % 1000) / 1000.0F - 0.5F);
        squares += value * value;
      }
      const float length = unit ? 1.0F : 1.0F + static_cast<float>(random() % 100) / 100.0F;
      for (const float value : vector) {
        out.values.push_back(float_to_half(value * length / std::sqrt(squares)));
      }
    }
  }
  return out;
}

// A directory with files of one index, numbered.
class Files {
 public:
  std::unique_ptr<io::WritableFile> create(const Uuid& uuid) { return directory.create(uuid.to_hex()); }
  [[nodiscard]] std::shared_ptr<const io::MappedFile> map(const Uuid& uuid) const {
    return directory.map(uuid.to_hex());
  }
  Uuid next() { return derived_uuid(index, number++); }

  std::shared_ptr<const codec::Codebook> train(const Documents& documents, std::uint64_t cells) {
    codec::TrainOptions options;
    options.dim = kDim;
    options.nbits = settings.nbits;
    options.collection_tokens = cells * 96;
    const codec::OriginalsPiece piece{documents.values.data(), documents.lengths, documents.num_tokens()};
    const Uuid uuid = next();
    const format::FileRef ref =
        codec::write_codebook(codec::train_codebook({piece}, options), create(uuid), index, uuid);
    return std::make_shared<codec::Codebook>(map(uuid), index, ref, settings);
  }

  format::SegmentRef write(const SegmentPlan& plan, const Documents& documents, std::uint64_t num_threads = 1) {
    const Uuid uuid = next();
    SegmentWriter writer(plan, create(uuid), index, uuid);
    writer.add(documents.views(), documents.lengths, documents.values.data(), num_threads);
    return finish(writer, plan);
  }
  static format::SegmentRef finish(SegmentWriter& writer, const SegmentPlan& plan) {
    format::SegmentRef ref = writer.finish();
    ref.codebook = plan.codebook ? 0 : format::kNoCodebook;
    return ref;
  }
  [[nodiscard]] Segment open(const format::SegmentRef& ref, std::shared_ptr<const codec::Codebook> codebook) const {
    return {map(ref.file.uuid), index, ref, settings, std::move(codebook)};
  }

  MemoryDirectory directory;
  Uuid index{{1, 2, 3}};
  std::uint64_t number = 1;
  format::Settings settings{kDim, 4, 42, false};
};

void check_same_documents(const Segment& segment, const Documents& documents) {
  REQUIRE(segment.num_documents() == documents.keys.size());
  CHECK(segment.num_tokens() == documents.num_tokens());
  std::uint64_t first = 0;
  for (std::uint64_t i = 0; i < documents.keys.size(); ++i) {
    CHECK(segment.key(i) == documents.keys[i]);
    CHECK(segment.length(i) == documents.lengths[i]);
    CHECK(segment.first_token(i) == first);
    CHECK(segment.find(documents.keys[i]) == i);
    if (segment.has_originals()) {
      const auto values = segment.originals(i);
      CHECK(std::equal(values.begin(), values.end(), documents.values.data() + first * kDim,
                       documents.values.data() + (first + documents.lengths[i]) * kDim));
    }
    first += documents.lengths[i];
  }
  CHECK_FALSE(segment.find("sno such document"));
  CHECK_FALSE(segment.find(""));
}

std::vector<std::byte> bytes_of_section(const Segment& segment, std::uint64_t document) {
  const auto coded = segment.coded(document);
  const auto* begin = reinterpret_cast<const std::byte*>(coded.block);
  return {begin, begin + coded.num_tokens * segment.code_format().token_bytes()};
}

TEST_CASE("an id is valid UTF-8 of 1 to 1,024 bytes without NUL, or 64 bits") {
  CHECK(is_valid_key("sa"));
  CHECK(is_valid_key("s../../etc"));
  CHECK(is_valid_key("s\xC3\xA9"));          // e with acute
  CHECK(is_valid_key("s\xF0\x9F\xA6\x87"));  // a bat
  CHECK(is_valid_key("s\xF4\x8F\xBF\xBF"));  // U+10FFFF
  CHECK(is_valid_key("s" + std::string(1024, 'x')));
  CHECK(is_valid_key(std::string("i\0\1\2\3\4\5\6\7", 9)));
  for (const std::string& bad : {std::string(),
                                 std::string("s"),
                                 std::string("a"),
                                 std::string("xabc"),
                                 std::string("s\0", 2),
                                 std::string("sa\0b", 4),
                                 "s" + std::string(1025, 'x'),
                                 std::string("s\x80"),
                                 std::string("s\xC3"),
                                 std::string("s\xC0\xAF"),
                                 std::string("s\xC1\xBF"),
                                 std::string("s\xE0\x80\xAF"),
                                 std::string("s\xED\xA0\x80"),
                                 std::string("s\xF0\x80\x80\x80"),
                                 std::string("s\xF4\x90\x80\x80"),
                                 std::string("s\xF5\x80\x80\x80"),
                                 std::string("s\xFF"),
                                 std::string("s\xC3x"),
                                 std::string("s\xE2\x82"),
                                 std::string("i1234567"),
                                 std::string("i123456789")}) {
    CHECK_FALSE(is_valid_key(bad));
  }
}

TEST_CASE("an exact segment gives back every document") {
  for (const std::uint64_t num_documents : {0, 1, 2, 100}) {
    Files files;
    const Documents documents = random_documents(num_documents, 5, false, num_documents);
    const SegmentPlan plan{.dim = kDim};
    const format::SegmentRef ref = files.write(plan, documents);
    CHECK(ref.num_documents == num_documents);
    const Segment segment = files.open(ref, nullptr);
    check_same_documents(segment, documents);
    CHECK(segment.codebook() == nullptr);
    CHECK(segment.has_originals());
    CHECK_FALSE(segment.has_postings());
    segment.verify_all();
  }
}

TEST_CASE("a coded segment holds what the codec makes of its documents, whatever their number at a time") {
  for (const std::uint32_t nbits : {1U, 2U, 4U, 8U}) {
    for (const bool unit : {true, false}) {
      for (const bool originals : {true, false}) {
        Files files;
        files.settings.nbits = nbits;
        const Documents documents = random_documents(60, 9, unit, nbits);
        SegmentPlan plan{.dim = kDim, .codebook = files.train(documents, 8), .has_gains = !unit};
        plan.keep_originals = originals;
        plan.min_posting_tokens = 0;
        const Segment segment = files.open(files.write(plan, documents, 2), plan.codebook);
        check_same_documents(segment, documents);
        CHECK(segment.has_originals() == originals);
        CHECK(segment.has_gains() == !unit);

        codec::EncodedTokens encoded;
        codec::encode_tokens(*plan.codebook, documents.values.data(), documents.num_tokens(), !unit, 1, encoded);
        CHECK(segment.residual_energy() ==
              doctest::Approx(encoded.residual_energy / static_cast<double>(documents.num_tokens())));
        const Uuid uuid = files.next();
        SegmentWriter one_by_one(plan, files.create(uuid), files.index, uuid);
        std::uint64_t token = 0;
        for (std::uint64_t i = 0; i < documents.keys.size(); ++i) {
          for (std::uint32_t t = 0; t < documents.lengths[i]; ++t) {
            CHECK(cell_at(segment.cells(i).cells, segment.code_format().cell_width, t) == encoded.cells[token + t]);
          }
          const std::string_view key = documents.keys[i];
          one_by_one.add({&key, 1}, {&documents.lengths[i], 1}, documents.values.data() + token * kDim, 1);
          token += documents.lengths[i];
        }
        const Segment other = files.open(Files::finish(one_by_one, plan), plan.codebook);
        for (std::uint64_t i = 0; i < documents.keys.size(); ++i) {
          CHECK(bytes_of_section(segment, i) == bytes_of_section(other, i));
        }
      }
    }
  }
}

TEST_CASE("postings name every document of a cell once, in order, range by range") {
  std::mt19937_64 random(7);
  constexpr std::uint64_t kCells = 5;
  for (const std::uint64_t num_documents : {1UL, 10UL, kRangeDocuments, kRangeDocuments + 1, 2 * kRangeDocuments + 3}) {
    for (const std::uint32_t width : {1U, 2U, 3U}) {
      std::vector<std::uint16_t> lengths(num_documents);
      std::vector<std::uint8_t> cells;
      std::vector<std::set<std::uint64_t>> expected(kCells);
      for (std::uint64_t document = 0; document < num_documents; ++document) {
        lengths[document] = static_cast<std::uint16_t>(random() % 4);
        for (std::uint16_t token = 0; token < lengths[document]; ++token) {
          const std::uint64_t cell = random() % kCells;
          expected[cell].insert(document);
          cells.push_back(static_cast<std::uint8_t>(cell));
          cells.insert(cells.end(), width - 1, 0);
        }
      }
      const Postings postings = build_postings(lengths, cells.data(), width, kCells);
      std::vector<std::set<std::uint64_t>> found(kCells);
      for (std::uint64_t range = 0; range * kRangeDocuments < num_documents; ++range) {
        const std::uint32_t* begin = postings.ranges.data() + range * (kCells + 1);
        for (std::uint64_t cell = 0; cell < kCells; ++cell) {
          for (std::uint32_t i = begin[cell]; i < begin[cell + 1]; ++i) {
            REQUIRE(found[cell].insert(range * kRangeDocuments + postings.documents[i]).second);
          }
        }
      }
      CHECK(found == expected);
      CHECK(find_posting_problem(postings.ranges, postings.documents, kCells, num_documents).empty());
      CHECK(cells_below(cells.data(), width, cells.size() / width, kCells));
      if (!expected[kCells - 1].empty()) {
        CHECK_FALSE(cells_below(cells.data(), width, cells.size() / width, kCells - 1));
      }
    }
  }
}

TEST_CASE("postings that are out of order or out of bounds are refused") {
  const std::vector<std::uint32_t> ranges = {0, 2, 2, 4};
  const std::vector<std::uint16_t> documents = {0, 4, 1, 2};
  CHECK(find_posting_problem(ranges, documents, 3, 5).empty());
  const auto refused = [](const std::vector<std::uint32_t>& bad_ranges, const std::vector<std::uint16_t>& bad) {
    return !find_posting_problem(bad_ranges, bad, 3, 5).empty();
  };
  CHECK(refused({1, 2, 2, 4}, documents));  // does not begin at 0
  CHECK(refused({0, 3, 2, 4}, documents));  // falls
  CHECK(refused({0, 2, 2, 5}, documents));  // beyond the end
  CHECK(refused({0, 2, 2, 3}, documents));  // one too many
  CHECK(refused(ranges, {0, 5, 1, 2}));     // no such document
  CHECK(refused(ranges, {4, 0, 1, 2}));     // not ascending
  CHECK(refused(ranges, {0, 4, 1, 1}));     // twice
}

TEST_CASE("a segment below the limit has no postings, one above has") {
  Files files;
  const Documents documents = random_documents(50, 8, true, 3);
  SegmentPlan plan{.dim = kDim, .codebook = files.train(documents, 8)};
  CHECK_FALSE(files.open(files.write(plan, documents), plan.codebook).has_postings());
  plan.min_posting_tokens = documents.num_tokens();
  const Segment segment = files.open(files.write(plan, documents), plan.codebook);
  REQUIRE(segment.has_postings());
  CHECK(segment.num_ranges() == 1);
  for (std::uint64_t cell = 0; cell < plan.codebook->num_cells(); ++cell) {
    for (const std::uint16_t document : segment.postings(0, cell)) {
      const auto cells = segment.cells(document);
      bool found = false;
      for (std::uint32_t token = 0; token < cells.num_tokens; ++token) {
        found = found || cell_at(cells.cells, segment.code_format().cell_width, token) == cell;
      }
      CHECK(found);
    }
  }
}

TEST_CASE("copied documents keep their codes, and get gains of 1 where others have some") {
  for (const bool target_gains : {false, true}) {
    for (const bool originals : {false, true}) {
      Files files;
      const Documents documents = random_documents(40, 6, true, 11);
      SegmentPlan plan{.dim = kDim, .codebook = files.train(documents, 8), .keep_originals = originals};
      const Segment source = files.open(files.write(plan, documents), plan.codebook);
      plan.has_gains = target_gains;
      const Uuid uuid = files.next();
      SegmentWriter writer(plan, files.create(uuid), files.index, uuid);
      for (std::uint64_t i = 0; i < source.num_documents(); ++i) {
        writer.copy(source, i);
      }
      const Segment copy = files.open(Files::finish(writer, plan), plan.codebook);
      check_same_documents(copy, documents);
      for (std::uint64_t i = 0; i < source.num_documents(); ++i) {
        if (source.length(i) == 0) {
          continue;
        }
        std::vector<float> before(source.length(i) * kDim);
        std::vector<float> after(before.size());
        codec::decode_document(*plan.codebook, source.code_format(), source.coded(i), before.data());
        codec::decode_document(*plan.codebook, copy.code_format(), copy.coded(i), after.data());
        CHECK(before == after);
      }
      CHECK(copy.residual_energy() == doctest::Approx(source.residual_energy()));
    }
  }
}

TEST_CASE("codes that wait for the originals are spooled when they are many, and nothing of it is left behind") {
  Files files;
  const Documents documents = random_documents(200, 9, false, 17);
  SegmentPlan plan{.dim = kDim, .codebook = files.train(documents, 8), .has_gains = true, .keep_originals = true};
  const format::SegmentRef in_memory = files.write(plan, documents);
  bool created = false;
  plan.max_memory_bytes = 100;
  plan.spool = {[&] {
                  created = true;
                  return files.directory.create("spool");
                },
                [&] { return files.directory.map("spool"); }, [&] { files.directory.remove("spool"); }};
  const format::SegmentRef spooled = files.write(plan, documents);
  CHECK(created);
  CHECK_FALSE(files.directory.size("spool"));
  const Segment a = files.open(in_memory, plan.codebook);
  const Segment b = files.open(spooled, plan.codebook);
  for (std::uint64_t i = 0; i < a.num_documents(); ++i) {
    CHECK(bytes_of_section(a, i) == bytes_of_section(b, i));
  }
  b.verify_all();
}

// A file of bytes that are not a directory's.
class Bytes final : public io::MappedFile {
 public:
  explicit Bytes(std::vector<std::byte> bytes) : bytes_(std::move(bytes)) {}
  [[nodiscard]] std::span<const std::byte> bytes() const noexcept override { return bytes_; }
  [[nodiscard]] const std::string& path() const noexcept override { return path_; }

 private:
  std::vector<std::byte> bytes_;
  std::string path_ = "changed";
};

struct Damaged {
  Files files;
  std::shared_ptr<const codec::Codebook> codebook;
  format::SegmentRef ref;
  std::vector<std::byte> bytes;

  explicit Damaged(bool coded) {
    const Documents documents = random_documents(20, 6, false, 23);
    SegmentPlan plan{.dim = kDim};
    if (coded) {
      codebook = files.train(documents, 8);
      plan.codebook = codebook;
      plan.has_gains = true;
      plan.keep_originals = true;
      plan.min_posting_tokens = 0;
    }
    ref = files.write(plan, documents);
    const auto whole = files.map(ref.file.uuid)->bytes();
    bytes.assign(whole.begin(), whole.end());
  }
  [[nodiscard]] bool opens(std::vector<std::byte> changed) const {
    try {
      const Segment segment(std::make_shared<Bytes>(std::move(changed)), files.index, ref, files.settings, codebook);
      return true;
    } catch (const StorageError&) {
      return false;
    }
  }
  [[nodiscard]] bool verifies(std::vector<std::byte> changed) const {
    try {
      Segment(std::make_shared<Bytes>(std::move(changed)), files.index, ref, files.settings, codebook).verify_all();
      return true;
    } catch (const StorageError&) {
      return false;
    }
  }
};

TEST_CASE("a segment that was cut off anywhere is refused") {
  for (const bool coded : {false, true}) {
    const Damaged damaged(coded);
    REQUIRE(damaged.verifies(damaged.bytes));
    for (std::size_t length = 0; length < damaged.bytes.size(); ++length) {
      REQUIRE_FALSE(
          damaged.opens({damaged.bytes.begin(), damaged.bytes.begin() + static_cast<std::ptrdiff_t>(length)}));
    }
  }
}

TEST_CASE("a flipped bit is found at open where structure is, and by verify_all in vectors and codes") {
  for (const bool coded : {false, true}) {
    Damaged damaged(coded);
    const format::FileReader reader(damaged.files.map(damaged.ref.file.uuid), format::FileKind::kSegment, nullptr,
                                    nullptr);
    const auto in_values = [&](std::size_t at) {
      for (const SegmentSection section : {SegmentSection::kBlocks, SegmentSection::kOriginals}) {
        const auto id = static_cast<std::uint32_t>(section);
        if (reader.has_section(id) && at >= reader.offset(id) &&
            at < (reader.offset(id) + reader.section(id).size() + 63) / 64 * 64) {
          return true;
        }
      }
      return false;
    };
    for (std::size_t bit = 0; bit < damaged.bytes.size() * 8; ++bit) {
      const bool is_value = in_values(bit / 8);
      if (is_value && bit % 7 != 0) {
        continue;  // one in seven is enough of those
      }
      std::byte& byte = damaged.bytes[bit / 8];
      const std::byte mask{static_cast<unsigned char>(1U << (bit % 8))};
      byte ^= mask;
      CAPTURE(coded);
      CAPTURE(bit);
      const bool goes_unseen = is_value ? damaged.verifies(damaged.bytes) : damaged.opens(damaged.bytes);
      REQUIRE_FALSE(goes_unseen);
      byte ^= mask;
    }
  }
}

// Writes a segment's sections anew, one of them changed, with good checksums: what a hostile file can be.
class Forger {
 public:
  explicit Forger(Damaged& damaged) : damaged_(damaged) {}

  [[nodiscard]] bool opens_with(SegmentSection changed, const std::vector<std::byte>& content) const {
    const format::FileReader reader(damaged_.files.map(damaged_.ref.file.uuid), format::FileKind::kSegment, nullptr,
                                    nullptr);
    const Uuid uuid = damaged_.files.next();
    format::FileWriter writer(damaged_.files.create(uuid), format::FileKind::kSegment, damaged_.files.index, uuid);
    for (std::uint32_t id = 1; id <= 10; ++id) {
      if (id == static_cast<std::uint32_t>(changed)) {
        writer.add_section(id, content);
      } else if (reader.has_section(id)) {
        writer.add_section(id, reader.section(id));
      }
    }
    format::SegmentRef ref = damaged_.ref;
    ref.file = writer.finish();
    try {
      const Segment segment = damaged_.files.open(ref, damaged_.codebook);
      return true;
    } catch (const CorruptIndex&) {
      return false;
    }
  }
  [[nodiscard]] std::vector<std::byte> section(SegmentSection id) const {
    const format::FileReader reader(damaged_.files.map(damaged_.ref.file.uuid), format::FileKind::kSegment, nullptr,
                                    nullptr);
    const auto bytes = reader.section(static_cast<std::uint32_t>(id));
    return {bytes.begin(), bytes.end()};
  }

 private:
  Damaged& damaged_;
};

TEST_CASE("a forged segment with good checksums is refused where it would lead outside of its bounds") {
  Damaged damaged(true);
  const Forger forger(damaged);
  std::mt19937_64 random(29);
  using enum SegmentSection;
  REQUIRE(forger.opens_with(kLengths, forger.section(kLengths)));
  for (const SegmentSection id :
       {kParameters, kLengths, kIdEnds, kIdBytes, kIdOrder, kCells, kPostingRanges, kPostings, kBlocks, kOriginals}) {
    std::vector<std::byte> content = forger.section(id);
    REQUIRE_FALSE(content.empty());
    content.push_back(std::byte{0});
    CHECK_FALSE(forger.opens_with(id, content));  // of another size
    content.resize(content.size() - 2);
    CHECK_FALSE(forger.opens_with(id, content));
  }
  const auto with_last = [&](SegmentSection id, std::size_t from_end, unsigned char value) {
    std::vector<std::byte> content = forger.section(id);
    content[content.size() - from_end] = std::byte{value};
    return forger.opens_with(id, content);
  };
  CHECK_FALSE(with_last(kLengths, 1, 0x7F));        // more tokens than there are
  CHECK_FALSE(with_last(kIdEnds, 1, 0x7F));         // beyond the ids
  CHECK_FALSE(with_last(kIdEnds, 9, 0x7F));         // falling
  CHECK_FALSE(with_last(kIdBytes, 1, 0xFF));        // no UTF-8
  CHECK_FALSE(with_last(kIdOrder, 1, 0x7F));        // no such document
  CHECK_FALSE(with_last(kCells, 1, 1));             // padding
  CHECK_FALSE(with_last(kCells, 9, 0xFF));          // no such cell
  CHECK_FALSE(with_last(kPostingRanges, 1, 0x7F));  // beyond the postings
  CHECK_FALSE(with_last(kPostings, 1, 0x7F));       // no such document
  CHECK_FALSE(with_last(kParameters, 1, 1));        // reserved
  for (std::size_t byte = 0; byte < 48; ++byte) {
    std::vector<std::byte> content = forger.section(kParameters);
    content[byte] ^= std::byte{0x80};
    CHECK_FALSE(forger.opens_with(kParameters, content));
  }
  std::vector<std::byte> order = forger.section(kIdOrder);
  std::swap_ranges(order.begin(), order.begin() + 4, order.begin() + 4);
  CHECK_FALSE(forger.opens_with(kIdOrder, order));
  // Anything at all: it opens or is refused, and what opens can be used.
  for (int trial = 0; trial < 2000; ++trial) {
    const auto id = static_cast<SegmentSection>(2 + random() % 7);
    std::vector<std::byte> content = forger.section(id);
    for (std::uint64_t change = 0; change <= random() % 3; ++change) {
      content[random() % content.size()] = std::byte{static_cast<unsigned char>(random())};
    }
    static_cast<void>(forger.opens_with(id, content));
  }
}

TEST_CASE("deletions belong to one segment and are counted") {
  Files files;
  const Documents documents = random_documents(70, 3, true, 31);
  format::SegmentRef ref = files.write(SegmentPlan{.dim = kDim}, documents);
  std::vector<std::uint64_t> words = {1UL << 5 | 1UL << 63, 1UL << 3};
  const Uuid uuid = files.next();
  ref.deletions = write_deletions(words, ref.file.uuid, files.create(uuid), files.index, uuid);
  ref.num_deleted = 3;
  const Deletions deletions(files.map(uuid), files.index, ref);
  for (std::uint64_t i = 0; i < 70; ++i) {
    CHECK(deletions.contains(i) == (i == 5 || i == 63 || i == 67));
  }
  CHECK(Deletions().empty());
  CHECK_FALSE(Deletions().contains(3));

  const auto refused = [&](const format::SegmentRef& other) {
    try {
      const Deletions opened(files.map(other.deletions->uuid), files.index, other);
      return false;
    } catch (const CorruptIndex&) {
      return true;
    }
  };
  format::SegmentRef miscounted = ref;
  miscounted.num_deleted = 2;
  CHECK(refused(miscounted));
  format::SegmentRef of_another = ref;
  of_another.file.uuid = files.next();
  CHECK(refused(of_another));
  format::SegmentRef longer = ref;
  longer.num_documents = 200;
  CHECK(refused(longer));
  words[1] |= std::uint64_t{1} << 6;  // document 70 of 70
  const Uuid beyond = files.next();
  ref.deletions = write_deletions(words, ref.file.uuid, files.create(beyond), files.index, beyond);
  ref.num_deleted = 4;
  CHECK(refused(ref));
}

TEST_CASE("a segment is not opened with another codebook, and documents are not copied between kinds") {
  Files files;
  const Documents documents = random_documents(40, 6, true, 37);
  SegmentPlan plan{.dim = kDim, .codebook = files.train(documents, 8)};
  const format::SegmentRef ref = files.write(plan, documents);
  const auto fewer_cells = files.train(documents, 2);
  CHECK_THROWS_AS(files.open(ref, fewer_cells), CorruptIndex);
  CHECK_THROWS_AS(files.open(ref, nullptr), CorruptIndex);
  const Segment source = files.open(ref, plan.codebook);
  const Uuid uuid = files.next();
  SegmentWriter exact(SegmentPlan{.dim = kDim}, files.create(uuid), files.index, uuid);
  CHECK_THROWS(exact.copy(source, 0));
}

}  // namespace
}  // namespace serotine::segment
