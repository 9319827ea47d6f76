// Which instruction sets can this processor (and its operating system) run?
#pragma once

namespace serotine {

struct CpuFeatures {
  bool avx2 = false;    // AVX2, FMA and F16C together
  bool avx512 = false;  // AVX-512 F, BW, VL and VNNI together (Cascade Lake, Zen 4 and later)
};

// Asked of the processor once; all false on another architecture than x86-64.
[[nodiscard]] const CpuFeatures& cpu_features() noexcept;

}  // namespace serotine
