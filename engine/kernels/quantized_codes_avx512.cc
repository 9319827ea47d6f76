// How are cells and codes of documents read with AVX-512?  64 bytes at a time.
//
// Nothing shared is inlined here (see contract.h): helpers are in the anonymous namespace, headers bring intrinsics and
// plain structs only.
#include <immintrin.h>

#include <cstdint>

#include "kernels/quantized_contract.h"

namespace serotine::kernels {
namespace {

// Four bits, at any address.
struct __attribute__((packed, may_alias)) Quad {
  std::int32_t bits;
};

struct __attribute__((packed, may_alias)) Word {
  std::uint16_t bits;
};

[[nodiscard]] inline __mmask64 first_bytes(std::uint64_t count) {
  return count >= 64 ? ~__mmask64{0} : (__mmask64{1} << count) - 1;
}

template <std::uint32_t kWidth>
[[nodiscard]] inline std::uint64_t cell_at(const std::uint8_t* cells, std::uint64_t token) {
  if constexpr (kWidth == 1) {
    return cells[token];
  } else if constexpr (kWidth == 2) {
    return reinterpret_cast<const Word*>(cells + 2 * token)->bits;
  } else {  // the fourth byte is readable
    return static_cast<std::uint32_t>(reinterpret_cast<const Quad*>(cells + 3 * token)->bits) & 0xFF'FFFFU;
  }
}

[[nodiscard]] inline std::uint64_t cell_at(const std::uint8_t* cells, std::uint64_t token, std::uint32_t width) {
  return width == 1 ? cell_at<1>(cells, token) : width == 2 ? cell_at<2>(cells, token) : cell_at<3>(cells, token);
}

// Running maxima of up to 32 lanes.
struct HalfLanes {
  __m256i best = _mm256_setzero_si256();
  __mmask32 mask;

  explicit HalfLanes(std::uint64_t lanes) : mask(static_cast<__mmask32>(first_bytes(lanes))) {}
  void merge(const std::uint8_t* row) { best = _mm256_max_epu8(best, _mm256_maskz_loadu_epi8(mask, row)); }
  [[nodiscard]] std::int32_t sum(const std::uint16_t* weights) const {
    return _mm512_reduce_add_epi32(
        _mm512_madd_epi16(_mm512_cvtepu8_epi16(best), _mm512_maskz_loadu_epi16(mask, weights)));
  }
};

// Running maxima of up to 64 * kVectors lanes; the mask is of the last vector.
template <int kVectors>
struct FullLanes {
  __m512i best[kVectors];
  __mmask64 mask;

  explicit FullLanes(std::uint64_t lanes) : mask(first_bytes(lanes - 64 * (kVectors - 1))) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      best[v] = _mm512_setzero_si512();
    }
  }
  void merge(const std::uint8_t* row) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      const __m512i bytes =
          v + 1 < kVectors ? _mm512_loadu_si512(row + 64 * v) : _mm512_maskz_loadu_epi8(mask, row + 64 * v);
      best[v] = _mm512_max_epu8(best[v], bytes);
    }
  }
  [[nodiscard]] std::int32_t sum(const std::uint16_t* weights) const {
    __m512i total = _mm512_setzero_si512();
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      const __mmask64 valid = v + 1 < kVectors ? ~__mmask64{0} : mask;
      const __m512i low = _mm512_cvtepu8_epi16(_mm512_castsi512_si256(best[v]));
      const __m512i high = _mm512_cvtepu8_epi16(_mm512_extracti64x4_epi64(best[v], 1));
      const auto low_weights = _mm512_maskz_loadu_epi16(static_cast<__mmask32>(valid), weights + 64 * v);
      const auto high_weights = _mm512_maskz_loadu_epi16(static_cast<__mmask32>(valid >> 32), weights + 64 * v + 32);
      total = _mm512_add_epi32(total, _mm512_madd_epi16(low, low_weights));
      total = _mm512_add_epi32(total, _mm512_madd_epi16(high, high_weights));
    }
    return _mm512_reduce_add_epi32(total);
  }
};

