// What does a segment say of itself?  The bytes of its section kParameters, as they lie in the file.
#pragma once

#include <cstdint>
#include <type_traits>

namespace serotine::segment {

enum ParameterFlags : std::uint32_t {
  kHasCodes = 1,      // cells and blocks; else float16 vectors alone
  kHasGains = 2,      // blocks begin with gains
  kHasOriginals = 4,  // float16 vectors
  kHasPostings = 8,
};
inline constexpr std::uint32_t kAllParameterFlags = 15;

struct Parameters {
  std::uint64_t num_documents = 0;
  std::uint64_t num_tokens = 0;
  std::uint64_t num_cells = 0;  // of the codebook; this and the next four: 0 without codes
  std::uint32_t nbits = 0;
  std::uint32_t padded_dim = 0;
  std::uint32_t cell_width = 0;
  std::uint32_t dim = 0;
  std::uint32_t flags = 0;
  std::uint32_t reserved = 0;    // 0
  double residual_energy = 0;    // mean squared residual per token
  std::uint64_t reserved_2 = 0;  // 0
};
static_assert(sizeof(Parameters) == 64 && std::is_trivially_copyable_v<Parameters>);

}  // namespace serotine::segment
