#include "formats/load_tokenizer.h"

#include <algorithm>
#include <vector>

#include "base/file.h"
#include "base/json.h"
#include "formats/ctranslate2.h"
#include "formats/gguf_reader.h"
#include "formats/json_tensors.h"
#include "formats/llama2c.h"
#include "formats/safetensors_reader.h"
#include "formats/tokenizer_gguf.h"
#include "formats/tokenizer_json.h"
#include "formats/tokenizer_llama2c.h"
#include "formats/tokenizer_plain.h"
#include "formats/tokenizer_rwkv.h"
#include "formats/tokenizer_sentencepiece.h"
#include "formats/tokenizer_tiktoken.h"

namespace lathe::formats {
namespace {

namespace fs = std::filesystem;

// No tokenizer file is larger; a llama2.c model beside is never mistaken for one.
constexpr std::uint64_t kMaxTokenizerBytes = 64 << 20;

// A file that says how many bytes its longest piece has, and then has exactly `vocab_size` pieces.
std::optional<text::TokenizerSpec> llama2c_tokenizer_of_size(const fs::path& path, std::uint64_t vocab_size) {
  try {
    text::TokenizerSpec spec = parse_llama2c_tokenizer(map_file(path));
    if (spec.size() == vocab_size) return spec;
  } catch (const Error&) {  // some other file of a similar name
  }
  return std::nullopt;
}

bool has_tokenizer_name(const fs::path& path) {
  const std::string name = path.filename().string();
  return path.extension() == ".bin" && (name.starts_with("tok") || path.stem().string().ends_with("tok"));
}

void apply_configs(const fs::path& folder, text::TokenizerSpec& spec) {
  for (const char* name : {"special_tokens_map.json", "tokenizer_config.json"}) {
    const fs::path path = folder / name;
    if (fs::exists(path)) apply_tokenizer_config(read_file(path, kMaxTokenizerBytes), path.string(), spec);
  }
}

// GPT-2's two files under either of their names; nullopt when the folder lacks them.
std::optional<text::TokenizerSpec> gpt2_pair_in(const fs::path& folder) {
  for (const auto& [vocabulary, merges] :
       {std::pair("vocab.json", "merges.txt"), std::pair("encoder.json", "vocab.bpe")}) {
    if (!fs::exists(folder / vocabulary) || !fs::exists(folder / merges)) continue;
    return parse_gpt2_vocabulary(map_file(folder / vocabulary), map_file(folder / merges));
  }
  return std::nullopt;
}

fs::path folder_of(const fs::path& file) { return file.has_parent_path() ? file.parent_path() : fs::path("."); }

// A tokenizer.json, GPT-2's vocabulary with its merges beside it, or a map of words.
text::TokenizerSpec parse_json_tokenizer(const Bytes& bytes) {
  const std::string_view head = bytes.text().substr(0, 4096);
  for (const char* key : {"\"version\"", "\"added_tokens\"", "\"model\""}) {
    if (head.find(key) != std::string_view::npos) return parse_tokenizer_json(bytes.text(), bytes.name());
  }
  if (auto pair = gpt2_pair_in(folder_of(bytes.name()))) return *std::move(pair);
  return parse_word_map(bytes);
}

// Any file that is a tokenizer and nothing else, told by its first bytes.
text::TokenizerSpec parse_tokenizer_file(const Bytes& bytes, std::optional<std::uint64_t> vocab_size) {
  const std::string_view text = bytes.text();
  if (text.starts_with('{')) return parse_json_tokenizer(bytes);
  if (is_tiktoken(bytes)) return parse_tiktoken(bytes);
  if (text.starts_with("1 '") || text.starts_with("1 b'")) return parse_rwkv_vocabulary(bytes);
  if (text.starts_with("[PAD]")) return parse_bert_vocabulary(bytes);
  if (text.starts_with("#version")) {
    if (auto pair = gpt2_pair_in(folder_of(bytes.name()))) return *std::move(pair);
    throw Error("lists merges without a vocabulary", bytes.name(), "put encoder.json or vocab.json beside it");
  }
  // A protocol-buffers message whose first field, a piece, is not empty; llama2.c files start with a small int32.
  if (text.size() > 2 && text[0] == '\n' && text[1] != '\0') return parse_sentencepiece(bytes);
  return parse_llama2c_tokenizer(bytes, vocab_size);
}

bool is_model(const Bytes& bytes) {
  return is_safetensors(bytes) || is_llama2c(bytes) || is_json_tensors(bytes) || is_ctranslate2(bytes);
}

}  // namespace

void attach_tokenizer(ModelFile& model, const LoadOptions& options, const TokenizerSource& own) {
  std::optional<text::TokenizerSpec> spec;
  if (options.tokenizer.empty()) {
    spec = own();
  } else {
    spec = read_tokenizer_spec(options.tokenizer, model.architecture.vocab_size);
    std::vector<std::string> replaced;
    for (const auto& [key, value] : model.metadata.items()) {
      if (key.starts_with("tokenizer.")) replaced.push_back(key);
    }
    for (const std::string& key : replaced) model.metadata.erase(key);
  }
  if (!spec) return;
  auto shared = std::make_shared<const text::TokenizerSpec>(*std::move(spec));
  model.tokenizer = text::make_tokenizer(*shared);
  model.tokenizer_spec = std::move(shared);
}

std::optional<text::TokenizerSpec> tokenizer_from_gguf(const Metadata& metadata) {
  if (!has_gguf_tokenizer(metadata)) return std::nullopt;
  return read_gguf_tokenizer(metadata);
}

std::optional<text::TokenizerSpec> tokenizer_beside_llama2c(const fs::path& model, std::uint32_t vocab_size) {
  std::vector<fs::path> candidates;
  std::error_code ignored;
  if (!fs::is_directory(model.parent_path(), ignored) && !fs::exists(model, ignored)) return std::nullopt;
  for (const auto& entry :
       fs::directory_iterator(model.has_parent_path() ? model.parent_path() : fs::path("."), ignored)) {
    if (entry.path().filename() != model.filename() && has_tokenizer_name(entry.path()) &&
        entry.is_regular_file(ignored) && entry.file_size(ignored) <= kMaxTokenizerBytes) {
      candidates.push_back(entry.path());
    }
  }
  std::sort(candidates.begin(), candidates.end());
  std::optional<text::TokenizerSpec> found;
  std::string names;
  for (const fs::path& path : candidates) {
    auto spec = llama2c_tokenizer_of_size(path, vocab_size);
    if (!spec) continue;
    names += (names.empty() ? "" : ", ") + path.filename().string();
    if (found)
      throw Error("several tokenizers beside this model fit: " + names, model.string(), "choose one with --tokenizer");
    found = std::move(spec);
  }
  return found;
}

std::optional<text::TokenizerSpec> tokenizer_in_folder(const fs::path& folder, std::uint32_t vocab_size) {
  const fs::path json = folder / "tokenizer.json";
  if (fs::exists(json)) {
    text::TokenizerSpec spec = parse_tokenizer_json(read_file(json, kMaxTokenizerBytes), json.string());
    apply_configs(folder, spec);
    return spec;
  }
  // T5 calls it spiece.model.
  for (const fs::path& model : {folder / "tokenizer.model", folder / "spiece.model"}) {
    if (!fs::exists(model)) continue;
    text::TokenizerSpec spec = parse_tokenizer_file(map_file(model), vocab_size);
    apply_configs(folder, spec);
    return spec;
  }
  std::optional<text::TokenizerSpec> spec = gpt2_pair_in(folder);
  if (const fs::path list = folder / "vocab.txt"; !spec && fs::exists(list))
    spec = parse_bert_vocabulary(map_file(list));
  if (!spec) return tokenizer_beside_llama2c(folder / "model", vocab_size);
  apply_configs(folder, *spec);
  return spec;
}

text::TokenizerSpec read_tokenizer_spec(const fs::path& path, std::optional<std::uint64_t> vocab_size) {
  if (fs::is_directory(path)) {
    if (auto spec = tokenizer_in_folder(path, static_cast<std::uint32_t>(vocab_size.value_or(0))))
      return *std::move(spec);
    fail(path.string(), "is a folder without a tokenizer");
  }
  const Bytes bytes = map_file(path);
  if (is_gguf(bytes)) return read_gguf_tokenizer(read_gguf_header(bytes).metadata);
  if (!is_model(bytes)) return parse_tokenizer_file(bytes, vocab_size);
  const ModelFile model = load_model(path, {.weights = false});
  if (model.tokenizer_spec == nullptr) fail(path.string(), "holds no tokenizer");
  return *model.tokenizer_spec;
}

std::shared_ptr<const text::Tokenizer> load_tokenizer(const fs::path& path) {
  return text::make_tokenizer(read_tokenizer_spec(path));
}

}  // namespace lathe::formats