// One document against as many lanes from `first` on as `Lanes` holds.
template <typename Lanes, std::uint32_t kWidth, bool kIndirect>
inline std::int32_t flood_lanes(const CellTable& table, const DocumentCells& document, std::uint64_t first) {
  Lanes lanes(table.num_lanes - first);
  const std::uint8_t* rows = table.rows + first;
  const std::uint64_t stride = table.stride;
  const std::uint32_t* row_of_cell = table.row_of_cell;
  const std::uint64_t num_tokens = document.num_tokens;
#pragma GCC unroll 8
  for (std::uint64_t token = 0; token < num_tokens; ++token) {
    const std::uint64_t cell = cell_at<kWidth>(document.cells, token);
    lanes.merge(rows + (kIndirect ? row_of_cell[cell] : cell) * stride);
  }
  return lanes.sum(table.weights + first);
}

// Candidates lie anywhere in the file: the cells of the next but one are asked for while this one is scored.
inline void prefetch_cells(const DocumentCells& document, std::uint64_t cell_width) {
  constexpr std::uint64_t kMostBytes = 1'024;
  const std::uint64_t all = document.num_tokens * cell_width;
  for (std::uint64_t byte = 0; byte < (all < kMostBytes ? all : kMostBytes); byte += 64) {
    _mm_prefetch(document.cells + byte, _MM_HINT_T0);
  }
}

// The lanes from `first` on, 256 of them at most.
template <std::uint32_t kWidth, bool kIndirect>
inline std::int32_t flood_chunk(const CellTable& table, const DocumentCells& document, std::uint64_t first) {
  const std::uint64_t left = table.num_lanes - first;
  return left <= 32    ? flood_lanes<HalfLanes, kWidth, kIndirect>(table, document, first)
         : left <= 64  ? flood_lanes<FullLanes<1>, kWidth, kIndirect>(table, document, first)
         : left <= 128 ? flood_lanes<FullLanes<2>, kWidth, kIndirect>(table, document, first)
         : left <= 192 ? flood_lanes<FullLanes<3>, kWidth, kIndirect>(table, document, first)
                       : flood_lanes<FullLanes<4>, kWidth, kIndirect>(table, document, first);
}

template <std::uint32_t kWidth, bool kIndirect>
void flood_documents(const CellTable& table, const DocumentCells* documents, std::uint64_t num_documents,
                     std::int32_t* scores) {
  for (std::uint64_t i = 0; i < num_documents; ++i) {
    if (i + 2 < num_documents) {
      prefetch_cells(documents[i + 2], kWidth);
    }
    std::int32_t score = 0;
    for (std::uint64_t first = 0; first < table.num_lanes; first += 256) {
      score += flood_chunk<kWidth, kIndirect>(table, documents[i], first);
    }
    scores[i] = score;
  }
}

void flood(const CellTable& table, std::uint32_t cell_width, const DocumentCells* documents,
           std::uint64_t num_documents, std::int32_t* scores) noexcept {
  const bool indirect = table.row_of_cell != nullptr;
  const auto of = cell_width == 1   ? (indirect ? flood_documents<1, true> : flood_documents<1, false>)
                  : cell_width == 2 ? (indirect ? flood_documents<2, true> : flood_documents<2, false>)
                                    : (indirect ? flood_documents<3, true> : flood_documents<3, false>);
  of(table, documents, num_documents, scores);
}

constexpr std::uint64_t kDecodeTokens = 16;  // a register of squared lengths

// The 64 codes of dimensions [64 * half, 64 * half + 64) of a full run, one in each byte.
template <int kBits>
[[nodiscard]] inline __m512i run_codes(const std::uint8_t* run, int half) {
  if constexpr (kBits == 4) {
    const __m512i bytes = _mm512_loadu_si512(run);
    return _mm512_and_si512(half == 0 ? bytes : _mm512_srli_epi16(bytes, 4), _mm512_set1_epi8(0x0F));
  } else if constexpr (kBits == 2) {  // halves of the register shifted by 0, 2 or by 4, 6
    const __m512i bytes = _mm512_broadcast_i64x4(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(run)));
    const __m512i shifts = _mm512_inserti64x4(_mm512_set1_epi16(static_cast<short>(4 * half)),
                                              _mm256_set1_epi16(static_cast<short>(4 * half + 2)), 1);
    return _mm512_and_si512(_mm512_srlv_epi16(bytes, shifts), _mm512_set1_epi8(0x03));
  } else {  // quarters shifted by 0, 1, 2, 3 or by 4, 5, 6, 7
    const __m512i bytes = _mm512_broadcast_i32x4(_mm_loadu_si128(reinterpret_cast<const __m128i*>(run)));
    const long long first = 0x0001'0001'0001'0001LL * 4 * half;
    const long long step = 0x0001'0001'0001'0001LL;
    const __m512i shifts = _mm512_set_epi64(first + 3 * step, first + 3 * step, first + 2 * step, first + 2 * step,
                                            first + step, first + step, first, first);
    return _mm512_and_si512(_mm512_srlv_epi16(bytes, shifts), _mm512_set1_epi8(0x01));
  }
}

