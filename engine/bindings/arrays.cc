#include "bindings/arrays.h"

#include <memory>
#include <string>
#include <utility>

#include "base/error.h"

namespace serotine::bindings {
namespace {

using kernels::ElementKind;

struct KindName {
  std::string_view name;
  ElementKind kind;
  nb::dlpack::dtype dtype;  // of the array that carries it
};

// numpy has no bfloat16 and buffers of float16 differ between libraries: both travel as their bits.
const KindName kKinds[] = {
    {"float32", ElementKind::kFloat32, nb::dtype<float>()},
    {"float16", ElementKind::kFloat16, nb::dtype<std::uint16_t>()},
    {"bfloat16", ElementKind::kBfloat16, nb::dtype<std::uint16_t>()},
    {"int8", ElementKind::kInt8, nb::dtype<std::int8_t>()},
};

[[nodiscard]] ElementKind checked_kind(const std::string& what, std::string_view kind, const ConstMatrix& values) {
  for (const KindName& candidate : kKinds) {
    if (candidate.name != kind) {
      continue;
    }
    if (values.dtype() != candidate.dtype) {
      throw InvalidInput(what + " of kind '" + std::string(kind) + "' must be an array of " +
                         std::to_string(candidate.dtype.bits) + "-bit elements of that kind (16-bit floats as uint16)");
    }
    return candidate.kind;
  }
  throw InvalidInput(what + " kind must be float32, float16, bfloat16 or int8, got '" + std::string(kind) + "'");
}

void check_aligned(const std::string& what, const void* data, std::size_t element_bytes) {
  if (reinterpret_cast<std::uintptr_t>(data) % element_bytes != 0) {
    throw InvalidInput(what + " must be aligned to their elements of " + std::to_string(element_bytes) +
                       " bytes; copy the array");
  }
}

void check_offsets(const std::string& what, const Offsets& offsets, std::uint64_t num_tokens) {
  check_aligned(what + " offsets", offsets.data(), sizeof(std::int64_t));
  const std::span<const std::int64_t> bounds{offsets.data(), offsets.size()};
  if (bounds.empty() || bounds.front() != 0 || static_cast<std::uint64_t>(bounds.back()) != num_tokens) {
    throw InvalidInput(what + " offsets must rise from 0 to the number of tokens " + std::to_string(num_tokens));
  }
  for (std::size_t i = 1; i < bounds.size(); ++i) {
    if (bounds[i] < bounds[i - 1]) {
      throw InvalidInput(what + " offsets decrease at " + std::to_string(i) + ": " + std::to_string(bounds[i - 1]) +
                         " is followed by " + std::to_string(bounds[i]));
    }
  }
}

}  // namespace

kernels::PackedTokens packed_tokens(std::string_view what_view, const ConstMatrix& values, std::string_view kind,
                                    const Offsets& offsets, const std::optional<Floats>& scales) {
  const std::string what{what_view};
  kernels::PackedTokens tokens;
  tokens.kind = checked_kind(what, kind, values);
  tokens.values = values.data();
  tokens.dim = values.shape(1);
  tokens.offsets = {offsets.data(), offsets.size()};
  check_aligned(what + " values", values.data(), values.itemsize());
  check_offsets(what, offsets, values.shape(0));
  if (tokens.dim == 0) {
    throw InvalidInput(what + " have dimension 0; a token vector needs at least one component");
  }
  const bool is_int8 = tokens.kind == ElementKind::kInt8;
  if (is_int8 != scales.has_value()) {
    throw InvalidInput(what + (is_int8 ? " of kind 'int8' need scales" : " have scales but are not of kind 'int8'"));
  }
  if (is_int8) {
    if (scales->size() != values.shape(0)) {
      throw InvalidInput(what + " have " + std::to_string(values.shape(0)) + " tokens but " +
                         std::to_string(scales->size()) + " scales");
    }
    if (tokens.dim > kernels::kMaxInt8Dim) {
      throw InvalidInput(what + " of kind 'int8' have dimension " + std::to_string(tokens.dim) + ", at most " +
                         std::to_string(kernels::kMaxInt8Dim) + " is exact in 32-bit sums");
    }
    check_aligned(what + " scales", scales->data(), sizeof(float));
    tokens.scales = scales->data();
  }
  return tokens;
}

std::span<const std::int64_t> checked_selection(const Positions& selection, std::uint64_t num_documents) {
  check_aligned("selection", selection.data(), sizeof(std::int64_t));
  const std::span<const std::int64_t> positions{selection.data(), selection.size()};
  for (std::size_t i = 0; i < positions.size(); ++i) {
    if (positions[i] < 0 || static_cast<std::uint64_t>(positions[i]) >= num_documents) {
      throw InvalidInput("selection[" + std::to_string(i) + "] is " + std::to_string(positions[i]) +
                         ", expected a document number from 0 to " + std::to_string(num_documents) + " (exclusive)");
    }
  }
  return positions;
}

nb::ndarray<nb::numpy, float> to_numpy(std::vector<float>&& values, std::initializer_list<std::size_t> shape) {
  auto owned = std::make_unique<std::vector<float>>(std::move(values));
  float* data = owned->data();
  nb::capsule owner(owned.get(), [](void* pointer) noexcept { delete static_cast<std::vector<float>*>(pointer); });
  static_cast<void>(owned.release());  // the capsule has it now
  return nb::ndarray<nb::numpy, float>(data, shape, owner);
}

}  // namespace serotine::bindings
