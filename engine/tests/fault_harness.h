// What does a directory hold after a writer was killed, had an error, or lost power at any operation?
//
// Runs a script, something that writes and commits, once for every operation that it makes, and looks at what it left.
// The script knows what its commits mean; the loops here know none of it.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "io/fault_directory.h"
#include "io/memory_directory.h"

namespace serotine::testing {

using DirectoryPtr = std::shared_ptr<io::Directory>;

struct Script {
  // Writes, and calls acknowledge() after each commit that returned. Deterministic. Errors end it: it catches none.
  std::function<void(const DirectoryPtr&, const std::function<void()>& acknowledge)> run;
  // What a reader finds, everything checked, as a text that is equal for equal content. Throws if anything is wrong.
  std::function<std::string(const DirectoryPtr&)> read;
  // Commits something more on whatever is there; what it commits must show in read(). Throws if it cannot.
  std::function<void(const DirectoryPtr&)> go_on;
};

struct Report {
  std::uint64_t num_operations = 0;  // of the script
  std::uint64_t num_trials = 0;
  std::vector<std::string> failures;  // each: what was done, and what was found

  [[nodiscard]] std::string first() const { return failures.empty() ? "" : failures.front(); }
};

// The promise, for each loop: what is found afterwards is the state after the last acknowledged commit or after the one
// that was under way, nothing between them; and a new writer can go on.

// The process is killed before the n-th operation, for every n.
[[nodiscard]] Report kill_everywhere(const Script& script);

// The n-th operation fails, once or for good, for every n. Besides: the error is one of serotine's, the files of the
// attempt are gone unless the outcome is unknown, and an outcome that is not unknown means that nothing has changed.
[[nodiscard]] Report fail_everywhere(const Script& script, io::Fault::Kind kind, bool persistent);

struct PowerLoss {
  io::SkippedSyncs skipped;             // for the negative controls
  std::uint64_t max_exhaustive = 4096;  // states tried one by one; where there are more, random ones
  std::uint64_t num_random = 200;
  std::uint64_t stride = 1;  // every stride-th operation, for scripts with many
  std::uint64_t seed = 1;
};

// Power is lost after the n-th operation, for every n, in every way or many.
[[nodiscard]] Report lose_power_everywhere(const Script& script, const PowerLoss& how = {});

}  // namespace serotine::testing