// The codes of a run of 64 dimensions.
template <int kBits>
[[nodiscard]] inline __m512i half_run_codes(const std::uint8_t* run) {
  __m512i bytes;
  __m512i shifts;  // of 16 bits at a time: as many different ones as a byte has codes
  if constexpr (kBits == 4) {
    bytes = _mm512_broadcast_i64x4(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(run)));
    shifts = _mm512_inserti64x4(_mm512_setzero_si512(), _mm256_set1_epi16(4), 1);
  } else if constexpr (kBits == 2) {
    bytes = _mm512_broadcast_i32x4(_mm_loadu_si128(reinterpret_cast<const __m128i*>(run)));
    constexpr long long kStep = 0x0002'0002'0002'0002LL;
    shifts = _mm512_set_epi64(3 * kStep, 3 * kStep, 2 * kStep, 2 * kStep, kStep, kStep, 0, 0);
  } else {
    bytes = _mm512_broadcastq_epi64(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(run)));
    constexpr long long kStep = 0x0001'0001'0001'0001LL;
    shifts = _mm512_set_epi64(7 * kStep, 6 * kStep, 5 * kStep, 4 * kStep, 3 * kStep, 2 * kStep, kStep, 0);
  }
  return _mm512_and_si512(_mm512_srlv_epi16(bytes, shifts), _mm512_set1_epi8((1 << kBits) - 1));
}

// The levels of a residual norm in every 128-bit lane, for the byte shuffle.
template <int kBits>
[[nodiscard]] inline __m512i level_table(const std::int8_t* levels) {
  if constexpr (kBits == 4) {
    return _mm512_broadcast_i32x4(_mm_loadu_si128(reinterpret_cast<const __m128i*>(levels)));
  } else if constexpr (kBits == 2) {
    return _mm512_set1_epi32(reinterpret_cast<const Quad*>(levels)->bits);
  } else {
    return _mm512_set1_epi16(static_cast<short>(reinterpret_cast<const Word*>(levels)->bits));
  }
}

// What becomes of decoded bytes: stored with the bias, and their squares summed. vpdpbusd wants one side unsigned, and
// with u = x + 128 the sum of u * x and u * -128 is x^2 - 128^2, whatever x is: what each sum starts at is for that.
template <bool kBiased>
struct Row {
  std::int8_t* target;
  __m512i squares;

  void put(std::uint64_t k, __m512i value) { _mm512_storeu_si512(target + k, add(value)); }
  // Bytes of `value` outside the mask are 0.
  void put(std::uint64_t k, __m512i value, __mmask64 mask) { _mm512_mask_storeu_epi8(target + k, mask, add(value)); }

 private:
  __m512i add(__m512i value) {
    const __m512i most = _mm512_set1_epi8(static_cast<char>(-128));
    const __m512i flipped = _mm512_xor_si512(value, most);
    squares = _mm512_dpbusd_epi32(squares, flipped, value);
    squares = _mm512_dpbusd_epi32(squares, flipped, most);
    return kBiased ? flipped : value;
  }
};

// What the squares of a row start at: 4 * 128^2 for each time that put() is called.
template <int kBits>
[[nodiscard]] inline __m512i squares_start(std::uint64_t dim) {
  const std::uint64_t rest = dim % 64 == 0 ? dim % kRunDims / 64 : 8 / kBits;
  const std::uint64_t num_puts = kBits == 8 ? (dim + 63) / 64 : dim / kRunDims * 2 + rest;
  return _mm512_set1_epi32(static_cast<std::int32_t>(num_puts << 16));
}

// A run of fewer than 128 dimensions: `per_plane` codes side by side for each shift.
template <int kBits, typename Row>
inline void decode_short_run(const std::uint8_t* run, std::uint64_t width, const std::int8_t* centroid, __m512i levels,
                             std::uint64_t k, Row& row) {
  const std::uint64_t per_plane = width * kBits / 8;
  const __mmask64 mask = first_bytes(per_plane);
  const __m512i bytes = _mm512_maskz_loadu_epi8(mask, run);
  for (int plane = 0; plane < 8 / kBits; ++plane, k += per_plane) {
    const __m512i shifted = _mm512_srl_epi16(bytes, _mm_cvtsi32_si128(plane * kBits));
    const __m512i codes = _mm512_and_si512(shifted, _mm512_set1_epi8((1 << kBits) - 1));
    const __m512i residual = _mm512_maskz_shuffle_epi8(mask, levels, codes);
    row.put(k, _mm512_adds_epi8(_mm512_maskz_loadu_epi8(mask, centroid + k), residual), mask);
  }
}

