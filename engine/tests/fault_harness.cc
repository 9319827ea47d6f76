#include "fault_harness.h"

#include <algorithm>
#include <exception>
#include <optional>
#include <random>

#include "base/error.h"

namespace serotine::testing {
namespace {

using io::Fault;
using io::FaultDirectory;
using io::MemoryDirectory;

// What an undisturbed run passes through: the state before the first commit, and after each.
struct Course {
  std::vector<std::string> states;
  std::uint64_t num_operations = 0;
};

Course undisturbed(const Script& script) {
  const auto memory = std::make_shared<MemoryDirectory>();
  const auto directory = std::make_shared<FaultDirectory>(memory);
  Course course;
  course.states.push_back(script.read(memory));
  script.run(directory, [&] { course.states.push_back(script.read(memory)); });
  course.num_operations = directory->num_operations();
  return course;
}

// How a run ended.
struct Ending {
  std::size_t num_acknowledged = 0;
  bool is_killed = false;
  bool is_unknown = false;              // CommitFailed with that outcome
  std::optional<std::string> error;     // one of serotine's
  std::optional<std::string> stranger;  // an exception of another kind
};

Ending run_disturbed(const Script& script, const DirectoryPtr& directory) {
  Ending ending;
  try {
    script.run(directory, [&] { ++ending.num_acknowledged; });
  } catch (const io::Killed&) {
    ending.is_killed = true;
  } catch (const CommitFailed& error) {
    ending.is_unknown = error.outcome == CommitFailed::Outcome::kUnknown;
    ending.error = error.what();
  } catch (const StorageError& error) {
    ending.error = error.what();
  } catch (const std::exception& error) {
    ending.stranger = error.what();
  }
  return ending;
}

// What is wrong with a directory that was left, or nothing. `exact`: the commit under way must not have happened.
std::optional<std::string> judge(const Script& script, const Course& course, const Ending& ending,
                                 const DirectoryPtr& left, bool exact) {
  const std::size_t acknowledged = ending.num_acknowledged;
  try {
    const std::string found = script.read(left);
    const bool as_before = found == course.states[acknowledged];
    const bool as_after = !exact && acknowledged + 1 < course.states.size() && found == course.states[acknowledged + 1];
    if (!as_before && !as_after) {
      return "after " + std::to_string(acknowledged) + " acknowledged commits found \"" + found + "\"";
    }
  } catch (const std::exception& error) {
    return "after " + std::to_string(acknowledged) + " acknowledged commits: " + error.what();
  }
  return std::nullopt;
}

std::optional<std::string> judge_going_on(const Script& script, const DirectoryPtr& left) {
  try {
    const std::string before = script.read(left);
    script.go_on(left);
    if (script.read(left) == before) {
      return "going on: the commit returned and nothing changed";
    }
    if (!left->list("tmp").empty()) {
      return "going on: files are left in tmp/";
    }
  } catch (const std::exception& error) {
    return std::string("going on: ") + error.what();
  }
  return std::nullopt;
}

class Journal {
 public:
  void note(const FaultDirectory& directory, const std::string& what, const std::optional<std::string>& failure) {
    ++report.num_trials;
    if (failure) {
      const std::vector<std::string> log = directory.log();
      report.failures.push_back(what + " (" + (log.empty() ? "" : log.back()) + "): " + *failure);
    }
  }

