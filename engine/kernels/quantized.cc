#include "kernels/quantized.h"

#include <algorithm>
#include <bit>
#include <iterator>
#include <limits>

#include "base/checked.h"
#include "kernels/dispatch.h"
#include "kernels/quantized_contract.h"
#include "kernels/query_panels.h"

namespace serotine::kernels {
namespace {

struct QuantizedKernels {
  const RowKernels* rows;
  const CodeKernels* codes;
};

constexpr QuantizedKernels kSets[] = {
    {&kScalarRows, &kScalarCodes},
#if defined(__x86_64__)
    {&kAvx2Rows, &kAvx2Codes},
    {&kAvx512Rows, &kAvx512Codes},
#elif defined(__aarch64__)
    {&kNeonRows, &kNeonCodes},
#endif
};

[[nodiscard]] const QuantizedKernels& find(std::string_view name) {
  return *std::find_if(std::begin(kSets), std::end(kSets), [&](const auto& set) { return set.rows->name == name; });
}

// The kernels of an instruction set, checked by kernels_of(): that it is known, and that the processor runs it.
[[nodiscard]] const QuantizedKernels& choose(std::string_view instruction_set) {
  if (!instruction_set.empty()) {
    return find(kernels_of(instruction_set).name);
  }
  static const QuantizedKernels& active = find(active_kernels().name);
  return active;
}

[[nodiscard]] RowBlock block_of(const std::int8_t* rows, std::uint64_t num_rows, const Int8Tokens& tokens) {
  static thread_local AlignedBuffer<std::int8_t> staging;
  staging.reserve_discarding(kStagedRows * tokens.dim());
  return {rows, num_rows, tokens.dim(), tokens.panels().data(), tokens.panels().size(), staging.data()};
}

// The tokens [first, first + count) of a document.
[[nodiscard]] CodedTokens tokens_of(const CodeFormat& format, const CodedDocument& document, std::uint64_t first,
                                    std::uint64_t count) {
  const std::uint64_t num_tokens = document.num_tokens;
  const std::uint8_t* norms = document.block + (format.has_gains ? 2 * num_tokens : 0);
  const std::uint8_t* codes = norms + (format.nbits < 8 ? num_tokens : 0);
  return {document.cells == nullptr ? nullptr : document.cells + first * format.cell_width,
          norms + first,
          format.has_gains ? document.block + 2 * first : nullptr,
          codes + first * format.code_bytes(),
          count,
          format.dim,
          format.nbits,
          format.cell_width,
          format.centroids,
          format.residuals};
}

// Rows decoded before they are multiplied. With a panel of 32 query tokens they share an L1 cache of 32 KB.
constexpr std::uint64_t kBatchBytes = 12'288;
constexpr std::uint64_t kMaxBatchRows = 8 * kTileRows;

// Decodes documents one after the other into tiles, and multiplies the tiles when there are enough.
class Rescorer {
 public:
  Rescorer(const CodeFormat& format, const Int8Tokens& query, const float* multiplier, RescoreScratch& scratch,
           float* scores, const QuantizedKernels& kernels)
      : format_(format),
        query_(query),
        multiplier_(multiplier),
        scratch_(scratch),
        scores_(scores),
        kernels_(kernels),
        capacity_(
            std::clamp(kBatchBytes / format.dim / kTileRows * kTileRows, std::uint64_t{kTileRows}, kMaxBatchRows)) {
    scratch.vectors.reserve_discarding(checked_multiply(capacity_, format.dim));
    scratch.scales.reserve_discarding(capacity_);
    scratch.best.reserve_discarding(checked_multiply(capacity_, query.num_lanes()));
  }

