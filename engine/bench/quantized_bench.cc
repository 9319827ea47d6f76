// How many nanoseconds and cycles do the integer kernels of the index take, per instruction set?
//
// quantized_bench [lanes = 32] [dim = 128] [cells = 16384] [document tokens = 240]
//
// Random codes and cells, 100 documents, one thread; the fastest of many calls, so that what else the machine does
// shows little. What a row of 32 lanes must cost at least is measured too: the rate of vpdpbusd with nothing around it.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include <time.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "kernels/maxsim.h"
#include "kernels/quantized.h"

namespace {

using namespace serotine::kernels;  // what is measured

constexpr std::uint64_t kNumDocuments = 100;
constexpr double kBudgetSeconds = 0.1;  // for each kernel
constexpr double kLeastNs = 50'000;     // timed at once

[[nodiscard]] double processor_ns() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) * 1e9 + static_cast<double>(now.tv_nsec);
}

// Processor time, so that waiting for a core does not count; calls are timed together until they outweigh the clock.
template <typename Call>
double fastest_ns(const Call& call) {
  const double start = processor_ns();
  double best = std::numeric_limits<double>::infinity();
  for (std::uint64_t calls = 1; processor_ns() - start < kBudgetSeconds * 1e9;) {
    const double before = processor_ns();
    for (std::uint64_t i = 0; i < calls; ++i) {
      call();
    }
    const double ns = processor_ns() - before;
    best = std::min(best, ns / static_cast<double>(calls));
    calls *= ns < kLeastNs ? 2 : 1;
  }
  return best;
}

// Cycles per nanosecond, from a chain of additions of one cycle each.
double clock_ghz() {
  constexpr std::uint64_t kAdditions = 1'000'000;
  volatile std::uint64_t sink = 0;
  const double ns = fastest_ns([&] {
    std::uint64_t value = sink;
    for (std::uint64_t i = 0; i < kAdditions / 4; ++i) {
      asm("" : "+r"(value));  // or the compiler adds them up itself
      value += 3;
      asm("" : "+r"(value));
      value += 5;
      asm("" : "+r"(value));
      value += 7;
      asm("" : "+r"(value));
      value += 9;
    }
    sink = value;
  });
  return static_cast<double>(kAdditions) / ns;
}

#if defined(__x86_64__)
// Multiply-adds per nanosecond of 16 independent chains of vpdpbusd.
__attribute__((target("avx512f,avx512vnni"))) void multiply_chains(std::uint64_t steps) {
  __m512i sums[16];
#pragma GCC unroll 16
  for (int i = 0; i < 16; ++i) {
    sums[i] = _mm512_setzero_si512();
  }
  const __m512i codes = _mm512_set1_epi8(1);
  for (std::uint64_t step = 0; step < steps; ++step) {
#pragma GCC unroll 16
    for (int i = 0; i < 16; ++i) {
      sums[i] = _mm512_dpbusd_epi32(sums[i], codes, codes);
      asm volatile("" : "+v"(sums[i]));
    }
  }
}

double vnni_rate() {
  constexpr std::uint64_t kSteps = 20'000;
  return static_cast<double>(kSteps) * 16 * 64 / fastest_ns([] { multiply_chains(kSteps); });
}
#endif

struct Shape {
  std::uint64_t lanes;
  std::uint64_t dim;
  std::uint64_t cells;
  std::uint64_t tokens;  // of a document
};

