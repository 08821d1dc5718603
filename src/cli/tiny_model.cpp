// The bytes come from tiny_data.S, which includes the file as it is.
#include "cli/tiny_model.h"

#include <cstddef>

extern "C" {
extern const std::byte lathe_tiny_begin[];
extern const std::byte lathe_tiny_end[];
}

namespace lathe::cli {

Bytes tiny_model() { return Bytes({lathe_tiny_begin, lathe_tiny_end}, "tiny"); }

}  // namespace lathe::cli
