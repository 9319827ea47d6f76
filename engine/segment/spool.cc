#include "segment/spool.h"

#include <string>
#include <utility>

#include "base/checked.h"

namespace serotine::segment {

Spool::Spool(std::uint64_t max_memory_bytes, SpoolFile file)
    : max_memory_bytes_(max_memory_bytes), file_(std::move(file)) {}

Spool::~Spool() {
  if (writing_) {
    writing_.reset();
    try {
      file_.remove();
    } catch (...) {
      // What stays behind is garbage that the next writer removes.
    }
  }
}

void Spool::append(std::span<const std::byte> bytes) {
  size_ = checked_add(size_, bytes.size());
  if (file_.create && memory_.size() + bytes.size() > max_memory_bytes_) {
    flush();
    if (bytes.size() >= max_memory_bytes_) {
      writing_->append(bytes);
      return;
    }
  }
  memory_.insert(memory_.end(), bytes.begin(), bytes.end());
}

void Spool::flush() {
  if (!writing_) {
    writing_ = file_.create();
  }
  writing_->append(memory_);
  memory_.clear();
}

std::span<const std::byte> Spool::finish() {
  if (!writing_) {
    return mapped_ ? mapped_->bytes() : std::span<const std::byte>(memory_);
  }
  flush();
  writing_->close();
  mapped_ = file_.map();
  if (!mapped_ || mapped_->bytes().size() != size_) {
    throw StorageError(
        "a temporary file of " + std::to_string(size_) +
        " bytes is gone or was changed while it was in use. Let no other program touch the index's tmp folder.");
  }
  writing_.reset();
  memory_ = {};
  file_.remove();  // the bytes stay mapped
  return mapped_->bytes();
}

}  // namespace serotine::segment
