#include "formats/hf_rope.h"

#include <cmath>
#include <cstdlib>

#include "base/json.h"

namespace lathe::formats {
namespace {

using arch::Architecture;
using Scaling = arch::RopeScaling;
using Kind = Scaling::Kind;

float number(const Json& object, const char* key, float otherwise, const std::string& where) {
  const auto it = object.find(key);
  if (it == object.end() || it->is_null()) return otherwise;
  if (!it->is_number()) fail(where, "\"{}\" is not a number", key);
  return it->get<float>();
}

std::uint32_t positive(const Json& object, const char* key, std::uint32_t otherwise, const std::string& where) {
  const auto it = object.find(key);
  if (it == object.end() || it->is_null()) return otherwise;
  // Some configurations write whole numbers as 8192.0.
  const double value = it->is_number() ? it->get<double>() : -1;
  if (!(value >= 1 && value <= arch::kMaxContext)) fail(where, "\"{}\" is not a sensible length", key);
  return static_cast<std::uint32_t>(value);
}

std::vector<float> factors(const Json& object, const char* key, const std::string& where) {
  auto values = json_get<std::vector<float>>(object, key, where);
  if (values.size() > arch::kMaxWidth) fail(where, "\"{}\" has {} factors", key, values.size());
  return values;
}

// Peng et al. 2023, equation 22, with the multiplier that DeepSeek added.
float yarn_mscale(float factor, float multiplier) {
  return factor <= 1 ? 1.0f : 0.1f * multiplier * std::log(factor) + 1.0f;
}

void read_yarn(const Json& rope, Scaling& scaling, const std::string& where) {
  scaling.kind = Kind::kYarn;
  scaling.beta_fast = number(rope, "beta_fast", scaling.beta_fast, where);
  scaling.beta_slow = number(rope, "beta_slow", scaling.beta_slow, where);
  const float mscale = number(rope, "mscale", 0, where), all_dim = number(rope, "mscale_all_dim", 0, where);
  if (scaling.attention_factor == 0 && mscale > 0 && all_dim > 0) {
    scaling.attention_factor = yarn_mscale(scaling.factor, mscale) / yarn_mscale(scaling.factor, all_dim);
  }
  scaling.truncate = json_get_or<bool>(rope, "truncate", true, where);
}

void read_longrope(const Json& config, const Json& rope, const Architecture& a, Scaling& scaling,
                   const std::string& where) {
  scaling.kind = Kind::kLongRope;
  scaling.short_factors = factors(rope, "short_factor", where);
  scaling.long_factors = factors(rope, "long_factor", where);
  if (scaling.original_context == 0) {
    scaling.original_context = positive(config, "original_max_position_embeddings", 0, where);
  }
  // Ding et al. 2024: sqrt(1 + ln s / ln original), where s is the stretch of the context, or `factor` when the file
  // says no original length.
  if (scaling.original_context == 0 && scaling.attention_factor == 0) {
    scaling.attention_factor =
        scaling.factor <= 1 ? 1.0f
                            : std::sqrt(1 + std::log(scaling.factor) / std::log(static_cast<float>(a.context_length)));
  }
  // One list of factors at every length: the way to say factors that follow no rule (rope_to_hf() writes them so).
  if (scaling.short_factors == scaling.long_factors && scaling.attention_factor == 1) {
    std::vector<float> same = std::move(scaling.short_factors);
    scaling = {};
    scaling.kind = Kind::kFactors;
    scaling.short_factors = std::move(same);
  }
}

void read_scaling(const Json& config, const Json& rope, Architecture& a, const std::string& where) {
  const std::string type =
      json_get_or<std::string>(rope, "rope_type", json_get_or<std::string>(rope, "type", "default", where), where);
  if (type == "default") return;
  Scaling scaling;
  scaling.factor = number(rope, "factor", 1, where);
  scaling.original_context = positive(rope, "original_max_position_embeddings", 0, where);
  scaling.attention_factor = number(rope, "attention_factor", 0, where);
  if (type == "linear") {
    scaling.kind = Kind::kLinear;
  } else if (type == "dynamic" || type == "ntk") {
    scaling.kind = Kind::kDynamicNtk;
  } else if (type == "yarn") {
    read_yarn(rope, scaling, where);
  } else if (type == "llama3") {
    scaling.kind = Kind::kLlama3;
    scaling.low_freq_factor = number(rope, "low_freq_factor", scaling.low_freq_factor, where);
    scaling.high_freq_factor = number(rope, "high_freq_factor", scaling.high_freq_factor, where);
    if (scaling.original_context == 0) fail(where, "\"original_max_position_embeddings\" is missing");
  } else if (type == "longrope" || type == "su") {
    read_longrope(config, rope, a, scaling, where);
  } else {
    throw Error(fmt::format("the RoPE type \"{}\" is not supported", type), where,
                "known are default, linear, dynamic, yarn, llama3 and longrope");
  }
  a.rope_scaling = scaling;
}

Json json_numbers(const std::vector<float>& values) {
  Json array = Json::array();
  for (const float value : values) array.push_back(json_number(value));
  return array;
}

// The object of that name, or an empty one when it is absent or null.
const Json& object_at(const Json& config, const char* key, const std::string& where) {
  static const Json kEmpty = Json::object();
  const auto it = config.find(key);
  if (it == config.end() || it->is_null()) return kEmpty;
  if (!it->is_object()) fail(where, "\"{}\" is not an object", key);
  return *it;
}

}  // namespace

void rope_from_hf(const Json& config, const arch::RopeKeys& keys, Architecture& a, const std::string& where) {
  const Json& parameters = object_at(config, "rope_parameters", where);
  const Json& rope = parameters.empty() ? object_at(config, "rope_scaling", where) : parameters;
  a.rope_theta = number(rope, "rope_theta", number(config, keys.theta, a.rope_theta, where), where);
  if (keys.part != nullptr) {
    const float part =
        number(rope, "partial_rotary_factor", number(config, keys.part, keys.part_otherwise, where), where);
    if (!(part > 0 && part <= 1)) fail(where, "\"{}\" is {}", keys.part, part);
    a.rotary_dim = static_cast<std::uint32_t>(static_cast<float>(a.head_dim) * part);
  }
  read_scaling(config, rope, a, where);
}

double json_number(float value) {
  const double brief = std::strtod(fmt::format("{}", value).c_str(), nullptr);
  return static_cast<float>(brief) == value ? brief : double{value};
}

void rope_to_hf(const Architecture& a, const arch::RopeKeys& keys, Json& config) {
  config[keys.theta] = json_number(a.rope_theta);
  const double part = double(a.rotary_dim) / a.head_dim;
  if (keys.part != nullptr && part != double{keys.part_otherwise}) config[keys.part] = part;
  const Scaling& scaling = a.rope_scaling;
  Json rope = Json::object();
  const auto type = [&](const char* name) {
    rope["rope_type"] = name;
    rope["type"] = name;  // how versions before 4.43 spell it
    rope["factor"] = json_number(scaling.factor);
    if (scaling.original_context > 0) rope["original_max_position_embeddings"] = scaling.original_context;
    if (scaling.attention_factor > 0) rope["attention_factor"] = json_number(scaling.attention_factor);
  };
  switch (scaling.kind) {
    case Kind::kNone:
      config["rope_scaling"] = nullptr;
      return;
    case Kind::kLinear:
      type("linear");
      break;
    case Kind::kDynamicNtk:
      type("dynamic");
      break;
    case Kind::kYarn:
      type("yarn");
      rope["beta_fast"] = json_number(scaling.beta_fast);
      rope["beta_slow"] = json_number(scaling.beta_slow);
      if (!scaling.truncate) rope["truncate"] = false;
      break;
    case Kind::kLlama3:
      type("llama3");
      rope["low_freq_factor"] = json_number(scaling.low_freq_factor);
      rope["high_freq_factor"] = json_number(scaling.high_freq_factor);
      break;
    case Kind::kLongRope:
      type("longrope");
      rope["short_factor"] = json_numbers(scaling.short_factors);
      rope["long_factor"] = json_numbers(scaling.long_factors);
      if (scaling.original_context > 0) config["original_max_position_embeddings"] = scaling.original_context;
      break;
    case Kind::kFactors:
      type("longrope");
      rope["factor"] = 1.0;
      rope["attention_factor"] = 1.0;
      rope["original_max_position_embeddings"] = a.context_length;
      rope["short_factor"] = json_numbers(scaling.short_factors);
      rope["long_factor"] = rope["short_factor"];
      break;
  }
  config["rope_scaling"] = std::move(rope);
}

}  // namespace lathe::formats