class Bench {
 public:
  explicit Bench(const Shape& shape) : shape_(shape), ghz_(clock_ghz()) {
    std::normal_distribution<float> normal;
    std::vector<float> tokens(kManyLanes * shape.dim);
    std::generate(tokens.begin(), tokens.end(), [&] { return normal(random_); });
    query_.build(tokens.data(), shape.lanes, shape.dim);
    many_.build(tokens.data(), kManyLanes, shape.dim);
    floats_ = std::move(tokens);
    centroids_.reserve_discarding(shape.cells * shape.dim);
    std::generate_n(centroids_.data(), shape.cells * shape.dim, [&] { return static_cast<std::int8_t>(random_()); });
    std::printf("%llu lanes, dim %llu, %llu cells, documents of %llu tokens, clock %.2f GHz\n",
                static_cast<unsigned long long>(shape.lanes), static_cast<unsigned long long>(shape.dim),
                static_cast<unsigned long long>(shape.cells), static_cast<unsigned long long>(shape.tokens), ghz_);
#if defined(__x86_64__)
    if (available_instruction_sets().back() == "avx512") {
      const double rate = vnni_rate();
      std::printf("vpdpbusd alone: %.1f multiply-adds/cycle, %.1f cycles for a row of %llu lanes\n", rate / ghz_,
                  row_work() / rate * ghz_, static_cast<unsigned long long>(shape.lanes));
    }
#endif
  }

  void run(std::string_view isa) {
    run_rows(isa);
    run_flood(isa);
    for (const std::uint32_t nbits : {1U, 2U, 4U, 8U}) {
      run_codes(isa, nbits);
    }
  }

 private:
  static constexpr std::uint64_t kManyLanes = 4'096;
  static constexpr std::uint64_t kFewRows = 128;

  [[nodiscard]] double row_work() const { return static_cast<double>(query_.num_lanes() * shape_.dim); }

  std::vector<std::int8_t> bytes(std::uint64_t size) {
    std::vector<std::int8_t> values(size);
    std::generate(values.begin(), values.end(), [&] { return static_cast<std::int8_t>(random_()); });
    return values;
  }

  void report(std::string_view isa, const char* name, double call_ns, std::uint64_t count, double work) const {
    const double ns = call_ns / static_cast<double>(count);
    std::printf("%-7s %-28s %9.2f ns %9.1f cycles", std::string(isa).c_str(), name, ns, ns * ghz_);
    if (work > 0) {
      std::printf(" %7.1f multiply-adds/cycle", work / (ns * ghz_));
    }
    std::printf("\n");
  }

  void run_rows(std::string_view isa) {
    const std::uint64_t lanes = query_.num_lanes();
    std::vector<std::int32_t> dots(kFewRows * lanes);
    std::vector<std::uint8_t> scores(shape_.cells * lanes);
    const std::vector<float> multiplier(lanes, 0.001F);
    report(isa, "int8_dots 128 rows, per row",
           fastest_ns([&] { int8_dots(centroids_.data(), kFewRows, query_, dots.data(), isa); }), kFewRows, row_work());
    for (const std::uint64_t rows : {std::uint64_t{8}, kFewRows, shape_.cells}) {
      const std::string name = std::string("cell_scores ").append(std::to_string(rows)).append(", per row");
      report(isa, name.c_str(), fastest_ns([&] {
               cell_scores(centroids_.data(), rows, query_, multiplier.data(), 128.0F, scores.data(), lanes, isa);
             }),
             rows, row_work());
    }
    std::vector<std::int32_t> best(kManyLanes);
    std::vector<std::uint32_t> nearest(kManyLanes);
    report(isa, "nearest_rows, per token", fastest_ns([&] {
             std::fill(best.begin(), best.end(), std::numeric_limits<std::int32_t>::min());
             nearest_rows(centroids_.data(), kFewRows, 0, many_, best.data(), nearest.data(), isa);
           }),
           kManyLanes, static_cast<double>(kFewRows * shape_.dim));
    report(isa, "Int8Tokens::build, per token",
           fastest_ns([&] { many_.build(floats_.data(), kManyLanes, shape_.dim); }), kManyLanes, 0);
  }

  std::vector<std::vector<std::uint8_t>> documents_of_cells() {
    std::vector<std::vector<std::uint8_t>> documents(kNumDocuments);
    for (auto& document : documents) {
      std::vector<std::uint64_t> ids(shape_.tokens);
      std::generate(ids.begin(), ids.end(), [&] { return random_() % shape_.cells; });
      std::sort(ids.begin(), ids.end());
      for (const std::uint64_t id : ids) {
        document.push_back(static_cast<std::uint8_t>(id));
        document.push_back(static_cast<std::uint8_t>(id >> 8));
      }
      document.resize(document.size() + 3);
    }
    return documents;
  }

