// Chooses the set of kernels: the best this machine has, or what the user asked for.
#include <fmt/ranges.h>

#include <algorithm>
#include <cctype>

#include "base/error.h"
#include "hwy/highway.h"
#include "kernels/cpu/kernels.h"
#include "kernels/cpu/reference.h"

namespace lathe::kernels::cpu {
namespace {

// Targets that were compiled and that this machine can run, best first. Highway's scalar target is ours too ("scalar").
std::vector<std::int64_t> usable_targets() {
  std::vector<std::int64_t> targets;
  const std::int64_t fallback = HWY_SCALAR | HWY_EMU128;
  for (std::int64_t left = hwy::SupportedTargets() & HWY_TARGETS & ~fallback; left != 0; left &= left - 1) {
    targets.push_back(left & -left);
  }
  return targets;
}

std::string option_name(std::int64_t target) {
  std::string name = hwy::TargetName(target);
  std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) { return std::tolower(c); });
  return name;
}

KernelSet scalar_set() {
  return {"scalar", 0, true, &kReferenceNorm, &kReferenceElementwise, &kReferenceRope, &kReferenceQuantize, nullptr};
}

KernelSet target_set(std::int64_t target) {
  hwy::ChosenTarget chosen;
  chosen.Update(target);
  const std::size_t index = chosen.GetIndex();
  return {hwy::TargetName(target),
          index,
          false,
          norm_kernels(index),
          elementwise_kernels(index),
          rope_kernels(index),
          quantize_kernels(index),
          attention_kernels(index)};
}

}  // namespace

std::vector<std::string> available_kernels() {
  std::vector<std::string> names;
  for (const std::int64_t target : usable_targets()) names.push_back(option_name(target));
  names.emplace_back("scalar");
  return names;
}

KernelSet select_kernels(std::string_view name) {
  if (name == "scalar") return scalar_set();
  for (const std::int64_t target : usable_targets()) {
    if (name == "auto" || name == option_name(target)) return target_set(target);
  }
  if (name == "auto") return scalar_set();
  throw UsageError(fmt::format("this machine has no \"{}\" kernels", name), "cpu",
                   fmt::format("use auto or one of: {}", fmt::join(available_kernels(), ", ")));
}

}  // namespace lathe::kernels::cpu
