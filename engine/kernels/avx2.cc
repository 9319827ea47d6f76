#include "kernels/dispatch.h"
namespace serotine::kernels {
const KernelTable kAvx2Kernels = {"avx2", 1, [](const FloatTiles& a, const FloatPanel& b, float* c, std::uint64_t d) noexcept { kScalarKernels.fold_float(a,b,c,d);}, [](const Int8Tiles& a, const Int8Panel& b, float* c, std::uint64_t d) noexcept { kScalarKernels.fold_int8(a,b,c,d);},
[](const std::uint16_t* a, float* b, std::uint64_t c) noexcept { kScalarKernels.widen_float16(a,b,c);},
[](const std::uint16_t* a, float* b, std::uint64_t c) noexcept { kScalarKernels.widen_bfloat16(a,b,c);}};
}
