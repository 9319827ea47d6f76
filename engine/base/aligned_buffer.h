// Where do the kernels' working arrays live?  Uninitialised memory that starts on a cache line.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <span>
#include <type_traits>

#include "base/checked.h"

namespace serotine {

// Cache line, and the width of the widest vector register: an aligned row never straddles two lines.
inline constexpr std::size_t kCacheLine = 64;

// An array of trivial elements whose values are unspecified until written. Grows only by replacement.
template <typename T>
class AlignedBuffer {
  static_assert(std::is_trivially_copyable_v<T> && std::is_trivially_destructible_v<T>);

 public:
  AlignedBuffer() = default;
  explicit AlignedBuffer(std::uint64_t size) { reserve_discarding(size); }

  // Makes room for `size` elements. What was in the buffer is lost if it has to grow.
  void reserve_discarding(std::uint64_t size) {
    if (size <= capacity_) {
      return;
    }
    const std::uint64_t bytes = checked_multiply(size, sizeof(T));
    data_.reset();
    capacity_ = 0;
    data_.reset(static_cast<T*>(::operator new(bytes, std::align_val_t{kCacheLine})));
    capacity_ = size;
  }

  [[nodiscard]] T* data() noexcept { return data_.get(); }
  [[nodiscard]] const T* data() const noexcept { return data_.get(); }
  [[nodiscard]] std::uint64_t capacity() const noexcept { return capacity_; }
  [[nodiscard]] std::span<T> first(std::uint64_t size) noexcept { return {data_.get(), size}; }

 private:
  struct Free {
    void operator()(T* pointer) const noexcept { ::operator delete(pointer, std::align_val_t{kCacheLine}); }
  };
  std::unique_ptr<T, Free> data_;
  std::uint64_t capacity_ = 0;
};

}  // namespace serotine
