// Is a codebook's file refused unless it is whole and its numbers fit together?
#include <doctest/doctest.h>

#include <algorithm>
#include <limits>

#include "base/error.h"
#include "codec_fixture.h"

namespace serotine::codec {
namespace {

// Writes a codebook that is not one, with all checksums right.
void check_refused(const CodebookContent& content, const format::Settings& settings = {.dim = 16, .nbits = 4}) {
  io::MemoryDirectory directory;
  const Uuid index{{1}};
  const format::FileRef ref = write_codebook(content, directory.create("codebook"), index, Uuid{{2}});
  CHECK_THROWS_AS(Codebook(directory.map("codebook"), index, ref, settings), CorruptIndex);
}

TEST_CASE("a codebook whose numbers do not fit together is refused, though its checksums hold") {
  const testing::Vectors vectors = testing::clustered(4000, 16, 30, 8);
  const CodebookContent good = train_codebook(vectors.originals(), {.dim = 16, .nbits = 4, .progress = {}});
  const testing::Opened opened = testing::open(good);
  CHECK(opened.codebook->num_cells() == good.super_begin.back());
  CHECK(std::ranges::equal(std::span(opened.codebook->centroids(), good.centroids.size()), good.centroids));
  CHECK(opened.codebook->cell_width() == 1);

  check_refused(good, {.dim = 15, .nbits = 4});
  check_refused(good, {.dim = 16, .nbits = 2});
  const auto changed = [&good](const auto& change) {
    CodebookContent bad = good;
    change(bad);
    return bad;
  };
  for (const float unit :
       {0.0F, -1.0F, 1e-30F, 2.0F, std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    check_refused(changed([unit](CodebookContent& bad) { bad.unit = unit; }));
  }
  check_refused(changed([](CodebookContent& bad) { bad.residual_energy = -1; }));
  check_refused(changed([](CodebookContent& bad) { bad.smallest_norm = 0; }));
  check_refused(changed([](CodebookContent& bad) { bad.norm_ratio = 1; }));
  check_refused(changed([](CodebookContent& bad) { bad.super_begin[0] = 1; }));
  check_refused(changed([](CodebookContent& bad) { bad.super_begin[2] = bad.super_begin[1]; }));
  check_refused(changed([](CodebookContent& bad) { bad.super_begin[1] = 0xFFFF'FFFF; }));
  check_refused(changed([](CodebookContent& bad) { bad.super_begin.back() += 1; }));
  check_refused(changed([](CodebookContent& bad) { bad.super_begin.back() = 1U << 25; }));
  check_refused(changed([](CodebookContent& bad) { bad.super_begin.pop_back(); }));
  check_refused(changed([](CodebookContent& bad) { bad.centroids.pop_back(); }));
  check_refused(changed([](CodebookContent& bad) { bad.supers.push_back(0); }));
  check_refused(changed([](CodebookContent& bad) { bad.residuals.pop_back(); }));
  check_refused(changed([](CodebookContent& bad) { bad.residuals[16 * 200 + 3] = 127; }));
  check_refused(changed([](CodebookContent& bad) { bad.residuals[16 * 200] -= 1; }));
  check_refused(changed([](CodebookContent& bad) { bad.nbits = 3; }), {.dim = 16, .nbits = 3});
  check_refused(changed([](CodebookContent& bad) { bad.dim = 0; }), {.dim = 0, .nbits = 4});
}

TEST_CASE("every flipped bit and every shortened codebook file is refused") {
  const testing::Vectors vectors = testing::clustered(50, 16, 3, 9);
  const CodebookContent content = train_codebook(vectors.originals(), {.dim = 16, .nbits = 1, .progress = {}});
  io::MemoryDirectory directory;
  const Uuid index{{1}};
  const format::FileRef ref = write_codebook(content, directory.create("good"), index, Uuid{{2}});
  const std::shared_ptr<const io::MappedFile> good = directory.map("good");
  const format::Settings settings{.dim = 16, .nbits = 1};
  const auto refused = [&](const std::vector<std::byte>& bytes) {
    directory.create("bad")->append(bytes);
    bool threw = false;
    try {
      const Codebook codebook(directory.map("bad"), index, ref, settings);
    } catch (const StorageError&) {
      threw = true;
    }
    directory.remove("bad");
    return threw;
  };
  const std::vector<std::byte> bytes(good->bytes().begin(), good->bytes().end());
  CHECK_FALSE(refused(bytes));
  int accepted = 0;
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    std::vector<std::byte> flipped = bytes;
    flipped[i] ^= static_cast<std::byte>(1U << (i % 8));
    accepted += refused(flipped) ? 0 : 1;
    accepted += refused({bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(i)}) ? 0 : 1;
  }
  CHECK(accepted == 0);
}

}  // namespace
}  // namespace serotine::codec
