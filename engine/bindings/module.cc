// What is serotine._engine?  The module itself: error classes, and one bind function per area.
#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>

#include <exception>

#include "base/error.h"
#include "bindings/plaid.h"
#include "bindings/scores.h"
#include "kernels/maxsim.h"

namespace nb = nanobind;

namespace {

nb::object error_class(const char* name) { return nb::module_::import_("serotine.errors").attr(name); }

void raise(const nb::object& error) { PyErr_SetObject(nb::handle(error.type()).ptr(), error.ptr()); }

void raise_as(const char* class_name, const std::exception& error) { raise(error_class(class_name)(error.what())); }

const char* outcome_of(const serotine::CommitFailed& error) {
  return error.outcome == serotine::CommitFailed::Outcome::kUnknown ? "unknown" : "unchanged";
}

// Classes that have attributes; false if the error is none of them.
bool raise_with_attributes(const std::exception& error) {
  using namespace nb::literals;
  if (const auto* corrupt = dynamic_cast<const serotine::CorruptIndex*>(&error)) {
    const nb::object offset = corrupt->offset ? nb::object(nb::int_(*corrupt->offset)) : nb::object(nb::none());
    raise(error_class("CorruptIndex")(corrupt->path, "expected"_a = corrupt->expected, "found"_a = corrupt->found,
                                      "offset"_a = offset));
  } else if (const auto* full = dynamic_cast<const serotine::OutOfSpace*>(&error)) {
    raise(error_class("OutOfSpace")(full->what(), "needed"_a = full->needed, "free"_a = full->free));
  } else if (const auto* failed = dynamic_cast<const serotine::CommitFailed*>(&error)) {
    raise(error_class("CommitFailed")(failed->what(), "outcome"_a = outcome_of(*failed)));
  } else {
    return false;
  }
  return true;
}

// The most derived class first: each is also an instance of those that it derives from.
void translate(const std::exception_ptr& pointer, void* /*payload*/) {
  try {
    std::rethrow_exception(pointer);
  } catch (const serotine::DimensionMismatch& error) {
    raise_as("DimensionMismatch", error);
  } catch (const serotine::DuplicateDocument& error) {
    raise_as("DuplicateDocument", error);
  } catch (const serotine::InvalidInput& error) {
    raise_as("InvalidInput", error);
  } catch (const serotine::IndexTooNew& error) {
    raise_as("IndexTooNew", error);
  } catch (const serotine::IndexLocked& error) {
    raise_as("IndexLocked", error);
  } catch (const serotine::StorageError& error) {
    if (!raise_with_attributes(error)) {
      raise_as("StorageError", error);
    }
  } catch (const serotine::Interrupted& error) {
    PyErr_SetString(PyExc_KeyboardInterrupt, error.what());
  }
}

}  // namespace

NB_MODULE(_engine, module) {
  module.doc() = "The native engine. Private: only serotine.scores and serotine.indexes call it.";
  // An index that a program still holds when it ends is no leak worth a message.
  nb::set_leak_warnings(false);
  nb::register_exception_translator(translate);
  try {
    static_cast<void>(serotine::kernels::active_instruction_set());
  } catch (const serotine::InvalidInput& error) {
    throw nb::import_error(error.what());  // a wrong SEROTINE_ISA is said at once, not at the first score
  }
  serotine::bindings::bind_scores(module);
  serotine::bindings::bind_plaid(module);
}
