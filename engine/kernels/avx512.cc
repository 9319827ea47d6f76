// How are the kernels computed with AVX-512?  12 document tokens x 32 query tokens in 24 registers.
//
// Nothing shared is inlined here (see contract.h): helpers are in the anonymous namespace, headers bring intrinsics and
// plain structs only.
#include <immintrin.h>

#include <cstdint>

#include "kernels/contract.h"
#include "kernels/dispatch.h"

namespace serotine::kernels {
namespace {

// Four codes, at any address.
struct __attribute__((packed, may_alias)) Quad {
  std::int32_t codes;
};

// GCC 12 spills a sum in every step of a loop whose last value is converted after it; an empty asm that changes the
// register stops that (int8: 24 -> 10 ns/token).
inline void keep_in_register(__m512i& value) { asm("" : "+v"(value)); }

// Maxima of one segment, on their way from memory to memory. `unordered` marks lanes that met a NaN: the maximum
// instruction forgets them (it returns its second operand), so they are written as NaN at the end.
template <int kGroups>
struct Running {
  __m512 best[kGroups];
  __mmask16 unordered[kGroups];

  void load(const float* source) {
#pragma GCC unroll 2
    for (int g = 0; g < kGroups; ++g) {
      best[g] = _mm512_loadu_ps(source + g * 16);
      unordered[g] = _mm512_cmp_ps_mask(best[g], best[g], _CMP_UNORD_Q);
    }
  }

  void store(float* target) const {
    const __m512 nan = _mm512_castsi512_ps(_mm512_set1_epi32(0x7FC00000));
#pragma GCC unroll 2
    for (int g = 0; g < kGroups; ++g) {
      _mm512_storeu_ps(target + g * 16, _mm512_mask_mov_ps(best[g], unordered[g], nan));
    }
  }

  void merge(int g, __m512 similarity) {
    best[g] = _mm512_max_ps(best[g], similarity);
    unordered[g] |= _mm512_cmp_ps_mask(similarity, similarity, _CMP_UNORD_Q);
  }
};

// A tile that lies within one segment.
template <int kGroups>
inline void merge_tile(Running<kGroups>& running, const __m512 (&tile)[kTileRows][kGroups]) {
#pragma GCC unroll 2
  for (int g = 0; g < kGroups; ++g) {
    __m512 best = running.best[g];
    __mmask16 unordered = running.unordered[g];
#pragma GCC unroll 6
    for (std::uint32_t row = 0; row < kTileRows; row += 2) {
      best = _mm512_max_ps(best, _mm512_max_ps(tile[row][g], tile[row + 1][g]));
      unordered |= _mm512_cmp_ps_mask(tile[row][g], tile[row + 1][g], _CMP_UNORD_Q);
    }
    running.best[g] = best;
    running.unordered[g] = unordered;
  }
}

// Walks the segments while tiles arrive in stream order.
template <int kGroups>
class SegmentFold {
 public:
  SegmentFold(const std::uint64_t* segment_ends, float* best, std::uint64_t best_stride)
      : end_(segment_ends), best_(best), best_stride_(best_stride) {
    running_.load(best_);
  }

  void add(const __m512 (&tile)[kTileRows][kGroups]) {
    if (row_ + kTileRows <= *end_) {
      merge_tile(running_, tile);
      row_ += kTileRows;
      return;
    }
    alignas(64) float spilled[kTileRows][kGroups][16];
#pragma GCC unroll 12
    for (std::uint32_t row = 0; row < kTileRows; ++row) {
#pragma GCC unroll 2
      for (int g = 0; g < kGroups; ++g) {
        _mm512_store_ps(spilled[row][g], tile[row][g]);
      }
    }
    for (std::uint32_t row = 0; row < kTileRows; ++row, ++row_) {
      if (row_ == *end_) {
        running_.store(best_);
        best_ += best_stride_;
        ++end_;
        running_.load(best_);
      }
#pragma GCC unroll 2
      for (int g = 0; g < kGroups; ++g) {
        running_.merge(g, _mm512_load_ps(spilled[row][g]));
      }
    }
  }

  void finish() { running_.store(best_); }

