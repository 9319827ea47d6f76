#include "codec/train.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "base/checked.h"
#include "base/parallel.h"
#include "codec/cell_finder.h"
#include "codec/lloyd_max.h"
#include "codec/meter.h"
#include "codec/sample.h"
#include "codec/tree_training.h"

namespace serotine::codec {
namespace {

constexpr std::uint64_t kTokensPerCell = 48;    // of the collection; docs/engine.md has what 96 lost
constexpr std::uint64_t kSampledPerCell = 100;  // enough; a cell's mean needs no more
constexpr std::uint64_t kMinSampledPerCell = 8;
constexpr std::uint64_t kTellingPerCell = 48;  // fewer fit their own cells much better than other vectors will
constexpr std::uint64_t kHeldOut = 16;         // one block in so many is then measured instead of trained on
constexpr std::uint64_t kBlockRows = 1'024;    // whole documents: tokens of one resemble each other
constexpr std::uint64_t kMaxSampleRows = std::uint64_t{1} << 24;  // int8 codes of so many rows add up within 32 bits
constexpr std::uint64_t kMaxCells = std::uint64_t{1} << 24;
constexpr std::uint64_t kResidualRows = 32'768;  // that the residual tables are made from
constexpr std::uint64_t kNumNorms = 256;

// The power of two nearest, in ratio, to tokens / 48.
std::uint64_t cells_for(std::uint64_t tokens) {
  const double ideal = static_cast<double>(tokens) / static_cast<double>(kTokensPerCell);
  const double exponent = ideal > 1 ? std::round(std::log2(ideal)) : 0;
  return std::min(kMaxCells, std::uint64_t{1} << static_cast<unsigned>(std::min(exponent, 24.0)));
}

std::uint64_t cells_supported_by(std::uint64_t sampled) {
  return std::bit_floor(std::max<std::uint64_t>(sampled / kMinSampledPerCell, 1));
}

// Takes every kHeldOut-th block of rows out of a sample that has few rows for each of its cells, and enough in all.
Sample hold_out(Sample& sample, std::uint64_t num_cells, std::uint64_t dim) {
  Sample held;
  const std::uint64_t num_groups = sample.num_rows / (kHeldOut * kBlockRows);
  if (sample.num_rows >= num_cells * kTellingPerCell || num_groups == 0) {
    return held;
  }
  held.unit = sample.unit;
  held.num_rows = num_groups * kBlockRows;
  held.rows = AlignedBuffer<std::int8_t>(held.num_rows * dim);
  std::int8_t* rows = sample.rows.data();
  std::uint64_t num_kept = 0;
  std::uint64_t num_held = 0;
  for (std::uint64_t row = 0; row < sample.num_rows; ++row) {
    const bool is_held = row / kBlockRows % kHeldOut == kHeldOut / 2 && num_held < held.num_rows;
    std::int8_t* target = is_held ? held.rows.data() + num_held++ * dim : rows + num_kept++ * dim;
    if (target != rows + row * dim) {
      std::copy_n(rows + row * dim, dim, target);
    }
  }
  sample.num_rows = num_kept;
  return held;
}

// What residuals are like: of evenly spread rows of the sample, each against the cell that the encoder would give it.
struct ResidualStatistics {
  double mean_square = 0;
  float smallest = std::numeric_limits<float>::max();
  float largest = 0;
  MagnitudeHistogram directions{1.0F};  // coordinates of residuals of length 1
};

void add_residual(const std::int8_t* row, const std::int8_t* centroid, std::uint64_t dim, float unit,
                  ResidualStatistics& statistics) {
  std::int64_t squares = 0;
  for (std::uint64_t i = 0; i < dim; ++i) {
    squares += (row[i] - centroid[i]) * (row[i] - centroid[i]);
  }
  const double length = std::sqrt(static_cast<double>(squares));
  const auto norm = static_cast<float>(length * static_cast<double>(unit));
  statistics.mean_square += static_cast<double>(squares);
  statistics.smallest = std::min(statistics.smallest, norm);
  statistics.largest = std::max(statistics.largest, norm);
  for (std::uint64_t i = 0; squares > 0 && i < dim; ++i) {
    statistics.directions.add(static_cast<float>((row[i] - centroid[i]) / length));
  }
}

ResidualStatistics measure_residuals(const Sample& sample, const CellTree& tree, Meter& meter) {
  constexpr std::uint64_t kBatch = 2048;
  ResidualStatistics statistics;
  const std::uint64_t count = std::min(sample.num_rows, kResidualRows);
  const CellPanels panels(tree, count, 1);
  CellFinder finder(panels);
  std::vector<std::int8_t> rows(kBatch * tree.dim);
  std::vector<std::uint32_t> cells(kBatch);
  for (std::uint64_t first = 0; first < count; first += kBatch) {
    meter.tick(static_cast<double>(first) / static_cast<double>(count));
    const std::uint64_t batch = std::min(kBatch, count - first);
    for (std::uint64_t i = 0; i < batch; ++i) {
      const std::uint64_t row = (first + i) * sample.num_rows / count;
      std::copy_n(sample.rows.data() + row * tree.dim, tree.dim, rows.data() + i * tree.dim);
    }
    finder.find(rows.data(), batch, cells.data());
    for (std::uint64_t i = 0; i < batch; ++i) {
      add_residual(rows.data() + i * tree.dim, tree.centroids + cells[i] * tree.dim, tree.dim, sample.unit, statistics);
    }
  }
  const auto unit = static_cast<double>(sample.unit);
  statistics.mean_square *= unit * unit / static_cast<double>(std::max<std::uint64_t>(count, 1));
  return statistics;
}

// The lengths that norm bytes stand for: from half the smallest of the sample, but at most a 16th and at least a 256th
// of the largest, to half more than the largest. Neighbours are 1 to 2.5 % apart.
void choose_norms(const ResidualStatistics& statistics, CodebookContent& content) {
  const float largest = statistics.largest > 0 ? std::min(1.5F * statistics.largest, 2.0F) : content.unit * 16;
  content.smallest_norm = std::clamp(statistics.smallest / 2, largest / 256, largest / 16);
  content.norm_ratio = static_cast<float>(
      std::pow(static_cast<double>(largest) / static_cast<double>(content.smallest_norm), 1.0 / (kNumNorms - 1)));
}

void choose_residuals(const ResidualStatistics& statistics, CodebookContent& content) {
  const std::vector<float> levels = statistics.directions.levels((std::uint64_t{1} << content.nbits) / 2);
  for (std::uint64_t norm = 0; norm < kNumNorms; ++norm) {
    const double length = static_cast<double>(content.smallest_norm) *
                          std::pow(static_cast<double>(content.norm_ratio), static_cast<double>(norm));
    for (const float level : levels) {
      const double steps = std::nearbyint(length / static_cast<double>(content.unit) * static_cast<double>(level));
      content.residuals.push_back(static_cast<std::int8_t>(std::clamp(steps, -127.0, 127.0)));
    }
  }
}

std::uint64_t count_tokens(const Originals& originals) {
  std::uint64_t tokens = 0;
  for (const OriginalsPiece& piece : originals) {
    tokens = checked_add(tokens, piece.num_tokens);
  }
  return tokens;
}

// One cell of zeros for tokens that are all of length 0, else a tree of cells.
void find_cells(const Sample& sample, std::uint64_t num_cells, const TrainOptions& options, Meter& meter,
                CodebookContent& content) {
  const std::uint64_t padded_dim = content.rotation.padded_dim();
  if (sample.num_rows == 0) {
    content.supers.assign(padded_dim, 0);
    content.super_begin = {0, 1};
    content.centroids = content.supers;
    return;
  }
  TrainedTree tree = train_tree({.rows = sample.rows.data(),
                                 .num_rows = sample.num_rows,
                                 .dim = padded_dim,
                                 .num_cells = num_cells,
                                 .length = 1.0 / static_cast<double>(sample.unit),
                                 .seed = options.seed,
                                 .num_threads = options.num_threads},
                                meter);
  content.supers = std::move(tree.supers);
  content.super_begin = std::move(tree.super_begin);
  content.centroids = std::move(tree.centroids);
}

}  // namespace

CodebookContent train_codebook(const Originals& originals, const TrainOptions& options) {
  Meter meter(options.progress);
  CodebookContent content{.rotation = Rotation(options.dim, options.seed)};
  content.dim = options.dim;
  content.nbits = options.nbits;
  const std::uint64_t padded_dim = content.rotation.padded_dim();
  const std::uint64_t wanted_cells = cells_for(std::max(options.collection_tokens, count_tokens(originals)));
  const std::uint64_t max_rows =
      std::min({wanted_cells * kSampledPerCell, options.max_sample_bytes / padded_dim, kMaxSampleRows});
  Sample sample = draw_sample(originals, content.rotation, max_rows, options.seed, options.num_threads, meter);
  const std::uint64_t num_cells = std::min(wanted_cells, cells_supported_by(sample.num_rows));
  const Sample held = hold_out(sample, num_cells, padded_dim);
  content.unit = sample.unit;
  find_cells(sample, num_cells, options, meter, content);
  meter.stage(0.95, 1);
  const ResidualStatistics statistics =
      measure_residuals(held.num_rows > 0 ? held : sample,
                        {padded_dim, content.supers.data(), content.super_begin, content.centroids.data()}, meter);
  content.residual_energy = static_cast<float>(statistics.mean_square);
  if (options.nbits < 8) {
    choose_norms(statistics, content);
    choose_residuals(statistics, content);
  }
  meter.stage(1, 1);
  return content;
}

}  // namespace serotine::codec
