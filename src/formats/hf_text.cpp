#include "formats/hf_text.h"

#include "base/file.h"
#include "base/json.h"
#include "formats/hf_rope.h"
#include "formats/load_tokenizer.h"
#include "formats/tokenizer_json.h"

namespace lathe::formats {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kMaxSmallFile = 16 << 20;
const std::string kTokenizerJson = "tokenizer.json", kTokenizerConfig = "tokenizer_config.json";

// The object a file holds; an empty one when there is no such file.
Json object_in(const fs::path& path) {
  if (!fs::exists(path)) return Json::object();
  Json json = parse_json(read_file(path, kMaxSmallFile), path.string());
  if (!json.is_object()) fail(path.string(), "is not a JSON object");
  return json;
}

std::string template_of(const Json& json, const std::string& where) {
  const auto it = json.find("chat_template");
  if (it == json.end() || it->is_null()) return {};
  if (it->is_string()) return it->get<std::string>();
  if (!it->is_array()) fail(where, "\"chat_template\" is neither a string nor a list");
  std::string chosen;
  for (const Json& entry : *it) {
    if (!entry.is_object()) fail(where, "an entry of \"chat_template\" is not an object");
    const auto name = json_get<std::string>(entry, "name", where),
               source = json_get<std::string>(entry, "template", where);
    if (chosen.empty() || name == "default") chosen = source;
  }
  return chosen;
}

Json generation_json(const ModelFile& model) {
  Json json = Json::object();
  const GenerationDefaults& defaults = model.generation;
  const auto number = [&](const char* key, float value) {
    if (value >= 0) json[key] = json_number(value);
  };
  number("temperature", defaults.temperature);
  number("top_p", defaults.top_p);
  number("min_p", defaults.min_p);
  number("repetition_penalty", defaults.repeat_penalty);
  if (defaults.top_k >= 0) json["top_k"] = defaults.top_k;
  if (!json.empty()) json["do_sample"] = true;
  if (model.tokenizer_spec != nullptr) {
    const text::SpecialTokens& special = model.tokenizer_spec->special;
    if (special.bos != text::kNoToken) json["bos_token_id"] = special.bos;
    if (special.end_of_generation.size() > 1)
      json["eos_token_id"] = special.end_of_generation;
    else if (special.eos != text::kNoToken)
      json["eos_token_id"] = special.eos;
    if (special.pad != text::kNoToken) json["pad_token_id"] = special.pad;
  }
  return json;
}

constexpr std::string_view kTextFiles[] = {"tokenizer.json",     "tokenizer_config.json",
                                           "tokenizer.model",    "special_tokens_map.json",
                                           "vocab.json",         "merges.txt",
                                           "added_tokens.json",  "chat_template.jinja",
                                           "chat_template.json", "generation_config.json"};

}  // namespace

GenerationDefaults hf_generation(const fs::path& folder) {
  const fs::path path = folder / "generation_config.json";
  const Json json = object_in(path);
  GenerationDefaults defaults;
  if (!json_get_or<bool>(json, "do_sample", false, path.string())) return defaults;
  defaults.temperature = json_get_or<float>(json, "temperature", -1, path.string());
  defaults.top_p = json_get_or<float>(json, "top_p", -1, path.string());
  defaults.min_p = json_get_or<float>(json, "min_p", -1, path.string());
  defaults.repeat_penalty = json_get_or<float>(json, "repetition_penalty", -1, path.string());
  defaults.top_k = json_get_or<int>(json, "top_k", -1, path.string());
  return defaults;
}

std::string hf_chat_template(const fs::path& folder) {
  if (const fs::path path = folder / "chat_template.jinja"; fs::exists(path)) return read_file(path, kMaxSmallFile);
  for (const char* name : {"chat_template.json", "tokenizer_config.json"}) {
    const fs::path path = folder / name;
    std::string found = template_of(object_in(path), path.string());
    if (!found.empty()) return found;
  }
  return {};
}

std::optional<text::TokenizerSpec> hf_tokenizer(const fs::path& folder, const Json& config, std::uint32_t vocab_size) {
  std::optional<text::TokenizerSpec> spec = tokenizer_in_folder(folder, vocab_size);
  if (!spec) return spec;
  // What the tokenizer files leave open, the configurations may say.
  if (const fs::path path = folder / "generation_config.json"; fs::exists(path)) {
    apply_generation_config(read_file(path, kMaxSmallFile), path.string(), *spec);
  }
  apply_generation_config(config.dump(), (folder / "config.json").string(), *spec);
  return spec;
}

Json hf_config_with_tokens(const ModelFile& model, Json config) {
  if (model.tokenizer_spec == nullptr) return config;
  const text::SpecialTokens& special = model.tokenizer_spec->special;
  if (special.bos != text::kNoToken) config["bos_token_id"] = special.bos;
  if (special.eos != text::kNoToken) config["eos_token_id"] = special.eos;
  if (special.pad != text::kNoToken) config["pad_token_id"] = special.pad;
  return config;
}

void write_hf_text(const ModelFile& model, const fs::path& folder) {
  const fs::path source = model.path;
  const bool copy = model.kind == FileKind::kHfFolder && model.tokenizer_spec != nullptr &&
                    fs::path(model.tokenizer_spec->name).parent_path() == source;
  if (copy) {
    for (const std::string_view name : kTextFiles) {
      if (fs::exists(source / name)) write_file(folder / name, read_file(source / name));
    }
    return;
  }
  if (model.tokenizer_spec != nullptr) {
    write_file(folder / kTokenizerJson, write_tokenizer_json(*model.tokenizer_spec));
    write_file(folder / kTokenizerConfig, write_tokenizer_config(*model.tokenizer_spec));
  }
  if (!model.chat_template.empty()) write_file(folder / "chat_template.jinja", model.chat_template);
  if (const Json generation = generation_json(model); !generation.empty()) {
    write_file(folder / "generation_config.json", generation.dump(2) + "\n");
  }
}

void add_tokenizer_metadata(const ModelFile& model, std::map<std::string, std::string>& metadata) {
  if (model.tokenizer_spec == nullptr) return;
  metadata[kTokenizerJson] = write_tokenizer_json(*model.tokenizer_spec);
  metadata[kTokenizerConfig] = write_tokenizer_config(*model.tokenizer_spec);
}

std::optional<text::TokenizerSpec> tokenizer_in_metadata(const std::map<std::string, std::string>& metadata,
                                                         const std::string& where) {
  const auto tokenizer = metadata.find(kTokenizerJson);
  if (tokenizer == metadata.end()) return std::nullopt;
  text::TokenizerSpec spec = parse_tokenizer_json(tokenizer->second, where);
  if (const auto config = metadata.find(kTokenizerConfig); config != metadata.end())
    apply_tokenizer_config(config->second, where, spec);
  return spec;
}

}  // namespace lathe::formats
