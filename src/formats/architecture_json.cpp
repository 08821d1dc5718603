#include "formats/architecture_json.h"

#include <set>

#include "base/checked.h"
#include "base/json.h"
#include "formats/hf_rope.h"

namespace lathe::formats {
namespace {

using arch::Architecture;
using arch::PositionKind;
using arch::RopeScaling;

// Spellings of the enumerations, in the order of their values.
template <class Enum>
struct Names;
template <>
struct Names<NormKind> {
  static constexpr std::string_view kNames[] = {"rms", "layer"};
};
template <>
struct Names<PositionKind> {
  static constexpr std::string_view kNames[] = {"none", "rope", "learned", "alibi", "relative", "sinusoidal"};
};
template <>
struct Names<RopeLayout> {
  static constexpr std::string_view kNames[] = {"interleaved", "halves"};
};
template <>
struct Names<ActivationKind> {
  static constexpr std::string_view kNames[] = {"silu", "gelu", "gelu_tanh", "gelu_quick", "relu", "relu2"};
};
template <>
struct Names<PoolingKind> {
  static constexpr std::string_view kNames[] = {"mean", "cls", "last"};
};
template <>
struct Names<RouterScore> {
  static constexpr std::string_view kNames[] = {"softmax", "sigmoid", "softmax_of_chosen"};
};
template <>
struct Names<RopeScaling::Kind> {
  static constexpr std::string_view kNames[] = {"none", "linear", "dynamic", "yarn", "llama3", "longrope", "factors"};
};

// Calls visit(name, field) for every field: the one list that writer and reader share.
template <class Scaling, class Visit>
void visit_scaling(Scaling& s, Visit&& visit) {
  visit("kind", s.kind);
  visit("factor", s.factor);
  visit("original_context", s.original_context);
  visit("attention_factor", s.attention_factor);
  visit("beta_fast", s.beta_fast);
  visit("beta_slow", s.beta_slow);
  visit("truncate", s.truncate);
  visit("low_freq_factor", s.low_freq_factor);
  visit("high_freq_factor", s.high_freq_factor);
  visit("short_factors", s.short_factors);
  visit("long_factors", s.long_factors);
}

template <class Moe, class Visit>
void visit_experts(Moe& m, Visit&& visit) {
  visit("n_experts", m.n_experts);
  visit("top_k", m.top_k);
  visit("ffn_width", m.ffn_width);
  visit("shared_ffn_width", m.shared_ffn_width);
  visit("shared_gate", m.shared_gate);
  visit("first_dense_layers", m.first_dense_layers);
  visit("n_groups", m.n_groups);
  visit("top_groups", m.top_groups);
  visit("score", m.score);
  visit("normalize", m.normalize);
  visit("scale", m.scale);
  visit("correction_bias", m.correction_bias);
  visit("router_bias", m.router_bias);
  visit("expert_bias", m.expert_bias);
}

template <class Mla, class Visit>
void visit_latent(Mla& m, Visit&& visit) {
  visit("kv_rank", m.kv_rank);
  visit("q_rank", m.q_rank);
}

template <class Relative, class Visit>
void visit_relative(Relative& r, Visit&& visit) {
  visit("buckets", r.buckets);
  visit("max_distance", r.max_distance);
}

template <class Encoder, class Visit>
void visit_encoder(Encoder& e, Visit&& visit) {
  visit("n_layers", e.n_layers);
  visit("vocab_size", e.vocab_size);
  visit("start_token", e.start_token);
}

template <class Arch, class Visit>
void visit_architecture(Arch& a, Visit&& visit) {
  visit("family", a.family);
  visit("name", a.name);
  visit("n_layers", a.n_layers);
  visit("width", a.width);
  visit("n_heads", a.n_heads);
  visit("n_kv_heads", a.n_kv_heads);
  visit("head_dim", a.head_dim);
  visit("v_head_dim", a.v_head_dim);
  visit("ffn_width", a.ffn_width);
  visit("vocab_size", a.vocab_size);
  visit("context_length", a.context_length);
  visit("norm", a.norm);
  visit("norm_eps", a.norm_eps);
  visit("position", a.position);
  visit("position_offset", a.position_offset);
  visit("relative", a.relative);
  visit("rope_layout", a.rope_layout);
  visit("rotary_dim", a.rotary_dim);
  visit("rope_theta", a.rope_theta);
  visit("rope_scaling", a.rope_scaling);
  visit("activation", a.activation);
  visit("activation_limit", a.activation_limit);
  visit("gated_ffn", a.gated_ffn);
  visit("fused_gate_up", a.fused_gate_up);
  visit("fused_qkv", a.fused_qkv);
  visit("tied_embeddings", a.tied_embeddings);
  visit("attention_bias", a.attention_bias);
  visit("output_bias", a.output_bias);
  visit("ffn_bias", a.ffn_bias);
  visit("norm_bias", a.norm_bias);
  visit("head_bias", a.head_bias);
  visit("output_head", a.output_head);
  visit("qk_norm", a.qk_norm);
  visit("parallel_block", a.parallel_block);
  visit("ffn_norm", a.ffn_norm);
  visit("post_norms", a.post_norms);
  visit("sub_norms", a.sub_norms);
  visit("embedding_norm", a.embedding_norm);
  visit("attention_sinks", a.attention_sinks);
  visit("causal", a.causal);
  visit("stream_norms", a.stream_norms);
  visit("token_types", a.token_types);
  visit("moe", a.moe);
  visit("mla", a.mla);
  visit("encoder", a.encoder);
  visit("window", a.window);
  visit("full_layers", a.full_layers);
  visit("window_rope_theta", a.window_rope_theta);
  visit("attention_scale", a.attention_scale);
  visit("attention_softcap", a.attention_softcap);
  visit("logit_softcap", a.logit_softcap);
  visit("embedding_scale", a.embedding_scale);
  visit("residual_scale", a.residual_scale);
  visit("logit_scale", a.logit_scale);
  visit("pooling", a.pooling);
  visit("unit_vectors", a.unit_vectors);
}

// Parts of an architecture that are objects of their own.
template <class T, class Visit>
void visit_part(T& part, Visit&& visit) {
  if constexpr (std::is_same_v<std::remove_const_t<T>, RopeScaling>) {
    visit_scaling(part, visit);
  } else if constexpr (std::is_same_v<std::remove_const_t<T>, arch::MixtureOfExperts>) {
    visit_experts(part, visit);
  } else if constexpr (std::is_same_v<std::remove_const_t<T>, arch::RelativeBias>) {
    visit_relative(part, visit);
  } else if constexpr (std::is_same_v<std::remove_const_t<T>, arch::Encoder>) {
    visit_encoder(part, visit);
  } else {
    visit_latent(part, visit);
  }
}
template <class T>
inline constexpr bool kIsPart = std::is_same_v<T, RopeScaling> || std::is_same_v<T, arch::MixtureOfExperts> ||
                                std::is_same_v<T, arch::LatentAttention> || std::is_same_v<T, arch::RelativeBias> ||
                                std::is_same_v<T, arch::Encoder>;

template <class T>
Json to_json(const T& value) {
  if constexpr (std::is_enum_v<T>) {
    return std::string(Names<T>::kNames[static_cast<std::size_t>(value)]);
  } else if constexpr (kIsPart<T>) {
    Json json = Json::object();
    const T defaults;
    Json plain = Json::object();
    visit_part(defaults, [&](const char* name, const auto& field) { plain[name] = to_json(field); });
    visit_part(value, [&](const char* name, const auto& field) {
      Json written = to_json(field);
      if (written != plain[name]) json[name] = std::move(written);
    });
    return json;
  } else if constexpr (std::is_same_v<T, std::vector<float>>) {
    Json array = Json::array();
    for (const float number : value) array.push_back(json_number(number));
    return array;
  } else if constexpr (std::is_same_v<T, float>) {
    return json_number(value);
  } else {
    return value;
  }
}

// Reads one field from the object it lies in and remembers its name.
struct Reader {
  const Json& json;
  const std::string& where;
  std::set<std::string> known;

