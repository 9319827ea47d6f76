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

  // A segment that ends with a tile is left at the start of the next, if there is one.
  void next_tile() {
  }

  void finish() { running_.store(best_); }

 private:
  Running<kGroups> running_;
  const std::uint64_t* end_;
  float* best_;
  std::uint64_t best_stride_;
  std::uint64_t row_ = 0;
};

template <int kGroups>
void fold_float_groups(const FloatTiles& input, const float* panel, float* best, std::uint64_t best_stride) {
  SegmentFold<kGroups> fold(input.segment_ends, best, best_stride);
  const std::uint64_t dim = input.dim;
  for (std::uint64_t tile = 0; tile < input.num_tiles; ++tile) {
    const float* row0 = input.tiles[tile];
    const float* row4 = row0 + 4 * dim;
    const float* row8 = row0 + 8 * dim;
    const float* next = input.tiles[tile + 1 < input.num_tiles ? tile + 1 : tile];
    __m512 sum[kTileRows][kGroups];
#pragma GCC unroll 12
    for (std::uint32_t row = 0; row < kTileRows; ++row) {
#pragma GCC unroll 2
      for (int g = 0; g < kGroups; ++g) {
        sum[row][g] = _mm512_setzero_ps();
      }
    }
    const float* query = panel;
    for (std::uint64_t k = 0; k < dim; ++k, query += 16 * kGroups) {
      __m512 lanes[kGroups];
#pragma GCC unroll 2
      for (int g = 0; g < kGroups; ++g) {
        lanes[g] = _mm512_load_ps(query + 16 * g);
      }
#pragma GCC unroll 12
      for (std::uint32_t row = 0; row < kTileRows; ++row) {
        const float* base = row < 4 ? row0 : row < 8 ? row4 : row8;
        const __m512 token = _mm512_set1_ps(base[k + (row % 4) * dim]);
#pragma GCC unroll 2
        for (int g = 0; g < kGroups; ++g) {
          sum[row][g] = _mm512_fmadd_ps(token, lanes[g], sum[row][g]);
        }
      }
    }
    (void)next;
    fold.add(sum);
  }
  fold.finish();
}

void fold_float(const FloatTiles& input, const FloatPanel& panel, float* best, std::uint64_t best_stride) noexcept {
  if (panel.groups == 1) {
    fold_float_groups<1>(input, panel.values, best, best_stride);
  } else {
    fold_float_groups<2>(input, panel.values, best, best_stride);
  }
}

template <int kGroups>
void fold_int8_groups(const Int8Tiles& input, const Int8Panel& panel, float* best, std::uint64_t best_stride) {
  SegmentFold<kGroups> fold(input.segment_ends, best, best_stride);
  const __m512i flip = _mm512_set1_epi8(static_cast<char>(0x80));
  const std::uint64_t stride = input.num_quads;
  for (std::uint64_t tile = 0; tile < input.num_tiles; ++tile) {
    const auto* row0 = reinterpret_cast<const Quad*>(input.tiles[tile]);
    const Quad* row4 = row0 + 4 * stride;
    const Quad* row8 = row0 + 8 * stride;
    __m512i sum[kTileRows][kGroups];
#pragma GCC unroll 12
    for (std::uint32_t row = 0; row < kTileRows; ++row) {
#pragma GCC unroll 2
      for (int g = 0; g < kGroups; ++g) {
        sum[row][g] = _mm512_load_si512(panel.corrections + 16 * g);
      }
    }
    const std::int8_t* query = panel.codes;
    for (std::uint64_t quad = 0; quad < input.num_quads; ++quad, query += 64 * kGroups) {
      __m512i lanes[kGroups];
#pragma GCC unroll 2
      for (int g = 0; g < kGroups; ++g) {
        lanes[g] = _mm512_load_si512(query + 64 * g);
      }
#pragma GCC unroll 12
      for (std::uint32_t row = 0; row < kTileRows; ++row) {
        const Quad* base = row < 4 ? row0 : row < 8 ? row4 : row8;
        const __m512i token = _mm512_xor_si512(_mm512_set1_epi32(base[quad + (row % 4) * stride].codes), flip);
#pragma GCC unroll 2
        for (int g = 0; g < kGroups; ++g) {
          asm("vpdpbusd %2, %1, %0" : "+v"(sum[row][g]) : "v"(token), "v"(lanes[g]));
        }
      }
    }
    __m512 similarity[kTileRows][kGroups];
#pragma GCC unroll 12
    for (std::uint32_t row = 0; row < kTileRows; ++row) {
      const __m512 scale = _mm512_set1_ps(input.scales[tile * kTileRows + row]);
#pragma GCC unroll 2
      for (int g = 0; g < kGroups; ++g) {
        similarity[row][g] = _mm512_mul_ps(_mm512_cvtepi32_ps(sum[row][g]), scale);
      }
    }
    fold.add(similarity);
  }
  fold.finish();
}

void fold_int8(const Int8Tiles& input, const Int8Panel& panel, float* best, std::uint64_t best_stride) noexcept {
  if (panel.groups == 1) {
    fold_int8_groups<1>(input, panel, best, best_stride);
  } else {
    fold_int8_groups<2>(input, panel, best, best_stride);
  }
}

void widen_float16(const std::uint16_t* source, float* target, std::uint64_t count) noexcept {
  std::uint64_t i = 0;
  for (; i + 16 <= count; i += 16) {
    _mm512_storeu_ps(target + i,
                     _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(source + i))));
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
