// Is this what was written?  CRC-32C (Castagnoli), the checksum of every file and section.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace serotine {

// CRC-32C of `bytes`, going on from `previous` (0 to start): crc(b, crc(a)) is that of a followed by b.
// Uses the processor's instruction where there is one.
[[nodiscard]] std::uint32_t crc32c(std::span<const std::byte> bytes, std::uint32_t previous = 0) noexcept;

// The same without the instruction: what the tests compare with.
[[nodiscard]] std::uint32_t crc32c_by_table(std::span<const std::byte> bytes, std::uint32_t previous = 0) noexcept;

}  // namespace serotine
