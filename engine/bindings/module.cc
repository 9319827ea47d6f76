// What is serotine._engine?  The module itself: error classes, and one bind function per area.
#include <nanobind/nanobind.h>

#include <exception>

#include "base/error.h"
#include "bindings/scores.h"
#include "kernels/maxsim.h"

namespace nb = nanobind;

namespace {

void raise_as(const char* class_name, const std::exception& error) {
  const nb::object error_class = nb::module_::import_("serotine.errors").attr(class_name);
  PyErr_SetString(error_class.ptr(), error.what());
}

void translate(const std::exception_ptr& pointer, void* /*payload*/) {
  try {
    std::rethrow_exception(pointer);
  } catch (const serotine::DimensionMismatch& error) {
    raise_as("DimensionMismatch", error);
  } catch (const serotine::InvalidInput& error) {
    raise_as("InvalidInput", error);
  }
}

}  // namespace

NB_MODULE(_engine, module) {
  module.doc() = "The native engine. Private: only serotine.scores and serotine.indexes call it.";
  nb::register_exception_translator(translate);
  try {
    static_cast<void>(serotine::kernels::active_instruction_set());
  } catch (const serotine::InvalidInput& error) {
    throw nb::import_error(error.what());  // a wrong SEROTINE_ISA is said at once, not at the first score
  }
  serotine::bindings::bind_scores(module);
}
