// How are files and indexes told apart?  128 bits, random for an index, derived for its files.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <string>

namespace serotine {

struct Uuid {
  std::array<std::uint8_t, 16> bytes{};

  auto operator<=>(const Uuid&) const = default;
  [[nodiscard]] std::string to_hex() const;  // 32 lower-case digits: what file names are made of
};

// From the operating system's random source.
[[nodiscard]] Uuid random_uuid();

// The uuid of the `number`-th file of an index: the same for the same two, different for others.
[[nodiscard]] Uuid derived_uuid(const Uuid& index, std::uint64_t number) noexcept;

}  // namespace serotine
