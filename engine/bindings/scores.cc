// The scoring functions of serotine._engine.
#include "bindings/scores.h"

#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <string>

#include "base/checked.h"
#include "base/error.h"
#include "bindings/arrays.h"
#include "kernels/maxsim.h"

namespace serotine::bindings {
namespace {

using FloatArray = nb::ndarray<nb::numpy, float>;

struct CheckedCall {
  kernels::PackedTokens queries;
  kernels::PackedTokens documents;
  kernels::MaxSimOptions options;
};

// `instruction_set` must outlive the result.
CheckedCall check(const ConstMatrix& query_values, const std::string& query_kind, const Offsets& query_offsets,
                  const ConstMatrix& document_values, const std::string& document_kind, const Offsets& document_offsets,
                  const std::optional<Floats>& document_scales, const std::optional<Floats>& weights,
                  std::uint64_t num_threads, const std::string& instruction_set) {
  CheckedCall call;
  if (query_kind == "int8") {
    throw InvalidInput("queries must be floats; they are quantised here if the documents are int8");
  }
  call.queries = packed_tokens("queries", query_values, query_kind, query_offsets, std::nullopt);
  call.documents = packed_tokens("documents", document_values, document_kind, document_offsets, document_scales);
  if (call.queries.dim != call.documents.dim) {
    throw DimensionMismatch("queries have dimension " + std::to_string(call.queries.dim) + ", documents " +
                            std::to_string(call.documents.dim));
  }
  if (num_threads == 0) {
    throw InvalidInput("num_threads must be at least 1, got 0");
  }
  if (weights) {
    if (weights->size() != query_values.shape(0)) {
      throw InvalidInput("weights has " + std::to_string(weights->size()) + " values, expected one for each of the " +
                         std::to_string(query_values.shape(0)) + " query tokens");
    }
    call.options.weights = weights->data();
  }
  call.options.num_threads = num_threads;
  call.options.instruction_set = instruction_set;
  return call;
}

FloatArray maxsim(const ConstMatrix& query_values, const std::string& query_kind, const Offsets& query_offsets,
                  const ConstMatrix& document_values, const std::string& document_kind, const Offsets& document_offsets,
                  const std::optional<Floats>& document_scales, const std::optional<Floats>& weights,
                  const std::optional<Positions>& selection, std::uint64_t num_threads,
                  const std::string& instruction_set) {
  const CheckedCall call = check(query_values, query_kind, query_offsets, document_values, document_kind,
                                 document_offsets, document_scales, weights, num_threads, instruction_set);
  std::optional<std::span<const std::int64_t>> positions;
  if (selection) {
    positions = checked_selection(*selection, call.documents.num_texts());
  }
  const std::uint64_t num_positions = positions ? positions->size() : call.documents.num_texts();
  std::vector<float> scores(checked_multiply(call.queries.num_texts(), num_positions));
  {
    const nb::gil_scoped_release release;
    kernels::maxsim(call.queries, call.documents, positions, call.options, scores);
  }
  return to_numpy(std::move(scores), {call.queries.num_texts(), num_positions});
}

FloatArray maxsim_pairwise(const ConstMatrix& query_values, const std::string& query_kind, const Offsets& query_offsets,
                           const ConstMatrix& document_values, const std::string& document_kind,
                           const Offsets& document_offsets, const std::optional<Floats>& document_scales,
                           const std::optional<Floats>& weights, std::uint64_t num_threads,
                           const std::string& instruction_set) {
  const CheckedCall call = check(query_values, query_kind, query_offsets, document_values, document_kind,
                                 document_offsets, document_scales, weights, num_threads, instruction_set);
  if (call.queries.num_texts() != call.documents.num_texts()) {
    throw InvalidInput("pairs need as many queries as documents, got " + std::to_string(call.queries.num_texts()) +
                       " and " + std::to_string(call.documents.num_texts()));
  }
  std::vector<float> scores(call.queries.num_texts());
  {
    const nb::gil_scoped_release release;
    kernels::maxsim_pairwise(call.queries, call.documents, call.options, scores);
  }
  const std::size_t num_scores = scores.size();
  return to_numpy(std::move(scores), {num_scores});
}

std::string instruction_set() { return std::string(kernels::active_instruction_set()); }

std::vector<std::string> instruction_sets() {
  const std::vector<std::string_view> names = kernels::available_instruction_sets();
  return {names.begin(), names.end()};
}

// Signatures are written out, each in one line as nanobind wants them: what it derives itself spells the shape and
// order of every array and is unreadable.
constexpr const char* kMaxsimSignature =
    "def maxsim("
    "query_values: numpy.typing.NDArray[typing.Any], query_kind: str, "
    "query_offsets: numpy.typing.NDArray[numpy.int64], "
    "document_values: numpy.typing.NDArray[typing.Any], document_kind: str, "
    "document_offsets: numpy.typing.NDArray[numpy.int64], *, "
    "document_scales: numpy.typing.NDArray[numpy.float32] | None = None, "
    "weights: numpy.typing.NDArray[numpy.float32] | None = None, "
    "selection: numpy.typing.NDArray[numpy.int64] | None = None, "
    "num_threads: int = 1, instruction_set: str = '', "
    ") -> numpy.typing.NDArray[numpy.float32]";

constexpr const char* kMaxsimPairwiseSignature =
    "def maxsim_pairwise("
    "query_values: numpy.typing.NDArray[typing.Any], query_kind: str, "
    "query_offsets: numpy.typing.NDArray[numpy.int64], "
    "document_values: numpy.typing.NDArray[typing.Any], document_kind: str, "
    "document_offsets: numpy.typing.NDArray[numpy.int64], *, "
    "document_scales: numpy.typing.NDArray[numpy.float32] | None = None, "
    "weights: numpy.typing.NDArray[numpy.float32] | None = None, "
    "num_threads: int = 1, instruction_set: str = '', "
    ") -> numpy.typing.NDArray[numpy.float32]";

}  // namespace

void bind_scores(nb::module_& module) {
  using namespace nb::literals;
  module.def("maxsim", &maxsim, "query_values"_a.noconvert(), "query_kind"_a, "query_offsets"_a.noconvert(),
             "document_values"_a.noconvert(), "document_kind"_a, "document_offsets"_a.noconvert(), nb::kw_only(),
             "document_scales"_a.noconvert() = nb::none(), "weights"_a.noconvert() = nb::none(),
             "selection"_a.noconvert() = nb::none(), "num_threads"_a = 1, "instruction_set"_a = "",
             nb::sig(kMaxsimSignature),
             R"(Score every query against every document, or those that selection numbers, in its order.

Arrays are C-contiguous and aligned. Kinds: float32, float16, bfloat16 (both as uint16 bits); documents also int8,
with finite scales. instruction_set: empty for the active one. Returns float32 (num_queries, num_documents).)");
  module.def("maxsim_pairwise", &maxsim_pairwise, "query_values"_a.noconvert(), "query_kind"_a,
             "query_offsets"_a.noconvert(), "document_values"_a.noconvert(), "document_kind"_a,
             "document_offsets"_a.noconvert(), nb::kw_only(), "document_scales"_a.noconvert() = nb::none(),
             "weights"_a.noconvert() = nb::none(), "num_threads"_a = 1, "instruction_set"_a = "",
             nb::sig(kMaxsimPairwiseSignature),
             R"(Score query i against document i.

Arguments as of maxsim, without a selection. Returns float32 (num_queries,).)");
  module.def("instruction_set", &instruction_set, "Name of the instruction set in use.");
  module.def("instruction_sets", &instruction_sets, "Those that this machine can run, narrowest first.");
}

}  // namespace serotine::bindings
