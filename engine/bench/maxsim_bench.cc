// How many nanoseconds and cycles does a document token cost, per kernel and instruction set?
//
// maxsim_bench [query tokens = 32] [dim = 128]
//
// 16 documents of 130 tokens, which fit the outer caches, one thread; the fastest of many short calls, so that what
// else the machine does shows little. benchmarks/maxsim.py measures the whole library from memory, beside the peers.
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <string>
#include <vector>

#include "kernels/maxsim.h"

namespace {

using serotine::kernels::ElementKind;
using serotine::kernels::PackedTokens;

constexpr std::uint64_t kDocumentTokens = 130;
constexpr std::uint64_t kNumDocuments = 16;
constexpr double kBudgetSeconds = 0.3;  // for each kernel

template <typename Call>
double fastest_ns(const Call& call) {
  using Clock = std::chrono::steady_clock;
  const auto start = Clock::now();
  double best = std::numeric_limits<double>::infinity();
  do {
    const auto before = Clock::now();
    call();
    best = std::min(best, std::chrono::duration<double, std::nano>(Clock::now() - before).count());
  } while (std::chrono::duration<double>(Clock::now() - start).count() < kBudgetSeconds);
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

struct Kind {
  const char* name;
  ElementKind kind;
};

constexpr Kind kKinds[] = {{"float32", ElementKind::kFloat32},
                           {"float16", ElementKind::kFloat16},
                           {"bfloat16", ElementKind::kBfloat16},
                           {"int8", ElementKind::kInt8}};

}  // namespace

int main(int argc, char** argv) {
  const std::uint64_t query_tokens = argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 32;
  const std::uint64_t dim = argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 128;
  if (query_tokens == 0 || dim == 0) {
    std::fprintf(stderr, "usage: maxsim_bench [query tokens] [dim], both at least 1\n");
    return 1;
  }
  const double ghz = clock_ghz();
  std::printf("%llu query tokens, dim %llu, clock %.2f GHz\n", static_cast<unsigned long long>(query_tokens),
              static_cast<unsigned long long>(dim), ghz);

  const std::vector<float> query(query_tokens * dim, 0.5F);
  const std::vector<std::int64_t> query_offsets{0, static_cast<std::int64_t>(query_tokens)};
  // 0x3C3C: about 1 as float16, 0.0115 as bfloat16, 60 as int8, 0.0115 as float32. Values do not change the speed.
  // 0x3C3C: about 1 as float16, 0.0115 as bfloat16, 60 as int8, 0.0115 as float32. Values do not change the speed.
  const std::vector<std::uint16_t> values(2 * kNumDocuments * kDocumentTokens * dim, 0x3C3C);
  const std::vector<float> scales(kNumDocuments * kDocumentTokens, 0.01F);
  std::vector<std::int64_t> offsets;
  for (std::uint64_t i = 0; i <= kNumDocuments; ++i) {
    offsets.push_back(static_cast<std::int64_t>(i * kDocumentTokens));
  }
  const PackedTokens queries{query.data(), ElementKind::kFloat32, dim, query_offsets, nullptr};
  std::vector<float> scores(kNumDocuments);
  for (const std::string_view isa : serotine::kernels::available_instruction_sets()) {
    for (const Kind& kind : kKinds) {
      const PackedTokens documents{values.data(), kind.kind, dim, offsets, scales.data()};
      const double call_ns =
          fastest_ns([&] { serotine::kernels::maxsim(queries, documents, std::nullopt, {nullptr, 1, isa}, scores); });
      const double ns = call_ns / static_cast<double>(kNumDocuments * kDocumentTokens);
      const double multiply_adds = static_cast<double>(query_tokens * dim);
      std::printf("%-7s %-9s %8.1f ns/token %8.1f cycles/token %7.1f multiply-adds/cycle\n", std::string(isa).c_str(),
                  kind.name, ns, ns * ghz, multiply_adds / (ns * ghz));
    }
  }
  return 0;
}
