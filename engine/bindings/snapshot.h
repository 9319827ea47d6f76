// What does Python see of one generation of an index?  Its facts, its documents, and searches in it.
#pragma once

#include <nanobind/nanobind.h>

#include <memory>

#include "index/index.h"

namespace serotine::bindings {

// serotine._engine.PlaidSnapshot. Immutable; any number of threads may use it.
struct PlaidSnapshot {
  std::shared_ptr<const index::Snapshot> snapshot;
};

void bind_snapshot(nanobind::module_& module);

}  // namespace serotine::bindings
