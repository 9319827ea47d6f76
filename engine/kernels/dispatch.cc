#include "kernels/dispatch.h"

#include <cstdlib>
#include <string>

#if defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#endif

#include "base/cpu.h"
#include "base/error.h"
#include "kernels/maxsim.h"

namespace serotine::kernels {
namespace {

constexpr const char* kVariable = "SEROTINE_ISA";

[[nodiscard]] std::string list_available() {
  std::string text;
  for (const std::string_view name : available_instruction_sets()) {
    text.append(text.empty() ? "" : ", ").append(name);
  }
  return text;
}

#if defined(__aarch64__)
[[nodiscard]] bool has_dot_product() {
#if defined(__linux__)
  constexpr unsigned long kAsimdDotProduct = 1UL << 20;  // HWCAP_ASIMDDP
  return (getauxval(AT_HWCAP) & kAsimdDotProduct) != 0;
#else
  return true;  // Apple: every processor that runs macOS on AArch64
#endif
}

// NEON has kernels for the index (quantized_contract.h); exact MaxSim is the scalar code, vectorised by the compiler.
[[nodiscard]] const KernelTable& neon_kernels() {
  static const KernelTable table = [] {
    KernelTable scalar = kScalarKernels;
    scalar.name = "neon";
    return scalar;
  }();
  return table;
}
#endif

}  // namespace

std::vector<std::string_view> available_instruction_sets() {
  std::vector<std::string_view> names{"scalar"};
  if (cpu_features().avx2) {
    names.emplace_back("avx2");
  }
  if (cpu_features().avx512) {
    names.emplace_back("avx512");
  }
#if defined(__aarch64__)
  if (has_dot_product()) {
    names.emplace_back("neon");
  }
#endif
  return names;
}

const KernelTable& kernels_of(std::string_view instruction_set) {
  if (instruction_set == "scalar") {
    return kScalarKernels;
  }
#if defined(__x86_64__)
  if (instruction_set == "avx2" && cpu_features().avx2) {
    return kAvx2Kernels;
  }
  if (instruction_set == "avx512" && cpu_features().avx512) {
    return kAvx512Kernels;
  }
#elif defined(__aarch64__)
  if (instruction_set == "neon" && has_dot_product()) {
    return neon_kernels();
  }
#endif
  const bool known = instruction_set == "avx2" || instruction_set == "avx512" || instruction_set == "neon";
  throw InvalidInput((known ? "this machine cannot run the instruction set '" : "unknown instruction set '") +
                     std::string(instruction_set) + "'; expected one of: " + list_available());
}

const KernelTable& active_kernels() {
  static const KernelTable& table = []() -> const KernelTable& {
    const char* forced = std::getenv(kVariable);
    if (forced == nullptr || *forced == '\0') {
      return kernels_of(available_instruction_sets().back());
    }
    try {
      return kernels_of(forced);
    } catch (const InvalidInput& error) {
      throw InvalidInput(std::string("environment variable ") + kVariable + ": " + error.what() +
                         ". Unset it to let the engine choose.");
    }
  }();
  return table;
}

std::string_view active_instruction_set() { return active_kernels().name; }

}  // namespace serotine::kernels
