// What may be deleted?  Only by the holder of the lock, only names that an index makes, and never a file that one of
// the manifests to be kept mentions.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "format/manifest.h"
#include "io/directory.h"

namespace serotine::index {

// Generations of the manifests in the root, ascending.
[[nodiscard]] std::vector<std::uint64_t> list_generations(const io::Directory& directory);

// Removes everything of a writer that died: all in tmp/, and published files that no manifest mentions. Does nothing to
// published files if there is no manifest, or one that cannot be read: something is wrong that a human should see.
void collect_after_crash(io::Directory& directory);

// After a commit that is durable: keeps `newest` and the one before it, removes older manifests, then files that
// neither of the two mentions.
void collect_after_commit(io::Directory& directory, const format::Manifest& newest,
                          const std::optional<format::Manifest>& previous);

}  // namespace serotine::index
