// The two layouts of adapter files, read from bytes; load_adapter (formats/adapter_file.h) finds the files.
#pragma once

#include <string>
#include <string_view>

#include "base/checked.h"
#include "formats/adapter_file.h"

namespace lathe::formats {

// `config` is the text of adapter_config.json, `config_name` what errors call it, `tensors` adapter_model.safetensors.
AdapterFile read_peft_adapter(std::string_view config, const std::string& config_name, const Bytes& tensors,
                              const arch::Architecture& architecture);
AdapterFile read_gguf_adapter(const Bytes& bytes, const arch::Architecture& architecture);

}  // namespace lathe::formats
