// How does Python search a snapshot?  In batches short enough that Ctrl-C is heard between them.
#pragma once

#include <cstdint>
#include <optional>

#include "bindings/arrays.h"
#include "bindings/snapshot.h"

namespace serotine::bindings {

// Arguments as PlaidSnapshot.search says; everything is checked here but what serotine.indexes.checks has checked.
nb::list search_snapshot(const PlaidSnapshot& self, const ConstMatrix& values, const Offsets& offsets, std::uint64_t k,
                         const std::optional<nb::list>& subsets, const std::optional<Floats>& weights, float recall,
                         std::optional<std::uint32_t> cells, std::optional<std::uint32_t> candidates, bool exhaustive,
                         std::uint64_t num_threads);

// For each query (documents, similarities): the k nearest tokens of each query token. Likewise checked.
nb::list nearest_tokens_of_snapshot(const PlaidSnapshot& self, const ConstMatrix& values, const Offsets& offsets,
                                    std::uint64_t k, const std::optional<nb::list>& subsets, bool exhaustive,
                                    std::uint64_t num_threads);

// The ids of documents, numbered through all segments.
nb::list ids_at(const PlaidSnapshot& self, const Positions& documents);

}  // namespace serotine::bindings
