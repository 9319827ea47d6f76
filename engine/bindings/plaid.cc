// The index and its writer, for serotine._engine.
#include "bindings/plaid.h"

#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/unique_ptr.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <mutex>
#include <numeric>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/error.h"
#include "bindings/arrays.h"
#include "bindings/document_keys.h"
#include "bindings/interruptible.h"
#include "bindings/snapshot.h"
#include "index/index.h"
#include "io/memory_directory.h"

namespace serotine::bindings {
namespace {

using HalfMatrix = nb::ndarray<const std::uint16_t, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using Lengths = nb::ndarray<const std::uint32_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

// serotine._engine.PlaidWriter: a Writer that ends with its commit. Calls from several threads wait for one another;
// they wait without the GIL, which a progress callback of the one at work needs. While a commit is under way they are
// refused instead: a call from its progress callback would wait for itself.
class PlaidWriter {
 public:
  PlaidWriter(std::shared_ptr<index::Index> index, std::unique_ptr<index::Writer> writer)
      : index_(std::move(index)), writer_(std::move(writer)) {}

  void add(const nb::list& ids, const Lengths& lengths, const HalfMatrix& values, bool replace) {
    const std::span<const std::uint32_t> counts{lengths.data(), lengths.size()};
    if (ids.size() != counts.size() ||
        std::accumulate(counts.begin(), counts.end(), std::uint64_t{0}) != values.shape(0)) {
      throw InvalidInput("ids, lengths and values do not fit together");
    }
    const std::vector<segment::DocumentKey> keys = new_keys(ids);
    require_idle();
    const nb::gil_scoped_release release;
    const std::scoped_lock guard(mutex_);
    open().add(keys, counts, values.data(), values.shape(1), replace);
  }

  std::uint64_t remove(const nb::list& ids) {
    const std::vector<segment::DocumentKey> keys = possible_keys(ids);
    require_idle();
    const nb::gil_scoped_release release;
    const std::scoped_lock guard(mutex_);
    return open().remove(keys);
  }

  std::uint64_t commit(std::uint64_t num_threads, const nb::object& progress) {
    require_idle();
    return interruptible(progress, [&](const codec::Progress& told) {
      const std::scoped_lock guard(mutex_);
      const Ending ending(is_ending_);
      const std::unique_ptr<index::Writer> writer = take();
      return writer->commit(num_threads, told);
    });
  }

  std::uint64_t optimize(bool retrain, std::uint64_t num_threads, const nb::object& progress) {
    require_idle();
    return interruptible(progress, [&](const codec::Progress& told) {
      const std::scoped_lock guard(mutex_);
      const Ending ending(is_ending_);
      const std::unique_ptr<index::Writer> writer = take();
      return writer->optimize(retrain, num_threads, told);
    });
  }

  void close() {
    require_idle();
    const nb::gil_scoped_release release;
    const std::scoped_lock guard(mutex_);
    writer_.reset();
  }

 private:
  // Says, as long as it lives, that a commit is under way.
  class Ending {
   public:
    explicit Ending(std::atomic<bool>& flag) : flag_(flag) { flag_ = true; }
    Ending(const Ending&) = delete;
    Ending& operator=(const Ending&) = delete;
    ~Ending() { flag_ = false; }

   private:
    std::atomic<bool>& flag_;
  };

  void require_idle() const {
    if (is_ending_) {
      throw InvalidInput("a commit is under way: this writer takes no calls until it is done, nor afterwards");
    }
  }
  [[nodiscard]] index::Writer& open() {
    if (!writer_) {
      throw InvalidInput("this writer has ended; begin another one");
    }
    return *writer_;
  }
  [[nodiscard]] std::unique_ptr<index::Writer> take() {
    static_cast<void>(open());
    return std::move(writer_);
  }

  std::shared_ptr<index::Index> index_;  // outlives the writer
  std::mutex mutex_;
  std::atomic<bool> is_ending_{false};
  std::unique_ptr<index::Writer> writer_;
};

// serotine._engine.PlaidIndex.
class PlaidIndex {
 public:
  PlaidIndex(const std::optional<std::string>& folder, const index::IndexOptions& options) {
    const nb::gil_scoped_release release;
    std::shared_ptr<io::Directory> directory;
    if (folder) {
      directory = io::open_posix_directory(*folder);
    } else {
      directory = std::make_shared<io::MemoryDirectory>();
    }
    index_ = std::make_shared<index::Index>(std::move(directory), options);
  }

