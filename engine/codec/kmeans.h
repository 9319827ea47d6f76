// Which few directions stand best for many?  Spherical k-means on int8 rows: nearest is the largest dot product.
//
// Means are sums of whole numbers, so results depend on the rows, their order and the seed alone, not on threads.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "base/aligned_buffer.h"
#include "kernels/quantized.h"

namespace serotine::codec {

// Rows of one call of the nearest-row kernel: their panels and the centroids stay in the nearest caches.
inline constexpr std::uint64_t kRowsPerBlock = 256;

struct KMeansTask {
  const std::int8_t* rows = nullptr;  // [num_rows][dim], none of zeros
  std::uint64_t num_rows = 0;
  std::uint64_t dim = 0;           // a multiple of 16
  std::uint64_t num_clusters = 1;  // may exceed num_rows: some centroids are then near copies
  std::uint64_t max_rounds = 8;    // ends sooner when no row changes its cluster
  std::uint64_t seed = 0;
  double length = 0;  // of a centroid, in steps
};

// Called between blocks; may throw to end the work.
using Poll = std::function<void()>;

// Working memory, kept between calls.
class KMeans {
 public:
  // centroids: int8 [num_clusters][dim]; untouched if there are no rows.
  void run(const KMeansTask& task, const Poll& poll, std::int8_t* centroids);

 private:
  void load_panels(const KMeansTask& task, const Poll& poll);
  bool assign(const KMeansTask& task, const Poll& poll, const std::int8_t* centroids);
  void update(const KMeansTask& task, std::int8_t* centroids);
  void fill_empty(const KMeansTask& task, std::uint64_t round, std::int8_t* centroids);

  std::vector<kernels::Int8Tokens> panels_;  // one of each block
  std::vector<float> floats_;
  std::vector<std::int32_t> best_;
  std::vector<std::uint32_t> nearest_;
  std::vector<std::uint32_t> cluster_of_;
  std::vector<std::int32_t> sums_;
  std::vector<std::uint64_t> counts_;
};

// A direction as int8 steps: `values` scaled to `length`, rounded, clamped to +-127. False, and nothing written, if
// all are 0.
bool quantise_direction(const std::int32_t* values, std::uint64_t dim, double length, std::int8_t* row) noexcept;

// int8 rows as the floats that Int8Tokens::build takes.
void widen_rows(const std::int8_t* rows, std::uint64_t count, float* floats) noexcept;

}  // namespace serotine::codec
