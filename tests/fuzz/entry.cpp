// libFuzzer's entry point; LATHE_FUZZ_TARGET names the parser this program is built for; LATHE_FUZZ_PREFIXES files of
// prefixes; LATHE_FUZZ_SERVE the server; with none of them it runs models.
#include <cstddef>
#include <cstdint>

#include "fuzz/targets.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
#ifdef LATHE_FUZZ_TARGET
  static const lathe::fuzz::Target& target = lathe::fuzz::target_named(LATHE_FUZZ_TARGET);
#elif defined(LATHE_FUZZ_PREFIXES)
  static const lathe::fuzz::Target& target = lathe::fuzz::prefixes_target();
#elif defined(LATHE_FUZZ_SERVE)
  static const lathe::fuzz::Target& target = lathe::fuzz::serve_target();
#else
  static const lathe::fuzz::Target& target = lathe::fuzz::model_target();
#endif
  target.run({reinterpret_cast<const char*>(data), size});
  return 0;
}
