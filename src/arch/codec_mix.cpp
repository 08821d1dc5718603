#include "arch/codec_mix.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <optional>

#include "arch/families.h"

namespace lathe::arch {
namespace {

constexpr CodecMix kMixes[] = {
    {"Q2_K_M", "what llama.cpp calls Q2_K", "Q2_K", 10},
    {"Q3_K_S", "Q3_K, Q6_K for the output head", "Q3_K", 11},
    {"Q3_K_M", "Q3_K, 4 and 5 bits for values, attention outputs and ffn_down", "Q3_K", 12},
    {"Q3_K_L", "Q3_K, 5 bits for values, attention outputs and ffn_down", "Q3_K", 13},
    {"Q4_K_S", "Q4_K, 5 bits for the first layers' values and ffn_down", "Q4_K", 14},
    {"Q4_K_M", "Q4_K, 6 bits for values and ffn_down of half the layers", "Q4_K", 15},
    {"Q5_K_S", "Q5_K, Q6_K for the output head", "Q5_K", 16},
    {"Q5_K_M", "Q5_K, 6 bits for values and ffn_down of half the layers", "Q5_K", 17},
    {"Q6_K_M", "what llama.cpp calls Q6_K", "Q6_K", 18},
};

// What a matrix is to the rules. Fused queries, keys and values count as values.
enum class Role : std::uint8_t { kBody, kHead, kPlain, kKey, kValue, kOutput, kDown };

// Which layers a rule is for. kSpread: the first and the last eighth, and every third between them.
enum class Layers : std::uint8_t { kAll, kFirst2, kFirst4, kFirstSixteenth, kFirstEighth, kSpread };

using Condition = bool (*)(const Architecture&);
bool any_model(const Architecture& /*a*/) { return true; }
bool has_8_experts(const Architecture& a) { return a.moe.n_experts == 8; }
bool shares_keys_by_4(const Architecture& a) { return a.n_heads / a.n_kv_heads >= 4; }
bool is_falcon(const Architecture& a) {
  const Family* family = find_family(a.family);
  return family != nullptr && family->gguf == "falcon";
}

struct Rule {
  std::string_view mix;  // empty: all
  Role role;
  Layers layers;
  Condition models;
  std::string_view codec;
};

// The first that fits counts; a matrix that none fits gets the mix's body.
constexpr Rule kRules[] = {
    {"", Role::kValue, Layers::kAll, has_8_experts, "Q8_0"},
    {"", Role::kKey, Layers::kAll, has_8_experts, "Q8_0"},

    {"Q2_K_M", Role::kValue, Layers::kAll, shares_keys_by_4, "Q4_K"},
    {"Q2_K_M", Role::kValue, Layers::kAll, any_model, "Q3_K"},
    {"Q3_K_M", Role::kValue, Layers::kFirst2, any_model, "Q5_K"},
    {"Q3_K_M", Role::kValue, Layers::kAll, any_model, "Q4_K"},
    {"Q3_K_L", Role::kValue, Layers::kAll, any_model, "Q5_K"},
    {"Q4_K_S", Role::kValue, Layers::kFirst4, any_model, "Q5_K"},
    {"Q4_K_M", Role::kValue, Layers::kSpread, any_model, "Q6_K"},
    {"Q5_K_M", Role::kValue, Layers::kSpread, any_model, "Q6_K"},

    {"Q2_K_M", Role::kOutput, Layers::kAll, has_8_experts, "Q5_K"},
    {"Q3_K_S", Role::kOutput, Layers::kAll, has_8_experts, "Q5_K"},
    {"Q3_K_M", Role::kOutput, Layers::kAll, has_8_experts, "Q5_K"},
    {"Q3_K_L", Role::kOutput, Layers::kAll, has_8_experts, "Q3_K"},
    {"Q4_K_S", Role::kOutput, Layers::kAll, has_8_experts, "Q5_K"},
    {"Q4_K_M", Role::kOutput, Layers::kAll, has_8_experts, "Q5_K"},
    {"Q2_K_M", Role::kOutput, Layers::kAll, is_falcon, "Q2_K"},
    {"Q2_K_M", Role::kOutput, Layers::kAll, any_model, "Q3_K"},
    {"Q3_K_M", Role::kOutput, Layers::kAll, is_falcon, "Q3_K"},
    {"Q3_K_M", Role::kOutput, Layers::kAll, any_model, "Q4_K"},
    {"Q3_K_L", Role::kOutput, Layers::kAll, is_falcon, "Q4_K"},
    {"Q3_K_L", Role::kOutput, Layers::kAll, any_model, "Q5_K"},

    {"Q2_K_M", Role::kDown, Layers::kAll, any_model, "Q3_K"},
    {"Q3_K_M", Role::kDown, Layers::kFirstSixteenth, any_model, "Q5_K"},
    {"Q3_K_M", Role::kDown, Layers::kSpread, is_falcon, "Q4_K"},
    {"Q3_K_M", Role::kDown, Layers::kAll, is_falcon, "Q3_K"},
    {"Q3_K_M", Role::kDown, Layers::kAll, any_model, "Q4_K"},
    {"Q3_K_L", Role::kDown, Layers::kAll, is_falcon, "Q4_K"},
    {"Q3_K_L", Role::kDown, Layers::kAll, any_model, "Q5_K"},
    {"Q4_K_S", Role::kDown, Layers::kAll, is_falcon, "Q4_K"},
    {"Q4_K_S", Role::kDown, Layers::kFirstEighth, any_model, "Q5_K"},
    {"Q4_K_M", Role::kDown, Layers::kFirstSixteenth, is_falcon, "Q6_K"},
    {"Q4_K_M", Role::kDown, Layers::kSpread, is_falcon, "Q5_K"},
    {"Q4_K_M", Role::kDown, Layers::kAll, is_falcon, "Q4_K"},
    {"Q4_K_M", Role::kDown, Layers::kSpread, any_model, "Q6_K"},
    {"Q5_K_M", Role::kDown, Layers::kSpread, any_model, "Q6_K"},

    {"", Role::kHead, Layers::kAll, is_falcon, "Q8_0"},
    {"", Role::kHead, Layers::kAll, any_model, "Q6_K"},
    // Routers, learned positions, kinds of segment and biases by distance: small, and much depends on them.
    {"", Role::kPlain, Layers::kAll, any_model, "F32"},
};

// For rows that do not divide into blocks of 256.
constexpr struct {
  std::string_view codec, narrow;
} kNarrow[] = {{"Q2_K", "Q4_0"}, {"Q3_K", "Q4_0"}, {"Q4_K", "Q5_0"}, {"Q5_K", "Q5_1"}, {"Q6_K", "Q8_0"}};

// Models of 80 layers that share each head of keys and values among eight of queries have values an eighth as large as
// queries: five bits cost little.
constexpr std::uint32_t kLayersOf70B = 80;

// A matrix's place in the model: "enc.blk.3.attn_v.weight" is layer 3 of the encoder's.
struct Place {
  Role role = Role::kBody;
  std::uint32_t layer = 0, n_layers = 0;
};

Role role_in_layer(std::string_view module, const Architecture& a) {
  if (module.starts_with("ffn_gate_inp") || module.starts_with("attn_rel_b")) return Role::kPlain;
  if (module.starts_with("ffn_down")) return Role::kDown;
  if (module.starts_with("cross_")) module.remove_prefix(std::string_view("cross_").size());
  if (module.starts_with("attn_v.") || module.starts_with("attn_qkv.")) return Role::kValue;
  if (module.starts_with("attn_k.")) return Role::kKey;
  // llama.cpp's name for it in encoder-decoder models is one that its rules do not know.
  if (module.starts_with("attn_output.") && a.encoder.n_layers == 0) return Role::kOutput;
  return Role::kBody;
}

Place place_of(std::string_view tensor, const Architecture& a) {
  Place place{Role::kBody, 0, a.n_layers};
  if (tensor.starts_with("enc.")) place.n_layers = a.encoder.n_layers;
  if (tensor.starts_with("enc.") || tensor.starts_with("dec.")) tensor.remove_prefix(4);
  if (tensor.starts_with("blk.")) {
    const char* const end = tensor.data() + tensor.size();
    const auto [rest, error] = std::from_chars(tensor.data() + 4, end, place.layer);
    if (error == std::errc() && rest != end) place.role = role_in_layer({rest + 1, end}, a);
  } else if (tensor == "output.weight") {
    place.role = Role::kHead;
  } else if (tensor == "token_embd.weight") {
    if (a.tied_embeddings || !a.output_head) place.role = Role::kHead;
  } else if (tensor.starts_with("position_embd.") || tensor.starts_with("token_types.")) {
    place.role = Role::kPlain;
  }
  return place;
}

bool covers(Layers layers, const Place& place) {
  const std::uint32_t i = place.layer, n = place.n_layers;
  switch (layers) {
    case Layers::kAll:
      return true;
    case Layers::kFirst2:
      return i < 2;
    case Layers::kFirst4:
      return i < 4;
    case Layers::kFirstSixteenth:
      return i < n / 16;
    case Layers::kFirstEighth:
      return i < n / 8;
    case Layers::kSpread:
      return i < n / 8 || i >= 7 * n / 8 || (i - n / 8) % 3 == 2;
  }
  return false;
}

std::string_view codec_by_rule(const CodecMix& mix, const Architecture& a, const Place& place) {
  std::string_view codec = mix.body;
  for (const Rule& rule : kRules) {
    if ((rule.mix.empty() || rule.mix == mix.name) && rule.role == place.role && rule.models(a) &&
        covers(rule.layers, place)) {
      codec = rule.codec;
      break;
    }
  }
  const bool few_bits = codec == "Q3_K" || codec == "Q4_K";
  return place.role == Role::kValue && a.n_layers == kLayersOf70B && few_bits ? "Q5_K" : codec;
}

bool divides(const Codec& codec, std::uint64_t columns) { return columns % codec.column_alignment({}) == 0; }

}  // namespace

std::span<const CodecMix> codec_mixes() { return kMixes; }

const CodecMix* find_codec_mix(std::string_view name) {
  const auto same = [](char a, char b) { return a == std::toupper(static_cast<unsigned char>(b)); };
  const auto* const found = std::find_if(std::begin(kMixes), std::end(kMixes), [&](const CodecMix& mix) {
    return std::equal(mix.name.begin(), mix.name.end(), name.begin(), name.end(), same);
  });
  return found == std::end(kMixes) ? nullptr : found;
}

const Codec& codec_in_mix(const CodecMix& mix, const Architecture& a, std::string_view tensor, std::uint64_t columns) {
  const std::string_view codec = codec_by_rule(mix, a, place_of(tensor, a));
  if (divides(codec_named(codec), columns)) return codec_named(codec);
  for (const auto& [wide, narrow] : kNarrow) {
    if (wide == codec && divides(codec_named(narrow), columns)) return codec_named(narrow);
  }
  return codec_named("F16");
}

std::string_view codec_or_mix_named(std::string_view name) {
  const CodecMix* mix = find_codec_mix(name);
  return mix != nullptr ? mix->name : codec_named(name).name();
}

}  // namespace lathe::arch
