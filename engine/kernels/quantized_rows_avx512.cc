// How are rows multiplied with lanes by AVX-512 VNNI?  12 rows x 32 lanes in 24 registers.
//
// Nothing shared is inlined here (see contract.h): helpers are in the anonymous namespace, headers bring intrinsics and
// plain structs only.
#include <immintrin.h>

#include <cstdint>

#include "kernels/quantized_contract.h"

namespace serotine::kernels {
namespace {

constexpr std::uint8_t kBias = 0x80;

// Four codes, at any address.
struct __attribute__((packed, may_alias)) Quad {
  std::int32_t codes;
};

// GCC 12 spills a sum in every step of a loop whose last value is converted after it; an empty asm that changes the
// register stops that.
inline void keep_in_register(__m512i& value) { asm("" : "+v"(value)); }

[[nodiscard]] inline __mmask64 first_bytes(std::uint64_t count) {
  return count >= 64 ? ~__mmask64{0} : (__mmask64{1} << count) - 1;
}

// Exact dot products of 12 rows, stored as d + 128 (see avx512.cc: vpdpbusd multiplies unsigned by signed bytes, and
// the sums start at -128 * (sum of the lane's codes)). A step is 12 broadcasts and 2 loads for 24 multiply-adds, so
// that the multipliers are the bound: nothing else in the loop wants them.
template <int kGroups>
inline void multiply_tile(const std::int8_t* tile, std::uint64_t dim, const Int8Panel& panel,
                          __m512i (&sum)[kTileRows][kGroups]) {
  // Three bases: the addresses of 12 rows would not fit the general registers.
  const std::int8_t* rows[3] = {tile, tile + 4 * dim, tile + 8 * dim};
  const std::int8_t* lane_codes = panel.codes;
#pragma GCC unroll 12
  for (std::uint32_t row = 0; row < kTileRows; ++row) {
#pragma GCC unroll 2
    for (int g = 0; g < kGroups; ++g) {
      sum[row][g] = _mm512_loadu_si512(panel.corrections + 16 * g);
    }
  }
  for (std::uint64_t k = 0; k < dim; k += 4, lane_codes += 64 * kGroups) {
    __m512i lanes[kGroups];
#pragma GCC unroll 2
    for (int g = 0; g < kGroups; ++g) {
      lanes[g] = _mm512_loadu_si512(lane_codes + 64 * g);
    }
#pragma GCC unroll 12
    for (std::uint32_t row = 0; row < kTileRows; ++row) {
      const __m512i token =
          _mm512_set1_epi32(reinterpret_cast<const Quad*>(rows[row / 4] + k + (row % 4) * dim)->codes);
#pragma GCC unroll 2
      for (int g = 0; g < kGroups; ++g) {
        sum[row][g] = _mm512_dpbusd_epi32(sum[row][g], token, lanes[g]);
        keep_in_register(sum[row][g]);
      }
    }
  }
}

// Copies the rows [first, first + count) as d + 128, then the last again until the tile is full.
inline void stage_rows(const RowBlock& block, std::uint64_t first, std::uint64_t count) {
  const __m512i bias = _mm512_set1_epi8(static_cast<char>(kBias));
  const std::uint64_t padded = (count + kTileRows - 1) / kTileRows * kTileRows;
  for (std::uint64_t row = 0; row < padded; ++row) {
    const std::int8_t* source = block.rows + (first + (row < count ? row : count - 1)) * block.dim;
    std::int8_t* target = block.staging + row * block.dim;
    std::uint64_t k = 0;
    for (; k + 64 <= block.dim; k += 64) {
      _mm512_storeu_si512(target + k, _mm512_xor_si512(_mm512_loadu_si512(source + k), bias));
    }
    if (k < block.dim) {  // apart: a masked store costs many times a plain one on Zen 4
      const __mmask64 mask = first_bytes(block.dim - k);
      _mm512_mask_storeu_epi8(target + k, mask, _mm512_xor_si512(_mm512_maskz_loadu_epi8(mask, source + k), bias));
    }
  }
}

// Calls use(first row, rows of it that count, first lane, dots) for a staged tile and every panel.
template <typename Use>
inline void for_each_panel(const RowBlock& block, const std::int8_t* tile, std::uint64_t row, std::uint32_t count,
                           const Use& use) {
  std::uint64_t lane = 0;
  for (std::uint64_t i = 0; i < block.num_panels; ++i) {
    const Int8Panel& panel = block.panels[i];
    if (panel.groups == 2) {
      __m512i dot[kTileRows][2];
      multiply_tile<2>(tile, block.dim, panel, dot);
      use(row, count, lane, dot);
    } else {
      __m512i dot[kTileRows][1];
      multiply_tile<1>(tile, block.dim, panel, dot);
      use(row, count, lane, dot);
    }
    lane += std::uint64_t{panel.groups} * kGroupLanes;
  }
}

template <typename Use>
inline void for_each_tile(const RowBlock& block, const Use& use) {
  for (std::uint64_t first = 0; first < block.num_rows; first += kStagedRows) {
    const std::uint64_t left = block.num_rows - first;
    const std::uint64_t staged = left < kStagedRows ? left : kStagedRows;
    stage_rows(block, first, staged);
    for (std::uint64_t row = 0; row < staged; row += kTileRows) {
      const auto count = static_cast<std::uint32_t>(staged - row < kTileRows ? staged - row : kTileRows);
      for_each_panel(block, block.staging + row * block.dim, first + row, count, use);
    }
  }
}

struct StoreDots {
  std::int32_t* out;
  std::uint64_t stride;

