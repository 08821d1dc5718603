// A codec with its parameters in one word of a command line.
#pragma once

#include <string>
#include <string_view>

#include "quant/target.h"

namespace lathe::cli {

// "Q8_0", "INT_ASYM:4:64" (bits, group), "INT_SYM:4:64:8" (bits of activations too); what is left out is the codec's
// usual choice. Throws a UsageError naming `option` for codecs that cannot be written, for parameters that the codec
// does not have, and for a width of activations that it does not know.
quant::Target codec_target(const std::string& text, std::string_view option);

// The same checks for a target put together otherwise.
void check_target(const quant::Target& target, std::string_view option);

}  // namespace lathe::cli
