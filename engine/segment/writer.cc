#include "segment/writer.h"

#include <algorithm>
#include <numeric>
#include <stdexcept>
#include <utility>

#include "base/checked.h"
#include "segment/document_key.h"
#include "segment/parameters.h"
#include "segment/postings.h"

namespace serotine::segment {
namespace {

constexpr std::uint32_t id_of(SegmentSection section) { return static_cast<std::uint32_t>(section); }

template <typename T>
std::span<const std::byte> bytes_of(const std::vector<T>& values) {
  return std::as_bytes(std::span(values));
}

}  // namespace

struct SegmentWriter::State {
  State(SegmentPlan plan_, std::unique_ptr<io::WritableFile> stream, const Uuid& index, const Uuid& uuid)
      : plan(std::move(plan_)),
        file(std::move(stream), format::FileKind::kSegment, index, uuid),
        waiting_blocks(plan.max_memory_bytes, plan.spool) {}

  SegmentPlan plan;
  kernels::CodeFormat format{};
  format::FileWriter file;
  Spool waiting_blocks;
  std::vector<std::uint16_t> lengths;
  std::vector<std::uint64_t> id_ends;
  std::string id_bytes;
  std::vector<std::uint8_t> cells;
  std::uint64_t num_tokens = 0;
  double residual_energy = 0;  // sum over tokens
  codec::EncodedTokens encoded;
  std::vector<std::uint8_t> block;

  [[nodiscard]] bool has_codes() const { return plan.codebook != nullptr; }
  [[nodiscard]] bool has_originals() const { return !has_codes() || plan.keep_originals; }

