// minGPT models as one JSON file: "config", and per tensor its shape, dtype and base64 data (little-endian float32),
// under minGPT's names and with its Linear layers as [out, in].
#pragma once

#include "formats/model_file.h"

namespace lathe::formats {

bool is_json_tensors(const Bytes& bytes);

ModelFile load_json_tensors(const Bytes& bytes, const LoadOptions& options);

// Decodes base64 (RFC 4648, with padding); throws an Error naming `where` for anything else.
std::string base64_decode(std::string_view text, std::string_view where);

}  // namespace lathe::formats
