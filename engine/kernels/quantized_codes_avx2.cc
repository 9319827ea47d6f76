// How are cells and codes of documents read with AVX2?  32 bytes at a time.
//
// Nothing shared is inlined here (see contract.h): helpers are in the anonymous namespace, headers bring intrinsics and
// plain structs only.
#include <immintrin.h>

#include <cstdint>

#include "kernels/quantized_contract.h"

namespace serotine::kernels {
namespace {

// 4 and 2 bytes, at any address.
struct __attribute__((packed, may_alias)) Quad {
  std::int32_t bits;
};

struct __attribute__((packed, may_alias)) Word {
  std::uint16_t bits;
};

inline __m256i load(const void* source) { return _mm256_loadu_si256(static_cast<const __m256i*>(source)); }
inline __m128i load_half(const void* source) { return _mm_loadu_si128(static_cast<const __m128i*>(source)); }

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

[[nodiscard]] inline std::int32_t sum_of(__m256i values) {
  const __m128i halves = _mm_add_epi32(_mm256_castsi256_si128(values), _mm256_extracti128_si256(values, 1));
  const __m128i pairs = _mm_add_epi32(halves, _mm_shuffle_epi32(halves, 0b01'00'11'10));
  return _mm_cvtsi128_si32(_mm_add_epi32(pairs, _mm_shuffle_epi32(pairs, 0b10'11'00'01)));
}

[[nodiscard]] inline __m256i weighted(__m128i best, const std::uint16_t* weights) {
  return _mm256_madd_epi16(_mm256_cvtepu8_epi16(best), load(weights));
}

// Running maxima of 16 lanes.
struct HalfLanes {
  __m128i best = _mm_setzero_si128();

  void merge(const std::uint8_t* row) { best = _mm_max_epu8(best, load_half(row)); }
  [[nodiscard]] std::int32_t sum(const std::uint16_t* weights) const { return sum_of(weighted(best, weights)); }
};

// Running maxima of 32 * kVectors lanes.
template <int kVectors>
struct FullLanes {
  __m256i best[kVectors];

  FullLanes() {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      best[v] = _mm256_setzero_si256();
    }
  }
  void merge(const std::uint8_t* row) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      best[v] = _mm256_max_epu8(best[v], load(row + 32 * v));
    }
  }
  [[nodiscard]] std::int32_t sum(const std::uint16_t* weights) const {
    __m256i total = _mm256_setzero_si256();
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      total = _mm256_add_epi32(total, weighted(_mm256_castsi256_si128(best[v]), weights + 32 * v));
      total = _mm256_add_epi32(total, weighted(_mm256_extracti128_si256(best[v], 1), weights + 32 * v + 16));
    }
    return sum_of(total);
  }
};

// One document against as many lanes from `first` on as `Lanes` holds.
template <typename Lanes, std::uint32_t kWidth, bool kIndirect>
inline std::int32_t flood_lanes(const CellTable& table, const DocumentCells& document, std::uint64_t first) {
  Lanes lanes;
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

template <std::uint32_t kWidth, bool kIndirect>
inline std::int32_t flood_document(const CellTable& table, const DocumentCells& document) {
  std::int32_t score = 0;
  std::uint64_t lane = 0;
  for (; lane + 128 <= table.num_lanes; lane += 128) {
    score += flood_lanes<FullLanes<4>, kWidth, kIndirect>(table, document, lane);
  }
  if (lane + 64 <= table.num_lanes) {
    score += flood_lanes<FullLanes<2>, kWidth, kIndirect>(table, document, lane);
    lane += 64;
  }
  if (lane + 32 <= table.num_lanes) {
    score += flood_lanes<FullLanes<1>, kWidth, kIndirect>(table, document, lane);
    lane += 32;
  }
  return lane == table.num_lanes ? score : score + flood_lanes<HalfLanes, kWidth, kIndirect>(table, document, lane);
}

template <std::uint32_t kWidth, bool kIndirect>
void flood_documents(const CellTable& table, const DocumentCells* documents, std::uint64_t num_documents,
                     std::int32_t* scores) {
  for (std::uint64_t i = 0; i < num_documents; ++i) {
    if (i + 2 < num_documents) {
      prefetch_cells(documents[i + 2], kWidth);
    }
    scores[i] = flood_document<kWidth, kIndirect>(table, documents[i]);
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

constexpr std::uint64_t kDecodeTokens = 8;  // a register of squared lengths

// What becomes of decoded bytes: stored with the bias, and their squares summed. The sum is of -x^2: |x| may be 128,
// which only fits the unsigned side of the multiplication; two products of -128^2 are just what 16 bits hold.
struct Row {
  std::int8_t* target;
  __m256i bias;
  __m256i minus_squares;

  void add_squares(__m256i value) {
    const __m256i magnitude = _mm256_abs_epi8(value);
    const __m256i pairs = _mm256_maddubs_epi16(magnitude, _mm256_sub_epi8(_mm256_setzero_si256(), magnitude));
    minus_squares = _mm256_add_epi32(minus_squares, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
  }
  void put(std::uint64_t k, __m256i value) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(target + k), _mm256_xor_si256(value, bias));
    add_squares(value);
  }
  void put_half(std::uint64_t k, __m128i value) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(target + k), _mm_xor_si128(value, _mm256_castsi256_si128(bias)));
    add_squares(_mm256_zextsi128_si256(value));
  }
};

template <int kBits>
[[nodiscard]] inline __m256i plane_of(__m256i bytes, int plane) {
  return _mm256_and_si256(_mm256_srl_epi16(bytes, _mm_cvtsi32_si128(plane * kBits)),
                          _mm256_set1_epi8((1 << kBits) - 1));
}

// The levels of a residual norm in both 128-bit halves, for the byte shuffle.
template <int kBits>
[[nodiscard]] inline __m256i level_table(const std::int8_t* levels) {
  if constexpr (kBits == 4) {
    return _mm256_broadcastsi128_si256(load_half(levels));
  } else if constexpr (kBits == 2) {
    return _mm256_set1_epi32(reinterpret_cast<const Quad*>(levels)->bits);
  } else {
    return _mm256_set1_epi16(static_cast<short>(reinterpret_cast<const Word*>(levels)->bits));
  }
}

// One token: its centroid plus the levels of its codes.
struct Source {
  const std::int8_t* centroid;
  __m256i levels;

  void put(std::uint64_t k, __m256i codes, Row& row) const {
    row.put(k, _mm256_adds_epi8(load(centroid + k), _mm256_shuffle_epi8(levels, codes)));
  }
  void put_half(std::uint64_t k, __m128i codes, Row& row) const {
    const __m128i residual = _mm_shuffle_epi8(_mm256_castsi256_si128(levels), codes);
    row.put_half(k, _mm_adds_epi8(load_half(centroid + k), residual));
  }
};

// A run whose planes are whole quarters of a cache line: all full ones, and most short ones at 4 bits.
template <int kBits>
inline void decode_even_run(const std::uint8_t* run, std::uint64_t per_plane, const Source& source, std::uint64_t k,
                            Row& row) {
  std::uint64_t byte = 0;
  for (; byte + 32 <= per_plane; byte += 32) {
    const __m256i bytes = load(run + byte);
#pragma GCC unroll 8
    for (int plane = 0; plane < 8 / kBits; ++plane) {
      source.put(k + static_cast<std::uint64_t>(plane) * per_plane + byte, plane_of<kBits>(bytes, plane), row);
    }
  }
  if (byte < per_plane) {
    const __m256i bytes = _mm256_castsi128_si256(load_half(run + byte));
#pragma GCC unroll 8
    for (int plane = 0; plane < 8 / kBits; ++plane) {
      source.put_half(k + static_cast<std::uint64_t>(plane) * per_plane + byte,
                      _mm256_castsi256_si128(plane_of<kBits>(bytes, plane)), row);
    }
  }
}

// Any other run: the codes are laid out in a buffer first, each plane over the tail of the one before.
template <int kBits>
inline void decode_odd_run(const std::uint8_t* run, std::uint64_t per_plane, const Source& source, std::uint64_t k,
                           Row& row) {
  std::uint8_t padded[64] = {};
  std::uint8_t codes[kRunDims + 64];
  __builtin_memcpy(padded, run, per_plane);
  for (int plane = 0; plane < 8 / kBits; ++plane) {
    for (std::uint64_t byte = 0; byte < per_plane; byte += 32) {
      auto* target = reinterpret_cast<__m256i*>(codes + static_cast<std::uint64_t>(plane) * per_plane + byte);
      _mm256_storeu_si256(target, plane_of<kBits>(load(padded + byte), plane));
    }
  }
  for (std::uint64_t i = 0; i < per_plane * 8 / kBits; i += 16) {
    source.put_half(k + i, load_half(codes + i), row);
  }
}

template <int kBits>
inline void decode_token(const CodedTokens& tokens, std::uint64_t token, Row& row) {
  const std::uint8_t* run = tokens.codes + token * (tokens.dim * kBits / 8);
  const Source source{tokens.centroids + cell_at(tokens.cells, token, tokens.cell_width) * tokens.dim,
                      level_table<kBits>(tokens.residuals + (std::uint64_t{tokens.norms[token]} << kBits))};
  std::uint64_t k = 0;
  for (; k + kRunDims <= tokens.dim; k += kRunDims, run += kRunDims * kBits / 8) {
    decode_even_run<kBits>(run, kRunDims * kBits / 8, source, k, row);
  }
  const std::uint64_t per_plane = (tokens.dim - k) * kBits / 8;
  per_plane % 16 == 0 ? decode_even_run<kBits>(run, per_plane, source, k, row)
                      : decode_odd_run<kBits>(run, per_plane, source, k, row);
}

template <>
inline void decode_token<8>(const CodedTokens& tokens, std::uint64_t token, Row& row) {
  const std::uint8_t* codes = tokens.codes + token * tokens.dim;
  std::uint64_t k = 0;
  for (; k + 32 <= tokens.dim; k += 32) {
    row.put(k, load(codes + k));
  }
  if (k < tokens.dim) {
    row.put_half(k, load_half(codes + k));
  }
}

// Sums of the 8 rows of a matrix, one in each lane.
[[nodiscard]] inline __m256i sum_rows(const __m256i (&rows)[8]) {
  const __m256i low = _mm256_hadd_epi32(_mm256_hadd_epi32(rows[0], rows[1]), _mm256_hadd_epi32(rows[2], rows[3]));
  const __m256i high = _mm256_hadd_epi32(_mm256_hadd_epi32(rows[4], rows[5]), _mm256_hadd_epi32(rows[6], rows[7]));
  return _mm256_add_epi32(_mm256_permute2x128_si256(low, high, 0x20), _mm256_permute2x128_si256(low, high, 0x31));
}

// gain / sqrt(squares), 0 where there are none, of `count` <= 8 tokens.
inline void store_scales(__m256i squares, const std::uint8_t* gains, std::uint64_t count, float* scales) {
  __m256 gain = _mm256_set1_ps(1.0F);
  if (gains != nullptr) {
    std::uint16_t words[8] = {};
    __builtin_memcpy(words, gains, 2 * count);
    const __m256i bits = _mm256_cvtepu16_epi32(load_half(words));
    const __m256i value = _mm256_add_epi32(_mm256_slli_epi32(bits, 13), _mm256_set1_epi32(95 << 23));
    gain = _mm256_castsi256_ps(_mm256_andnot_si256(_mm256_cmpeq_epi32(bits, _mm256_setzero_si256()), value));
  }
  const __m256i none = _mm256_cmpeq_epi32(squares, _mm256_setzero_si256());
  const __m256 length = _mm256_sqrt_ps(_mm256_cvtepi32_ps(_mm256_sub_epi32(squares, none)));  // no division by 0
  const __m256 result = _mm256_andnot_ps(_mm256_castsi256_ps(none), _mm256_div_ps(gain, length));
  float values[8];
  _mm256_storeu_ps(values, result);
  __builtin_memcpy(scales, values, count * sizeof(float));
}

// Asks for the centroids of the tokens [first, first + 8).
inline void prefetch_centroids(const CodedTokens& tokens, std::uint64_t first) {
  for (std::uint64_t token = first; token < first + kDecodeTokens && token < tokens.count; ++token) {
    const std::int8_t* centroid = tokens.centroids + cell_at(tokens.cells, token, tokens.cell_width) * tokens.dim;
    for (std::uint64_t k = 0; k < tokens.dim; k += 64) {
      _mm_prefetch(centroid + k, _MM_HINT_T0);
    }
  }
}

template <int kBits>
void decode_bits(const CodedTokens& tokens, std::uint8_t bias, std::int8_t* vectors, float* scales) {
  for (std::uint64_t first = 0; first < tokens.count; first += kDecodeTokens) {
    if constexpr (kBits < 8) {
      prefetch_centroids(tokens, first + kDecodeTokens);
    }
    const std::uint64_t left = tokens.count - first;
    const std::uint64_t count = left < kDecodeTokens ? left : kDecodeTokens;
    __m256i minus_squares[kDecodeTokens];
    for (std::uint64_t i = 0; i < count; ++i) {
      Row row{vectors + (first + i) * tokens.dim, _mm256_set1_epi8(static_cast<char>(bias)), _mm256_setzero_si256()};
      decode_token<kBits>(tokens, first + i, row);
      minus_squares[i] = row.minus_squares;
    }
    for (std::uint64_t i = count; i < kDecodeTokens; ++i) {
      minus_squares[i] = _mm256_setzero_si256();
    }
    store_scales(_mm256_sub_epi32(_mm256_setzero_si256(), sum_rows(minus_squares)),
                 tokens.gains == nullptr ? nullptr : tokens.gains + 2 * first, count, scales + first);
  }
}

void decode(const CodedTokens& tokens, std::uint8_t bias, std::int8_t* vectors, float* scales) noexcept {
  const auto of = tokens.nbits == 1   ? decode_bits<1>
                  : tokens.nbits == 2 ? decode_bits<2>
                  : tokens.nbits == 4 ? decode_bits<4>
                                      : decode_bits<8>;
  of(tokens, bias, vectors, scales);
}

}  // namespace

const CodeKernels kAvx2Codes{flood, decode};

}  // namespace serotine::kernels
