// How does Ctrl-C reach a long native call?  Through its progress: there Python looks at its signals.
#pragma once

#include <nanobind/nanobind.h>

#include <exception>

#include "base/error.h"
#include "codec/train.h"

namespace serotine::bindings {

// Calls work(progress) without the GIL. Progress takes the GIL, lets pending signals run their handlers and then
// calls `callback` (None: nothing) with the fraction. What a handler or the callback raises ends the work by
// Interrupted and is raised here. Signals run in Python's main thread only.
template <typename Work>
auto interruptible(const nanobind::object& callback, const Work& work) {
  std::exception_ptr raised;  // by Python; the engine meets Interrupted in its place
  const codec::Progress progress = [&](double fraction) {
    const nanobind::gil_scoped_acquire acquire;
    try {
      if (PyErr_CheckSignals() != 0) {
        throw nanobind::python_error();
      }
      if (!callback.is_none()) {
        callback(fraction);
      }
    } catch (const nanobind::python_error&) {
      raised = std::current_exception();
      throw Interrupted("stopped by Python");
    }
  };
  try {
    const nanobind::gil_scoped_release release;
    return work(progress);
  } catch (const Interrupted&) {
    if (raised) {
      std::rethrow_exception(raised);
    }
    throw;
  }
}

}  // namespace serotine::bindings
