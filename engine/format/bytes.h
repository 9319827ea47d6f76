// How are numbers put into bytes?  As they are in memory: little-endian, checked at compile time.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <type_traits>
#include <vector>

#include "base/uuid.h"

namespace serotine::format {

static_assert(std::endian::native == std::endian::little, "files are mapped as they are: the machine is little-endian");

// Appends numbers to bytes.
class ByteWriter {
 public:
  template <typename T>
    requires std::is_arithmetic_v<T>
  void put(T value) {
    put_bytes(std::as_bytes(std::span(&value, 1)));
  }
  void put(const Uuid& uuid) { put_bytes(std::as_bytes(std::span(uuid.bytes))); }
  void put_bytes(std::span<const std::byte> bytes) { bytes_.insert(bytes_.end(), bytes.begin(), bytes.end()); }
  void put_zeros(std::uint64_t count) { bytes_.resize(bytes_.size() + count); }
  [[nodiscard]] std::span<const std::byte> bytes() const noexcept { return bytes_; }

 private:
  std::vector<std::byte> bytes_;
};

// Takes numbers from bytes. Whoever uses it has checked that there are as many as it takes.
class ByteReader {
 public:
  explicit ByteReader(std::span<const std::byte> bytes) : bytes_(bytes) {}

  template <typename T>
    requires std::is_arithmetic_v<T>
  [[nodiscard]] T take() noexcept {
    T value{};
    std::memcpy(&value, bytes_.data(), sizeof(value));
    bytes_ = bytes_.subspan(sizeof(value));
    return value;
  }
  [[nodiscard]] Uuid take_uuid() noexcept {
    Uuid uuid;
    std::memcpy(uuid.bytes.data(), bytes_.data(), uuid.bytes.size());
    bytes_ = bytes_.subspan(uuid.bytes.size());
    return uuid;
  }

 private:
  std::span<const std::byte> bytes_;
};

}  // namespace serotine::format
