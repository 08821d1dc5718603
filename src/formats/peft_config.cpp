#include "formats/peft_config.h"

#include <algorithm>
#include <cmath>

#include "base/json.h"
#include "text/regex.h"
#include "text/utf8.h"

namespace lathe::formats {
namespace {

constexpr std::size_t kMostPatterns = 1024;          // one for each linear layer of 140 blocks
constexpr std::uint64_t kMostPairs = 1 << 20;        // of a pattern and a module
constexpr std::uint64_t kMostSteps = 2'000'000'000;  // of backtracking, all pairs together: seconds
constexpr std::uint64_t kMostStepsOfPair = 1'000'000;

bool is_set(const Json& json, const char* key) {
  const auto it = json.find(key);
  return it != json.end() && !it->empty() && *it != Json(false);
}

void refuse_more_than_low_rank(const Json& json, const std::string& where) {
  const auto type = json_get_or<std::string>(json, "peft_type", "LORA", where);
  if (type != "LORA") fail(where, "is an adapter of type {}, only LORA can be applied", type);
  for (const auto& [key, value] : json.items()) {
    // "use_dora", "use_qalora", ...: every one but this makes something else of the update.
    if (key.starts_with("use_") && key != "use_rslora" && is_set(json, key.c_str()))
      fail(where, "sets \"{}\", which makes it more than a low-rank update", key);
  }
  if (const auto bias = json_get_or<std::string>(json, "bias", "none", where); bias != "none")
    fail(where, "trains biases (\"bias\": \"{}\"), which a low-rank update cannot hold", bias);
  for (const char* key : {"lora_bias", "modules_to_save", "trainable_token_indices"}) {
    if (is_set(json, key)) fail(where, "has more than low-rank updates (\"{}\"), which cannot be applied", key);
  }
  for (const char* key : {"layer_replication", "alora_invocation_tokens", "arrow_config"}) {
    if (is_set(json, key)) fail(where, "sets \"{}\", which changes how the model runs and is not supported", key);
  }
  if (const auto start = json.find("init_lora_weights"); start != json.end() && start->is_string()) {
    const auto name = start->get<std::string>();
    if (name != "gaussian" && name != "orthogonal" && name != "eva") {
      throw Error(fmt::format("starts from \"init_lora_weights\": {}, which changes the model's own weights",
                              text::quoted(name)),
                  where,
                  "let PEFT write it as plain LoRA: save_pretrained with path_initial_model_for_weight_conversion");
    }
  }
}

// The values of json[key], {pattern: value}, by module. As in PEFT, a pattern is a regular expression that matches the
// end of a module's name from a dot or the beginning on, and of those that match the first one counts.
std::map<std::string, double, std::less<>> by_module(const Json& json, const char* key, const std::string& where,
                                                     std::span<const std::string> modules) {
  std::map<std::string, double, std::less<>> values;
  const auto patterns = json.find(key);
  if (patterns == json.end() || patterns->is_null()) return values;
  if (!patterns->is_object()) fail(where, "\"{}\" is no JSON object", key);
  const std::uint64_t pairs = std::max<std::uint64_t>(1, patterns->size() * modules.size());
  if (patterns->size() > kMostPatterns || pairs > kMostPairs)
    fail(where, "\"{}\" has {} patterns for {} modules, which is too many", key, patterns->size(), modules.size());
  for (const auto& [pattern, value] : patterns->items()) {
    if (!value.is_number()) fail(where, "\"{}\": {} has a value that is no number", key, text::quoted(pattern));
    const text::Regex regex(fmt::format("^(.*\\.)?({})$", pattern), fmt::format("{}: \"{}\"", where, key));
    text::Regex::Matcher matcher(regex, static_cast<std::uint32_t>(std::min(kMostSteps / pairs, kMostStepsOfPair)));
    text::Regex::Match match{};
    bool found = false;
    for (const std::string& module : modules) {
      if (!matcher.find(module, 0, match)) continue;
      found = true;
      values.try_emplace(module, value.get<double>());
    }
    if (!found) fail(where, "\"{}\": {} matches no module of the adapter", key, text::quoted(pattern, 200));
  }
  return values;
}

}  // namespace

PeftConfig::PeftConfig(std::string_view text, const std::string& where, std::span<const std::string> modules)
    : where_(where) {
  const Json json = parse_json(text, where);
  if (!json.is_object()) fail(where, "is no JSON object");
  refuse_more_than_low_rank(json, where);
  alpha_ = json_get_or<double>(json, "lora_alpha", 8, where);
  rank_ = json_get_or<double>(json, "r", 0, where);
  rs_ = json_get_or<bool>(json, "use_rslora", false, where);
  alphas_ = by_module(json, "alpha_pattern", where, modules);
  ranks_ = by_module(json, "rank_pattern", where, modules);
}

double PeftConfig::alpha(const std::string& module) const {
  const auto own = alphas_.find(module);
  return own == alphas_.end() ? alpha_ : own->second;
}

double PeftConfig::divisor(const std::string& module, std::uint64_t rank) const {
  const auto own = ranks_.find(module);
  const double wanted = own == ranks_.end() ? rank_ : own->second, has = static_cast<double>(rank);
  if (wanted != 0 && wanted != has)
    fail(where_, "gives {} the rank {}, its tensors have {}", text::quoted(module, 200), wanted, rank);
  return rs_ ? std::sqrt(has) : has;
}

}  // namespace lathe::formats