 private:
  Running<kGroups> running_;
  const std::uint64_t* end_;
  float* best_;
  std::uint64_t best_stride_;
  std::uint64_t row_ = 0;
};

// Similarities of a tile. 14 loads (12 broadcasts, 2 of the panel) feed 24 multiply-adds: with two loads and two
// multiply-adds a cycle the arithmetic is the bound, 12 cycles a step of k.
template <int kGroups>
inline void multiply_tile(const FloatTiles& input, std::uint64_t tile, const float* panel,
                          __m512 (&sum)[kTileRows][kGroups]) {
  const std::uint64_t dim = input.dim;
  // Three bases: the addresses of 12 rows would not fit the general registers.
  const float* rows[3] = {input.tiles[tile], input.tiles[tile] + 4 * dim, input.tiles[tile] + 8 * dim};
  const auto* upcoming = static_cast<const char*>(input.upcoming[tile]);
#pragma GCC unroll 12
  for (std::uint32_t row = 0; row < kTileRows; ++row) {
#pragma GCC unroll 2
    for (int g = 0; g < kGroups; ++g) {
      sum[row][g] = _mm512_setzero_ps();
    }
  }
  for (std::uint64_t k = 0; k < dim; ++k, panel += 16 * kGroups) {
    _mm_prefetch(upcoming, _MM_HINT_T0);
    upcoming += input.upcoming_step;
    __m512 lanes[kGroups];
#pragma GCC unroll 2
    for (int g = 0; g < kGroups; ++g) {
      lanes[g] = _mm512_load_ps(panel + 16 * g);
    }
#pragma GCC unroll 12
    for (std::uint32_t row = 0; row < kTileRows; ++row) {
      const __m512 token = _mm512_set1_ps(rows[row / 4][k + (row % 4) * dim]);
#pragma GCC unroll 2
      for (int g = 0; g < kGroups; ++g) {
        sum[row][g] = _mm512_fmadd_ps(token, lanes[g], sum[row][g]);
      }
    }
  }
}

// Integer dot products of a tile. vpdpbusd multiplies unsigned by signed bytes, 4 a lane: a document code d goes in as
// d + 128 (its sign bit flipped), and the sums start at -128 * (sum of the query's codes). Sums wrap, so this is exact.
template <int kGroups>
inline void multiply_tile(const Int8Tiles& input, std::uint64_t tile, const Int8Panel& panel,
                          __m512i (&sum)[kTileRows][kGroups]) {
  const __m512i flip = _mm512_set1_epi8(static_cast<char>(0x80));
  const std::uint64_t stride = input.num_quads;
  const auto* first = reinterpret_cast<const Quad*>(input.tiles[tile]);
  const Quad* rows[3] = {first, first + 4 * stride, first + 8 * stride};
  const auto* upcoming = static_cast<const char*>(input.upcoming[tile]);
  const std::int8_t* query = panel.codes;
#pragma GCC unroll 12
  for (std::uint32_t row = 0; row < kTileRows; ++row) {
#pragma GCC unroll 2
    for (int g = 0; g < kGroups; ++g) {
      sum[row][g] = _mm512_load_si512(panel.corrections + 16 * g);
    }
  }
  for (std::uint64_t quad = 0; quad < input.num_quads; ++quad, query += 64 * kGroups) {
    _mm_prefetch(upcoming, _MM_HINT_T0);
    upcoming += input.upcoming_step;
    __m512i lanes[kGroups];
#pragma GCC unroll 2
    for (int g = 0; g < kGroups; ++g) {
      lanes[g] = _mm512_load_si512(query + 64 * g);
    }
#pragma GCC unroll 12
    for (std::uint32_t row = 0; row < kTileRows; ++row) {
      const __m512i token = _mm512_xor_si512(_mm512_set1_epi32(rows[row / 4][quad + (row % 4) * stride].codes), flip);
#pragma GCC unroll 2
      for (int g = 0; g < kGroups; ++g) {
        sum[row][g] = _mm512_dpbusd_epi32(sum[row][g], token, lanes[g]);
        keep_in_register(sum[row][g]);
      }
    }
  }
}

template <int kGroups>
void fold_groups(const FloatTiles& input, const FloatPanel& panel, float* best, std::uint64_t best_stride) {
  SegmentFold<kGroups> fold(input.segment_ends, best, best_stride);
  for (std::uint64_t tile = 0; tile < input.num_tiles; ++tile) {
    __m512 similarity[kTileRows][kGroups];
    multiply_tile<kGroups>(input, tile, panel.values, similarity);
    fold.add(similarity);
  }
  fold.finish();
}

template <int kGroups>
void fold_groups(const Int8Tiles& input, const Int8Panel& panel, float* best, std::uint64_t best_stride) {
  SegmentFold<kGroups> fold(input.segment_ends, best, best_stride);
  for (std::uint64_t tile = 0; tile < input.num_tiles; ++tile) {
    __m512i dot[kTileRows][kGroups];
    multiply_tile<kGroups>(input, tile, panel, dot);
    __m512 similarity[kTileRows][kGroups];
#pragma GCC unroll 12
    for (std::uint32_t row = 0; row < kTileRows; ++row) {
      const __m512 scale = _mm512_set1_ps(input.scales[tile * kTileRows + row]);
#pragma GCC unroll 2
      for (int g = 0; g < kGroups; ++g) {
        similarity[row][g] = _mm512_mul_ps(_mm512_cvtepi32_ps(dot[row][g]), scale);
      }
    }
    fold.add(similarity);
  }
  fold.finish();
}

void fold_float(const FloatTiles& input, const FloatPanel& panel, float* best, std::uint64_t best_stride) noexcept {
  panel.groups == 1 ? fold_groups<1>(input, panel, best, best_stride) : fold_groups<2>(input, panel, best, best_stride);
}

void fold_int8(const Int8Tiles& input, const Int8Panel& panel, float* best, std::uint64_t best_stride) noexcept {
  panel.groups == 1 ? fold_groups<1>(input, panel, best, best_stride) : fold_groups<2>(input, panel, best, best_stride);
}

void widen_float16(const std::uint16_t* source, float* target, std::uint64_t count) noexcept {
  std::uint64_t i = 0;
  for (; i + 16 <= count; i += 16) {
    _mm512_storeu_ps(target + i, _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(source + i))));
  }
  if (i < count) {
    const auto mask = static_cast<__mmask16>((1U << (count - i)) - 1U);
    _mm512_mask_storeu_ps(target + i, mask, _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(mask, source + i)));
  }
}

[[nodiscard]] inline __m512 widen_bfloat16(__m256i bits) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16));
}

void widen_bfloat16(const std::uint16_t* source, float* target, std::uint64_t count) noexcept {
  std::uint64_t i = 0;
  for (; i + 16 <= count; i += 16) {
    _mm512_storeu_ps(target + i, widen_bfloat16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(source + i))));
  }
  if (i < count) {
    const auto mask = static_cast<__mmask16>((1U << (count - i)) - 1U);
    _mm512_mask_storeu_ps(target + i, mask, widen_bfloat16(_mm256_maskz_loadu_epi16(mask, source + i)));
  }
}

}  // namespace

const KernelTable kAvx512Kernels{"avx512", 2, fold_float, fold_int8, widen_float16, widen_bfloat16};

}  // namespace serotine::kernels