  void run_flood(std::string_view isa) {
    const auto cells = documents_of_cells();
    const std::uint64_t lanes = query_.num_lanes();
    std::vector<DocumentCells> documents;
    for (const auto& document : cells) {
      documents.push_back({document.data(), static_cast<std::uint32_t>(shape_.tokens)});
    }
    const std::vector<std::uint8_t> rows(shape_.cells * lanes, 3);
    std::vector<std::uint32_t> row_of_cell(shape_.cells);
    for (std::uint64_t cell = 0; cell < shape_.cells; ++cell) {
      row_of_cell[cell] = static_cast<std::uint32_t>(cell);
    }
    const std::vector<std::uint16_t> weights(lanes, 1);
    std::vector<std::int32_t> scores(kNumDocuments);
    for (const bool indirect : {false, true}) {
      const CellTable table{rows.data(), lanes, indirect ? row_of_cell.data() : nullptr, weights.data(), lanes};
      report(isa, indirect ? "flood, row_of_cell" : "flood",
             fastest_ns([&] { flood(table, 2, documents, scores.data(), isa); }), kNumDocuments * shape_.tokens, 0);
    }
  }

  void run_codes(std::string_view isa, std::uint32_t nbits) {
    const std::vector<std::int8_t> residuals = bytes(256U << nbits);
    const CodeFormat format{nbits, shape_.dim, 2, false, centroids_.data(), residuals.data()};
    const auto cells = documents_of_cells();
    const auto blocks = bytes(kNumDocuments * shape_.tokens * format.token_bytes());
    std::vector<CodedDocument> documents;
    for (std::uint64_t i = 0; i < kNumDocuments; ++i) {
      const auto* block =
          reinterpret_cast<const std::uint8_t*>(blocks.data()) + i * shape_.tokens * format.token_bytes();
      documents.push_back({cells[i].data(), block, static_cast<std::uint32_t>(shape_.tokens)});
    }
    std::vector<std::int8_t> vectors(shape_.tokens * shape_.dim);
    std::vector<float> scales(shape_.tokens);
    const std::string suffix = std::string(" ").append(std::to_string(nbits)).append(" bit");
    report(isa, ("decode" + suffix).c_str(), fastest_ns([&] {
             for (const CodedDocument& document : documents) {
               decode(format, document, 0, document.num_tokens, vectors.data(), scales.data(), isa);
             }
           }),
           kNumDocuments * shape_.tokens, 0);
    RescoreScratch scratch;
    std::vector<float> scores(kNumDocuments);
    report(isa, ("rescore" + suffix).c_str(),
           fastest_ns([&] { rescore(format, documents, query_, query_.scales(), scratch, scores.data(), isa); }),
           kNumDocuments * shape_.tokens, row_work());
  }

  Shape shape_;
  double ghz_;
  std::mt19937 random_{7};
  Int8Tokens query_;
  Int8Tokens many_;
  std::vector<float> floats_;
  serotine::AlignedBuffer<std::int8_t> centroids_;
};

}  // namespace

int main(int argc, char** argv) {
  const auto argument = [&](int i, std::uint64_t otherwise) {
    return argc > i ? std::strtoull(argv[i], nullptr, 10) : otherwise;
  };
  const Shape shape{argument(1, 32), argument(2, 128), argument(3, 16'384), argument(4, 240)};
  if (shape.lanes == 0 || shape.lanes > 4'096 || shape.dim == 0 || shape.dim % 16 != 0 || shape.cells < 128 ||
      shape.cells > 65'536 || shape.tokens == 0) {
    std::fprintf(stderr,
                 "usage: quantized_bench [lanes] [dim] [cells] [document tokens]: 1 to 4096 lanes, a dim that 16 "
                 "divides, 128 to 65536 cells\n");
    return 1;
  }
  Bench bench(shape);
  const auto names = available_instruction_sets();
  std::for_each(names.rbegin(), names.rend(), [&](std::string_view isa) { bench.run(isa); });
  return 0;
}