template <int kBits, typename Row>
[[gnu::always_inline]] inline void decode_token(const CodedTokens& tokens, std::uint64_t token,
                                                const std::int8_t* centroid, Row& row) {
  const std::uint8_t* run = tokens.codes + token * (tokens.dim * kBits / 8);
  const __m512i levels = level_table<kBits>(tokens.residuals + (std::uint64_t{tokens.norms[token]} << kBits));
  std::uint64_t k = 0;
  for (; k + kRunDims <= tokens.dim; k += kRunDims, run += kRunDims * kBits / 8) {
#pragma GCC unroll 2
    for (int half = 0; half < 2; ++half) {
      const __m512i residual = _mm512_shuffle_epi8(levels, run_codes<kBits>(run, half));
      row.put(k + 64 * half, _mm512_adds_epi8(_mm512_loadu_si512(centroid + k + 64 * half), residual));
    }
  }
  if (tokens.dim - k == 64) {
    const __m512i residual = _mm512_shuffle_epi8(levels, half_run_codes<kBits>(run));
    row.put(k, _mm512_adds_epi8(_mm512_loadu_si512(centroid + k), residual));
  } else if (k < tokens.dim) {
    decode_short_run<kBits>(run, tokens.dim - k, centroid, levels, k, row);
  }
}

template <typename Row>
[[gnu::always_inline]] inline void copy_token(const CodedTokens& tokens, std::uint64_t token, Row& row) {
  const std::uint8_t* codes = tokens.codes + token * tokens.dim;
  std::uint64_t k = 0;
  for (; k + 64 <= tokens.dim; k += 64) {
    row.put(k, _mm512_loadu_si512(codes + k));
  }
  if (k < tokens.dim) {
    const __mmask64 mask = first_bytes(tokens.dim - k);
    row.put(k, _mm512_maskz_loadu_epi8(mask, codes + k), mask);
  }
}

// Decodes one token and returns its squared length in parts.
template <int kBits, bool kBiased>
[[nodiscard, gnu::always_inline]] inline __m512i decode_row(const CodedTokens& tokens, std::uint64_t token,
                                                            const std::int8_t* centroid, std::int8_t* vectors) {
  Row<kBiased> row{vectors + token * tokens.dim, squares_start<kBits>(tokens.dim)};
  if constexpr (kBits == 8) {
    copy_token(tokens, token, row);
  } else {
    decode_token<kBits>(tokens, token, centroid, row);
  }
  return row.squares;
}

