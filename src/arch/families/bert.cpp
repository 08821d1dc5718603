// BERT (Devlin et al. 2019) and RoBERTa (Liu et al. 2019), and with them MiniLM, BGE, E5 and other sentence encoders:
// every token sees all others, learned positions and kinds of segment, norms after each branch has joined the residual
// stream, GELU by the error function. Masked-language-model heads and BERT's pooler are left out.
#include "arch/families/rows.h"
#include "base/error.h"
#include "base/json.h"

namespace lathe::arch {
namespace {

Family encoder_family(const std::string& stem) {
  Family family;
  family.name = family.hf_model_type = stem == "bert" ? "bert" : "roberta";
  family.gguf = "bert";
  Architecture& a = family.defaults;
  a.norm = NormKind::kLayer;
  a.norm_eps = 1e-12f;
  a.position = PositionKind::kLearned;
  a.activation = ActivationKind::kGelu;
  a.gated_ffn = false;
  a.causal = false;
  a.output_head = false;
  a.stream_norms = a.embedding_norm = a.tied_embeddings = true;
  a.attention_bias = a.output_bias = a.ffn_bias = a.norm_bias = true;
  const std::string embeddings = stem + ".embeddings.", layer = stem + ".encoder.layer.{}.";
  std::vector<NameRule>& names = family.names;
  names = {{"token_embd.weight", embeddings + "word_embeddings.weight"},
           {"position_embd.weight", embeddings + "position_embeddings.weight",
            stem == "bert" ? Storage::kPlain : Storage::kFromThirdRow},
           {"token_types.weight", embeddings + "token_type_embeddings.weight"}};
  add_with_bias(names, "blk.{}.attn_q", layer + "attention.self.query");
  add_with_bias(names, "blk.{}.attn_k", layer + "attention.self.key");
  add_with_bias(names, "blk.{}.attn_v", layer + "attention.self.value");
  add_with_bias(names, "blk.{}.attn_output", layer + "attention.output.dense");
  add_with_bias(names, "blk.{}.ffn_up", layer + "intermediate.dense");
  add_with_bias(names, "blk.{}.ffn_down", layer + "output.dense");
  const auto norm = [&](const std::string& canonical, const std::string& module) {
    add_with_bias(names, canonical, module);
    // What checkpoints that began in TensorFlow call them.
    names.push_back({canonical + ".weight", module + ".gamma"});
    names.push_back({canonical + ".bias", module + ".beta"});
  };
  norm("token_embd_norm", embeddings + "LayerNorm");
  norm("blk.{}.attn_output_norm", layer + "attention.output.LayerNorm");
  norm("blk.{}.layer_output_norm", layer + "output.LayerNorm");
  family.fields = {
      {"hidden_size", ref<&Architecture::width>, 768.0},
      {"intermediate_size", ref<&Architecture::ffn_width>, 3072.0},
      {"num_hidden_layers", ref<&Architecture::n_layers>, 12.0},
      {"num_attention_heads", ref<&Architecture::n_heads>, 12.0},
      {"max_position_embeddings", ref<&Architecture::context_length>, 512.0},
      {"type_vocab_size", ref<&Architecture::token_types>, 2.0},
      {"layer_norm_eps", ref<&Architecture::norm_eps>, 1e-12},
      {"hidden_act", ref<&Architecture::activation>},
  };
  family.shrink = [](Architecture& arch) { arch.n_kv_heads = 8, arch.token_types = 2; };
  return family;
}

void read_encoder(const Json& config, const std::string& where) {
  refuse_unless(config, "is_decoder", false, where);
  refuse_unless(config, "add_cross_attention", false, where);
  const auto positions = json_get_or<std::string>(config, "position_embedding_type", "absolute", where);
  if (positions != "absolute") fail(where, "positions of type \"{}\" are not supported", positions);
}

}  // namespace

Family bert_family() {
  Family family = encoder_family("bert");
  family.hf_class = "BertModel";
  family.fields.push_back({"vocab_size", ref<&Architecture::vocab_size>, 30522.0});
  family.read_hf = [](const Json& config, Architecture&, const std::string& where) { read_encoder(config, where); };
  return family;
}

// GGUF files call it BERT too; it has one kind of segment where BERT has two. Checkpoints begin with two positions that
// no token takes: padding's, and the one before.
Family roberta_family() {
  Family family = encoder_family("roberta");
  family.hf_class = "RobertaModel";
  family.defaults.norm_eps = 1e-5f;
  family.is = [](const Architecture& a) { return a.token_types == 1; };
  family.fields.push_back({"vocab_size", ref<&Architecture::vocab_size>, 50265.0});
  family.read_hf = [](const Json& config, Architecture& a, const std::string& where) {
    read_encoder(config, where);
    if (json_get_or<std::uint32_t>(config, "pad_token_id", 1, where) != 1)
      fail(where, "\"pad_token_id\" is not 1, from which positions are counted");
    if (a.context_length <= 2) fail(where, "{} positions, of which the first two go to no token", a.context_length);
    a.context_length -= 2;
  };
  family.write_hf = [](const Architecture& a, Json& config) {
    config["max_position_embeddings"] = a.context_length + 2;
    config["pad_token_id"] = 1;
  };
  family.shrink = [](Architecture& a) { a.n_kv_heads = 8, a.token_types = 1; };
  return family;
}

}  // namespace lathe::arch
