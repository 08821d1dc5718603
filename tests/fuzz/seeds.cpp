#include "fuzz/seeds.h"

#include <unistd.h>

#include <filesystem>
#include <stdexcept>

#include "arch/families.h"
#include "arch/weights.h"
#include "base/file.h"
#include "formats/model_file.h"
#include "fuzz/raw_files.h"
#include "text/byte_level.h"

namespace lathe::fuzz {
namespace {

constexpr const char* kCodecs[] = {"F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1"};

// A vocabulary on its own, in the layout of a GGUF file.
std::string vocabulary_only(RawGguf file) {
  file.tensors.clear();
  return file.bytes();
}

// A tokenizer.json of every byte, a few merges, and the given further members.
std::string byte_level_json(const std::string& members) {
  std::string vocab;
  for (int byte = 0; byte < 256; ++byte) {
    std::string piece;
    text::append_alphabet(piece, static_cast<unsigned char>(byte));
    if (piece == "\"" || piece == "\\") piece.insert(0, "\\");
    vocab += "\"" + piece + "\":" + std::to_string(byte) + ",";
  }
  vocab += R"("he":256,"ll":257,"hell":258,"hello":259,"\u0120h":260)";
  return R"({"model":{"type":"BPE","vocab":{)" + vocab +
         R"(},"merges":["h e",["l","l"],"he ll","hell o","\u0120 h"]},"added_tokens":[{"id":261,"content":"<|end|>",)"
         R"("special":true,"lstrip":true,"rstrip":true,"normalized":true}],)" +
         members + "}";
}

// The matrices of the layers and the head in codecs of several parts, one after another.
arch::Weights in_many_codecs(const arch::Weights& weights) {
  static const std::pair<const char*, CodecParams> kTargets[] = {
      {"BIPOLAR", {.bits = 3, .group_size = 32, .activation_bits = 4}},
      {"SPQR_ORDERED", {3, 16}},  // SPQR's parts and one more
      {"BITMOD", {3, 32}},
      {"SLIM", {2, 8}},
      {"DGQ", {4, 32}},
      {"FDB", {2, 16}},
      {"BALANCED", {2, 32}},
      {"W8A8", {}}};
  arch::Weights result;
  std::size_t next = 0;
  for (const auto& [name, tensor] : weights.all()) {
    const bool matrix = tensor.shape.rank() == 2 && !name.starts_with("token_embd");
    const auto& [codec, params] = kTargets[next];
    result.add(matrix ? repack(tensor, codec_named(codec), params) : tensor);
    if (matrix) next = (next + 1) % std::size(kTargets);
  }
  return result;
}

// A weight that an adapter updates, and what PEFT calls its module.
struct Adapted {
  std::string weight, module;
};
constexpr std::uint64_t kRank = 2;

Shape shape_in(const arch::Architecture& a, const std::string& weight) {
  for (const arch::WeightSpec& spec : arch::weight_schema(a)) {
    if (spec.name == weight + ".weight") return spec.shape;
  }
  throw std::logic_error(weight);
}

// adapter_config.json in one line, and adapter_model.safetensors.
std::string peft_adapter(const std::string& config, const char* family, const std::vector<Adapted>& targets) {
  const arch::Architecture a = tiny_architecture(family);
  std::string header, data;
  const auto add = [&](const std::string& name, std::uint64_t rows, std::uint64_t columns) {
    const std::size_t begin = data.size();
    data.append(rows * columns * sizeof(float), '?');
    header += (header.empty() ? "" : ",") + ("\"base_model.model." + name) + R"(.weight":{"dtype":"F32","shape":[)" +
              std::to_string(rows) + "," + std::to_string(columns) + R"(],"data_offsets":[)" + std::to_string(begin) +
              "," + std::to_string(data.size()) + "]}";
  };
  for (const Adapted& target : targets) {
    const Shape shape = shape_in(a, target.weight);
    add(target.module + ".lora_A", kRank, shape.cols());
    add(target.module + ".lora_B", shape.rows(), kRank);
  }
  return config + "\n" + raw_safetensors("{" + header + "}", data);
}

std::string gguf_adapter(const char* family, const std::vector<std::string>& weights) {
  const arch::Architecture a = tiny_architecture(family);
  RawGguf file;
  file.set_string("general.type", "adapter");
  file.set_string("general.architecture", family);
  file.set_string("adapter.type", "lora");
  file.set_f32("adapter.lora.alpha", 4);
  for (const std::string& weight : weights) {
    const Shape shape = shape_in(a, weight);
    const auto add = [&](const char* which, std::uint64_t rows, std::uint64_t columns) {
      file.tensors.push_back({arch::gguf_name(arch::family_named(family, "seed"), weight + ".weight") + which,
                              {columns, rows},
                              0,
                              std::string(rows * columns * sizeof(float), '?'),
                              {}});
    };
    add(".lora_a", kRank, shape.cols());
    add(".lora_b", shape.rows(), kRank);
  }
  return file.bytes();
}

}  // namespace

std::vector<std::string> gguf_seeds() {
  std::vector<std::string> seeds;
  for (const char* codec : kCodecs) seeds.push_back(raw_model("llama", codec).bytes());
  seeds.push_back(raw_model("gpt2", "F16").bytes());
  seeds.push_back(raw_model("t5", "Q4_0").bytes());
  seeds.push_back(raw_model("qwen2moe", "Q8_0").bytes());
  RawGguf factors = raw_model("llama", "Q4_0");
  factors.tensors.push_back({"rope_freqs.weight", {8}, 0, std::string(32, '?'), {}});
  factors.set("general.alignment", 4, raw(std::uint32_t{32}));
  seeds.push_back(factors.bytes());
  RawGguf yarn = raw_model("llama", "Q4_0");
  yarn.set_string("llama.rope.scaling.type", "yarn");
  yarn.set_f32("llama.rope.scaling.factor", 4);
  yarn.set_u32("llama.attention.sliding_window", 8);
  seeds.push_back(yarn.bytes());
  return seeds;
}

std::vector<std::string> gguf_tokenizer_seeds() {
  RawGguf unigram = raw_model("llama");
  unigram.set_string("tokenizer.ggml.model", "t5");
  unigram.set("tokenizer.ggml.precompiled_charsmap", 9,
              raw(std::uint32_t{0}) + raw(std::uint64_t{13}) + raw(std::uint32_t{8}) + raw(std::uint64_t{0}) +
                  std::string(1, '\0'));
  RawGguf bert = raw_model("llama"), rwkv = raw_model("llama");
  bert.set_string("tokenizer.ggml.model", "bert");
  rwkv.set_string("tokenizer.ggml.model", "rwkv");
  return {vocabulary_only(raw_model("llama")), vocabulary_only(raw_model("gpt2")), vocabulary_only(unigram),
          vocabulary_only(bert), vocabulary_only(rwkv)};
}

std::vector<std::string> safetensors_seeds() {
  return {raw_hugging_face(),
          raw_safetensors(R"({"a":{"dtype":"F16","shape":[2,2],"data_offsets":[0,8]},"b":{"dtype":"I8","shape":[],)"
                          R"("data_offsets":[8,9]},"__metadata__":{"format":"pt"}})",
                          "012345678")};
}

std::vector<std::string> lathe_seeds() {
  std::vector<std::string> seeds;
  const auto path = std::filesystem::temp_directory_path() / ("lathe-seed-" + std::to_string(::getpid()) + ".lathe");
  const auto add = [&](const formats::ModelFile& model) {
    formats::save_model(model, path);
    seeds.push_back(read_file(path));
  };
  for (const std::string& file : {raw_model("llama", "Q4_0").bytes(), raw_llama2c(2)}) {
    add(formats::load_model(Bytes::copy_of(file, "seed")));
  }
  formats::ModelFile model = formats::load_model(Bytes::copy_of(raw_model("llama", "F32").bytes(), "seed"));
  model.weights = in_many_codecs(model.weights);
  add(model);
  std::filesystem::remove(path);
  return seeds;
}

std::vector<std::string> ctranslate2_seeds() {
  return {raw_ctranslate2(4).bytes(), raw_ctranslate2(2).bytes(), raw_ctranslate2(1).bytes()};
}

std::vector<std::string> prefixes_seeds() { return {raw_prefixes()}; }

std::vector<std::string> llama2c_seeds() { return {raw_llama2c(0), raw_llama2c(1), raw_llama2c(2)}; }

std::vector<std::string> json_tensors_seeds() {
  return {R"({"config":{"n_layer":1,"n_head":1,"n_embd":4,"vocab_size":3,"block_size":2,"model_type":"gpt-nano"},)"
          R"("transformer.wte.weight":{"shape":[3,4],"dtype":"torch.float32","data":")" +
          base64(std::string(48, '?')) + R"("},"lm_head.weight":{"shape":[3,4],"data":")" +
          base64(std::string(48, '>')) + "\"}}"};
}

std::vector<std::string> adapter_seeds() {
  const std::string blocks = "encoder.block.0.layer.";
  return {
      peft_adapter(R"({"peft_type":"LORA","r":2,"lora_alpha":4})", "llama",
                   {{"blk.0.attn_q", "model.layers.0.self_attn.q_proj"},
                    {"blk.0.attn_k", "model.layers.0.self_attn.k_proj"},
                    {"blk.0.ffn_down", "model.layers.0.mlp.down_proj"}}),
      peft_adapter(R"({"lora_alpha":4,"use_rslora":true,"alpha_pattern":{"c_attn":8},"bias":"none"})", "gpt2",
                   {{"blk.0.attn_qkv", "transformer.h.0.attn.c_attn"}, {"blk.0.ffn_up", "h.0.mlp.c_fc"}}),
      peft_adapter(
          R"({"lora_alpha":4,"modules_to_save":[]})", "t5",
          {{"enc.blk.0.attn_q", blocks + "0.SelfAttention.q"}, {"enc.blk.0.ffn_up", blocks + "1.DenseReluDense.wi"}}),
      gguf_adapter("llama", {"blk.0.attn_q", "blk.0.ffn_up"}),
      gguf_adapter("t5", {"dec.blk.1.attn_output", "dec.blk.0.cross_attn_v"}),
  };
}

std::vector<std::string> config_seeds() {
  const std::string base(kTinyConfig);
  const std::string open = base.substr(0, base.size() - 1) + ",\"rope_scaling\":";
  return {base,
          open + R"({"rope_type":"llama3","factor":8,"low_freq_factor":1,"high_freq_factor":4,)"
                 R"("original_max_position_embeddings":16}})",
          open + R"({"type":"yarn","factor":4,"beta_fast":32,"beta_slow":1,"mscale":1,"mscale_all_dim":1}})",
          open + R"({"type":"longrope","short_factor":[1,1,1,1,1,1,1,1],"long_factor":[2,2,2,2,2,2,2,2]}})",
          open + R"({"type":"dynamic","factor":2}})",
          R"({"model_type":"gpt2","n_embd":32,"n_layer":1,"n_head":2,"vocab_size":16,"n_positions":32,"n_inner":null,)"
          R"("activation_function":"gelu_new","layer_norm_epsilon":1e-5,"eos_token_id":[1,2]})",
          R"({"model_type":"roberta","hidden_size":32,"intermediate_size":64,"num_hidden_layers":1,"pad_token_id":1,)"
          R"("num_attention_heads":2,"vocab_size":16,"max_position_embeddings":34,"type_vocab_size":1})",
          R"({"word_embedding_dimension":32,"pooling_mode_cls_token":true,"pooling_mode_mean_tokens":false})",
          R"([{"idx":0,"path":"","type":"a.Transformer"},{"idx":1,"path":"1_Pooling","type":"a.Pooling"},)"
          R"({"idx":2,"path":"2_Normalize","type":"a.Normalize"}])"};
}

std::vector<std::string> tokenizer_json_seeds() {
  return {
      byte_level_json(R"("pre_tokenizer":{"type":"ByteLevel","add_prefix_space":true},"decoder":{"type":"ByteLevel"},)"
                      R"("post_processor":{"type":"ByteLevel"},"normalizer":{"type":"NFC"})"),
      byte_level_json(
          R"("pre_tokenizer":{"type":"Sequence","pretokenizers":[{"type":"Split","pattern":{"Regex":)"
          R"x("\\p{L}+|\\d{1,3}|\\s+(?!\\S)"},"behavior":"Isolated","invert":false},{"type":"Digits",)x"
          R"("individual_digits":true},{"type":"ByteLevel","use_regex":false}]},"post_processor":{"type":)"
          R"("TemplateProcessing","single":[{"SpecialToken":{"id":"<|end|>","type_id":0}},{"Sequence":)"
          R"({"id":"A"}}],"special_tokens":{"<|end|>":{"id":"<|end|>","ids":[261],"tokens":["<|end|>"]}}})"),
      R"({"model":{"type":"Unigram","unk_id":0,"vocab":[["<unk>",0.0],["a",-1.5],["b",-2],["ab",-1],["\u2581",-3]]},)"
      R"("pre_tokenizer":{"type":"Metaspace","replacement":"\u2581","prepend_scheme":"always","split":true},)"
      R"("decoder":{"type":"Metaspace"},"normalizer":{"type":"Sequence","normalizers":[{"type":"Precompiled",)"
      R"("precompiled_charsmap":"CAAAAAAAAAAAAAAAAA=="},{"type":"Replace","pattern":{"Regex":" {2,}"},"content":"a"}]}})",
      R"({"model":{"type":"WordPiece","unk_token":"[UNK]","vocab":{"[UNK]":0,"[CLS]":1,"[SEP]":2,"a":3,"##b":4}},)"
      R"("normalizer":{"type":"BertNormalizer"},"pre_tokenizer":{"type":"BertPreTokenizer"},"decoder":{"type":)"
      R"("WordPiece"},"post_processor":{"type":"BertProcessing","cls":["[CLS]",1],"sep":["[SEP]",2]}})",
      R"({"model":{"type":"BPE","byte_fallback":true,"fuse_unk":true,"unk_token":"<unk>","end_of_word_suffix":"</w>",)"
      R"("vocab":{"<unk>":0,"a":1,"b</w>":2,"ab</w>":3,"<0x41>":4},"merges":["a b</w>"]},"normalizer":{"type":)"
      R"("Prepend","prepend":"a"},"decoder":{"type":"Sequence","decoders":[{"type":"Replace","pattern":{"String":"_"},)"
      R"("content":" "},{"type":"ByteFallback"},{"type":"Fuse"},{"type":"Strip","content":" ","start":1,"stop":0}]}})",
      R"({"model":{"type":"WordLevel","vocab":{"C":0,"N":1,"[UNK]":2},"unk_token":"[UNK]"},"pre_tokenizer":{"type":)"
      R"("Whitespace"},"added_tokens":[{"id":3,"content":"<s>","special":true}]})"};
}

std::vector<std::string> sentencepiece_seeds() {
  const std::string charsmap = raw(std::uint32_t{8}) + raw(std::uint64_t{0x0000004100000400}) + std::string("b\0", 2);
  return {raw_sentencepiece(),
          raw_sentencepiece(proto_field(2, proto_field(3, std::uint64_t{2}) + proto_field(35, std::uint64_t{1}))),
          raw_sentencepiece(proto_field(3, proto_field(2, charsmap))),
          raw_sentencepiece(proto_field(2, proto_field(3, std::uint64_t{3})))};
}

std::vector<std::string> tiktoken_seeds() {
  std::string ranks;
  for (int byte = 0; byte < 256; ++byte)
    ranks += base64(std::string(1, static_cast<char>(byte))) + " " + std::to_string(byte) + "\n";
  return {ranks + base64("he") + " 256\n" + base64("llo") + " 257\n= 258\n",
          base64("a") + " 0\r\n" + base64("b") + " 3\r\n"};
}

std::vector<std::string> llama2c_tokenizer_seeds() {
  std::string file = raw(std::int32_t{8});
  for (const char* piece : {"<unk>", "\n<s>\n", "\n</s>\n", " ", "a", "b", "ab", "<0x0A>"}) {
    file += raw(-1.0f) + raw(static_cast<std::int32_t>(std::string_view(piece).size())) + piece;
  }
  return {file};
}

std::vector<std::string> rwkv_seeds() {
  return {"1 '\\x00' 1\n2 'a' 1\n3 b'\\xff' 1\n4 'ab' 2\n5 \"it's\" 4\n6 '\\u00e9' 2\n"};
}

std::vector<std::string> grammar_seeds() {
  return {"root ::= \"a\" x{2,3} | [^a-z\\x00-\\u00ff]+ # comment\nx ::= (\"b\" | \"\\n\" y)? \"c\"\ny ::= [0-9]* .",
          "root ::= v\nv ::= \"[\" (v (\",\" v)*)? \"]\" | \"\\\"\" [^\"]* \"\\\"\" | \"-\"? [0-9]{1,9}",
          "root ::= \"a\" root \"b\" | \"a\" root \"c\" | \"\"\n  | \"\\U0001F600\"{,2}"};
}

std::vector<std::string> json_schema_seeds() {
  return {
      R"({"type":"object","properties":{"a":{"type":"integer","minimum":-5,"maximum":170},"b":{"$ref":"#/$defs/x"},)"
      R"("c":{"type":["string","null"],"maxLength":3}},"required":["a"],"additionalProperties":{"type":"number"},)"
      R"("$defs":{"x":{"type":"array","items":{"$ref":"#"},"minItems":1,"maxItems":3}}})",
      R"({"anyOf":[{"enum":["a",1,null]},{"const":{"x":[true]}},{"type":"string","pattern":"^(a|[b-d]+)\\d{2,3}.?$"}]})",
      R"({"allOf":[{"type":"object","properties":{"d":{"format":"date-time"}}},{"required":["d"]},{"minProperties":1}]})",
      R"({"prefixItems":[{"type":"number","exclusiveMinimum":0,"maximum":1},true],"items":false,"title":"t"})"};
}

std::vector<std::string> chat_template_seeds() {
  return {
      "{% for m in messages %}{{ '<|' + m['role'] + '|>' + m.content | trim }}{% endfor %}{% if add_generation_prompt "
      "%}x{% endif %}",
      "{%- set ns = namespace(a=0) -%}{% for i in range(3) %}{% set ns.a = ns.a + i %}{% endfor %}{{ ns.a // 2 ** 3 % "
      "2 }}",
      "{% macro f(x, y='z') %}{{ x ~ y }}{% endmacro %}{{ f(1) }}{{ messages | tojson(indent=2) }}{{ messages[::-1] | "
      "length }}",
      "{{ raise_exception('no') }}",
      "{% if messages[0].role == 'system' and not (x is defined) %}{{ bos_token }}{% elif 1 in [1] %}{% else %}{% "
      "endif %}",
      "{{ '%5.2f' % 3.14159 }}{{ '{:>8}'.format('a') }}{{ strftime_now('%d %b %Y') }}{{ [3,1,2] | sort | join(',') }}",
      "{% filter upper %}a{% endfilter %}{% call f() %}{% endcall %}{# c #}{% raw %}{{ }}{% endraw %}",
      "{% for k, v in {'a': 1, 'b': [1, {'c': none}]}.items() recursive %}{{ loop.index }}{{ k }}{{ v | string | "
      "replace('a','b') }}{% else %}{% break %}{% endfor %}",
      "{{ 'a b'.split(' ') | map('upper') | list }}{{ messages | selectattr('role', 'equalto', 'user') | first }}{{ "
      "'x' * 3 if true else 1.5e3 }}"};
}

std::vector<std::string> url_seeds() {
  return {"https://host.example:8443/a%20b/model-q4.gguf?download=true#top\n/elsewhere/x.gguf?y=z",
          "http://[fe80::1]:80/m\n//other.example/n.bin", "HTTP://a\nb/../c%2Fd"};
}

std::vector<std::string> model_seeds() {
  std::vector<std::string> seeds = gguf_seeds();
  for (const std::vector<std::string>& more :
       {safetensors_seeds(), lathe_seeds(), llama2c_seeds(), ctranslate2_seeds(), json_tensors_seeds()}) {
    seeds.insert(seeds.end(), more.begin(), more.end());
  }
  return seeds;
}

}  // namespace lathe::fuzz