  template <int kGroups>
  void operator()(std::uint64_t first_row, std::uint32_t count, std::uint64_t lane,
                  const __m512i (&dot)[kTileRows][kGroups]) const {
#pragma GCC unroll 12
    for (std::uint32_t row = 0; row < kTileRows; ++row) {
      if (row == count) {
        return;
      }
#pragma GCC unroll 2
      for (int g = 0; g < kGroups; ++g) {
        _mm512_storeu_si512(out + (first_row + row) * stride + lane + 16 * g, dot[row][g]);
      }
    }
  }
};

// Below 0 becomes 0 before the conversion; what is too large for it becomes 2^31 and so, unsigned, 255.
struct StoreScores {
  const ByteScores& scores;

  template <int kGroups>
  void operator()(std::uint64_t first_row, std::uint32_t count, std::uint64_t lane,
                  const __m512i (&dot)[kTileRows][kGroups]) const {
    const __m512 addend = _mm512_set1_ps(scores.addend);
    __m512 multiplier[kGroups];
#pragma GCC unroll 2
    for (int g = 0; g < kGroups; ++g) {
      multiplier[g] = _mm512_loadu_ps(scores.multiplier + lane + 16 * g);
    }
    std::uint8_t* out = scores.out + first_row * scores.stride + lane;
#pragma GCC unroll 12
    for (std::uint32_t row = 0; row < kTileRows; ++row, out += scores.stride) {
      if (row == count) {
        return;
      }
#pragma GCC unroll 2
      for (int g = 0; g < kGroups; ++g) {
        const __m512 score = _mm512_add_ps(_mm512_mul_ps(_mm512_cvtepi32_ps(dot[row][g]), multiplier[g]), addend);
        const __m512i rounded = _mm512_cvtps_epi32(_mm512_max_ps(score, _mm512_setzero_ps()));
        _mm_storeu_si128(reinterpret_cast<__m128i*>(out + 16 * g), _mm512_cvtusepi32_epi8(rounded));
      }
    }
  }
};

// Rows in order, so that equal dots keep the lowest; repetitions of the last row are never larger than it.
struct KeepNearest {
  std::uint32_t first_id;
  std::int32_t* best;
  std::uint32_t* nearest;

