#include "formats/hf_config.h"

#include <algorithm>

#include "arch/families.h"
#include "base/checked.h"
#include "base/json.h"
#include "formats/hf_rope.h"

namespace lathe::formats {
namespace {

using arch::Architecture;
using arch::Field;

struct ActivationName {
  std::string_view name;
  ActivationKind kind;
};
// The first name of a kind is the one written.
constexpr ActivationName kActivations[] = {
    {"silu", ActivationKind::kSilu},
    {"swish", ActivationKind::kSilu},
    {"gelu", ActivationKind::kGelu},
    {"gelu_python", ActivationKind::kGelu},
    {"gelu_new", ActivationKind::kGeluTanh},
    {"gelu_pytorch_tanh", ActivationKind::kGeluTanh},
    {"gelu_fast", ActivationKind::kGeluTanh},
    {"gelu_accurate", ActivationKind::kGeluTanh},
    {"quick_gelu", ActivationKind::kGeluQuick},
    {"relu", ActivationKind::kRelu},
    {"relu2", ActivationKind::kRelu2},
};

ActivationKind activation_named(std::string_view name, const std::string& where) {
  for (const ActivationName& row : kActivations) {
    if (row.name == name) return row.kind;
  }
  std::string known;
  for (const ActivationName& row : kActivations) known += fmt::format("{}{}", known.empty() ? "" : ", ", row.name);
  throw Error(fmt::format("the activation function \"{}\" is not supported", name), where, "known are " + known);
}

std::string_view activation_name(ActivationKind kind) {
  for (const ActivationName& row : kActivations) {
    if (row.kind == kind) return row.name;
  }
  return "silu";
}

std::uint32_t size_of(double value, const Field& field, const std::string& where) {
  if (!(value >= 0 && value <= UINT32_MAX)) fail(where, "\"{}\" is out of range", field.hf);
  return static_cast<std::uint32_t>(value);
}

void set(std::uint32_t& target, const Json& value, const std::string& key, const std::string& where) {
  if (!value.is_number_unsigned()) fail(where, "\"{}\" is not a non-negative integer", key);
  target = narrow<std::uint32_t>(value.get<std::uint64_t>(), fmt::format("\"{}\"", key), where);
}

template <class T>
T converted(const Json& value, const std::string& key, const std::string& where) {
  try {
    return value.get<T>();
  } catch (const nlohmann::json::exception&) {
    fail(where, "\"{}\" has the wrong type", key);
  }
}

void set(float& target, const Json& value, const std::string& key, const std::string& where) {
  target = converted<float>(value, key, where);
}
void set(bool& target, const Json& value, const std::string& key, const std::string& where) {
  target = converted<bool>(value, key, where);
}
void set(ActivationKind& target, const Json& value, const std::string& key, const std::string& where) {
  target = activation_named(converted<std::string>(value, key, where), where);
}

void set_otherwise(const Field& field, Architecture& a, const std::string& where) {
  double value = 0;
  if (const auto* number = std::get_if<double>(&field.otherwise)) {
    value = *number;
  } else if (const auto* derived = std::get_if<double (*)(const Architecture&)>(&field.otherwise)) {
    value = (*derived)(a);
  } else if (std::holds_alternative<ActivationKind& (*)(Architecture&)>(field.value)) {
    return;  // the family's own
  } else if (!std::holds_alternative<arch::None>(field.otherwise)) {
    fail(where, "\"{}\" is missing", field.hf);
  }
  std::visit(
      [&](auto reference) {
        auto& target = reference(a);
        using T = std::remove_reference_t<decltype(target)>;
        if constexpr (std::is_same_v<T, std::uint32_t>) {
          target = size_of(value, field, where);
        } else if constexpr (std::is_same_v<T, float>) {
          target = static_cast<float>(value);
        } else if constexpr (std::is_same_v<T, bool>) {
          target = value != 0;
        }
      },
      field.value);
}

void read_field(const Field& field, const Json& config, Architecture& a, const std::string& where) {
  if (field.hf.empty()) return;
  for (const std::string_view key : {field.hf, field.hf_alias}) {
    const auto it = key.empty() ? config.end() : config.find(key);
    if (it == config.end() || it->is_null()) continue;
    std::visit([&](auto reference) { set(reference(a), *it, std::string(key), where); }, field.value);
    return;
  }
  set_otherwise(field, a, where);
}

void write_field(const Field& field, Architecture a, Json& config) {
  if (field.hf.empty()) return;
  std::visit(
      [&](auto reference) {
        const auto& value = reference(a);
        Json& target = config[std::string(field.hf)];
        using T = std::remove_cvref_t<decltype(value)>;
        if constexpr (std::is_same_v<T, ActivationKind>) {
          target = activation_name(value);
        } else if (std::holds_alternative<arch::None>(field.otherwise) && value == T{}) {
          target = nullptr;
        } else if constexpr (std::is_same_v<T, float>) {
          target = json_number(value);
        } else {
          target = value;
        }
      },
      field.value);
}

// Families whose configurations have no head sizes divide the width.
// A count of 0 that a file states is left for validate() to refuse.
void read_heads(const arch::Family& family, Architecture& a) {
  const bool stated = std::any_of(family.fields.begin(), family.fields.end(), [&](const Field& field) {
    return std::visit([&](auto reference) { return static_cast<const void*>(&reference(a)) == &a.n_kv_heads; },
                      field.value);
  });
  if (!stated && a.n_kv_heads == 0) a.n_kv_heads = a.n_heads;
  if (a.head_dim == 0) a.head_dim = a.width / std::max(1u, a.n_heads);
  if (a.v_head_dim == 0) a.v_head_dim = a.head_dim;
}

// What reading the file again gives must be the model itself.
void check_round_trip(const Architecture& a, const Json& config, const std::string& where) {
  Architecture again = architecture_from_hf(config, where);
  Architecture wanted = a;
  wanted.rope_layout = again.rope_layout;  // rows are reordered on writing
  wanted.name = again.name;
  wanted.pooling = again.pooling, wanted.unit_vectors = again.unit_vectors;  // files of their own say them
  // Single-precision numbers come back exactly, so a plain comparison is right.
  if (again == wanted) return;
  throw Error(
      fmt::format("a config.json of type \"{}\" cannot say this model (biases, scales, norms or head sizes differ "
                  "from what the type allows)",
                  config.at("model_type").get<std::string>()),
      where, "save as .lathe or .gguf");
}

}  // namespace

Architecture architecture_from_hf(const Json& config, const std::string& where) {
  if (!config.is_object()) fail(where, "is not a JSON object");
  const arch::Family& family = arch::family_of_config(config, where);
  Architecture a = family.defaults;
  a.rope_layout = family.hf_rope_layout;
  a.name = json_get_or<std::string>(config, "_name_or_path", "", where);
  for (const Field& field : family.fields) read_field(field, config, a, where);
  read_heads(family, a);
  if (a.position == arch::PositionKind::kRope) rope_from_hf(config, family.rope_keys, a, where);
  if (family.read_hf != nullptr) family.read_hf(config, a, where);
  if (family.settle != nullptr) family.settle(a);
  arch::validate(a, where);
  return a;
}

Json architecture_to_hf(const Architecture& a, const std::string& torch_dtype, const std::string& where) {
  const arch::Family& family = arch::family_named(a.family, where);
  Json config;
  config["architectures"] = {family.hf_class};
  config["model_type"] = family.hf_model_type;
  if (!a.name.empty()) config["_name_or_path"] = a.name;
  for (const Field& field : family.fields) write_field(field, a, config);
  if (a.position == arch::PositionKind::kRope) rope_to_hf(a, family.rope_keys, config);
  if (family.write_hf != nullptr) family.write_hf(a, config);
  config["torch_dtype"] = torch_dtype;
  config["use_cache"] = true;
  check_round_trip(a, config, where);
  return config;
}

}  // namespace lathe::formats
