// How does a manifest become open files?  Those that are open already are shared, the others are mapped and checked.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include "codec/codebook.h"
#include "format/manifest.h"
#include "search/search.h"
#include "search/view.h"

namespace serotine::index {

using MapFile = std::function<std::shared_ptr<const io::MappedFile>(format::FileKind, const Uuid&)>;

struct OpenFiles {
  std::vector<std::shared_ptr<const codec::Codebook>> codebooks;  // as in the manifest
  search::View view;
};

// previous: what is open of another generation of the index, with its manifest; null for nothing.
// Throws CorruptIndex: `map` does so for a file that is not there.
[[nodiscard]] OpenFiles open_files(const format::Manifest& manifest, const MapFile& map, const OpenFiles* previous,
                                   const format::Manifest* previous_manifest);

// Where a document is: segment and number; nothing if it is unknown or deleted.
[[nodiscard]] std::optional<search::Hit> find_document(const search::View& view, std::string_view key) noexcept;

}  // namespace serotine::index
