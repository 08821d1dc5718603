// Chooses the set of kernels: what the machine has, or what the user asked for.
#include <algorithm>

#include "base/error.h"
#include "kernels/cpu/kernels.h"
#include "kernels/cpu/reference.h"

namespace lathe::kernels::cpu {

std::vector<std::string> available_kernels() { return {"scalar"}; }

KernelSet select_kernels(std::string_view name) {
  if (name != "auto" && name != "scalar") {
    throw UsageError(fmt::format("there are no \"{}\" kernels on this machine", name), "cpu", "use auto or scalar");
  }
  return {"scalar", 0, true, &kReferenceNorm, &kReferenceElementwise, &kReferenceRope, &kReferenceQuantize};
}

}  // namespace lathe::kernels::cpu
