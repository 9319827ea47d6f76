// Which kernels run on this machine?  Private to kernels/; everyone else goes through maxsim.h.
#pragma once

#include <string_view>

#include "kernels/contract.h"

namespace serotine::kernels {

extern const KernelTable kScalarKernels;
#if defined(__x86_64__)
extern const KernelTable kAvx2Kernels;
extern const KernelTable kAvx512Kernels;
#endif

// The kernels of one instruction set. Throws InvalidInput if the name is unknown or the processor cannot run it.
[[nodiscard]] const KernelTable& kernels_of(std::string_view instruction_set);

// The kernels in use: the widest set that the processor runs, or what SEROTINE_ISA names. Chosen at the first call;
// throws what kernels_of throws, at every call, if SEROTINE_ISA is wrong.
[[nodiscard]] const KernelTable& active_kernels();

}  // namespace serotine::kernels
