// The model that ships inside the program: stories260K (TinyStories Llama, 0.26 M parameters, MIT licence) as GGUF.
#pragma once

#include "base/checked.h"

namespace lathe::cli {

// The embedded file; lives as long as the program.
Bytes tiny_model();

}  // namespace lathe::cli
