// How do Python's document ids become the bytes that the index keeps, and back?
#pragma once

#include <nanobind/nanobind.h>

#include <optional>
#include <string_view>
#include <vector>

#include "segment/segment.h"

namespace serotine::bindings {

// The key of a str or int; nothing if no document can have this id (empty, too long, with NUL or a lone
// surrogate, more than 64 bits).
// Throws InvalidInput for any other type.
[[nodiscard]] std::optional<segment::DocumentKey> find_key(nanobind::handle id);

[[nodiscard]] std::vector<std::optional<segment::DocumentKey>> find_keys(const nanobind::list& ids);

// The keys of documents to store, in order. Throws InvalidInput for an id that no document can have.
[[nodiscard]] std::vector<segment::DocumentKey> new_keys(const nanobind::list& ids);

// The keys of those ids that a document can have, in order.
[[nodiscard]] std::vector<segment::DocumentKey> possible_keys(const nanobind::list& ids);

// The str or int that a key stands for.
[[nodiscard]] nanobind::object id_of(std::string_view key);

}  // namespace serotine::bindings
