// How do vectors become codes, and codes vectors?
#pragma once

#include <cstdint>
#include <vector>

#include "codec/codebook.h"
#include "codec/train.h"

namespace serotine::codec {

// Tokens in order, ready to be cut into documents' blocks.
struct EncodedTokens {
  std::vector<std::uint32_t> cells;
  std::vector<std::uint16_t> gains;  // empty unless asked for
  std::vector<std::uint8_t> norms;   // empty if nbits == 8
  std::vector<std::uint8_t> codes;   // code_bytes() each
  double residual_energy = 0;        // sum of squared residuals of unit vectors
};

// Whether some vector's length is not 1 within float16's precision, so that gains must be stored.
[[nodiscard]] bool needs_gains(const Originals& originals, std::uint64_t dim);

// Encodes num_tokens float16 vectors [num_tokens][dim]. The norm byte and codes of a token are those, of a few scales
// around the nominal one, whose decoded vector has the best cosine with the original. Same bits for any num_threads.
void encode_tokens(const Codebook& codebook, const std::uint16_t* values, std::uint64_t num_tokens, bool with_gains,
                   std::uint64_t num_threads, EncodedTokens& out);

// A stored document as float32 vectors [num_tokens][dim], rotated back.
void decode_document(const Codebook& codebook, const kernels::CodeFormat& format,
                     const kernels::CodedDocument& document, float* out);

}  // namespace serotine::codec
