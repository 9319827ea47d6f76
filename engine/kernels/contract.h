// What does a MaxSim kernel promise?  The one contract that scalar.cc, avx2.cc and avx512.cc fulfil, bit for bit alike.
//
// Query tokens lie across the lanes of vector registers; document tokens come in tiles of kTileRows and are broadcast.
// So every similarity is one chain of fused multiply-adds over k = 0, 1, .. dim - 1 in one lane, whatever the width of
// the registers: results do not depend on the instruction set, nor on how documents are cut into tiles.
//
// Only plain structs and pointers here: this header is compiled with different instruction sets, and an inline
// function in it could be kept by the linker in its widest form and then run on a machine that cannot.
#pragma once

#include <cstdint>

namespace serotine::kernels {

// Query tokens of one group: a 512-bit register of float32.
inline constexpr std::uint32_t kGroupLanes = 16;

// Document tokens of one tile. 12 rows x 2 groups are 24 accumulators of the 32 registers of AVX-512; two pipes of
// latency 4 need 8. AVX2 (16 registers) takes a tile as two halves.
inline constexpr std::uint32_t kTileRows = 12;

// Most groups that any instruction set takes in one panel.
inline constexpr std::uint32_t kMaxPanelGroups = 2;

// A piece of the stream of document tokens, cut into tiles.
struct FloatTiles {
  const float* const* tiles;    // num_tiles pointers, each to kTileRows * dim floats
  const void* const* upcoming;  // num_tiles addresses: what is read soon after each tile, a hint to prefetch
  std::uint64_t upcoming_step;  // bytes of it for each of the dim steps
  std::uint64_t num_tiles;
  std::uint64_t dim;                  // >= 1
  const std::uint64_t* segment_ends;  // segment s is the rows [segment_ends[s - 1], segment_ends[s]) of the piece:
                                      // never empty, the last ends at num_tiles * kTileRows
};

struct Int8Tiles {
  const std::int8_t* const* tiles;  // num_tiles pointers, each to kTileRows * 4 * num_quads codes
  const void* const* upcoming;      // as above, for each of the num_quads steps
  std::uint64_t upcoming_step;
  const float* scales;  // num_tiles * kTileRows: what a unit of each row's codes stands for
  std::uint64_t num_tiles;
  std::uint64_t num_quads;            // dim / 4 rounded up; the codes beyond dim are 0
  const std::uint64_t* segment_ends;  // as above
};

// Some query tokens, 16 lanes a group; lanes beyond the last token hold zeros.
struct FloatPanel {
  const float* values;  // [dim][groups * 16]
  std::uint32_t groups;
};

struct Int8Panel {
  const std::int8_t* codes;         // [num_quads][groups * 16][4]
  const std::int32_t* corrections;  // [groups * 16]: -128 * (sum of the lane's codes)
  std::uint32_t groups;
};

// For every segment s and lane l of the panel:
//   best[s * best_stride + l] = max(best[s * best_stride + l], max over the rows t of s of similarity(l, t))
// where a NaN on either side makes the result NaN. Similarity of float32: the chain described above. Of int8:
// float(exact integer dot product) * scales[t]; the caller multiplies by the scale of the query token, which is not
// negative and so moves no maximum.
using FoldFloat = void (*)(const FloatTiles& input, const FloatPanel& panel, float* best,
                           std::uint64_t best_stride) noexcept;
using FoldInt8 = void (*)(const Int8Tiles& input, const Int8Panel& panel, float* best,
                          std::uint64_t best_stride) noexcept;

// Exact widening of `count` 16-bit floats (IEEE half, or the upper half of a float32).
using Widen = void (*)(const std::uint16_t* source, float* target, std::uint64_t count) noexcept;

struct KernelTable {
  const char* name;  // as SEROTINE_ISA spells it
  std::uint32_t max_panel_groups;
  FoldFloat fold_float;
  FoldInt8 fold_int8;
  Widen widen_float16;
  Widen widen_bfloat16;
};

}  // namespace serotine::kernels
