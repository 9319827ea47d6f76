// How are the kernels computed with AVX2, FMA and F16C?  6 document tokens x 16 query tokens in 12 of 16 registers.
//
// Nothing shared is inlined here (see contract.h): helpers are in the anonymous namespace, headers bring intrinsics and
// plain structs only.
#include <immintrin.h>

#include <cstdint>

#include "kernels/contract.h"
#include "kernels/dispatch.h"

namespace serotine::kernels {
namespace {

constexpr int kFloatRows = 6;  // half a tile: 12 sums, 2 query registers, 1 token
constexpr int kInt8Rows = 4;   // a third: 8 sums, 2 query registers, the token, its magnitude, ones, products

// Four codes, at any address.
struct __attribute__((packed, may_alias)) Quad {
  std::int32_t codes;
};

// GCC 12 spills a sum in every step of a loop whose last value is converted after it; an empty asm that changes the
// register stops that.
inline void keep_in_register(__m256i& value) { asm("" : "+x"(value)); }

// Maxima of one segment; walks the segments while rows arrive in stream order.
class SegmentFold {
 public:
  SegmentFold(const std::uint64_t* segment_ends, float* best, std::uint64_t best_stride)
      : end_(segment_ends), best_(best), best_stride_(best_stride) {
    load();
  }

  template <int kRows>
  void add(const __m256 (&rows)[kRows][2]) {
#pragma GCC unroll 6
    for (int row = 0; row < kRows; ++row) {
      if (row_ == *end_) {
        finish();
        best_ += best_stride_;
        ++end_;
        load();
      }
      merge(rows[row]);
      ++row_;
    }
  }

  void finish() const {
    const __m256 nan = _mm256_castsi256_ps(_mm256_set1_epi32(0x7FC00000));
    for (int half = 0; half < 2; ++half) {
      _mm256_storeu_ps(best_ + half * 8, _mm256_blendv_ps(running_[half], nan, unordered_[half]));
    }
  }

 private:
  void load() {
    for (int half = 0; half < 2; ++half) {
      running_[half] = _mm256_loadu_ps(best_ + half * 8);
      unordered_[half] = _mm256_cmp_ps(running_[half], running_[half], _CMP_UNORD_Q);
    }
  }

  // The maximum instruction forgets a NaN (it returns its second operand); the mask does not.
  void merge(const __m256 (&row)[2]) {
    for (int half = 0; half < 2; ++half) {
      running_[half] = _mm256_max_ps(running_[half], row[half]);
      unordered_[half] = _mm256_or_ps(unordered_[half], _mm256_cmp_ps(row[half], row[half], _CMP_UNORD_Q));
    }
  }

