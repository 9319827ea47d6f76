// The choice of an instruction set is explicit: what cannot run is refused by name, never replaced silently.
#include <doctest/doctest.h>

#include <algorithm>

#include "base/cpu.h"
#include "base/error.h"
#include "kernels/dispatch.h"
#include "kernels/maxsim.h"

namespace serotine::kernels {
namespace {

TEST_CASE("every machine runs the scalar kernels, and the widest set is the one in use") {
  const auto names = available_instruction_sets();
  CHECK(names.front() == "scalar");
  CHECK(std::count(names.begin(), names.end(), active_instruction_set()) == 1);
}

TEST_CASE("each available name has its own kernels") {
  for (const std::string_view name : available_instruction_sets()) {
    CHECK(kernels_of(name).name == name);
    CHECK(kernels_of(name).max_panel_groups <= kMaxPanelGroups);
  }
}

TEST_CASE("a name that is unknown, or that this processor cannot run, is refused") {
  CHECK_THROWS_AS(static_cast<void>(kernels_of("")), InvalidInput);
  CHECK_THROWS_WITH_AS(static_cast<void>(kernels_of("AVX2")), doctest::Contains("unknown instruction set 'AVX2'"),
                       InvalidInput);
  if (!cpu_features().avx512) {
    CHECK_THROWS_WITH_AS(static_cast<void>(kernels_of("avx512")), doctest::Contains("cannot run"), InvalidInput);
  }
}

}  // namespace
}  // namespace serotine::kernels
