// Who writes?  A lock on a file that two processes, two objects and two threads cannot hold at once.
#pragma once

#include <chrono>
#include <memory>
#include <string>

#include "io/directory.h"

namespace serotine::io {

// Locks `path`, making it if needed; throws IndexLocked after `timeout`, StorageError if it cannot be opened. `root` is
// for messages. The lock ends with the object or the process; a forked child does not inherit it.
[[nodiscard]] std::unique_ptr<Lock> lock_posix_file(const std::string& path, const std::string& root,
                                                    std::chrono::milliseconds timeout);

}  // namespace serotine::io