  void add_document(std::string_view key, std::uint64_t length);
  void add_cells(std::span<const std::uint32_t> ids);
  void add_block(std::span<const std::uint8_t> bytes);
  void add_originals(std::span<const std::uint16_t> values) { file.append(std::as_bytes(values)); }
  void cut_blocks(std::span<const std::uint32_t> lengths);
  void write_ids();
  void write_postings();
};

void SegmentWriter::State::add_document(std::string_view key, std::uint64_t length) {
  if (!is_valid_key(key)) {
    throw InvalidInput("an id must be valid UTF-8 of 1 to " + std::to_string(kMaxTextBytes) +
                       " bytes without NUL, or a 64-bit integer");
  }
  if (length > kMaxDocumentTokens) {
    throw InvalidInput("a document has " + std::to_string(length) + " tokens, at most " +
                       std::to_string(kMaxDocumentTokens) + " are possible");
  }
  if (lengths.size() == kMaxSegmentDocuments || length > kMaxSegmentTokens - num_tokens) {
    throw std::logic_error("SegmentWriter: more documents or tokens than a segment may have");
  }
  lengths.push_back(static_cast<std::uint16_t>(length));
  id_bytes += key;
  id_ends.push_back(id_bytes.size());
  num_tokens += length;
}

void SegmentWriter::State::add_cells(std::span<const std::uint32_t> ids) {
  for (const std::uint32_t id : ids) {
    for (std::uint32_t byte = 0; byte < format.cell_width; ++byte) {
      cells.push_back(static_cast<std::uint8_t>(id >> (8 * byte)));
    }
  }
}

void SegmentWriter::State::add_block(std::span<const std::uint8_t> bytes) {
  if (has_originals()) {
    waiting_blocks.append(std::as_bytes(bytes));
  } else {
    file.append(std::as_bytes(bytes));
  }
}

// Puts the encoded tokens together as blocks: gains, norms and codes of one document, then those of the next.
void SegmentWriter::State::cut_blocks(std::span<const std::uint32_t> document_lengths) {
  const std::uint64_t code_bytes = format.code_bytes();
  std::uint64_t token = 0;
  for (const std::uint32_t length : document_lengths) {
    block.clear();
    if (format.has_gains) {
      const auto* gains = reinterpret_cast<const std::uint8_t*>(encoded.gains.data() + token);
      block.insert(block.end(), gains, gains + std::uint64_t{2} * length);
    }
    if (format.nbits < 8) {
      const std::uint8_t* norms = encoded.norms.data() + token;
      block.insert(block.end(), norms, norms + length);
    }
    const std::uint8_t* codes = encoded.codes.data() + token * code_bytes;
    block.insert(block.end(), codes, codes + length * code_bytes);
    add_block(block);
    token += length;
  }
}

void SegmentWriter::State::write_ids() {
  std::vector<std::uint32_t> order(lengths.size());
  std::iota(order.begin(), order.end(), 0U);
  const auto key = [this](std::uint32_t document) {
    const std::uint64_t begin = document == 0 ? 0 : id_ends[document - 1];
    return std::string_view(id_bytes).substr(begin, id_ends[document] - begin);
  };
  std::sort(order.begin(), order.end(), [&](std::uint32_t a, std::uint32_t b) { return key(a) < key(b); });
  const auto twice = std::adjacent_find(order.begin(), order.end(),
                                        [&](std::uint32_t a, std::uint32_t b) { return key(a) == key(b); });
  if (twice != order.end()) {
    throw std::logic_error("SegmentWriter: an id comes twice");
  }
  file.add_section(id_of(SegmentSection::kIdEnds), bytes_of(id_ends));
  file.add_section(id_of(SegmentSection::kIdBytes), std::as_bytes(std::span(id_bytes)));
  file.add_section(id_of(SegmentSection::kIdOrder), bytes_of(order));
}

void SegmentWriter::State::write_postings() {
  const Postings postings = build_postings(lengths, cells.data(), format.cell_width, plan.codebook->num_cells());
  file.add_section(id_of(SegmentSection::kPostingRanges), bytes_of(postings.ranges));
  file.add_section(id_of(SegmentSection::kPostings), bytes_of(postings.documents));
}

SegmentWriter::SegmentWriter(SegmentPlan plan, std::unique_ptr<io::WritableFile> file, const Uuid& index,
                             const Uuid& uuid)
    : state_(std::make_unique<State>(std::move(plan), std::move(file), index, uuid)) {
  State& state = *state_;
  if (state.has_codes()) {
    state.format = state.plan.codebook->code_format(state.plan.has_gains);
  }
  state.file.begin_section(id_of(state.has_originals() ? SegmentSection::kOriginals : SegmentSection::kBlocks));
}

SegmentWriter::~SegmentWriter() = default;

void SegmentWriter::add(std::span<const std::string_view> keys, std::span<const std::uint32_t> lengths,
                        const std::uint16_t* values, std::uint64_t num_threads) {
  State& state = *state_;
  const std::uint64_t first_token = state.num_tokens;
  for (std::uint64_t i = 0; i < keys.size(); ++i) {
    state.add_document(keys[i], lengths[i]);
  }
  const std::uint64_t num_tokens = state.num_tokens - first_token;
  if (num_tokens == 0) {
    return;
  }
  if (state.has_codes()) {
    codec::encode_tokens(*state.plan.codebook, values, num_tokens, state.plan.has_gains, num_threads, state.encoded);
    state.add_cells(state.encoded.cells);
    state.residual_energy += state.encoded.residual_energy;
    state.cut_blocks(lengths);
  }
  if (state.has_originals()) {
    state.add_originals({values, checked_multiply(num_tokens, state.plan.dim)});
  }
}

void SegmentWriter::copy(const Segment& source, std::uint64_t document) {
  State& state = *state_;
  if (source.codebook() != state.plan.codebook.get() || (state.has_originals() && !source.has_originals()) ||
      (source.has_gains() && !state.format.has_gains)) {
    throw std::logic_error("SegmentWriter: a document cannot be copied between segments of different kinds");
  }
  const std::uint64_t length = source.length(document);
  state.add_document(source.key(document), length);
  if (state.has_codes() && length > 0) {
    const kernels::CodedDocument coded = source.coded(document);
    state.cells.insert(state.cells.end(), coded.cells, coded.cells + length * state.format.cell_width);
    if (state.format.has_gains && !source.has_gains()) {
      const std::vector<std::uint16_t> ones(length, kernels::gain_bits(1.0F));
      const auto* bytes = reinterpret_cast<const std::uint8_t*>(ones.data());
      state.add_block({bytes, 2 * length});
    }
    state.add_block({coded.block, length * source.code_format().token_bytes()});
    state.residual_energy += source.residual_energy() * static_cast<double>(length);
  }
  if (state.has_originals()) {
    state.add_originals(source.originals(document));
  }
}

std::uint64_t SegmentWriter::num_documents() const noexcept { return state_->lengths.size(); }

std::uint64_t SegmentWriter::num_tokens() const noexcept { return state_->num_tokens; }

format::SegmentRef SegmentWriter::finish() {
  State& state = *state_;
  if (state.has_codes() && state.has_originals()) {
    state.file.add_section(id_of(SegmentSection::kBlocks), state.waiting_blocks.finish());
  }
  Parameters parameters;
  parameters.num_documents = state.lengths.size();
  parameters.num_tokens = state.num_tokens;
  parameters.dim = static_cast<std::uint32_t>(state.plan.dim);
  parameters.flags = state.has_originals() ? kHasOriginals : 0U;
  state.file.add_section(id_of(SegmentSection::kLengths), bytes_of(state.lengths));
  state.write_ids();
  if (state.has_codes()) {
    parameters.num_cells = state.plan.codebook->num_cells();
    parameters.nbits = state.plan.codebook->nbits();
    parameters.padded_dim = static_cast<std::uint32_t>(state.plan.codebook->padded_dim());
    parameters.cell_width = state.format.cell_width;
    parameters.flags |= kHasCodes | (state.plan.has_gains ? kHasGains : 0U);
    const double num_tokens = static_cast<double>(std::max<std::uint64_t>(state.num_tokens, 1));
    parameters.residual_energy = state.residual_energy / num_tokens;
    state.cells.insert(state.cells.end(), 8, 0);
    state.file.add_section(id_of(SegmentSection::kCells), bytes_of(state.cells));
    if (state.num_tokens > 0 && state.num_tokens >= state.plan.min_posting_tokens) {
      parameters.flags |= kHasPostings;
      state.write_postings();
    }
  }
  state.file.add_section(id_of(SegmentSection::kParameters), std::as_bytes(std::span(&parameters, 1)));

  format::SegmentRef ref;
  ref.file = state.file.finish();
  ref.num_documents = parameters.num_documents;
  ref.num_tokens = parameters.num_tokens;
  return ref;
}

}  // namespace serotine::segment
