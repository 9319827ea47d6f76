// Which errors does the engine raise?  One class per thing that a caller can do about it.
//
// The bindings turn them into the classes of serotine.errors. A message says what was found, what was expected and
// what to do. Running out of memory stays std::bad_alloc.
#pragma once

#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>

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

// An id that the index holds already, or twice in one call: serotine.errors.DuplicateDocument.
class DuplicateDocument : public InvalidInput {
 public:
  using InvalidInput::InvalidInput;
};

// The caller asked for a long operation to stop: KeyboardInterrupt in Python.
class Interrupted : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// Something about files: serotine.errors.StorageError, and its kinds.
class StorageError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// A file of an index is not what was written.
class CorruptIndex : public StorageError {
 public:
  CorruptIndex(std::string path_, std::string expected_, std::string found_,
               std::optional<std::uint64_t> offset_ = std::nullopt)
      : StorageError(path_ + (offset_ ? " at byte " + std::to_string(*offset_) : "") + ": expected " + expected_ +
                     ", found " + found_),
        path(std::move(path_)),
        expected(std::move(expected_)),
        found(std::move(found_)),
        offset(offset_) {}

  const std::string path;
  const std::string expected;
  const std::string found;
  const std::optional<std::uint64_t> offset;
};

// Written in a format that this version does not know.
class IndexTooNew : public StorageError {
 public:
  using StorageError::StorageError;
};

// Another writer holds the index.
class IndexLocked : public StorageError {
 public:
  using StorageError::StorageError;
};

// A change was not made. With outcome kUnknown it may have been: what is on the disk must be read again.
class CommitFailed : public StorageError {
 public:
  enum class Outcome { kUnchanged, kUnknown };
  explicit CommitFailed(const std::string& message, Outcome outcome_ = Outcome::kUnchanged)
      : StorageError(message), outcome(outcome_) {}

  const Outcome outcome;
};

// The disk is full.
class OutOfSpace : public CommitFailed {
 public:
  OutOfSpace(const std::string& message, std::uint64_t needed_, std::uint64_t free_)
      : CommitFailed(message), needed(needed_), free(free_) {}

  const std::uint64_t needed;  // bytes
  const std::uint64_t free;
};

}  // namespace serotine