  template <class T>
  void operator()(const char* name, T& field) {
    known.insert(name);
    const auto it = json.find(name);
    if (it == json.end()) return;
    if constexpr (std::is_enum_v<T>) {
      const auto text = json_get<std::string>(json, name, where);
      const auto& names = Names<T>::kNames;
      const auto found = std::find(std::begin(names), std::end(names), text);
      if (found == std::end(names)) fail(where, "\"{}\" has the unknown value \"{}\"", name, text);
      field = static_cast<T>(found - std::begin(names));
    } else if constexpr (kIsPart<T>) {
      if (!it->is_object()) fail(where, "\"{}\" is not an object", name);
      Reader inner{*it, where, {}};
      visit_part(field, inner);
      inner.reject_unknown();
    } else if constexpr (std::is_same_v<T, std::uint32_t>) {
      if (!it->is_number_unsigned()) fail(where, "\"{}\" is not a non-negative integer", name);
      field = narrow<std::uint32_t>(it->template get<std::uint64_t>(), name, where);
    } else {
      field = json_get<T>(json, name, where);
    }
  }

  void reject_unknown() const {
    for (const auto& [key, value] : json.items()) {
      if (known.contains(key)) continue;
      throw Error(fmt::format("the architecture has the unknown field \"{}\"", key), where,
                  "a newer version of Lathe may know it");
    }
  }
};

}  // namespace

Json architecture_to_json(const Architecture& a) {
  Json json = Json::object();
  visit_architecture(a, [&](const char* name, const auto& field) { json[name] = to_json(field); });
  return json;
}

Architecture architecture_from_json(const Json& json, const std::string& where) {
  if (!json.is_object()) fail(where, "the architecture is not a JSON object");
  Architecture a;
  Reader reader{json, where, {}};
  visit_architecture(a, reader);
  reader.reject_unknown();
  arch::validate(a, where);
  return a;
}

}  // namespace lathe::formats
