#include "arch/families.h"

#include <algorithm>

#include "arch/families/rows.h"
#include "base/error.h"
#include "base/json.h"

namespace lathe::arch {
namespace {

bool is_number(std::string_view text) {
  return !text.empty() && text.find_first_not_of("0123456789") == std::string_view::npos;
}

// Whether "a.12.b.3.c" is of the form "a.{}.b.{}.c" or "a.{}.b.3.c", and the numbers that stand for the holes.
bool fits(std::string_view pattern, std::string_view name, std::vector<std::string_view>& numbers) {
  numbers.clear();
  for (;;) {
    const std::size_t wanted_end = std::min(pattern.find('.'), pattern.size());
    const std::size_t end = std::min(name.find('.'), name.size());
    const std::string_view wanted = pattern.substr(0, wanted_end), component = name.substr(0, end);
    if (wanted == "{}" ? !is_number(component) : wanted != component) return false;
    if (wanted == "{}") numbers.push_back(component);
    if (wanted_end == pattern.size() || end == name.size()) return wanted_end == pattern.size() && end == name.size();
    pattern.remove_prefix(wanted_end + 1);
    name.remove_prefix(end + 1);
  }
}

std::string filled(std::string_view pattern, const std::vector<std::string_view>& numbers) {
  std::string name;
  for (const std::string_view number : numbers) {
    const std::size_t hole = pattern.find("{}");
    if (hole == std::string_view::npos) break;
    name += pattern.substr(0, hole);
    name += number;
    pattern.remove_prefix(hole + 2);
  }
  return name += pattern;
}

// The name in another column of the rule whose `from` column fits; empty when none does.
std::string renamed(const Family& family, std::string_view name, std::string NameRule::*from,
                    std::string NameRule::*to) {
  std::vector<std::string_view> numbers;
  for (const NameRule& rule : family.names) {
    if (fits(rule.*from, name, numbers) && !(rule.*to).empty()) return filled(rule.*to, numbers);
  }
  return {};
}

std::vector<Family> table() {
  // Rows that share a name with a more general one come before it.
  std::vector<Family> rows = {
      mistral_family(),    mixtral_family(),   llama_family(),    qwen2_family(),       qwen3_family(),
      phi2_family(),       phi3_family(),      gemma_family(),    gemma2_family(),      gemma3_family(),
      gpt2_family(),       gptj_family(),      gptneox_family(),  opt_family(),         bloom_family(),
      falcon40_family(),   falcon_family(),    stablelm_family(), qwen2moe_family(),    qwen3moe_family(),
      deepseek3_family(),  deepseek2_family(), gpt_oss_family(),  roberta_family(),     bert_family(),
      nomic_bert_family(), flan_t5_family(),   t5_family(),       transformer_family(), bitnet_family()};
  for (Family& family : rows) family.defaults.family = family.name;
  return rows;
}

template <class Fits>
const Family* first_family(const Fits& fits) {
  for (const Family& family : families()) {
    if (fits(family)) return &family;
  }
  return nullptr;
}

[[noreturn]] void unknown_family(std::string_view name, std::string_view where) {
  std::string known;
  for (const Family& family : families()) known += (known.empty() ? "" : ", ") + std::string(family.name);
  throw Error(fmt::format("model family \"{}\" is not supported", name), std::string(where),
              "known families: " + known);
}

}  // namespace

std::span<const Family> families() {
  static const std::vector<Family> kFamilies = table();
  return kFamilies;
}

const Family* find_family(std::string_view name) {
  return first_family([&](const Family& family) { return family.name == name; });
}

const Family& family_of_config(const Json& config, const std::string& where) {
  const auto type = json_get<std::string>(config, "model_type", where);
  const Family* found = first_family([&](const Family& family) {
    return family.hf_model_type == type && (family.is_hf == nullptr || family.is_hf(config, where));
  });
  if (found == nullptr) unknown_family(type, where);
  return *found;
}

const Family& family_of_gguf(std::string_view architecture, FunctionRef<bool(std::string_view)> has_tensor,
                             std::string_view where) {
  const Family* found = first_family([&](const Family& family) {
    return family.gguf == architecture && family.is == nullptr &&
           (family.gguf_mark.empty() || has_tensor(family.gguf_mark));
  });
  if (found == nullptr) unknown_family(architecture, where);
  return *found;
}

const Family& settled_family(const Family& family, const Architecture& architecture) {
  const Family* own = first_family(
      [&](const Family& other) { return other.gguf == family.gguf && other.is != nullptr && other.is(architecture); });
  return own == nullptr ? family : *own;
}

const Family& family_named(std::string_view name, std::string_view where) {
  if (const Family* family = find_family(name)) return *family;
  unknown_family(name, where);
}

Architecture small_shape(const Family& family) {
  Architecture a = family.defaults;
  a.rope_layout = family.gguf_rope_layout;
  a.n_layers = 4, a.width = 256;
  a.n_heads = 8, a.n_kv_heads = 4, a.head_dim = 32;
  a.ffn_width = 768, a.vocab_size = 4096, a.context_length = 512;
  if (family.shrink != nullptr) family.shrink(a);
  if (a.v_head_dim == 0) a.v_head_dim = a.head_dim;
  if (a.position == PositionKind::kRope && a.rotary_dim == 0) a.rotary_dim = a.head_dim;
  if (family.settle != nullptr) family.settle(a);
  return a;
}

void add_with_bias(std::vector<NameRule>& names, const std::string& canonical, const std::string& hugging_face,
                   Storage storage) {
  names.push_back({canonical + ".weight", hugging_face + ".weight", storage});
  // Vectors are neither transposed nor gains.
  names.push_back(
      {canonical + ".bias", hugging_face + ".bias", storage == Storage::kGroupedQkv ? storage : Storage::kPlain});
}

const NameRule* name_rule(const Family& family, std::string_view canonical) {
  std::vector<std::string_view> numbers;
  for (const NameRule& rule : family.names) {
    if (fits(rule.canonical, canonical, numbers)) return &rule;
  }
  return nullptr;
}

std::string hf_name(const Family& family, std::string_view canonical) {
  return renamed(family, canonical, &NameRule::canonical, &NameRule::hugging_face);
}

std::string canonical_name(const Family& family, std::string_view hugging_face) {
  return renamed(family, hugging_face, &NameRule::hugging_face, &NameRule::canonical);
}

std::string gguf_name(const Family& family, std::string_view canonical) {
  const std::string name = renamed(family, canonical, &NameRule::canonical, &NameRule::gguf);
  return name.empty() ? std::string(canonical) : name;
}

std::string canonical_name_of_gguf(const Family& family, std::string_view gguf) {
  const std::string name = renamed(family, gguf, &NameRule::gguf, &NameRule::canonical);
  return name.empty() ? std::string(gguf) : name;
}

}  // namespace lathe::arch
