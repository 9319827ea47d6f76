#include "base/crc32c.h"

#include <array>
#include <bit>
#include <cstring>

#if defined(__x86_64__)
#include <nmmintrin.h>
#elif defined(__aarch64__) && defined(__ARM_FEATURE_CRC32)
#include <arm_acle.h>
#endif

namespace serotine {
namespace {

static_assert(std::endian::native == std::endian::little, "the tables and the 8-byte loads assume little-endian");

constexpr std::uint32_t kPolynomial = 0x82F6'3B78;  // Castagnoli's, bits reversed

// tables[k][b]: the checksum of byte b followed by k zero bytes, so that eight bytes are looked up at once.
using Tables = std::array<std::array<std::uint32_t, 256>, 8>;

constexpr Tables make_tables() {
  Tables tables{};
  for (std::uint32_t byte = 0; byte < 256; ++byte) {
    std::uint32_t crc = byte;
    for (int bit = 0; bit < 8; ++bit) {
      crc = (crc >> 1) ^ ((crc & 1) != 0 ? kPolynomial : 0);
    }
    tables[0][byte] = crc;
  }
  for (std::size_t k = 1; k < tables.size(); ++k) {
    for (std::size_t byte = 0; byte < 256; ++byte) {
      const std::uint32_t before = tables[k - 1][byte];
      tables[k][byte] = (before >> 8) ^ tables[0][before & 0xFF];
    }
  }
  return tables;
}

constexpr Tables kTables = make_tables();

std::uint64_t load_8(const std::byte* bytes) noexcept {
  std::uint64_t value = 0;
  std::memcpy(&value, bytes, sizeof(value));
  return value;
}

[[maybe_unused]] std::uint32_t by_table(const std::byte* bytes, std::size_t length, std::uint32_t crc) noexcept {
  for (; length >= 8; bytes += 8, length -= 8) {
    const std::uint64_t word = load_8(bytes) ^ crc;
    crc = 0;
    for (std::size_t k = 0; k < 8; ++k) {
      crc ^= kTables[7 - k][(word >> (8 * k)) & 0xFF];
    }
  }
  for (; length > 0; ++bytes, --length) {
    crc = (crc >> 8) ^ kTables[0][(crc ^ static_cast<std::uint32_t>(*bytes)) & 0xFF];
  }
  return crc;
}

#if defined(__x86_64__)
// 8 bytes in 3 cycles: one chain of dependent instructions.
__attribute__((target("sse4.2"))) std::uint32_t by_instruction(const std::byte* bytes, std::size_t length,
                                                               std::uint32_t crc) noexcept {
  std::uint64_t wide = crc;
  for (; length >= 8; bytes += 8, length -= 8) {
    wide = _mm_crc32_u64(wide, load_8(bytes));
  }
  auto narrow = static_cast<std::uint32_t>(wide);
  for (; length > 0; ++bytes, --length) {
    narrow = _mm_crc32_u8(narrow, static_cast<std::uint8_t>(*bytes));
  }
  return narrow;
}
#elif defined(__aarch64__) && defined(__ARM_FEATURE_CRC32)
std::uint32_t by_instruction(const std::byte* bytes, std::size_t length, std::uint32_t crc) noexcept {
  for (; length >= 8; bytes += 8, length -= 8) {
    crc = __crc32cd(crc, load_8(bytes));
  }
  for (; length > 0; ++bytes, --length) {
    crc = __crc32cb(crc, static_cast<std::uint8_t>(*bytes));
  }
  return crc;
}
#endif

}  // namespace

std::uint32_t crc32c_by_table(std::span<const std::byte> bytes, std::uint32_t previous) noexcept {
  return ~by_table(bytes.data(), bytes.size(), ~previous);
}

std::uint32_t crc32c(std::span<const std::byte> bytes, std::uint32_t previous) noexcept {
#if defined(__x86_64__)
  static const bool has_instruction = [] {
    __builtin_cpu_init();
    return __builtin_cpu_supports("sse4.2") != 0;
  }();
  return has_instruction ? ~by_instruction(bytes.data(), bytes.size(), ~previous) : crc32c_by_table(bytes, previous);
#elif defined(__aarch64__) && defined(__ARM_FEATURE_CRC32)
  return ~by_instruction(bytes.data(), bytes.size(), ~previous);
#else
  return crc32c_by_table(bytes, previous);
#endif
}

}  // namespace serotine
