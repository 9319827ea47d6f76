#include "codec/codebook.h"

#include <cmath>
#include <string>

#include "base/checked.h"
#include "base/error.h"
#include "format/bytes.h"
#include "format/limits.h"

namespace serotine::codec {
namespace {

constexpr std::uint64_t kMaxCells = std::uint64_t{1} << 24;  // ids of three bytes
constexpr std::uint64_t kNumNorms = 256;
constexpr float kSmallestUnit =
    0x1p-20F;  // a unit vector of 4,096 dimensions has a coordinate of 2^-6 = 127 steps of 2^-13

// Layout of section kParameters: see FORMAT.md.
constexpr std::uint64_t kParameterBytes = 40;
struct Parameters {
  std::uint32_t dim;
  std::uint32_t padded_dim;
  std::uint32_t nbits;
  std::uint32_t num_supers;
  std::uint32_t num_cells;
  float unit;
  float residual_energy;
  float smallest_norm;
  float norm_ratio;
  std::uint32_t reserved;
};
static_assert(sizeof(Parameters) == kParameterBytes);

std::uint32_t id_of(CodebookSection section) { return static_cast<std::uint32_t>(section); }

// Raises CorruptIndex with the place of a value in its section.
class Checker {
 public:
  Checker(const format::FileReader& reader, CodebookSection section) : reader_(reader), section_(section) {}

  void require(bool holds, std::uint64_t offset, const std::string& expected, const std::string& found) const {
    if (!holds) {
      throw CorruptIndex(reader_.path(), expected, found, reader_.offset(id_of(section_)) + offset);
    }
  }