  void run(std::span<const CodedDocument> documents) {
    for (const CodedDocument& document : documents) {
      for (std::uint64_t token = 0; token < document.num_tokens;) {
        if (num_rows_ == capacity_) {
          multiply();
          finish(token > 0);
        }
        if (token == 0) {
          open();
        }
        const std::uint64_t count = std::min(document.num_tokens - token, capacity_ - num_rows_);
        kernels_.codes->decode(tokens_of(format_, document, token, count), kernels_.rows->row_bias,
                               scratch_.vectors.data() + num_rows_ * format_.dim, scratch_.scales.data() + num_rows_);
        num_rows_ += count;
        token += count;
        segment_ends_[num_segments_ - 1] = num_rows_;
      }
    }
    if (num_rows_ > 0) {
      multiply();
      finish(false);
    }
  }

 private:
  [[nodiscard]] float* best(std::uint64_t segment) { return scratch_.best.data() + segment * query_.num_lanes(); }

  void open() { std::fill_n(best(num_segments_++), query_.num_lanes(), -std::numeric_limits<float>::infinity()); }

  void multiply() {
    for (; num_rows_ % kTileRows != 0; ++num_rows_) {  // the last row again: no maximum moves
      std::int8_t* row = scratch_.vectors.data() + num_rows_ * format_.dim;
      std::copy_n(row - format_.dim, format_.dim, row);
      scratch_.scales.data()[num_rows_] = scratch_.scales.data()[num_rows_ - 1];
    }
    segment_ends_[num_segments_ - 1] = num_rows_;
    const DecodedRows rows{scratch_.vectors.data(), scratch_.scales.data(), num_rows_ / kTileRows, format_.dim,
                           segment_ends_};
    float* lanes = best(0);
    for (const Int8Panel& panel : query_.panels()) {
      kernels_.rows->fold(rows, panel, lanes, query_.num_lanes());
      lanes += std::uint64_t{panel.groups} * kGroupLanes;
    }
  }

  // Scores the documents of the batch. With more tokens of the last to come, its maxima begin the next batch.
  void finish(bool last_is_open) {
    const std::uint64_t num_finished = num_segments_ - (last_is_open ? 1 : 0);
    for (std::uint64_t segment = 0; segment < num_finished; ++segment) {
      const float* lanes = best(segment);
      float score = 0.0F;
      for (std::uint64_t lane = 0; lane < query_.num_lanes(); ++lane) {
        score += multiplier_[lane] * lanes[lane];
      }
      *scores_++ = score;
    }
    if (last_is_open && num_finished > 0) {
      std::copy_n(best(num_finished), query_.num_lanes(), best(0));
    }
    num_segments_ = last_is_open ? 1 : 0;
    num_rows_ = 0;
  }

