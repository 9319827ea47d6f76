// Which errors does the engine raise?  One class per thing that a caller can do about it.
//
// The bindings turn them into the classes of serotine.errors. A message says what was found, what was expected and
// what to do. Running out of memory stays std::bad_alloc.
#pragma once

#include <stdexcept>

namespace serotine {

// An argument has a value that the call cannot accept: serotine.errors.InvalidInput.
class InvalidInput : public std::invalid_argument {
 public:
  using std::invalid_argument::invalid_argument;
};

// Vectors of one dimension where another is required: serotine.errors.DimensionMismatch.
class DimensionMismatch : public InvalidInput {
 public:
  using InvalidInput::InvalidInput;
};

}  // namespace serotine
