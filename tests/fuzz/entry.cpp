// libFuzzer's entry point; LATHE_FUZZ_TARGET names the target this program is built for.
#include <cstddef>
#include <cstdint>

#include "fuzz/targets.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const lathe::fuzz::Target& target = lathe::fuzz::target_named(LATHE_FUZZ_TARGET);
  target.run({reinterpret_cast<const char*>(data), size});
  return 0;
}