  template <int kGroups>
  void operator()(std::uint64_t first_row, std::uint32_t /*count*/, std::uint64_t lane,
                  const __m512i (&dot)[kTileRows][kGroups]) const {
    const auto id = static_cast<std::int32_t>(first_id + static_cast<std::uint32_t>(first_row));
#pragma GCC unroll 2
    for (int g = 0; g < kGroups; ++g) {
      __m512i largest = _mm512_loadu_si512(best + lane + 16 * g);
      __m512i where = _mm512_loadu_si512(nearest + lane + 16 * g);
#pragma GCC unroll 12
      for (std::uint32_t row = 0; row < kTileRows; ++row) {
        const __mmask16 larger = _mm512_cmpgt_epi32_mask(dot[row][g], largest);
        largest = _mm512_max_epi32(largest, dot[row][g]);
        where = _mm512_mask_set1_epi32(where, larger, id + static_cast<std::int32_t>(row));
      }
      _mm512_storeu_si512(best + lane + 16 * g, largest);
      _mm512_storeu_si512(nearest + lane + 16 * g, where);
    }
  }
};

void dots(const RowBlock& block, std::int32_t* out, std::uint64_t stride) noexcept {
  for_each_tile(block, StoreDots{out, stride});
}

void cell_scores(const RowBlock& block, const ByteScores& scores) noexcept {
  for_each_tile(block, StoreScores{scores});
}

void nearest(const RowBlock& block, std::uint32_t first_row, std::int32_t* best, std::uint32_t* nearest) noexcept {
  for_each_tile(block, KeepNearest{first_row, best, nearest});
}

// Walks the segments while tiles arrive in stream order. No NaN can be among the similarities.
template <int kGroups>
class SegmentFold {
 public:
  SegmentFold(const std::uint64_t* segment_ends, float* best, std::uint64_t best_stride)
      : end_(segment_ends), best_(best), best_stride_(best_stride) {
    load();
  }

  void add(const __m512 (&tile)[kTileRows][kGroups]) {
    if (row_ + kTileRows <= *end_) {
#pragma GCC unroll 2
      for (int g = 0; g < kGroups; ++g) {
#pragma GCC unroll 6
        for (std::uint32_t row = 0; row < kTileRows; row += 2) {
          running_[g] = _mm512_max_ps(running_[g], _mm512_max_ps(tile[row][g], tile[row + 1][g]));
        }
      }
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
        finish();
        best_ += best_stride_;
        ++end_;
        load();
      }
#pragma GCC unroll 2
      for (int g = 0; g < kGroups; ++g) {
        running_[g] = _mm512_max_ps(running_[g], _mm512_load_ps(spilled[row][g]));
      }
    }
  }

  void finish() const {
#pragma GCC unroll 2
    for (int g = 0; g < kGroups; ++g) {
      _mm512_storeu_ps(best_ + g * 16, running_[g]);
    }
  }

 private:
  void load() {
#pragma GCC unroll 2
    for (int g = 0; g < kGroups; ++g) {
      running_[g] = _mm512_loadu_ps(best_ + g * 16);
    }
  }

  __m512 running_[kGroups];
  const std::uint64_t* end_;
  float* best_;
  std::uint64_t best_stride_;
  std::uint64_t row_ = 0;
};

template <int kGroups>
void fold_groups(const DecodedRows& rows, const Int8Panel& panel, float* best, std::uint64_t best_stride) {
  SegmentFold<kGroups> segments(rows.segment_ends, best, best_stride);
  for (std::uint64_t tile = 0; tile < rows.num_tiles; ++tile) {
    __m512i dot[kTileRows][kGroups];
    multiply_tile<kGroups>(rows.rows + tile * kTileRows * rows.dim, rows.dim, panel, dot);
    __m512 similarity[kTileRows][kGroups];
#pragma GCC unroll 12
    for (std::uint32_t row = 0; row < kTileRows; ++row) {
      const __m512 scale = _mm512_set1_ps(rows.scales[tile * kTileRows + row]);
#pragma GCC unroll 2
      for (int g = 0; g < kGroups; ++g) {
        similarity[row][g] = _mm512_mul_ps(_mm512_cvtepi32_ps(dot[row][g]), scale);
      }
    }
    segments.add(similarity);
  }
  segments.finish();
}

void fold(const DecodedRows& rows, const Int8Panel& panel, float* best, std::uint64_t best_stride) noexcept {
  panel.groups == 1 ? fold_groups<1>(rows, panel, best, best_stride) : fold_groups<2>(rows, panel, best, best_stride);
}

}  // namespace

const RowKernels kAvx512Rows{"avx512", kBias, dots, cell_scores, nearest, fold};

}  // namespace serotine::kernels
