// Chooses the set of kernels: the best this machine has, or what the user asked for.
#if defined(__x86_64__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

#include <algorithm>
#include <cctype>

#include "base/error.h"
#include "hwy/highway.h"
#include "kernels/cpu/kernels.h"
#include "kernels/cpu/reference.h"

namespace lathe::kernels::cpu {
namespace {

struct Target {
  std::string_view name;
  std::int64_t highway;
  Extension extension = Extension::kNone;
};

// The 8-bit dot product of AVX-512 VNNI for 256-bit vectors, which processors without AVX-512 have since 2021.
bool has_avx_vnni() {
#if defined(__x86_64__)
  unsigned a = 0, b = 0, c = 0, d = 0;
  return __get_cpuid_count(7, 1, &a, &b, &c, &d) != 0 && (a >> 4 & 1u) != 0;
#else
  return false;
#endif
}

// AMX's tiles and products of 8-bit integers, and the system's leave to use them, which a process has to ask for.
bool has_amx() {
#if defined(__x86_64__) && defined(__linux__)
  unsigned a = 0, b = 0, c = 0, d = 0;
  constexpr unsigned kTilesAndIntegers = 3u << 24;
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0 || (d & kTilesAndIntegers) != kTilesAndIntegers) return false;
  constexpr long kAskForState = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
  return syscall(SYS_arch_prctl, kAskForState, kTileData) == 0;
#else
  return false;
#endif
}

// Targets that were compiled and that this machine can run, best first. Highway's scalar target is ours too ("scalar").
std::vector<Target> usable_targets() {
  std::vector<Target> targets;
  const std::int64_t fallback = HWY_SCALAR | HWY_EMU128;
  for (std::int64_t left = hwy::SupportedTargets() & HWY_TARGETS & ~fallback; left != 0; left &= left - 1) {
    const std::int64_t target = left & -left;
    if (target == HWY_AVX2 && has_avx_vnni()) targets.push_back({"AVX_VNNI", target, Extension::kAvxVnni});
    if (target == HWY_AVX3_DL && has_amx()) targets.push_back({"AMX", target, Extension::kAmx});
    targets.push_back({hwy::TargetName(target), target});
  }
  return targets;
}

std::string option_name(std::string_view target) {
  std::string name(target);
  std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) { return std::tolower(c); });
  return name;
}

KernelSet scalar_set() {
  return {"scalar",
          0,
          true,
          Extension::kNone,
          &kReferenceNorm,
          &kReferenceElementwise,
          &kReferenceRope,
          &kReferenceQuantize,
          nullptr,
          nullptr};
}

KernelSet target_set(const Target& target) {
  hwy::ChosenTarget chosen;
  chosen.Update(target.highway);
  const std::size_t index = chosen.GetIndex();
  return {target.name,
          index,
          false,
          target.extension,
          norm_kernels(index),
          elementwise_kernels(index),
          rope_kernels(index),
          quantize_kernels(index),
          attention_kernels(index),
          lut_function_of(index)};
}

}  // namespace

std::vector<std::string> available_kernels() {
  std::vector<std::string> names;
  for (const Target& target : usable_targets()) names.push_back(option_name(target.name));
  names.emplace_back("scalar");
  return names;
}

namespace {

KernelSet named_set(std::string_view name) {
  if (name == "scalar") return scalar_set();
  for (const Target& target : usable_targets()) {
    if (name == "auto" || name == option_name(target.name)) return target_set(target);
  }
  if (name == "auto") return scalar_set();
  std::string known = "auto";
  for (const std::string& kernels : available_kernels()) known.append(", ").append(kernels);
  throw UsageError(
      fmt::format("this machine has no \"{}\" kernels", name), "cpu",
      "use one of " + known + ", with +dot, +lut or +lut-fast behind it for how integer groups are multiplied");
}

}  // namespace

KernelSet select_kernels(std::string_view full_name) {
  constexpr std::pair<std::string_view, IntegerKernel> kSuffixes[] = {
      {"+dot", IntegerKernel::kDot}, {"+lut", IntegerKernel::kLut}, {"+lut-fast", IntegerKernel::kLutFast}};
  for (const auto& [suffix, integers] : kSuffixes) {
    if (!full_name.ends_with(suffix)) continue;
    KernelSet set = named_set(full_name.substr(0, full_name.size() - suffix.size()));
    set.integers = integers;
    return set;
  }
  return named_set(full_name);
}

}  // namespace lathe::kernels::cpu
