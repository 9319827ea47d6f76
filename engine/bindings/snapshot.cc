#include "bindings/snapshot.h"

#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <array>
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "bindings/arrays.h"
#include "bindings/document_keys.h"
#include "bindings/plaid_search.h"
#include "codec/encode.h"

namespace serotine::bindings {
namespace {

using index::Snapshot;
using search::Hit;
using search::SegmentView;

[[nodiscard]] bool contains(const PlaidSnapshot& self, nb::handle id) {
  const std::optional<segment::DocumentKey> key = find_key(id);
  return key && self.snapshot->find(*key);
}

// The first of these ids that is (or, with `known` false, that is not) in the index.
nb::object first(const PlaidSnapshot& self, const nb::list& ids, bool known) {
  const std::vector<std::optional<segment::DocumentKey>> keys = find_keys(ids);
  std::size_t position = 0;
  {
    const nb::gil_scoped_release release;
    while (position < keys.size() && (keys[position] && self.snapshot->find(*keys[position])) != known) {
      ++position;
    }
  }
  return position < keys.size() ? nb::object(ids[position]) : nb::object(nb::none());
}

nb::list documents_ids(const PlaidSnapshot& self) {
  nb::list ids;
  for (const SegmentView& view : self.snapshot->view().segments) {
    for (std::uint64_t document = 0; document < view.segment->num_documents(); ++document) {
      if (!view.deletions->contains(document)) {
        ids.append(id_of(view.segment->key(document)));
      }
    }
  }
  return ids;
}

using HalfArray = nb::ndarray<nb::numpy, const std::uint16_t>;
using FloatArray = nb::ndarray<nb::numpy, const float>;

// A document without tokens has no bytes to point at; an array wants an address all the same.
constexpr std::array<std::uint32_t, 1> kNoBytes{};

// float16 vectors where the index keeps them: a view that holds the snapshot. The same numbers decoded otherwise.
struct Vectors {
  Hit place;
  std::vector<float> decoded;
};

nb::object to_array(const std::shared_ptr<const Snapshot>& snapshot, Vectors&& vectors) {
  const segment::Segment& segment = *snapshot->view().segments[vectors.place.segment].segment;
  const std::size_t num_tokens = segment.length(vectors.place.document);
  const std::size_t dim = snapshot->view().dim;
  if (segment.has_originals()) {
    const std::span<const std::uint16_t> originals = segment.originals(vectors.place.document);
    auto kept = std::make_unique<std::shared_ptr<const Snapshot>>(snapshot);
    nb::capsule owner(kept.get(),
                      [](void* pointer) noexcept { delete static_cast<std::shared_ptr<const Snapshot>*>(pointer); });
    static_cast<void>(kept.release());  // the capsule has it now
    const void* data = num_tokens == 0 ? static_cast<const void*>(kNoBytes.data()) : originals.data();
    return nb::cast(HalfArray(data, {num_tokens, dim}, owner));
  }
  auto owned = std::make_unique<std::vector<float>>(std::move(vectors.decoded));
  const void* data = num_tokens == 0 ? static_cast<const void*>(kNoBytes.data()) : owned->data();
  nb::capsule owner(owned.get(), [](void* pointer) noexcept { delete static_cast<std::vector<float>*>(pointer); });
  static_cast<void>(owned.release());
  return nb::cast(FloatArray(data, {num_tokens, dim}, owner));
}

nb::list vectors(const PlaidSnapshot& self, const nb::list& ids) {
  const std::vector<std::optional<segment::DocumentKey>> keys = find_keys(ids);
  std::vector<std::optional<Vectors>> found(keys.size());
  {
    const nb::gil_scoped_release release;
    for (std::size_t i = 0; i < keys.size(); ++i) {
      const std::optional<Hit> place = keys[i] ? self.snapshot->find(*keys[i]) : std::nullopt;
      if (!place) {
        continue;
      }
      found[i] = Vectors{*place, {}};
      const segment::Segment& segment = *self.snapshot->view().segments[place->segment].segment;
      if (!segment.has_originals()) {
        found[i]->decoded.resize(segment.length(place->document) * self.snapshot->view().dim);
        codec::decode_document(*segment.codebook(), segment.code_format(), segment.coded(place->document),
                               found[i]->decoded.data());
      }
    }
  }
  nb::list arrays;
  for (std::optional<Vectors>& each : found) {
    arrays.append(each ? to_array(self.snapshot, std::move(*each)) : nb::object(nb::none()));
  }
  return arrays;
}

[[nodiscard]] std::uint64_t count_without_tokens(const SegmentView& view) {
  std::uint64_t count = 0;
  for (std::uint64_t document = 0; document < view.segment->num_documents(); ++document) {
    count += view.segment->length(document) == 0 && !view.deletions->contains(document) ? 1 : 0;
  }
  return count;
}

nb::dict stats(const PlaidSnapshot& self) {
  const format::Manifest& manifest = self.snapshot->manifest();
  std::uint64_t without_tokens = 0;
  std::uint64_t deleted = 0;
  std::uint64_t cells = 0;
  double residual = 0;  // mean over coded tokens, now and in the samples that the codebooks were trained from
  double residual_trained = 0;
  const codec::Codebook* last = nullptr;
  for (std::size_t i = 0; i < manifest.segments.size(); ++i) {
    const SegmentView& view = self.snapshot->view().segments[i];
    without_tokens += count_without_tokens(view);
    deleted += manifest.segments[i].num_deleted;
    if (const codec::Codebook* codebook = view.segment->codebook()) {
      const auto num_tokens = static_cast<double>(view.segment->num_tokens());
      residual += num_tokens * view.segment->residual_energy();
      residual_trained += num_tokens * static_cast<double>(codebook->residual_energy());
      cells += codebook == last ? 0 : codebook->num_cells();  // the segments of a codebook stand together
      last = codebook;
    }
  }
  nb::list calibration;
  for (const format::CalibrationPoint& point : manifest.calibration) {
    calibration.append(nb::make_tuple(point.cells, point.candidates, point.rescored, point.recall));
  }
  nb::dict facts;
  facts["num_documents"] = self.snapshot->num_documents();
  facts["num_documents_without_tokens"] = without_tokens;
  facts["num_deleted_documents"] = deleted;
  facts["num_tokens"] = self.snapshot->num_tokens();
  facts["num_bytes"] = self.snapshot->num_bytes();
  facts["num_segments"] = manifest.segments.size();
  facts["num_codebooks"] = manifest.codebooks.size();
  facts["num_cells"] = cells;
  facts["generation"] = manifest.generation;
  facts["dim"] = manifest.settings.dim;
  facts["nbits"] = manifest.settings.nbits;
  facts["drift"] = residual_trained > 0 ? nb::cast(residual / residual_trained) : nb::object(nb::none());
  facts["calibration"] = nb::tuple(calibration);
  return facts;
}

template <typename Member>
auto setting(Member member) {
  return [member](const PlaidSnapshot& self) { return self.snapshot->manifest().settings.*member; };
}

constexpr const char* kContainsSignature = "def contains(self, document_id: str | int) -> bool";
constexpr const char* kFirstSignature = "def first(self, ids: list[str | int], *, known: bool) -> str | int | None";
constexpr const char* kDocumentsIdsSignature = "def documents_ids(self) -> list[str | int]";
constexpr const char* kVectorsSignature =
    "def vectors(self, ids: list[str | int]) -> list[numpy.typing.NDArray[typing.Any] | None]";
constexpr const char* kStatsSignature = "def stats(self) -> dict[str, typing.Any]";
constexpr const char* kNearestTokensSignature =
    "def nearest_tokens("
    "self, values: numpy.typing.NDArray[numpy.float32], offsets: numpy.typing.NDArray[numpy.int64], *, "
    "k: int, subsets: list[list[str | int]] | None = None, exhaustive: bool = False, num_threads: int = 1"
    ") -> list[tuple[numpy.typing.NDArray[numpy.int64], numpy.typing.NDArray[numpy.float32]]]";
constexpr const char* kIdsAtSignature =
    "def ids_at(self, documents: numpy.typing.NDArray[numpy.int64]) -> list[str | int]";
constexpr const char* kSearchSignature =
    "def search("
    "self, values: numpy.typing.NDArray[numpy.float32], offsets: numpy.typing.NDArray[numpy.int64], *, "
    "k: int, subsets: list[list[str | int]] | None = None, "
    "weights: numpy.typing.NDArray[numpy.float32] | None = None, recall: float = 0.0, cells: int | None = None, "
    "candidates: int | None = None, exhaustive: bool = False, num_threads: int = 1"
    ") -> list[list[dict[str, typing.Any]]]";

}  // namespace

void bind_snapshot(nb::module_& module) {
  using namespace nb::literals;
  using format::Settings;
  nb::class_<PlaidSnapshot>(module, "PlaidSnapshot", "One generation of a PlaidIndex, open. Never changes.")
      .def_prop_ro("generation", [](const PlaidSnapshot& self) { return self.snapshot->manifest().generation; })
      .def_prop_ro("num_documents", [](const PlaidSnapshot& self) { return self.snapshot->num_documents(); })
      .def_prop_ro("num_tokens", [](const PlaidSnapshot& self) { return self.snapshot->num_tokens(); })
      .def_prop_ro("num_bytes", [](const PlaidSnapshot& self) { return self.snapshot->num_bytes(); })
      .def_prop_ro("num_segments", [](const PlaidSnapshot& self) { return self.snapshot->view().segments.size(); })
      .def_prop_ro("dim", setting(&Settings::dim))
      .def_prop_ro("nbits", setting(&Settings::nbits))
      .def_prop_ro("seed", setting(&Settings::seed))
      .def_prop_ro("keep_originals", setting(&Settings::keep_originals))
      .def("contains", &contains, "document_id"_a, nb::sig(kContainsSignature))
      .def("first", &first, "ids"_a, nb::kw_only(), "known"_a, nb::sig(kFirstSignature),
           "The first of the ids that is known, or that is not; None if there is none.")
      .def("documents_ids", &documents_ids, nb::sig(kDocumentsIdsSignature), "All ids, oldest document first.")
      .def("vectors", &vectors, "ids"_a, nb::sig(kVectorsSignature),
           R"(The vectors of documents, (num_tokens, dim) and read-only; None for an unknown one.

uint16 bits of float16 where the index keeps what it was given, float32 decoded from the codes elsewhere.)")
      .def("stats", &stats, nb::sig(kStatsSignature), "The facts of serotine.indexes.Stats.")
      .def("search", &search_snapshot, "values"_a.noconvert(), "offsets"_a.noconvert(), nb::kw_only(), "k"_a,
           "subsets"_a = nb::none(), "weights"_a.noconvert() = nb::none(), "recall"_a = 0.0F, "cells"_a = nb::none(),
           "candidates"_a = nb::none(), "exhaustive"_a = false, "num_threads"_a = 1, nb::sig(kSearchSignature),
           R"(The k best documents of each query as {"id", "score"}.

subsets: None, one list of ids for all queries, or one per query. recall 0: the engine's default.)")
      .def("nearest_tokens", &nearest_tokens_of_snapshot, "values"_a.noconvert(), "offsets"_a.noconvert(),
           nb::kw_only(), "k"_a, "subsets"_a = nb::none(), "exhaustive"_a = false, "num_threads"_a = 1,
           nb::sig(kNearestTokensSignature),
           R"(For each query the documents of its tokens' k nearest stored tokens, and their similarities.

Both are (num_query_tokens, num_hits), best first; the document is -1 where a token has fewer hits than others.
subsets: as of search.)")
      .def("ids_at", &ids_at, "documents"_a.noconvert(), nb::sig(kIdsAtSignature),
           "The ids of documents that nearest_tokens numbered.");
}

}  // namespace serotine::bindings
