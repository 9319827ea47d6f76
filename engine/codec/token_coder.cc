#include "codec/token_coder.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "codec/rounding.h"
#include "kernels/quantized.h"

namespace serotine::codec {
namespace {

// Fine steps of one int8 step: small enough that their rounding changes next to no code, large enough that a sum of
// 4,096 products of a vector in them with an int8 vector fits 32 bits.
constexpr int kFine = 16;
constexpr std::int32_t kLimit = 127 * kFine;
constexpr int kNumNorms = 256;

// Scales tried of an 8-bit vector, whose largest coordinate must not be clipped: only the luck of rounding differs.
constexpr float kByteScales[] = {1.0F, 0.99F, 0.98F, 0.97F, 0.96F, 0.95F, 0.94F};

// Eight codes in a register that every 64-bit machine has. Comparisons give masks of all ones.
using Octet = std::int16_t __attribute__((vector_size(16), may_alias));
constexpr std::uint64_t kOctet = 8;

Octet repeat(std::int16_t value) noexcept { return Octet{} + value; }

Octet load_octet(const std::int16_t* from) noexcept { return *reinterpret_cast<const Octet*>(from); }

void store_bytes(const Octet& codes, std::uint8_t* to) noexcept {
  using Bytes = std::uint8_t __attribute__((vector_size(8)));
  const Bytes bytes = __builtin_convertvector(codes, Bytes);
  std::memcpy(to, &bytes, sizeof(bytes));
}

}  // namespace

TokenCoder::TokenCoder(const CodeTables& tables, std::span<const double> scales)
    : tables_(tables),
      fine_(tables.dim),
      centroid_(tables.dim),
      residual_(tables.dim),
      decoded_(tables.dim),
      codes_(tables.dim) {
  if (tables.nbits == 8) {
    return;
  }
  for (const double scale : scales) {
    offsets_.push_back(
        static_cast<int>(std::lround(std::log(scale) / std::log(static_cast<double>(tables.norm_ratio)))));
  }
  const std::size_t magnitudes = std::size_t{1} << (tables.nbits - 1);
  for (std::size_t norm = 0; norm < kNumNorms; ++norm) {
    const std::int8_t* positive = tables.residuals + (2 * norm + 1) * magnitudes;
    Row row{positive[0], {}, {}};
    for (std::size_t i = 1; i < magnitudes; ++i) {
      row.borders[i - 1] = static_cast<std::int16_t>((positive[i - 1] + positive[i]) * (kFine / 2));
      row.rises[i - 1] = static_cast<std::int16_t>(positive[i] - positive[i - 1]);
    }
    rows_.push_back(row);
  }
}

TokenCode TokenCoder::encode(const float* direction, std::uint32_t cell, std::uint8_t* packed) {
  load(direction, tables_.centroids + cell * tables_.dim);
  std::int64_t squares = 0;
  for (const std::int16_t value : residual_.first(tables_.dim)) {
    squares += value * value;
  }
  const double step = static_cast<double>(tables_.unit) / kFine;
  TokenCode code;
  code.squared_residual = static_cast<double>(squares) * step * step;
  switch (tables_.nbits) {
    case 1:
      code.norm = search<1>(nominal_norm(code.squared_residual));
      break;
    case 2:
      code.norm = search<2>(nominal_norm(code.squared_residual));
      break;
    case 4:
      code.norm = search<8>(nominal_norm(code.squared_residual));
      break;
    default:
      encode_bytes(direction, packed);
      return code;
  }
  kernels::pack_codes(codes_.data(), tables_.dim, tables_.nbits, packed);
  return code;
}

void TokenCoder::load(const float* direction, const std::int8_t* centroid) noexcept {
  const float steps = kFine / tables_.unit;
  std::int16_t* fine = fine_.data();
  std::int16_t* residual = residual_.data();
  std::int16_t* centre = centroid_.data();
  for (std::uint64_t i = 0; i < tables_.dim; ++i) {
    const std::int32_t rounded = round_clamped(direction[i] * steps, kLimit);
    fine[i] = static_cast<std::int16_t>(rounded);
    centre[i] = centroid[i];
    residual[i] = static_cast<std::int16_t>(rounded - centroid[i] * kFine);
  }
}

int TokenCoder::nominal_norm(double squared_residual) const noexcept {
  const double ratio = std::sqrt(squared_residual) / static_cast<double>(tables_.smallest_norm);
  if (ratio <= 1) {
    return 0;
  }
  const double steps = std::log(ratio) / std::log(static_cast<double>(tables_.norm_ratio));
  return static_cast<int>(std::min(std::round(steps), static_cast<double>(kNumNorms - 1)));
}

// What codes are judged by: (dot of decoded and original)^2 / |decoded|^2, with the sign of the dot.
double TokenCoder::closeness() const noexcept {
  const std::int16_t* decoded = decoded_.data();
  const std::int16_t* fine = fine_.data();
  std::int32_t dot = 0;
  std::int32_t norm2 = 0;
  for (std::uint64_t i = 0; i < tables_.dim; ++i) {
    dot += decoded[i] * fine[i];
    norm2 += decoded[i] * decoded[i];
  }
  const auto length = static_cast<double>(dot);
  return norm2 == 0 ? 0 : length * std::abs(length) / norm2;
}

// Decodes what the row's levels nearest to the residual give.
template <int kMagnitudes>
double TokenCoder::try_row(const Row& row) noexcept {
  const Octet smallest = repeat(row.smallest);
  Octet borders[kMagnitudes];
  Octet rises[kMagnitudes];
  for (int m = 0; m + 1 < kMagnitudes; ++m) {
    borders[m] = repeat(row.borders[m]);
    rises[m] = repeat(row.rises[m]);
  }
  for (std::uint64_t i = 0; i < tables_.dim; i += kOctet) {
    const Octet residual = load_octet(residual_.data() + i);
    const Octet sign = residual >> 15;
    const Octet size = (residual ^ sign) - sign;
    Octet magnitude = smallest;
    for (int m = 0; m + 1 < kMagnitudes; ++m) {
      magnitude += (size > borders[m]) & rises[m];
    }
    const Octet sum = load_octet(centroid_.data() + i) + ((magnitude ^ sign) - sign);
    const Octet above = sum > 127;
    const Octet below = sum < -128;
    *reinterpret_cast<Octet*>(decoded_.data() + i) = (above & 127) | (below & -128) | (sum & ~(above | below));
  }
  return closeness();
}

template <int kMagnitudes>
std::uint8_t TokenCoder::search(int nominal) noexcept {
  double best = 0;
  int best_norm = -1;
  for (const int offset : offsets_) {
    const int norm = std::clamp(nominal + offset, 0, kNumNorms - 1);
    const double close = try_row<kMagnitudes>(rows_[static_cast<std::size_t>(norm)]);
    if (best_norm < 0 || close > best) {
      best = close;
      best_norm = norm;
    }
  }
  const Row& row = rows_[static_cast<std::size_t>(best_norm)];
  for (std::uint64_t i = 0; i < tables_.dim; i += kOctet) {
    const Octet residual = load_octet(residual_.data() + i);
    const Octet sign = residual >> 15;
    const Octet size = (residual ^ sign) - sign;
    Octet magnitude = repeat(kMagnitudes);
    for (int m = 0; m + 1 < kMagnitudes; ++m) {
      magnitude -= size > row.borders[m];
    }
    // Of a positive residual m + kMagnitudes, of a negative one its mirror image.
    const Octet code = (magnitude ^ sign) + (sign & repeat(2 * kMagnitudes));
    store_bytes(code, codes_.data() + i);
  }
  return static_cast<std::uint8_t>(best_norm);
}

void TokenCoder::encode_bytes(const float* direction, std::uint8_t* packed) noexcept {
  const std::uint64_t dim = tables_.dim;
  float largest = 0;
  for (std::uint64_t i = 0; i < dim; ++i) {
    largest = std::max(largest, std::abs(direction[i]));
  }
  std::fill_n(packed, dim, std::uint8_t{0});
  if (!(largest > 0)) {
    return;
  }
  // Fine steps of the vector's own scale from here on.
  for (std::uint64_t i = 0; i < dim; ++i) {
    fine_.data()[i] =
        static_cast<std::int16_t>(round_clamped(direction[i] * (static_cast<float>(kLimit) / largest), kLimit));
  }
  double best = 0;
  for (const float scale : kByteScales) {
    const float steps = 127 * scale / largest;
    std::int16_t* decoded = decoded_.data();
    for (std::uint64_t i = 0; i < dim; ++i) {
      decoded[i] = static_cast<std::int16_t>(round_clamped(direction[i] * steps, 127));
    }
    const double close = closeness();
    if (close > best) {
      best = close;
      for (std::uint64_t i = 0; i < dim; ++i) {
        packed[i] = static_cast<std::uint8_t>(decoded[i]);
      }
    }
  }
}

}  // namespace serotine::codec
