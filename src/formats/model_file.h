// A model as files hold it: architecture, named tensors, tokenizer, chat template. load_model() recognises every layout
// Lathe reads; save_model() writes the ones it can.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "arch/architecture.h"
#include "arch/weights.h"
#include "formats/metadata.h"
#include "text/tokenizer.h"

namespace lathe::text {
struct TokenizerSpec;
}

namespace lathe::formats {

enum class FileKind : std::uint8_t { kGguf, kSafetensors, kHfFolder, kLathe, kLlama2c, kJsonTensors, kCTranslate2 };
std::string_view file_kind_name(FileKind kind);

// What the file suggests for sampling (generation_config.json, GGUF general.sampling.*); negative where it is silent.
struct GenerationDefaults {
  float temperature = -1, top_p = -1, min_p = -1, repeat_penalty = -1;
  int top_k = -1;
};

struct ModelFile {
  std::string path;
  FileKind kind = FileKind::kGguf;
  arch::Architecture architecture;
  arch::Weights weights;                                      // canonical names; bytes stay in the mapping
  std::shared_ptr<const text::Tokenizer> tokenizer;           // nullptr when the files hold none
  std::shared_ptr<const text::TokenizerSpec> tokenizer_spec;  // what `tokenizer` was made of, for writers
  std::string chat_template;                                  // Jinja source; empty when the files hold none
  GenerationDefaults generation;
  Metadata metadata;  // GGUF key-values as read; empty for other layouts
};

struct LoadOptions {
  std::filesystem::path tokenizer;  // overrides the tokenizer found beside or inside the model
  bool weights = true;              // false: architecture, tokenizer and tensor table only; no tensor need be complete
  bool check_weights = true;        // every tensor of the schema, with its shape
};

// Loads a file or folder, by content rather than by extension. Every failure is an Error naming the file.
ModelFile load_model(const std::filesystem::path& path, const LoadOptions& options = {});
// The same from bytes already in memory (the embedded default model).
ModelFile load_model(const Bytes& bytes, const LoadOptions& options = {});

struct SaveOptions {
  std::string dtype;              // codec for every matrix, or a mix (arch/codec_mix.h); empty keeps each its own
  std::uint64_t split_bytes = 0;  // > 0: start another GGUF or safetensors shard beyond this size
};

// Writes `model` as the kind that `path` implies (.gguf, .safetensors, .lathe, a folder for HF layout), atomically.
// Lossless or an Error: a codec the target cannot say needs SaveOptions::dtype.
struct SaveResult {
  std::uint64_t tensors = 0, bytes = 0;
};
SaveResult save_model(const ModelFile& model, const std::filesystem::path& path, const SaveOptions& options = {});

}  // namespace lathe::formats
