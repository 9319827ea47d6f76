#include "bindings/document_keys.h"

#include <cstdint>
#include <string>
#include <utility>

#include "base/error.h"
#include "segment/document_key.h"

namespace serotine::bindings {
namespace {

namespace nb = nanobind;
using segment::DocumentKey;

// Big-endian with the sign bit flipped: the order of the bytes is the order of the numbers.
constexpr std::uint64_t kSignBit = std::uint64_t{1} << 63;
constexpr std::size_t kNumberBytes = 8;

std::optional<DocumentKey> text_key(nb::handle id) {
  Py_ssize_t size = 0;
  const char* text = PyUnicode_AsUTF8AndSize(id.ptr(), &size);
  if (text == nullptr) {
    PyErr_Clear();  // a lone surrogate: no document has such an id
    return std::nullopt;
  }
  DocumentKey key;
  key.reserve(1 + static_cast<std::size_t>(size));
  key.push_back('s');
  key.append(text, static_cast<std::size_t>(size));
  return key;
}

std::optional<DocumentKey> number_key(nb::handle id) {
  int overflow = 0;
  const long long number = PyLong_AsLongLongAndOverflow(id.ptr(), &overflow);
  if (overflow != 0) {
    return std::nullopt;
  }
  const std::uint64_t bits = static_cast<std::uint64_t>(number) ^ kSignBit;
  DocumentKey key(1 + kNumberBytes, 'i');
  for (std::size_t i = 0; i < kNumberBytes; ++i) {
    key[1 + i] = static_cast<char>(static_cast<std::uint8_t>(bits >> (8 * (kNumberBytes - 1 - i))));
  }
  return key;
}

}  // namespace

std::optional<DocumentKey> find_key(nb::handle id) {
  if (PyUnicode_Check(id.ptr())) {
    std::optional<DocumentKey> key = text_key(id);
    return key && segment::is_valid_key(*key) ? key : std::nullopt;
  }
  if (PyLong_Check(id.ptr()) && !PyBool_Check(id.ptr())) {
    return number_key(id);
  }
  throw InvalidInput("a document id must be str or int, got " + std::string(nb::repr(id).c_str()));
}

std::vector<std::optional<DocumentKey>> find_keys(const nb::list& ids) {
  std::vector<std::optional<DocumentKey>> keys;
  keys.reserve(ids.size());
  for (const nb::handle id : ids) {
    keys.push_back(find_key(id));
  }
  return keys;
}

std::vector<DocumentKey> new_keys(const nb::list& ids) {
  std::vector<DocumentKey> keys;
  keys.reserve(ids.size());
  for (const nb::handle id : ids) {
    std::optional<DocumentKey> key = find_key(id);
    if (!key) {
      throw InvalidInput("no document can have the id " + std::string(nb::repr(id).c_str()) +
                         ": a string must be 1 to 1,024 bytes of Unicode without NUL, a number fit in 64 bits");
    }
    keys.push_back(std::move(*key));
  }
  return keys;
}

std::vector<DocumentKey> possible_keys(const nb::list& ids) {
  std::vector<DocumentKey> keys;
  keys.reserve(ids.size());
  for (const nb::handle id : ids) {
    if (std::optional<DocumentKey> key = find_key(id)) {
      keys.push_back(std::move(*key));
    }
  }
  return keys;
}

nb::object id_of(std::string_view key) {
  if (key.front() == 's') {
    return nb::str(key.data() + 1, key.size() - 1);
  }
  std::uint64_t bits = 0;
  for (const char byte : key.substr(1)) {
    bits = bits << 8 | static_cast<std::uint8_t>(byte);
  }
  return nb::int_(static_cast<std::int64_t>(bits ^ kSignBit));
}

}  // namespace serotine::bindings
