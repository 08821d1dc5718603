// What a sentence-transformers folder says beyond the network: how hidden states become one vector.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <string_view>

#include "arch/architecture.h"

namespace lathe::formats {

// The config.json of a pooling module: sets architecture.pooling.
void apply_pooling_config(std::string_view text, const std::string& where, arch::Architecture& architecture);
// A modules.json: sets architecture.unit_vectors and returns the folder of the pooling module, empty for none.
std::string apply_modules(std::string_view text, const std::string& where, arch::Architecture& architecture);

// Reads modules.json and the pooling module's config.json where the folder has them. Throws Error when the folder asks
// for something else than a mean, the first or the last token, or for more layers after the pooling.
void read_sentence_folder(const std::filesystem::path& folder, arch::Architecture& architecture);
// Both files by their names in the folder, for encoders and for any model whose vectors are not plain means; otherwise
// none.
std::map<std::string, std::string> sentence_files(const arch::Architecture& architecture);
void write_sentence_folder(const arch::Architecture& architecture, const std::filesystem::path& folder);
// The same from where a lone safetensors file keeps them: its metadata.
void read_sentence_metadata(const std::map<std::string, std::string>& metadata, const std::string& where,
                            arch::Architecture& architecture);

}  // namespace lathe::formats
