// What is an id in an index?  A kind byte and what follows it, compared byte by byte.
//
// 's' and UTF-8 of 1 to kMaxTextBytes bytes without NUL, never normalised; or 'i' and 8 bytes.
#pragma once

#include <cstdint>
#include <string_view>

namespace serotine::segment {

inline constexpr std::uint64_t kMaxTextBytes = 1'024;

[[nodiscard]] bool is_valid_key(std::string_view key) noexcept;

}  // namespace serotine::segment
