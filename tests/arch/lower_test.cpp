// The op list: which weights it names, how its slots lie, and what it says about state.
#include "arch/lower.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>

#include "arch/families.h"
#include "arch/weights.h"
#include "base/error.h"

namespace lathe::arch {
namespace {

Architecture small(std::string_view family) {
  Architecture a = family_named(family, "test").defaults;
  a.n_layers = 3, a.width = 64, a.n_heads = 4, a.n_kv_heads = 2;
  a.head_dim = a.rotary_dim = 16, a.v_head_dim = 12;
  a.ffn_width = 100, a.vocab_size = 96, a.context_length = 256;
  return a;
}

// Every combination of the flags that change which tensors there are.
std::vector<Architecture> all_flags() {
  std::vector<Architecture> all;
  for (const char* family : {"llama", "gpt2"}) {
    for (int bits = 0; bits < 512; ++bits) {
      Architecture a = small(family);
      const auto bit = [&](int i) { return (bits >> i & 1) != 0; };
      a.gated_ffn = bit(0), a.fused_qkv = bit(1), a.tied_embeddings = bit(2), a.attention_bias = bit(3);
      a.output_bias = bit(4), a.ffn_bias = bit(5), a.norm_bias = bit(6), a.qk_norm = bit(7);
      a.residual_scale = bit(8) ? 0.5f : 1;
      all.push_back(a);
    }
  }
  for (const Family& family : families()) all.push_back(small_shape(family));
  return all;
}

TEST(Lower, NamesExactlyTheTensorsOfTheSchema) {
  for (const Architecture& a : all_flags()) {
    std::map<std::string, Shape> schema;
    for (const WeightSpec& spec : weight_schema(a)) {
      ASSERT_TRUE(schema.emplace(spec.name, spec.shape).second) << spec.name << " appears twice";
    }
    std::set<std::string> used;
    const auto use_all = [&](const OpList& list) {
      const auto width = [&](int slot) { return list.slots.at(static_cast<std::size_t>(slot)).width; };
      for (const Op& op : list.ops) {
        for (const LinearUse& use : op.linears) {
          EXPECT_EQ(width(use.out), use.out_features);
          for (std::uint32_t i = 0; i < std::max(1u, use.matrices); ++i) {
            const std::string name = use.matrices == 0 ? use.weight : use.weight + "." + std::to_string(i);
            used.insert(name + ".weight");
            EXPECT_EQ(schema.at(name + ".weight"), (Shape{use.out_features, width(op.in)})) << name;
            if (!use.has_bias) continue;
            used.insert(name + ".bias");
            EXPECT_EQ(schema.at(name + ".bias"), Shape{use.out_features});
          }
        }
        if (op.weight.empty()) continue;
        if (op.kind == OpKind::kRoute) {
          used.insert(op.weight + ".bias");
          continue;
        }
        used.insert(op.weight + ".weight");
        if (op.has_bias) used.insert(op.weight + ".bias");
      }
    };
    use_all(lower(a));
    if (a.encoder.n_layers > 0) use_all(lower_encoder(a));
    for (const auto& [name, shape] : schema) EXPECT_TRUE(used.contains(name)) << name;
    for (const std::string& name : used) EXPECT_TRUE(schema.contains(name)) << name;
  }
}

TEST(Lower, SlotsFitWhatUsesThem) {
  for (const Architecture& a : all_flags()) {
    const OpList list = lower(a);
    const auto slot = [&](int index) { return list.slots.at(static_cast<std::size_t>(index)); };
    for (const Slot& s : list.slots) {
      if (s.parent == kNoSlot) continue;
      EXPECT_EQ(slot(s.parent).width % s.heads, 0u);
      EXPECT_LE(s.offset + s.width, slot(s.parent).width / s.heads);
    }
    for (const Op& op : list.ops) {
      switch (op.kind) {
        case OpKind::kAttention: {
          const AttentionUse& use = op.attention;
          EXPECT_EQ(slot(op.in).width, std::uint64_t{use.n_heads} * use.k_dim);
          EXPECT_EQ(slot(op.k).width, std::uint64_t{use.n_kv_heads} * use.k_dim);
          EXPECT_EQ(slot(op.v).width, std::uint64_t{use.n_kv_heads} * use.v_dim);
          EXPECT_EQ(slot(op.out).width, std::uint64_t{use.n_heads} * use.v_dim);
          break;
        }
        case OpKind::kRoute:
          EXPECT_EQ(slot(op.in).width, op.router.n_experts);
          EXPECT_EQ(slot(op.out).width, op.router.top_k);
          EXPECT_EQ(slot(op.choice).width, op.router.top_k);
          EXPECT_TRUE(slot(op.choice).ids);
          break;
        case OpKind::kCombine:
          EXPECT_EQ(slot(op.in).width, slot(op.out).width);
          EXPECT_EQ(slot(op.in).heads, slot(op.in2).width);
          break;
        case OpKind::kAssign:
        case OpKind::kNorm:
        case OpKind::kActivate:
        case OpKind::kGated:
        case OpKind::kAdd:
          EXPECT_EQ(slot(op.in).width, slot(op.out).width);
          if (op.in2 != kNoSlot) {
            EXPECT_EQ(slot(op.in2).width, slot(op.out).width);
          }
          break;
        default:
          break;
      }
    }
    EXPECT_EQ(slot(list.residual).width, a.width);
    EXPECT_EQ(slot(list.hidden).width, a.width);
    EXPECT_EQ(list.logits != kNoSlot, a.output_head);
    if (a.output_head) {
      EXPECT_EQ(slot(list.logits).width, a.vocab_size);
    }
  }
}

TEST(Lower, LayersEndInOrderAndShareOneStateGroup) {
  Architecture a = small("llama");
  a.window = 32;
  const OpList list = lower(a);
  std::vector<int> ends;
  int rows_selected = 0;
  for (const Op& op : list.ops) {
    if (op.kind == OpKind::kLayerEnd) ends.push_back(op.layer);
    rows_selected += op.kind == OpKind::kSelectRows ? 1 : 0;
  }
  EXPECT_EQ(ends, (std::vector<int>{0, 1, 2}));
  EXPECT_EQ(rows_selected, 1);
  ASSERT_EQ(list.state.size(), 1u);
  EXPECT_EQ(list.state[0].layers, (std::vector<std::uint32_t>{0, 1, 2}));
  EXPECT_EQ(list.state[0].n_kv_heads, 2u);
  EXPECT_EQ(list.state[0].k_dim, 16u);
  EXPECT_EQ(list.state[0].v_dim, 12u);
  EXPECT_EQ(list.state[0].window, 32u);
}

TEST(Lower, LayersMayDifferInWindowAndRotation) {
  Architecture a = small("llama");
  a.window = 32, a.full_layers = {false, false, true};
  a.window_rope_theta = 10000, a.rope_theta = 1000000;
  a.rope_scaling.kind = RopeScaling::Kind::kLinear, a.rope_scaling.factor = 8;
  const OpList list = lower(a);
  ASSERT_EQ(list.ropes.size(), 2u);
  EXPECT_EQ(list.ropes[0], (RopeRule{16, 10000, {}, 256}));
  EXPECT_EQ(list.ropes[1], (RopeRule{16, 1000000, a.rope_scaling, 256}));
  ASSERT_EQ(list.state.size(), 2u);
  EXPECT_EQ(list.state[0].window, 32u);
  EXPECT_EQ(list.state[0].layers, (std::vector<std::uint32_t>{0, 1}));
  EXPECT_EQ(list.state[1].window, 0u);
  for (const Op& op : list.ops) {
    if (op.kind == OpKind::kAttention) {
      EXPECT_EQ(op.attention.window, op.layer == 2 ? 0u : 32u);
    } else if (op.kind == OpKind::kRope) {
      EXPECT_EQ(op.rope, op.layer == 2 ? 1 : 0);
    }
  }
}

TEST(Lower, DescriptionHasALinePerOperation) {
  const OpList list = lower(small("gpt2"));
  const std::string text = describe(list);
  EXPECT_EQ(static_cast<std::size_t>(std::count(text.begin(), text.end(), '\n')), list.ops.size());
  EXPECT_NE(text.find("blk.2.attn_qkv"), std::string::npos);
  EXPECT_NE(text.find("position_embd"), std::string::npos);
}

TEST(Weights, AreCheckedAgainstTheSchema) {
  const Architecture a = small("llama");
  Weights weights;
  const auto add = [&](std::string name, const Shape& shape) {
    weights.add(pack(name, codec_named("F32"), shape, std::vector<float>(shape.elements(), 1.f)));
  };
  for (const WeightSpec& spec : weight_schema(a)) add(spec.name, spec.shape);
  EXPECT_TRUE(check_weights(a, weights, "m").empty());
  add("rope_freqs.weight", {8});
  EXPECT_EQ(check_weights(a, weights, "m"), std::vector<std::string>{"rope_freqs.weight"});
  EXPECT_THROW(add("rope_freqs.weight", {8}), Error) << "a tensor twice";
  EXPECT_THROW(weights.at("nothing"), Error);
  EXPECT_EQ(weights.find("nothing"), nullptr);

  Architecture deeper = a;
  deeper.n_layers = 4;
  try {
    check_weights(deeper, weights, "file.gguf");
    ADD_FAILURE();
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("\"blk.3.attn_norm.weight\" is missing"), std::string::npos);
    EXPECT_NE(std::string(error.what()).find("file.gguf"), std::string::npos);
  }
  Architecture wider = a;
  wider.vocab_size = 97;
  EXPECT_THROW(check_weights(wider, weights, "m"), Error);
}

TEST(Weights, CountParametersAndBytes) {
  Weights weights;
  weights.add(pack("a", codec_named("F32"), {2, 3}, std::vector<float>(6)));
  weights.add(pack("b", codec_named("F16"), {5}, std::vector<float>(5)));
  EXPECT_EQ(weights.parameters(), 11u);
  EXPECT_EQ(weights.bytes(), 34u);
}

TEST(Families, NamesRoundTripForEveryTensorOfTheSchema) {
  for (const Family& family : families()) {
    Architecture a = small(family.name);
    for (const bool fused : {false, true}) {
      a.fused_qkv = fused && a.fused_qkv;
      a.tied_embeddings = fused;
      for (const WeightSpec& spec : weight_schema(a)) {
        const std::string hf = hf_name(family, spec.name);
        if (family.defaults.fused_qkv && !a.fused_qkv && hf.empty()) continue;  // the family has no separate q, k, v
        ASSERT_FALSE(hf.empty()) << family.name << " has no name for " << spec.name;
        EXPECT_EQ(canonical_name(family, hf), spec.name);
      }
    }
    EXPECT_EQ(find_family(family.name), &family);
    EXPECT_EQ(hf_name(family, "blk.0.unheard_of.weight"), "");
    EXPECT_EQ(canonical_name(family, "unheard.of"), "");
  }
}

TEST(Families, KnownNames) {
  const Family& llama = family_named("llama", "t");
  EXPECT_EQ(hf_name(llama, "blk.17.attn_q.weight"), "model.layers.17.self_attn.q_proj.weight");
  EXPECT_EQ(canonical_name(llama, "model.layers.3.post_attention_layernorm.weight"), "blk.3.ffn_norm.weight");
  EXPECT_EQ(name_rule(llama, "blk.17.attn_q.weight")->storage, Storage::kPlain);
  const Family& gpt2 = family_named("gpt2", "t");
  EXPECT_EQ(canonical_name(gpt2, "transformer.h.11.mlp.c_proj.bias"), "blk.11.ffn_down.bias");
  for (const char* name : {"attn_qkv", "attn_output", "ffn_up", "ffn_down"}) {  // the four Conv1D matrices
    EXPECT_EQ(name_rule(gpt2, std::string("blk.0.") + name + ".weight")->storage, Storage::kTransposed) << name;
    EXPECT_EQ(name_rule(gpt2, std::string("blk.0.") + name + ".bias")->storage, Storage::kPlain) << name;
  }
  EXPECT_EQ(name_rule(gpt2, "token_embd.weight")->storage, Storage::kPlain);
  try {
    family_named("mamba", "file.gguf");
    ADD_FAILURE();
  } catch (const Error& error) {
    const std::string text = error.what();
    for (const char* part : {"mamba", "file.gguf"}) EXPECT_NE(text.find(part), std::string::npos) << text;
    EXPECT_NE(error.remedy().find("llama"), std::string::npos);
  }
}

}  // namespace
}  // namespace lathe::arch
