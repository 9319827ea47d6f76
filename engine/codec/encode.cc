#include "codec/encode.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <memory>

#include "base/aligned_buffer.h"
#include "base/checked.h"
#include "base/half.h"
#include "base/parallel.h"
#include "codec/cell_finder.h"
#include "codec/rounding.h"
#include "codec/sample.h"
#include "codec/token_coder.h"

namespace serotine::codec {
namespace {

// Tokens that a thread takes at a time: enough to meet each super's children in full panels, few enough for a cache.
constexpr std::uint64_t kBatch = 4096;
constexpr std::uint64_t kSlice = 64;  // that are rotated at a time
// A vector of length 1 whose coordinates were rounded to float16 has a length within 2^-11 of 1.
constexpr float kLengthTolerance = 0x1p-10F;

// A direction as int8 codes in steps of its own, the largest +-127: what CellFinder takes.
void quantise_row(const float* direction, std::uint64_t dim, std::int8_t* row) noexcept {
  std::int32_t largest = 0;  // as bits: the order of floats that are not negative, and a maximum of whole numbers
  for (std::uint64_t i = 0; i < dim; ++i) {
    const std::int32_t size = std::bit_cast<std::int32_t>(direction[i]) & 0x7FFF'FFFF;
    largest = size > largest ? size : largest;
  }
  const float steps = largest > 0 ? 127 / std::bit_cast<float>(largest) : 0.0F;
  for (std::uint64_t i = 0; i < dim; ++i) {
    row[i] = static_cast<std::int8_t>(round_clamped(direction[i] * steps, 127));
  }
}

// One thread's working memory.
class BatchEncoder {
 public:
  BatchEncoder(const Codebook& codebook, const CellPanels& panels)
      : codebook_(codebook),
        finder_(panels),
        coder_({codebook.padded_dim(), codebook.nbits(), codebook.unit(), codebook.smallest_norm(),
                codebook.norm_ratio(), codebook.centroids(), codebook.residuals()}),
        unrotated_(kSlice * codebook.dim()),
        directions_(kBatch * codebook.padded_dim()),
        rows_(kBatch * codebook.padded_dim()),
        lengths_(kBatch) {}

  // Tokens [first, first + count) into `out`, which has its final size. Returns the sum of squared residuals.
  double run(const std::uint16_t* values, std::uint64_t first, std::uint64_t count, EncodedTokens& out) {
    const std::uint64_t padded_dim = codebook_.padded_dim();
    for (std::uint64_t slice = 0; slice < count; slice += kSlice) {
      load_directions(values + (first + slice) * codebook_.dim(), std::min(kSlice, count - slice), codebook_.rotation(),
                      unrotated_.data(), directions_.data() + slice * padded_dim, lengths_.data() + slice);
    }
    for (std::uint64_t i = 0; i < count; ++i) {
      quantise_row(directions_.data() + i * padded_dim, padded_dim, rows_.data() + i * padded_dim);
    }
    finder_.find(rows_.data(), count, out.cells.data() + first);
    const std::uint64_t code_bytes = padded_dim * codebook_.nbits() / 8;
    double residuals = 0;
    for (std::uint64_t i = 0; i < count; ++i) {
      const std::uint64_t token = first + i;
      const TokenCode code =
          coder_.encode(directions_.data() + i * padded_dim, out.cells[token], out.codes.data() + token * code_bytes);
      residuals += lengths_[i] > 0 ? code.squared_residual : 0;
      if (!out.norms.empty()) {
        out.norms[token] = code.norm;
      }
      if (!out.gains.empty()) {
        out.gains[token] = kernels::gain_bits(lengths_[i]);
      }
    }
    return residuals;
  }

 private:
  const Codebook& codebook_;
  CellFinder finder_;
  TokenCoder coder_;
  AlignedBuffer<float> unrotated_;
  AlignedBuffer<float> directions_;
  AlignedBuffer<std::int8_t> rows_;
  std::vector<float> lengths_;
};

}  // namespace

bool needs_gains(const Originals& originals, std::uint64_t dim) {
  std::vector<float> vector(dim);
  for (const OriginalsPiece& piece : originals) {
    for (std::uint64_t token = 0; token < piece.num_tokens; ++token) {
      halves_to_floats(piece.values + token * dim, dim, vector.data());
      if (std::abs(length_of(vector.data(), dim) - 1) > kLengthTolerance) {
        return true;
      }
    }
  }
  return false;
}

void encode_tokens(const Codebook& codebook, const std::uint16_t* values, std::uint64_t num_tokens, bool with_gains,
                   std::uint64_t num_threads, EncodedTokens& out) {
  const std::uint64_t code_bytes = codebook.padded_dim() * codebook.nbits() / 8;
  out.cells.resize(num_tokens);
  out.gains.resize(with_gains ? num_tokens : 0);
  out.norms.resize(codebook.nbits() < 8 ? num_tokens : 0);
  out.codes.resize(checked_multiply(num_tokens, code_bytes));
  const std::uint64_t num_batches = divide_up(num_tokens, kBatch);
  std::vector<double> residuals(num_batches);
  const CellPanels panels(codebook.tree(), num_tokens, num_threads);
  std::vector<std::unique_ptr<BatchEncoder>> encoders(std::max<std::uint64_t>(num_threads, 1));
  parallel_for(num_batches, num_threads, [&](std::uint64_t worker, std::uint64_t batch) {
    if (!encoders[worker]) {
      encoders[worker] = std::make_unique<BatchEncoder>(codebook, panels);
    }
    const std::uint64_t first = batch * kBatch;
    residuals[batch] = encoders[worker]->run(values, first, std::min(kBatch, num_tokens - first), out);
  });
  out.residual_energy = 0;
  for (const double sum : residuals) {
    out.residual_energy += sum;
  }
}

void decode_document(const Codebook& codebook, const kernels::CodeFormat& format,
                     const kernels::CodedDocument& document, float* out) {
  constexpr std::uint32_t kTokens = 256;
  const std::uint64_t padded_dim = codebook.padded_dim();
  AlignedBuffer<std::int8_t> rows(kTokens * padded_dim);
  AlignedBuffer<float> scales(kTokens);
  AlignedBuffer<float> rotated(kTokens * padded_dim);
  for (std::uint32_t first = 0; first < document.num_tokens; first += kTokens) {
    const std::uint32_t count = std::min(kTokens, document.num_tokens - first);
    kernels::decode(format, document, first, count, rows.data(), scales.data());
    for (std::uint64_t i = 0; i < count * padded_dim; ++i) {
      rotated.data()[i] = static_cast<float>(rows.data()[i]) * scales.data()[i / padded_dim];
    }
    codebook.rotation().undo(rotated.data(), count, out + first * codebook.dim());
  }
}

}  // namespace serotine::codec