  [[nodiscard]] PlaidSnapshot snapshot() const {
    const nb::gil_scoped_release release;
    return {index_->snapshot()};
  }

  [[nodiscard]] std::unique_ptr<PlaidWriter> begin_write() const {
    const nb::gil_scoped_release release;
    return std::make_unique<PlaidWriter>(index_, index_->begin_write());
  }

  void check() const {
    interruptible(nb::none(), [this](const codec::Progress& progress) { index_->check(progress); });
  }

 private:
  std::shared_ptr<index::Index> index_;
};

void init_index(PlaidIndex* self, const std::optional<std::string>& folder, std::uint32_t nbits, std::uint64_t seed,
                bool keep_originals, double lock_timeout_s, bool override_existing, bool verify_values,
                bool recover_previous) {
  index::IndexOptions options;
  options.settings = format::Settings{.dim = 0, .nbits = nbits, .seed = seed, .keep_originals = keep_originals};
  options.lock_timeout = std::chrono::milliseconds(static_cast<std::int64_t>(1000 * lock_timeout_s));
  options.override_existing = override_existing;
  options.verify_values = verify_values;
  options.recover_previous = recover_previous;
  new (self) PlaidIndex(folder, options);
}

constexpr const char* kInitSignature =
    "def __init__("
    "self, folder: str | None, *, nbits: int, seed: int, keep_originals: bool, lock_timeout_s: float, "
    "override: bool = False, verify_values: bool = False, recover_previous: bool = False) -> None";
constexpr const char* kAddSignature =
    "def add("
    "self, ids: list[str | int], lengths: numpy.typing.NDArray[numpy.uint32], "
    "values: numpy.typing.NDArray[numpy.uint16], *, replace: bool) -> None";
constexpr const char* kRemoveSignature = "def remove(self, ids: list[str | int]) -> int";
constexpr const char* kCommitSignature =
    "def commit("
    "self, *, num_threads: int, progress: collections.abc.Callable[[float], object] | None = None) -> int";
constexpr const char* kOptimizeSignature =
    "def optimize("
    "self, *, retrain: bool, num_threads: int, "
    "progress: collections.abc.Callable[[float], object] | None = None) -> int";

}  // namespace

void bind_plaid(nb::module_& module) {
  using namespace nb::literals;
  bind_snapshot(module);
  nb::class_<PlaidWriter>(module, "PlaidWriter", "A change in the making: holds the lock until it ends.")
      .def("add", &PlaidWriter::add, "ids"_a, "lengths"_a.noconvert(), "values"_a.noconvert(), nb::kw_only(),
           "replace"_a, nb::sig(kAddSignature),
           R"(Stages documents.

values: (sum of lengths, dim), uint16 bits of finite float16, C-contiguous.)")
      .def("remove", &PlaidWriter::remove, "ids"_a, nb::sig(kRemoveSignature),
           "Stages deletions; returns how many documents of these ids there were.")
      .def("commit", &PlaidWriter::commit, nb::kw_only(), "num_threads"_a, "progress"_a = nb::none(),
           nb::sig(kCommitSignature), "Publishes everything and ends; returns the generation.")
      .def("optimize", &PlaidWriter::optimize, nb::kw_only(), "retrain"_a, "num_threads"_a, "progress"_a = nb::none(),
           nb::sig(kOptimizeSignature), "Merges what is there and ends; returns the generation.")
      .def("close", &PlaidWriter::close, "Ends without a change, if it has not ended.");
  nb::class_<PlaidIndex>(module, "PlaidIndex", "An index in a folder, or in memory if there is none.")
      .def("__init__", &init_index, "folder"_a.none(), nb::kw_only(), "nbits"_a, "seed"_a, "keep_originals"_a,
           "lock_timeout_s"_a, "override"_a = false, "verify_values"_a = false, "recover_previous"_a = false,
           nb::sig(kInitSignature))
      .def("snapshot", &PlaidIndex::snapshot, "The newest commit: one look at the folder.")
      .def("begin_write", &PlaidIndex::begin_write, "Takes the lock, waiting for it.")
      .def("check", &PlaidIndex::check, "Compares every byte with its checksum.");
}

}  // namespace serotine::bindings