// Sums of 4 rows: in every 128-bit part of the result, a part of each.
[[nodiscard]] inline __m512i sum_four(__m512i a, __m512i b, __m512i c, __m512i d) {
  const __m512i low = _mm512_add_epi32(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
  const __m512i high = _mm512_add_epi32(_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
  return _mm512_add_epi32(_mm512_unpacklo_epi64(low, high), _mm512_unpackhi_epi64(low, high));
}

// The same of 16 rows that sum_four() has seen: one sum in each lane.
[[nodiscard]] inline __m512i sum_sixteen(const __m512i (&fours)[4]) {
  const auto fold = [](__m512i a, __m512i b) {
    return _mm512_add_epi32(_mm512_shuffle_i32x4(a, b, 0x88), _mm512_shuffle_i32x4(a, b, 0xDD));
  };
  return fold(fold(fours[0], fours[1]), fold(fours[2], fours[3]));
}

// gain / sqrt(squares), 0 where there are none, of `count` <= 16 tokens.
inline void store_scales(__m512i squares, const std::uint8_t* gains, std::uint64_t count, float* scales) {
  const auto mask = static_cast<__mmask16>(first_bytes(count));
  __m512 gain = _mm512_set1_ps(1.0F);
  if (gains != nullptr) {
    const __m512i bits = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(mask, gains));
    gain = _mm512_castsi512_ps(_mm512_maskz_add_epi32(_mm512_test_epi32_mask(bits, bits), _mm512_slli_epi32(bits, 13),
                                                      _mm512_set1_epi32(95 << 23)));
  }
  const __mmask16 nonzero = _mm512_test_epi32_mask(squares, squares);
  _mm512_mask_storeu_ps(scales, mask, _mm512_maskz_div_ps(nonzero, gain, _mm512_sqrt_ps(_mm512_cvtepi32_ps(squares))));
}

// Centroids of the tokens [first, first + 16), asked for while the 16 before are decoded.
inline void find_centroids(const CodedTokens& tokens, std::uint64_t first, const std::int8_t* (&centroids)[16]) {
  for (std::uint64_t i = 0; i < kDecodeTokens && first + i < tokens.count; ++i) {
    centroids[i] = tokens.centroids + cell_at(tokens.cells, first + i, tokens.cell_width) * tokens.dim;
    for (std::uint64_t k = 0; k < tokens.dim; k += 64) {
      _mm_prefetch(centroids[i] + k, _MM_HINT_T0);
    }
  }
}

// Squared lengths of the tokens [first, first + count), which are decoded.
template <int kBits, bool kBiased>
[[gnu::always_inline]] inline __m512i decode_block(const CodedTokens& tokens, std::uint64_t first, std::uint64_t count,
                                                   const std::int8_t* const (&centroids)[kDecodeTokens],
                                                   std::int8_t* vectors) {
  __m512i fours[4] = {};
  for (std::uint64_t i = 0; i < count; i += 4) {
    __m512i rows[4] = {};
    if (i + 4 <= count) {
#pragma GCC unroll 4
      for (std::uint64_t j = 0; j < 4; ++j) {
        rows[j] = decode_row<kBits, kBiased>(tokens, first + i + j, centroids[i + j], vectors);
      }
    } else {
      for (std::uint64_t j = 0; i + j < count; ++j) {
        rows[j] = decode_row<kBits, kBiased>(tokens, first + i + j, centroids[i + j], vectors);
      }
    }
    fours[i / 4] = sum_four(rows[0], rows[1], rows[2], rows[3]);
  }
  return sum_sixteen(fours);
}

// kDim: the dimension if it is known, or 0. Straight code for the most common ones takes three quarters of the time.
template <int kBits, bool kBiased, std::uint64_t kDim>
void decode_dim(const CodedTokens& input, std::int8_t* vectors, float* scales) {
  CodedTokens tokens = input;  // of its own: or each byte that is stored might change it
  if constexpr (kDim != 0) {
    tokens.dim = kDim;
  }
  const std::int8_t* centroids[2][kDecodeTokens] = {};
  if constexpr (kBits < 8) {
    find_centroids(tokens, 0, centroids[0]);
  }
  for (std::uint64_t first = 0; first < tokens.count; first += kDecodeTokens) {
    const std::uint64_t block = first / kDecodeTokens;
    if constexpr (kBits < 8) {
      find_centroids(tokens, first + kDecodeTokens, centroids[(block + 1) % 2]);
    }
    const std::uint64_t left = tokens.count - first;
    const std::uint64_t count = left < kDecodeTokens ? left : kDecodeTokens;
    const __m512i squares = decode_block<kBits, kBiased>(tokens, first, count, centroids[block % 2], vectors);
    store_scales(squares, tokens.gains == nullptr ? nullptr : tokens.gains + 2 * first, count, scales + first);
  }
}

// The bias is 0 or that of the rows (0x80).
template <int kBits>
void decode_bits(const CodedTokens& tokens, std::uint8_t bias, std::int8_t* vectors, float* scales) {
  const auto of = tokens.dim == 128  ? (bias == 0 ? decode_dim<kBits, false, 128> : decode_dim<kBits, true, 128>)
                  : tokens.dim == 64 ? (bias == 0 ? decode_dim<kBits, false, 64> : decode_dim<kBits, true, 64>)
                                     : (bias == 0 ? decode_dim<kBits, false, 0> : decode_dim<kBits, true, 0>);
  of(tokens, vectors, scales);
}

void decode(const CodedTokens& tokens, std::uint8_t bias, std::int8_t* vectors, float* scales) noexcept {
  const auto of = tokens.nbits == 1   ? decode_bits<1>
                  : tokens.nbits == 2 ? decode_bits<2>
                  : tokens.nbits == 4 ? decode_bits<4>
                                      : decode_bits<8>;
  of(tokens, bias, vectors, scales);
}

}  // namespace

const CodeKernels kAvx512Codes{flood, decode};

}  // namespace serotine::kernels
