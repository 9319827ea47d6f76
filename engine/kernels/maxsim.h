// How are queries scored against packed documents?  Exact MaxSim, S(Q, D) = sum_i w_i max_j q_i . d_j, on the CPU.
//
// Arguments are trusted here: the bindings check shapes and ranges. Results have the same bits on every
// instruction set and for every number of threads.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

namespace serotine::kernels {

enum class ElementKind { kFloat32, kFloat16, kBfloat16, kInt8 };

// The token vectors of many texts, packed: rows offsets[i] .. offsets[i + 1] are text i.
struct PackedTokens {
  const void* values = nullptr;  // num_tokens * dim elements of `kind`, C order
  ElementKind kind = ElementKind::kFloat32;
  std::uint64_t dim = 0;                  // >= 1
  std::span<const std::int64_t> offsets;  // num_texts + 1, from 0, never decreasing
  const float* scales = nullptr;          // int8 only: num_tokens

  [[nodiscard]] std::uint64_t num_texts() const noexcept { return offsets.size() - 1; }
};

// Largest dimension of int8 vectors: 128 * 127 * dim must fit a signed 32-bit sum.
inline constexpr std::uint64_t kMaxInt8Dim = 131'072;

struct MaxSimOptions {
  const float* weights = nullptr;    // one per query token; 1 if null
  std::uint64_t num_threads = 1;     // at most this many; fewer if the work would not pay for them
  std::string_view instruction_set;  // empty: the active one
};

// scores[q * n + i] = S(query q, document selection[i]), n = number of selected documents (all if no selection).
// Queries are float32, float16 or bfloat16; documents of any kind. A document without tokens scores -inf, a query
// without tokens 0 against the others, and a NaN in either makes their scores NaN.
void maxsim(const PackedTokens& queries, const PackedTokens& documents,
            std::optional<std::span<const std::int64_t>> selection, const MaxSimOptions& options,
            std::span<float> scores);

// scores[i] = S(query i, document i); as many queries as documents.
void maxsim_pairwise(const PackedTokens& queries, const PackedTokens& documents, const MaxSimOptions& options,
                     std::span<float> scores);

// Names of the instruction sets that this machine can run, narrowest first.
[[nodiscard]] std::vector<std::string_view> available_instruction_sets();

// The one in use. Throws InvalidInput if SEROTINE_ISA names one that is unknown or cannot run here.
[[nodiscard]] std::string_view active_instruction_set();

}  // namespace serotine::kernels