  __m256 running_[2];
  __m256 unordered_[2];
  const std::uint64_t* end_;
  float* best_;
  std::uint64_t best_stride_;
  std::uint64_t row_ = 0;
};

void fold_float(const FloatTiles& input, const FloatPanel& panel, float* best, std::uint64_t best_stride) noexcept {
  SegmentFold fold(input.segment_ends, best, best_stride);
  const std::uint64_t dim = input.dim;
  for (std::uint64_t part = 0; part < input.num_tiles * (kTileRows / kFloatRows); ++part) {
    const std::uint64_t tile = part / (kTileRows / kFloatRows);
    const float* row0 = input.tiles[tile] + part % (kTileRows / kFloatRows) * kFloatRows * dim;
    const float* row3 = row0 + 3 * dim;
    const auto* upcoming = static_cast<const char*>(input.upcoming[tile]);
    __m256 sum[kFloatRows][2];
#pragma GCC unroll 6
    for (int row = 0; row < kFloatRows; ++row) {
      sum[row][0] = sum[row][1] = _mm256_setzero_ps();
    }
    const float* query = panel.values;
    for (std::uint64_t k = 0; k < dim; ++k, query += kGroupLanes) {
      _mm_prefetch(upcoming, _MM_HINT_T0);
      upcoming += input.upcoming_step;
      const __m256 low = _mm256_load_ps(query);
      const __m256 high = _mm256_load_ps(query + 8);
#pragma GCC unroll 6
      for (int row = 0; row < kFloatRows; ++row) {
        const float* base = row < 3 ? row0 : row3;
        const __m256 token = _mm256_broadcast_ss(base + k + static_cast<std::uint64_t>(row % 3) * dim);
        sum[row][0] = _mm256_fmadd_ps(token, low, sum[row][0]);
        sum[row][1] = _mm256_fmadd_ps(token, high, sum[row][1]);
      }
    }
    fold.add(sum);
  }
  fold.finish();
}

// vpmaddubsw multiplies unsigned by signed bytes and saturates the sum of two products at 16 bits. Here it gets
// |d| <= 128 and q * sign(d) with |q| <= 127: at most 2 * 128 * 127 = 32,512 < 32,767, so nothing saturates. The
// offset trick of VNNI (d + 128 <= 255) would.
void fold_int8(const Int8Tiles& input, const Int8Panel& panel, float* best, std::uint64_t best_stride) noexcept {
  SegmentFold fold(input.segment_ends, best, best_stride);
  const std::uint64_t stride = input.num_quads;
  const __m256i ones = _mm256_set1_epi16(1);
  for (std::uint64_t part = 0; part < input.num_tiles * (kTileRows / kInt8Rows); ++part) {
    const std::uint64_t tile = part / (kTileRows / kInt8Rows);
    const Quad* row0 =
        reinterpret_cast<const Quad*>(input.tiles[tile]) + part % (kTileRows / kInt8Rows) * kInt8Rows * stride;
    const auto* upcoming = static_cast<const char*>(input.upcoming[tile]);
    __m256i sum[kInt8Rows][2];
#pragma GCC unroll 4
    for (int row = 0; row < kInt8Rows; ++row) {
      sum[row][0] = sum[row][1] = _mm256_setzero_si256();
    }
    const auto* query = reinterpret_cast<const __m256i*>(panel.codes);
    for (std::uint64_t quad = 0; quad < input.num_quads; ++quad, query += 2) {
      _mm_prefetch(upcoming, _MM_HINT_T0);
      upcoming += input.upcoming_step;
      const __m256i lanes[2] = {_mm256_load_si256(query), _mm256_load_si256(query + 1)};
#pragma GCC unroll 4
      for (int row = 0; row < kInt8Rows; ++row) {
        const __m256i token = _mm256_set1_epi32(row0[quad + static_cast<std::uint64_t>(row) * stride].codes);
        const __m256i magnitude = _mm256_abs_epi8(token);
#pragma GCC unroll 2
        for (int half = 0; half < 2; ++half) {
          const __m256i pairs = _mm256_maddubs_epi16(magnitude, _mm256_sign_epi8(lanes[half], token));
          sum[row][half] = _mm256_add_epi32(sum[row][half], _mm256_madd_epi16(pairs, ones));
          keep_in_register(sum[row][half]);
        }
      }
    }
    __m256 similarity[kInt8Rows][2];
#pragma GCC unroll 4
    for (int row = 0; row < kInt8Rows; ++row) {
      const __m256 scale = _mm256_broadcast_ss(input.scales + part * kInt8Rows + row);
      similarity[row][0] = _mm256_mul_ps(_mm256_cvtepi32_ps(sum[row][0]), scale);
      similarity[row][1] = _mm256_mul_ps(_mm256_cvtepi32_ps(sum[row][1]), scale);
    }
    fold.add(similarity);
  }
  fold.finish();
}

void widen_float16(const std::uint16_t* source, float* target, std::uint64_t count) noexcept {
  std::uint64_t i = 0;
  for (; i + 8 <= count; i += 8) {
    _mm256_storeu_ps(target + i, _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(source + i))));
  }
  for (; i < count; ++i) {
    target[i] = _cvtsh_ss(source[i]);
  }
}

void widen_bfloat16(const std::uint16_t* source, float* target, std::uint64_t count) noexcept {
  std::uint64_t i = 0;
  for (; i + 8 <= count; i += 8) {
    const __m256i bits = _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(source + i)));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(target + i), _mm256_slli_epi32(bits, 16));
  }
  for (; i < count; ++i) {
    target[i] = _mm_cvtss_f32(_mm_castsi128_ps(_mm_cvtsi32_si128(source[i] << 16)));
  }
}

}  // namespace

const KernelTable kAvx2Kernels{"avx2", 1, fold_float, fold_int8, widen_float16, widen_bfloat16};

}  // namespace serotine::kernels
