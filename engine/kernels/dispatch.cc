#include "kernels/dispatch.h"

#include <cstdlib>
#include <string>

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

}  // namespace

std::vector<std::string_view> available_instruction_sets() {
  std::vector<std::string_view> names{"scalar"};
  if (cpu_features().avx2) {
    names.emplace_back("avx2");
  }
  if (cpu_features().avx512) {
    names.emplace_back("avx512");
  }
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
#endif
  const bool known = instruction_set == "avx2" || instruction_set == "avx512";
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