 private:
  const format::FileReader& reader_;
  CodebookSection section_;
};

bool is_positive(float value) { return std::isfinite(value) && value > 0; }

void check_parameters(const Parameters& read, const format::Settings& settings, const Checker& check) {
  check.require(read.dim == settings.dim && read.dim >= 1 && read.dim <= format::kMaxDim, offsetof(Parameters, dim),
                "the index's dimension, " + std::to_string(settings.dim), std::to_string(read.dim));
  check.require(read.padded_dim == (read.dim + 15) / 16 * 16, offsetof(Parameters, padded_dim),
                "the dimension rounded up to a multiple of 16", std::to_string(read.padded_dim));
  check.require(
      read.nbits == settings.nbits && (read.nbits == 1 || read.nbits == 2 || read.nbits == 4 || read.nbits == 8),
      offsetof(Parameters, nbits), "the index's nbits, " + std::to_string(settings.nbits) + ", of 1, 2, 4, 8",
      std::to_string(read.nbits));
  check.require(read.num_cells >= 1 && read.num_cells <= kMaxCells, offsetof(Parameters, num_cells),
                "1 to " + std::to_string(kMaxCells) + " cells", std::to_string(read.num_cells));
  check.require(read.num_supers >= 1 && read.num_supers <= read.num_cells, offsetof(Parameters, num_supers),
                "1 to " + std::to_string(read.num_cells) + " super-cells, one per cell at most",
                std::to_string(read.num_supers));
  check.require(read.unit >= kSmallestUnit && read.unit <= 1, offsetof(Parameters, unit),
                "a length of a step, 2^-20 to 1", std::to_string(read.unit));
  check.require(std::isfinite(read.residual_energy) && read.residual_energy >= 0, offsetof(Parameters, residual_energy),
                "a finite residual energy of at least 0", std::to_string(read.residual_energy));
  check.require(read.nbits == 8 || is_positive(read.smallest_norm), offsetof(Parameters, smallest_norm),
                "a finite positive length", std::to_string(read.smallest_norm));
  check.require(read.nbits == 8 || (std::isfinite(read.norm_ratio) && read.norm_ratio > 1),
                offsetof(Parameters, norm_ratio), "a finite ratio above 1", std::to_string(read.norm_ratio));
  check.require(read.reserved == 0, offsetof(Parameters, reserved), "0", std::to_string(read.reserved));
}

}  // namespace

format::FileRef write_codebook(const CodebookContent& content, std::unique_ptr<io::WritableFile> file,
                               const Uuid& index, const Uuid& uuid) {
  const Parameters parameters{static_cast<std::uint32_t>(content.dim),
                              static_cast<std::uint32_t>(content.rotation.padded_dim()),
                              content.nbits,
                              static_cast<std::uint32_t>(content.super_begin.size() - 1),
                              content.super_begin.back(),
                              content.unit,
                              content.residual_energy,
                              content.smallest_norm,
                              content.norm_ratio,
                              0};
  format::FileWriter writer(std::move(file), format::FileKind::kCodebook, index, uuid);
  writer.add_section(id_of(CodebookSection::kParameters), std::as_bytes(std::span(&parameters, 1)));
  writer.add_section(id_of(CodebookSection::kRotation), content.rotation.to_bytes());
  writer.add_section(id_of(CodebookSection::kSupers), std::as_bytes(std::span(content.supers)));
  writer.add_section(id_of(CodebookSection::kSuperBegin), std::as_bytes(std::span(content.super_begin)));
  writer.add_section(id_of(CodebookSection::kCentroids), std::as_bytes(std::span(content.centroids)));
  if (content.nbits < 8) {
    writer.add_section(id_of(CodebookSection::kResiduals), std::as_bytes(std::span(content.residuals)));
  }
  return writer.finish();
}

Codebook::Codebook(std::shared_ptr<const io::MappedFile> file, const Uuid& index, const format::FileRef& ref,
                   const format::Settings& settings)
    : reader_(std::move(file), format::FileKind::kCodebook, &index, &ref), rotation_(1, 0) {
  // All of it is small beside the segments and used by every query.
  reader_.verify_all();
  read_parameters(settings);
  read_tree();
  read_residuals();
}

void Codebook::read_parameters(const format::Settings& settings) {
  Parameters read{};
  const std::span<const Parameters> stored = reader_.array<Parameters>(id_of(CodebookSection::kParameters), 1);
  read = stored.front();
  check_parameters(read, settings, Checker(reader_, CodebookSection::kParameters));
  nbits_ = read.nbits;
  num_cells_ = read.num_cells;
  unit_ = read.unit;
  residual_energy_ = read.residual_energy;
  smallest_norm_ = read.smallest_norm;
  norm_ratio_ = read.norm_ratio;
  try {
    rotation_ = Rotation(read.dim, reader_.section(id_of(CodebookSection::kRotation)));
  } catch (const InvalidInput& error) {
    Checker(reader_, CodebookSection::kRotation).require(false, 0, "a rotation", error.what());
  }
  super_begin_ = reader_.array<std::uint32_t>(id_of(CodebookSection::kSuperBegin), std::uint64_t{read.num_supers} + 1);
}

void Codebook::read_tree() {
  const Checker check(reader_, CodebookSection::kSuperBegin);
  check.require(super_begin_.front() == 0, 0, "0", std::to_string(super_begin_.front()));
  for (std::uint64_t super = 0; super < num_supers(); ++super) {
    check.require(super_begin_[super] < super_begin_[super + 1], 4 * (super + 1),
                  "more than " + std::to_string(super_begin_[super]) + ": every super-cell has a cell",
                  std::to_string(super_begin_[super + 1]));
  }
  check.require(super_begin_.back() == num_cells_, 4 * num_supers(),
                "the number of cells, " + std::to_string(num_cells_), std::to_string(super_begin_.back()));
  supers_ = reader_.array<std::int8_t>(id_of(CodebookSection::kSupers), num_supers() * padded_dim()).data();
  centroids_ = reader_.array<std::int8_t>(id_of(CodebookSection::kCentroids), num_cells_ * padded_dim()).data();
}

void Codebook::read_residuals() {
  if (nbits_ == 8) {
    return;
  }
  const std::uint64_t num_levels = std::uint64_t{1} << nbits_;
  const auto table = reader_.array<std::int8_t>(id_of(CodebookSection::kResiduals), kNumNorms * num_levels);
  const Checker check(reader_, CodebookSection::kResiduals);
  for (std::uint64_t i = 0; i < table.size(); ++i) {
    check.require(i % num_levels == 0 || table[i - 1] <= table[i], i, "levels of a row that do not fall",
                  std::to_string(table[i]));
    const std::uint64_t mirrored = i / num_levels * num_levels + (num_levels - 1 - i % num_levels);
    check.require(table[i] == -table[mirrored], i, "the opposite of the level across 0",
                  std::to_string(table[i]) + " and " + std::to_string(table[mirrored]));
  }
  residuals_ = table.data();
}

std::uint32_t Codebook::cell_width() const noexcept { return num_cells_ <= 0x100 ? 1 : num_cells_ <= 0x1'0000 ? 2 : 3; }

kernels::CodeFormat Codebook::code_format(bool has_gains) const noexcept {
  return {nbits_, padded_dim(), cell_width(), has_gains, centroids_, residuals_};
}

}  // namespace serotine::codec
