#include "segment/document_key.h"

#include <algorithm>

namespace serotine::segment {
namespace {

// What may follow the first byte of a character: how many bytes, and the range of the first of them. The range rules
// out overlong forms, surrogates and what lies beyond U+10FFFF (Unicode 15, table 3-7).
struct Continuation {
  std::uint64_t count;
  unsigned char low;
  unsigned char high;
};

// count 0: no character begins like this.
Continuation continuation_of(unsigned char first) noexcept {
  if (first >= 0xC2 && first <= 0xDF) {
    return {1, 0x80, 0xBF};
  }
  if (first >= 0xE0 && first <= 0xEF) {
    const bool shortest = first == 0xE0;
    const bool surrogates = first == 0xED;
    return {2, static_cast<unsigned char>(shortest ? 0xA0 : 0x80),
            static_cast<unsigned char>(surrogates ? 0x9F : 0xBF)};
  }
  if (first >= 0xF0 && first <= 0xF4) {
    const bool shortest = first == 0xF0;
    const bool last = first == 0xF4;
    return {3, static_cast<unsigned char>(shortest ? 0x90 : 0x80), static_cast<unsigned char>(last ? 0x8F : 0xBF)};
  }
  return {0, 0, 0};
}

bool is_utf8_without_nul(std::string_view text) noexcept {
  for (std::uint64_t i = 0; i < text.size();) {
    const auto first = static_cast<unsigned char>(text[i++]);
    if (first == 0) {
      return false;
    }
    if (first < 0x80) {
      continue;
    }
    Continuation next = continuation_of(first);
    if (next.count == 0 || text.size() - i < next.count) {
      return false;
    }
    for (; next.count > 0; --next.count, ++i) {
      const auto byte = static_cast<unsigned char>(text[i]);
      if (byte < next.low || byte > next.high) {
        return false;
      }
      next.low = 0x80;
      next.high = 0xBF;
    }
  }
  return true;
}

}  // namespace

bool is_valid_key(std::string_view key) noexcept {
  if (key.empty()) {
    return false;
  }
  const std::string_view rest = key.substr(1);
  if (key[0] == 'i') {
    return rest.size() == 8;
  }
  return key[0] == 's' && !rest.empty() && rest.size() <= kMaxTextBytes && is_utf8_without_nul(rest);
}

}  // namespace serotine::segment
