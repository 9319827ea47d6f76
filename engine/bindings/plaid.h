// Which classes of serotine._engine are the PLAID index?
#pragma once

#include <nanobind/nanobind.h>

namespace serotine::bindings {

void bind_plaid(nanobind::module_& module);

}  // namespace serotine::bindings
