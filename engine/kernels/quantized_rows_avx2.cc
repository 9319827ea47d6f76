// How are rows multiplied with lanes by AVX2?  4 rows x 16 lanes in 8 of 16 registers.
//
// Nothing shared is inlined here (see contract.h): helpers are in the anonymous namespace, headers bring intrinsics and
// plain structs only.
#include <immintrin.h>

#include <cstdint>

#include "kernels/quantized_contract.h"

namespace serotine::kernels {
namespace {

constexpr std::uint32_t kRows = 4;  // a third of a tile: 8 sums, 2 lane registers, the token, |token|, ones, products

// Four codes, at any address.
struct __attribute__((packed, may_alias)) Quad {
  std::int32_t codes;
};

// GCC 12 spills a sum in every step of a loop whose last value is converted after it; an empty asm that changes the
// register stops that.
inline void keep_in_register(__m256i& value) { asm("" : "+x"(value)); }

// Exact dot products of 4 rows with a group of lanes. vpmaddubsw saturates the sum of two products at 16 bits; |d| and
// q * sign(d) keep it below (see avx2.cc).
inline void multiply_rows(const std::int8_t* const (&rows)[kRows], std::uint64_t dim, const Int8Panel& panel,
                          std::uint32_t group, __m256i (&sum)[kRows][2]) {
  const __m256i ones = _mm256_set1_epi16(1);
#pragma GCC unroll 4
  for (std::uint32_t row = 0; row < kRows; ++row) {
    sum[row][0] = sum[row][1] = _mm256_setzero_si256();
  }
  const auto* lane_codes = reinterpret_cast<const __m256i*>(panel.codes) + 2 * group;
  for (std::uint64_t k = 0; k < dim; k += 4, lane_codes += 2 * panel.groups) {
    const __m256i lanes[2] = {_mm256_loadu_si256(lane_codes), _mm256_loadu_si256(lane_codes + 1)};
#pragma GCC unroll 4
    for (std::uint32_t row = 0; row < kRows; ++row) {
      const __m256i token = _mm256_set1_epi32(reinterpret_cast<const Quad*>(rows[row] + k)->codes);
      const __m256i magnitude = _mm256_abs_epi8(token);
#pragma GCC unroll 2
      for (int half = 0; half < 2; ++half) {
        const __m256i pairs = _mm256_maddubs_epi16(magnitude, _mm256_sign_epi8(lanes[half], token));
        sum[row][half] = _mm256_add_epi32(sum[row][half], _mm256_madd_epi16(pairs, ones));
        keep_in_register(sum[row][half]);
      }
    }
  }
}

// Calls use(first row, rows of it that count, first lane, dots) for every 4 rows and 16 lanes. Beyond the last row
// stands the last again. A group of lanes stays in the L1 cache, so no tile is copied.
template <typename Use>
inline void for_each_part(const RowBlock& block, const Use& use) {
  for (std::uint64_t row = 0; row < block.num_rows; row += kRows) {
    const std::uint64_t left = block.num_rows - row;
    const auto count = static_cast<std::uint32_t>(left < kRows ? left : kRows);
    const std::int8_t* rows[kRows];
    for (std::uint32_t i = 0; i < kRows; ++i) {
      rows[i] = block.rows + (row + (i < count ? i : count - 1)) * block.dim;
    }
    std::uint64_t lane = 0;
    for (std::uint64_t i = 0; i < block.num_panels; ++i) {
      for (std::uint32_t group = 0; group < block.panels[i].groups; ++group, lane += kGroupLanes) {
        __m256i dot[kRows][2];
        multiply_rows(rows, block.dim, block.panels[i], group, dot);
        use(row, count, lane, dot);
      }
    }
  }
}

inline __m256i load(const void* source) { return _mm256_loadu_si256(static_cast<const __m256i*>(source)); }
inline void store(void* target, __m256i value) { _mm256_storeu_si256(static_cast<__m256i*>(target), value); }

void dots(const RowBlock& block, std::int32_t* out, std::uint64_t stride) noexcept {
  for_each_part(block,
                [&](std::uint64_t first, std::uint32_t count, std::uint64_t lane, const __m256i(&dot)[kRows][2]) {
                  for (std::uint32_t row = 0; row < count; ++row) {
                    store(out + (first + row) * stride + lane, dot[row][0]);
                    store(out + (first + row) * stride + lane + 8, dot[row][1]);
                  }
                });
}

// Clamped before it is rounded, which is the same and cannot overflow.
[[nodiscard]] inline __m256i rounded_score(__m256i dot, __m256 multiplier, __m256 addend) {
  const __m256 score = _mm256_add_ps(_mm256_mul_ps(_mm256_cvtepi32_ps(dot), multiplier), addend);
  return _mm256_cvtps_epi32(_mm256_min_ps(_mm256_max_ps(score, _mm256_setzero_ps()), _mm256_set1_ps(255.0F)));
}

void cell_scores(const RowBlock& block, const ByteScores& scores) noexcept {
  const __m256 addend = _mm256_set1_ps(scores.addend);
  for_each_part(
      block, [&](std::uint64_t first, std::uint32_t count, std::uint64_t lane, const __m256i(&dot)[kRows][2]) {
        const __m256 low = _mm256_loadu_ps(scores.multiplier + lane);
        const __m256 high = _mm256_loadu_ps(scores.multiplier + lane + 8);
        for (std::uint32_t row = 0; row < count; ++row) {
          const __m256i words =
              _mm256_packs_epi32(rounded_score(dot[row][0], low, addend), rounded_score(dot[row][1], high, addend));
          const __m256i ordered = _mm256_permute4x64_epi64(words, 0b11'01'10'00);  // packs works within 128-bit halves
          const __m128i bytes = _mm_packus_epi16(_mm256_castsi256_si128(ordered), _mm256_extracti128_si256(ordered, 1));
          _mm_storeu_si128(reinterpret_cast<__m128i*>(scores.out + (first + row) * scores.stride + lane), bytes);
        }
      });
}

// Rows in order, so that equal dots keep the lowest; repetitions of the last row are never larger than it.
void nearest(const RowBlock& block, std::uint32_t first_row, std::int32_t* best, std::uint32_t* nearest) noexcept {
  for_each_part(block, [&](std::uint64_t first, std::uint32_t, std::uint64_t lane, const __m256i(&dot)[kRows][2]) {
    for (std::uint32_t half = 0; half < 2; ++half, lane += 8) {
      __m256i largest = load(best + lane);
      __m256i where = load(nearest + lane);
      for (std::uint32_t row = 0; row < kRows; ++row) {
        const auto id = static_cast<std::int32_t>(first_row + static_cast<std::uint32_t>(first) + row);
        const __m256i larger = _mm256_cmpgt_epi32(dot[row][half], largest);
        largest = _mm256_max_epi32(largest, dot[row][half]);
        where = _mm256_blendv_epi8(where, _mm256_set1_epi32(id), larger);
      }
      store(best + lane, largest);
      store(nearest + lane, where);
    }
  });
}

// Maxima of one segment; walks the segments while rows arrive in stream order. No NaN can be among the similarities.
class SegmentFold {
 public:
  SegmentFold(const std::uint64_t* segment_ends, float* best, std::uint64_t best_stride)
      : end_(segment_ends), best_(best), best_stride_(best_stride) {
    resume();
  }

  void add(__m256 low, __m256 high) {
    if (row_ == *end_) {
      finish();
      best_ += best_stride_;
      ++end_;
      resume();
    }
    running_[0] = _mm256_max_ps(running_[0], low);
    running_[1] = _mm256_max_ps(running_[1], high);
    ++row_;
  }

  void finish() const {
    _mm256_storeu_ps(best_, running_[0]);
    _mm256_storeu_ps(best_ + 8, running_[1]);
  }

 private:
  void resume() {
    running_[0] = _mm256_loadu_ps(best_);
    running_[1] = _mm256_loadu_ps(best_ + 8);
  }

  __m256 running_[2];
  const std::uint64_t* end_;
  float* best_;
  std::uint64_t best_stride_;
  std::uint64_t row_ = 0;
};

void fold(const DecodedRows& input, const Int8Panel& panel, float* best, std::uint64_t best_stride) noexcept {
  for (std::uint32_t group = 0; group < panel.groups; ++group) {
    SegmentFold segments(input.segment_ends, best + group * kGroupLanes, best_stride);
    for (std::uint64_t row = 0; row < input.num_tiles * kTileRows; row += kRows) {
      const std::int8_t* first = input.rows + row * input.dim;
      const std::int8_t* const rows[kRows] = {first, first + input.dim, first + 2 * input.dim, first + 3 * input.dim};
      __m256i dot[kRows][2];
      multiply_rows(rows, input.dim, panel, group, dot);
#pragma GCC unroll 4
      for (std::uint32_t i = 0; i < kRows; ++i) {
        const __m256 scale = _mm256_broadcast_ss(input.scales + row + i);
        segments.add(_mm256_mul_ps(_mm256_cvtepi32_ps(dot[i][0]), scale),
                     _mm256_mul_ps(_mm256_cvtepi32_ps(dot[i][1]), scale));
      }
    }
    segments.finish();
  }
}

}  // namespace

const RowKernels kAvx2Rows{"avx2", 0, dots, cell_scores, nearest, fold};

}  // namespace serotine::kernels