  Report report;
};

std::optional<std::string> judge_error(const Script& script, const Course& course, const Ending& ending,
                                       const FaultDirectory& disturbed, const DirectoryPtr& left, bool persistent) {
  if (ending.stranger) {
    return "an exception of another kind: " + *ending.stranger;
  }
  if (!ending.error && ending.num_acknowledged + 1 != course.states.size()) {
    return "the run ended early and without an error";
  }
  // An error that failed to be reported is one in tidying up: everything was acknowledged.
  if (auto failure = judge(script, course, ending, left, ending.error && !ending.is_unknown)) {
    return failure;
  }
  const bool is_tidy = left->list("tmp").empty();
  // Tidying up itself may have been what failed; the next writer's garbage collection is judged by going on.
  const std::vector<std::string> log = disturbed.log();
  const bool may_be_untidy =
      persistent || ending.is_unknown ||
      std::any_of(log.begin(), log.end(), [](const std::string& line) { return line.starts_with("remove tmp/"); });
  if (!is_tidy && !may_be_untidy) {
    return "files are left in tmp/";
  }
  return judge_going_on(script, left);
}

bool advance(std::vector<std::uint64_t>& choices, const std::vector<std::uint64_t>& ways) {
  for (std::size_t i = 0; i < ways.size(); ++i) {
    if (++choices[i] < ways[i]) {
      return true;
    }
    choices[i] = 0;
  }
  return false;
}

// Calls visit(choices) with every combination, or with random ones if they are too many, the extreme ones among them.
template <typename Visit>
void for_each_crash(const std::vector<std::uint64_t>& ways, const PowerLoss& how, std::mt19937_64& random,
                    Visit visit) {
  std::uint64_t combinations = 1;
  for (const std::uint64_t count : ways) {
    combinations = std::min(how.max_exhaustive + 1, combinations * count);
  }
  std::vector<std::uint64_t> choices(ways.size(), 0);
  if (combinations <= how.max_exhaustive) {
    do {
      visit(choices);
    } while (advance(choices, ways));
    return;
  }
  visit(choices);
  for (std::size_t i = 0; i < ways.size(); ++i) {
    choices[i] = ways[i] - 1;
  }
  visit(choices);
  for (std::uint64_t trial = 0; trial < how.num_random; ++trial) {
    for (std::size_t i = 0; i < ways.size(); ++i) {
      choices[i] = random() % ways[i];
    }
    visit(choices);
  }
}

}  // namespace

Report kill_everywhere(const Script& script) {
  const Course course = undisturbed(script);
  Journal journal;
  journal.report.num_operations = course.num_operations;
  for (std::uint64_t n = 1; n <= course.num_operations; ++n) {
    const auto memory = std::make_shared<MemoryDirectory>();
    const auto directory = std::make_shared<FaultDirectory>(memory, Fault{n, Fault::Kind::kKill, true});
    const Ending ending = run_disturbed(script, directory);
    std::optional<std::string> failure;
    // A kill while tidying up may come after everything was acknowledged, when destructors hide it.
    if (!ending.is_killed && ending.num_acknowledged + 1 != course.states.size()) {
      failure = "the run outlived the process";
    } else if (!(failure = judge(script, course, ending, memory, false))) {
      failure = judge_going_on(script, memory);
    }
    journal.note(*directory, "killed before operation " + std::to_string(n), failure);
  }
  return journal.report;
}

Report fail_everywhere(const Script& script, Fault::Kind kind, bool persistent) {
  const Course course = undisturbed(script);
  Journal journal;
  journal.report.num_operations = course.num_operations;
  for (std::uint64_t n = 1;; ++n) {
    const auto memory = std::make_shared<MemoryDirectory>();
    const auto directory = std::make_shared<FaultDirectory>(memory, Fault{n, kind, persistent});
    const Ending ending = run_disturbed(script, directory);
    if (!directory->fired()) {
      break;  // the script has fewer operations
    }
    journal.note(*directory, "error at operation " + std::to_string(n),
                 judge_error(script, course, ending, *directory, memory, persistent));
  }
  return journal.report;
}

Report lose_power_everywhere(const Script& script, const PowerLoss& how) {
  const Course course = undisturbed(script);
  std::mt19937_64 random(how.seed);
  Journal journal;
  journal.report.num_operations = course.num_operations;
  for (std::uint64_t n = 1; n <= course.num_operations + 1; n += how.stride) {
    const auto memory = std::make_shared<MemoryDirectory>();
    const auto directory = std::make_shared<FaultDirectory>(memory, Fault{n, Fault::Kind::kKill, true}, how.skipped);
    const Ending ending = run_disturbed(script, directory);
    std::uint64_t trial = 0;
    for_each_crash(memory->pending(), how, random, [&](const std::vector<std::uint64_t>& choices) {
      const auto found = memory->crash(choices);
      std::optional<std::string> failure = judge(script, course, ending, found, false);
      if (!failure && trial++ % 16 == 0) {
        failure = judge_going_on(script, found);
      }
      journal.note(*directory, "power lost before operation " + std::to_string(n), failure);
    });
  }
  return journal.report;
}

}  // namespace serotine::testing
