#include "base/uuid.h"

#include <cstring>
#include <random>

namespace serotine {
namespace {

// The finaliser of SplitMix64 (Steele, Lea & Flood 2014): a bijection whose every output bit depends on every input
// bit.
constexpr std::uint64_t mix(std::uint64_t x) noexcept {
  x = (x ^ (x >> 30)) * 0xBF58'476D'1CE4'E5B9;
  x = (x ^ (x >> 27)) * 0x94D0'49BB'1331'11EB;
  return x ^ (x >> 31);
}

}  // namespace

std::string Uuid::to_hex() const {
  constexpr char kDigits[] = "0123456789abcdef";
  std::string hex;
  hex.reserve(2 * bytes.size());
  for (const std::uint8_t byte : bytes) {
    hex.push_back(kDigits[byte >> 4]);
    hex.push_back(kDigits[byte & 15]);
  }
  return hex;
}

Uuid random_uuid() {
  std::random_device source;
  Uuid uuid;
  for (std::size_t i = 0; i < uuid.bytes.size(); i += sizeof(std::uint32_t)) {
    const auto word = static_cast<std::uint32_t>(source());
    std::memcpy(uuid.bytes.data() + i, &word, sizeof(word));
  }
  return uuid;
}

Uuid derived_uuid(const Uuid& index, std::uint64_t number) noexcept {
  std::uint64_t low = 0;
  std::uint64_t high = 0;
  std::memcpy(&low, index.bytes.data(), sizeof(low));
  std::memcpy(&high, index.bytes.data() + sizeof(low), sizeof(high));
  // A bijection of the number for a given index: two files of an index never share a uuid.
  low = mix(low + 0x9E37'79B9'7F4A'7C15 * (number + 1));
  high = mix(high ^ mix(low));
  Uuid uuid;
  std::memcpy(uuid.bytes.data(), &low, sizeof(low));
  std::memcpy(uuid.bytes.data() + sizeof(low), &high, sizeof(high));
  return uuid;
}

}  // namespace serotine
