// Which scoring functions does serotine._engine have?
#pragma once

#include <nanobind/nanobind.h>

namespace serotine::bindings {

void bind_scores(nanobind::module_& module);

}  // namespace serotine::bindings
