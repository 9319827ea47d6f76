// Does an index of every format version still open, and rank with the very same bits?
//
// golden/v<version>/ holds an index of each kind of segment, and expected.txt what searching it gave when it was
// written. SEROTINE_WRITE_GOLDEN=1 writes the folder of the present version if it is not there: once, when a
// version is new. A folder that was released is never written again.
#include <doctest/doctest.h>

#include <bit>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>

#include "format/file.h"
#include "index_fixture.h"
#include "io/directory.h"

namespace serotine {
namespace {

using testing::Batch;
using testing::key_of;
using testing::small_options;

const std::filesystem::path kFolder = SEROTINE_GOLDEN_FOLDER;

// A life that leaves coded segments of two codebooks, deletions, originals and exact documents behind.
void write_index(const std::filesystem::path& folder) {
  index::Index index(io::open_posix_directory(folder.string()), small_options());
  std::uint64_t number = 0;
  for (const std::uint64_t count : {std::uint64_t{20}, std::uint64_t{30}, std::uint64_t{60}, std::uint64_t{3}}) {
    const auto writer = index.begin_write();
    Batch batch;
    for (std::uint64_t i = 0; i < count; ++i, ++number) {
      batch.add(key_of(number), number, static_cast<std::uint32_t>(3 + number % 11));
    }
    batch.stage(*writer);
    const std::string removed = key_of(number / 2);
    writer->remove({&removed, 1});
    writer->commit(1, {});
  }
}

// Ids and the bits of scores of some searches, a line each.
std::string search_all(const std::filesystem::path& folder) {
  index::Index index(io::open_posix_directory(folder.string()), small_options());
  index.check({});
  const auto snapshot = index.snapshot();
  std::ostringstream text;
  text << "generation " << snapshot->manifest().generation << ", documents " << snapshot->num_documents() << ", tokens "
       << snapshot->num_tokens() << ", segments " << snapshot->view().segments.size() << "\n";
  for (std::uint64_t axis = 0; axis < testing::kDim; ++axis) {
    std::vector<float> tokens(2 * testing::kDim);
    tokens[axis] = 1.0F;
    tokens[testing::kDim + (3 * axis + 1) % testing::kDim] = 0.5F;
    search::SearchOptions options;
    options.k = 8;
    options.exhaustive = true;  // what a search leaves out may change
    search::Scratch scratch;
    for (const search::Hit& hit :
         search::search(snapshot->view(), {tokens.data(), 2, nullptr}, nullptr, options, scratch)) {
      text << snapshot->view().segments[hit.segment].segment->key(hit.document) << " " << std::hex
           << std::bit_cast<std::uint32_t>(hit.score) << std::dec << " ";
    }
    text << "\n";
  }
  return text.str();
}

std::string read_text(const std::filesystem::path& path) {
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

TEST_CASE("an index of every format version opens and ranks with the same bits") {
  if (std::getenv("SEROTINE_WRITE_GOLDEN") != nullptr) {
    const auto folder = kFolder / std::string("v").append(std::to_string(format::kFormatVersion));
    REQUIRE(!std::filesystem::exists(folder));
    std::filesystem::create_directories(folder);
    write_index(folder / "index");
    std::ofstream(folder / "expected.txt") << search_all(folder / "index");
  }
  for (std::uint32_t version = 1; version <= format::kFormatVersion; ++version) {
    CAPTURE(version);
    const auto folder = kFolder / std::string("v").append(std::to_string(version));
    REQUIRE(std::filesystem::exists(folder / "expected.txt"));
    CHECK(search_all(folder / "index") == read_text(folder / "expected.txt"));
  }
}

}  // namespace
}  // namespace serotine
