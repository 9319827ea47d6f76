// How do numpy arrays become the engine's views?  Every shape, dtype and range is checked here, before any use.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "kernels/maxsim.h"

namespace serotine::bindings {

namespace nb = nanobind;

using ConstMatrix = nb::ndarray<nb::ro, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using Offsets = nb::ndarray<const std::int64_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Positions = Offsets;
using Floats = nb::ndarray<const float, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

// Checks one packed matrix. `what` names it in messages. `kind`: float32, float16, bfloat16 (both as uint16 bits) or
// int8, which needs `scales` (num_tokens,) where the others must have none.
// Throws InvalidInput if the parts do not fit together.
[[nodiscard]] kernels::PackedTokens packed_tokens(std::string_view what, const ConstMatrix& values,
                                                  std::string_view kind, const Offsets& offsets,
                                                  const std::optional<Floats>& scales);

// Throws InvalidInput if a position is outside [0, num_documents).
[[nodiscard]] std::span<const std::int64_t> checked_selection(const Positions& selection, std::uint64_t num_documents);

// A float32 numpy array of the given shape that owns `values`.
[[nodiscard]] nb::ndarray<nb::numpy, float> to_numpy(std::vector<float>&& values,
                                                     std::initializer_list<std::size_t> shape);

}  // namespace serotine::bindings
