// What are vectors compressed with?  A rotation, a tree of cells, and the levels of residuals: immutable once trained.
//
// A cell is a direction. Cells are the leaves of a two-level tree: super-cell s has the cells
// [super_begin[s], super_begin[s + 1]), so neighbours in number are neighbours in space. All rows are int8 in steps of
// `unit` of a unit vector, in the rotated space; residuals are taken against the int8 centroid.
// Residual norms are stored as one byte on a logarithmic scale; row n of the residual table is what each code of a
// token with norm byte n adds, already in int8 steps.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "codec/cell_finder.h"
#include "codec/rotation.h"
#include "format/file.h"
#include "format/manifest.h"
#include "kernels/quantized.h"

namespace serotine::codec {

// Sections of a file of kind kCodebook.
enum class CodebookSection : std::uint32_t {
  kParameters = 1,  // see FORMAT.md
  kRotation = 2,    // Rotation::to_bytes
  kSupers = 3,      // int8 [num_supers][padded_dim]
  kSuperBegin = 4,  // uint32 [num_supers + 1]
  kCentroids = 5,   // int8 [num_cells][padded_dim]
  kResiduals = 6,   // int8 [256][2^nbits]; absent if nbits == 8
};

// A codebook on its way to a file.
struct CodebookContent {
  std::uint64_t dim = 0;
  std::uint32_t nbits = 4;
  float unit = 0;             // length of one int8 step
  float residual_energy = 0;  // mean squared residual of the sample: what drift is measured against
  float smallest_norm = 0;    // length of the residual that norm byte 0 stands for; unused if nbits == 8
  float norm_ratio = 0;       // of the lengths of neighbouring norm bytes; unused if nbits == 8
  Rotation rotation;
  std::vector<std::int8_t> supers{};
  std::vector<std::uint32_t> super_begin{};
  std::vector<std::int8_t> centroids{};
  std::vector<std::int8_t> residuals{};
};

format::FileRef write_codebook(const CodebookContent& content, std::unique_ptr<io::WritableFile> file,
                               const Uuid& index, const Uuid& uuid);

// A codebook in its file. Everything that is used as a number or an offset is checked at open.
class Codebook {
 public:
  // Throws CorruptIndex, IndexTooNew. settings: dim and nbits must be the index's.
  Codebook(std::shared_ptr<const io::MappedFile> file, const Uuid& index, const format::FileRef& ref,
           const format::Settings& settings);

  [[nodiscard]] std::uint64_t dim() const noexcept { return rotation_.dim(); }
  [[nodiscard]] std::uint64_t padded_dim() const noexcept { return rotation_.padded_dim(); }
  [[nodiscard]] std::uint32_t nbits() const noexcept { return nbits_; }
  [[nodiscard]] std::uint64_t num_cells() const noexcept { return num_cells_; }
  [[nodiscard]] std::uint64_t num_supers() const noexcept { return super_begin_.size() - 1; }
  [[nodiscard]] std::uint32_t cell_width() const noexcept;  // bytes of a cell id: 1, 2 or 3
  [[nodiscard]] float unit() const noexcept { return unit_; }
  [[nodiscard]] float residual_energy() const noexcept { return residual_energy_; }
  [[nodiscard]] float smallest_norm() const noexcept { return smallest_norm_; }
  [[nodiscard]] float norm_ratio() const noexcept { return norm_ratio_; }
  [[nodiscard]] const Rotation& rotation() const noexcept { return rotation_; }
  [[nodiscard]] const std::int8_t* supers() const noexcept { return supers_; }
  [[nodiscard]] std::span<const std::uint32_t> super_begin() const noexcept { return super_begin_; }
  [[nodiscard]] const std::int8_t* centroids() const noexcept { return centroids_; }
  [[nodiscard]] const std::int8_t* residuals() const noexcept { return residuals_; }
  [[nodiscard]] CellTree tree() const noexcept { return {padded_dim(), supers_, super_begin_, centroids_}; }
  [[nodiscard]] kernels::CodeFormat code_format(bool has_gains) const noexcept;
  [[nodiscard]] const Uuid& uuid() const noexcept { return reader_.uuid(); }
  void verify_all() const { reader_.verify_all(); }

 private:
  void read_parameters(const format::Settings& settings);
  void read_tree();
  void read_residuals();

  format::FileReader reader_;
  Rotation rotation_;
  std::uint32_t nbits_ = 0;
  std::uint64_t num_cells_ = 0;
  float unit_ = 0;
  float residual_energy_ = 0;
  float smallest_norm_ = 0;
  float norm_ratio_ = 0;
  std::span<const std::uint32_t> super_begin_;
  const std::int8_t* supers_ = nullptr;
  const std::int8_t* centroids_ = nullptr;
  const std::int8_t* residuals_ = nullptr;
};

}  // namespace serotine::codec