  const CodeFormat& format_;
  const Int8Tokens& query_;
  const float* multiplier_;
  RescoreScratch& scratch_;
  float* scores_;
  const QuantizedKernels& kernels_;
  std::uint64_t capacity_;
  std::uint64_t num_rows_ = 0;
  std::uint64_t num_segments_ = 0;
  std::uint64_t segment_ends_[kMaxBatchRows] = {};
};

}  // namespace

void Int8Tokens::build(const float* tokens, std::uint64_t num_tokens, std::uint64_t dim) {
  num_tokens_ = num_tokens;
  num_lanes_ = checked_multiply(divide_up(num_tokens, kLaneGroup), kLaneGroup);
  dim_ = dim;
  const std::uint64_t num_codes = checked_multiply(num_lanes_, dim);
  codes_.reserve_discarding(num_codes);
  std::fill_n(codes_.data(), num_codes, std::int8_t{0});
  corrections_.reserve_discarding(num_lanes_);
  std::fill_n(corrections_.data(), num_lanes_, 0);
  scales_.assign(num_lanes_, 0.0F);
  panels_.clear();

  constexpr std::uint64_t kPanelLanes = std::uint64_t{kMaxPanelGroups} * kGroupLanes;
  std::vector<std::int8_t> row(dim);
  for (std::uint64_t first = 0; first < num_lanes_; first += kPanelLanes) {
    const std::uint64_t lanes = std::min(kPanelLanes, num_lanes_ - first);
    std::int8_t* panel = codes_.data() + first * dim;
    for (std::uint64_t lane = 0; lane < lanes && first + lane < num_tokens; ++lane) {
      scales_[first + lane] = quantize_row({tokens + (first + lane) * dim, dim}, row.data());
      std::int32_t sum = 0;
      for (std::uint64_t k = 0; k < dim; k += 4) {
        std::copy_n(row.data() + k, 4, panel + k * lanes + lane * 4);
        sum += row[k] + row[k + 1] + row[k + 2] + row[k + 3];
      }
      corrections_.data()[first + lane] = -128 * sum;
    }
    panels_.push_back({panel, corrections_.data() + first, static_cast<std::uint32_t>(lanes / kGroupLanes)});
  }
}

void int8_dots(const std::int8_t* rows, std::uint64_t num_rows, const Int8Tokens& tokens, std::int32_t* out,
               std::string_view instruction_set) {
  choose(instruction_set).rows->dots(block_of(rows, num_rows, tokens), out, tokens.num_lanes());
}

void cell_scores(const std::int8_t* rows, std::uint64_t num_rows, const Int8Tokens& tokens, const float* multiplier,
                 float addend, std::uint8_t* out, std::uint64_t stride, std::string_view instruction_set) {
  choose(instruction_set).rows->cell_scores(block_of(rows, num_rows, tokens), {multiplier, addend, out, stride});
}

void nearest_rows(const std::int8_t* rows, std::uint64_t num_rows, std::uint32_t first_row, const Int8Tokens& tokens,
                  std::int32_t* best, std::uint32_t* nearest, std::string_view instruction_set) {
  choose(instruction_set).rows->nearest(block_of(rows, num_rows, tokens), first_row, best, nearest);
}

void flood(const CellTable& table, std::uint32_t cell_width, std::span<const DocumentCells> documents,
           std::int32_t* scores, std::string_view instruction_set) {
  choose(instruction_set).codes->flood(table, cell_width, documents.data(), documents.size(), scores);
}

void decode(const CodeFormat& format, const CodedDocument& document, std::uint32_t first, std::uint32_t count,
            std::int8_t* vectors, float* scales, std::string_view instruction_set) {
  choose(instruction_set).codes->decode(tokens_of(format, document, first, count), 0, vectors, scales);
}

void rescore(const CodeFormat& format, std::span<const CodedDocument> documents, const Int8Tokens& query,
             const float* multiplier, RescoreScratch& scratch, float* scores, std::string_view instruction_set) {
  Rescorer(format, query, multiplier, scratch, scores, choose(instruction_set)).run(documents);
}

// 6 bits of exponent and 10 of mantissa are the bits of a float32 moved down by 13 and by 95 binades.
float gain_of(std::uint16_t bits) noexcept {
  return bits == 0 ? 0.0F : std::bit_cast<float>((std::uint32_t{bits} << 13) + (95U << 23));
}

std::uint16_t gain_bits(float gain) noexcept {
  if (!(gain > 0.0F)) {
    return 0;
  }
  if (gain <= gain_of(1)) {
    return 1;  // a short token stays a token
  }
  if (gain >= gain_of(0xFFFF)) {
    return 0xFFFF;
  }
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(gain) - (95U << 23);
  return static_cast<std::uint16_t>((bits + 0xFFFU + (bits >> 13 & 1U)) >> 13);  // half a step goes to the even one
}

void pack_codes(const std::uint8_t* codes, std::uint64_t dim, std::uint32_t nbits, std::uint8_t* packed) noexcept {
  for (std::uint64_t run = 0; run < dim; run += kRunDims) {
    const std::uint64_t run_bytes = std::min(kRunDims, dim - run) * nbits / 8;
    for (std::uint64_t byte = 0; byte < run_bytes; ++byte) {
      std::uint32_t bits = 0;
      for (std::uint32_t i = 0; i < 8 / nbits; ++i) {
        bits |= std::uint32_t{codes[run + byte + i * run_bytes]} << (i * nbits);
      }
      *packed++ = static_cast<std::uint8_t>(bits);
    }
  }
}

}  // namespace serotine::kernels
