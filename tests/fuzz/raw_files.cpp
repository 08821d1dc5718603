#include "fuzz/raw_files.h"

#include <algorithm>
#include <bit>
#include <stdexcept>

#include "arch/weights.h"
#include "base/hash.h"
#include "formats/gguf_architecture.h"
#include "formats/gguf_writer.h"
#include "formats/matrix_stacks.h"
#include "tensor/codecs/block_codec.h"
#include "tensor/packed_tensor.h"

namespace lathe::fuzz {
namespace {

constexpr std::uint64_t kAlignment = 32;
constexpr std::uint32_t kVocab = 16, kWidth = 32;

std::uint64_t aligned(std::uint64_t size) { return (size + kAlignment - 1) / kAlignment * kAlignment; }

// Values in [-0.5, 0.5); vectors are gains near 1.
std::vector<float> values(const Shape& shape, std::uint32_t seed) {
  std::vector<float> result(shape.elements());
  for (float& value : result) {
    seed = seed * 1664525u + 1013904223u;
    value = static_cast<float>(seed >> 8) * 0x1p-24f - 0.5f + (shape.rank() == 1 ? 1.0f : 0.0f);
  }
  return result;
}

std::string floats(std::uint64_t count, std::uint32_t seed) {
  const auto numbers = values(Shape{1, count}, seed);
  return {reinterpret_cast<const char*>(numbers.data()), numbers.size() * sizeof(float)};
}

const std::vector<std::string>& pieces() {
  static const std::vector<std::string> kPieces = {"<unk>", "<s>",      "</s>", "\u2581",   "a", "b",
                                                   "ab",    "\u2581a",  "c",    "\u2581ab", "e", "<0x0A>",
                                                   "ce",    "\u2581ce", "l",    "el"};
  return kPieces;
}

void add_spm_vocabulary(RawGguf& file) {
  file.set_string("tokenizer.ggml.model", "llama");
  file.set_strings("tokenizer.ggml.tokens", pieces());
  std::string scores = raw(std::uint32_t{6}) + raw(std::uint64_t{kVocab}),
              kinds = raw(std::uint32_t{5}) + raw(std::uint64_t{kVocab});
  for (std::uint32_t id = 0; id < kVocab; ++id) {
    scores += raw(-static_cast<float>(id));
    kinds += raw(std::int32_t{id == 0 ? 2 : id < 3 ? 3 : id == 11 ? 6 : 1});
  }
  file.set("tokenizer.ggml.scores", 9, scores);
  file.set("tokenizer.ggml.token_type", 9, kinds);
  file.set_u32("tokenizer.ggml.bos_token_id", 1);
  file.set_u32("tokenizer.ggml.eos_token_id", 2);
  file.set_string("tokenizer.chat_template", "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}");
}

void add_bpe_vocabulary(RawGguf& file) {
  file.set_string("tokenizer.ggml.model", "gpt2");
  file.set_string("tokenizer.ggml.pre", "gpt-2");
  file.set_strings("tokenizer.ggml.tokens", {"a", "b", "c", "d", "e", "l", "o", "\u0120", "ab", "ce", "\u0120a",
                                             "\u0120ab", "el", "lo", "ello", "<|endoftext|>"});
  file.set_strings("tokenizer.ggml.merges", {"a b", "c e", "\u0120 a", "\u0120a b", "e l", "l o", "el lo"});
  std::string kinds = raw(std::uint32_t{5}) + raw(std::uint64_t{kVocab});
  for (std::uint32_t id = 0; id < kVocab; ++id) kinds += raw(std::int32_t{id == 15 ? 3 : 1});
  file.set("tokenizer.ggml.token_type", 9, kinds);
  file.set_u32("tokenizer.ggml.bos_token_id", 15);
  file.set_u32("tokenizer.ggml.eos_token_id", 15);
}

}  // namespace

void RawGguf::set(std::string_view name, std::uint32_t type, std::string content) {
  const auto it = std::find_if(keys.begin(), keys.end(), [&](const Key& key) { return key.name == name; });
  Key& key = it == keys.end() ? keys.emplace_back() : *it;
  key = {std::string(name), raw(type) + content};
}

void RawGguf::set_string(std::string_view name, std::string_view value) { set(name, 8, raw_string(value)); }

void RawGguf::set_strings(std::string_view name, const std::vector<std::string>& values) {
  std::string content = raw(std::uint32_t{8}) + raw(std::uint64_t{values.size()});
  for (const std::string& value : values) content += raw_string(value);
  set(name, 9, content);
}

void RawGguf::remove(std::string_view name) {
  std::erase_if(keys, [&](const Key& key) { return key.name == name; });
}

RawGguf::Tensor& RawGguf::tensor(std::string_view name) {
  const auto it = std::find_if(tensors.begin(), tensors.end(), [&](const Tensor& t) { return t.name == name; });
  if (it == tensors.end()) throw std::logic_error("no such tensor");
  return *it;
}

std::string RawGguf::header() const {
  std::string out = "GGUF" + raw(version) + raw(n_tensors.value_or(tensors.size())) + raw(n_keys.value_or(keys.size()));
  for (const Key& key : keys) out += raw_string(key.name) + key.value;
  std::uint64_t offset = 0;
  for (const Tensor& tensor : tensors) {
    out += raw_string(tensor.name) + raw(static_cast<std::uint32_t>(tensor.extents.size()));
    for (const std::uint64_t extent : tensor.extents) out += raw(extent);
    out += raw(tensor.type) + raw(tensor.offset.value_or(offset));
    offset += aligned(tensor.data.size());
  }
  return out;
}

std::string RawGguf::bytes() const {
  std::string out = header();
  out.resize(aligned(out.size()));
  for (const Tensor& tensor : tensors) {
    out += tensor.data;
    out.resize(aligned(out.size()));
  }
  return out;
}

std::string raw_string(std::string_view text) { return raw(std::uint64_t{text.size()}) + std::string(text); }

arch::Architecture tiny_architecture(std::string_view family) {
  arch::Architecture a;
  a.family = family;
  a.n_layers = 1;
  a.width = a.ffn_width = kWidth;
  a.n_heads = 2, a.n_kv_heads = 1;
  a.head_dim = a.v_head_dim = a.rotary_dim = 16;
  a.vocab_size = kVocab;
  a.context_length = 32;
  if (family == "gpt2") {
    a.norm = NormKind::kLayer;
    a.position = arch::PositionKind::kLearned;
    a.n_kv_heads = 2;
    a.activation = ActivationKind::kGeluTanh;
    a.gated_ffn = false;
    a.fused_qkv = a.attention_bias = a.output_bias = a.ffn_bias = a.norm_bias = a.tied_embeddings = true;
  }
  if (family == "t5") {
    a = arch::find_family("t5")->defaults;
    a.n_layers = 2;
    a.width = a.ffn_width = kWidth;
    a.n_heads = a.n_kv_heads = 2;
    a.head_dim = a.v_head_dim = 16;
    a.relative.buckets = 8;
    a.vocab_size = kVocab;
    a.context_length = 32;
    arch::find_family("t5")->settle(a);
  }
  if (family == "qwen2moe") {
    const arch::Architecture shape = a;
    a = arch::find_family(family)->defaults;
    a.n_layers = 2;
    a.width = shape.width, a.ffn_width = shape.ffn_width;
    a.n_heads = shape.n_heads, a.n_kv_heads = shape.n_kv_heads;
    a.head_dim = a.v_head_dim = a.rotary_dim = shape.head_dim;
    a.vocab_size = shape.vocab_size, a.context_length = shape.context_length;
    a.moe.n_experts = 4, a.moe.top_k = 2;
    a.moe.ffn_width = kWidth, a.moe.shared_ffn_width = 2 * kWidth;
  }
  return a;
}

RawGguf raw_model(std::string_view family, std::string_view codec) {
  const arch::Architecture a = tiny_architecture(family);
  formats::Metadata metadata("seed");
  formats::architecture_to_gguf(a, metadata);
  RawGguf file;
  for (const auto& [key, value] : metadata.items()) {
    formats::Metadata one("seed");
    one.set(key, value);
    std::string encoded;
    formats::append_gguf_metadata(one, encoded);
    file.keys.push_back({key, encoded.substr(8 + key.size())});
  }
  if (family == "gpt2") {
    add_bpe_vocabulary(file);
  } else {
    add_spm_vocabulary(file);
  }
  std::uint32_t seed = 1;
  std::vector<formats::TensorSource> sources;
  for (const arch::WeightSpec& spec : arch::weight_schema(a)) {
    const bool fits = spec.shape.rank() > 1 && spec.shape.cols() % codec_named(codec).column_alignment({}) == 0;
    const Codec& wanted = codec_named(fits ? codec : std::string_view("F32"));
    const PackedTensor tensor = pack(spec.name, wanted, spec.shape, values(spec.shape, seed++));
    sources.push_back({spec.name, &wanted, {}, spec.shape, [tensor] { return tensor; }});
  }
  for (const formats::TensorSource& source : formats::stacked(std::move(sources), "seed")) {
    std::vector<std::uint64_t> extents;
    for (int axis = source.shape.rank() - 1; axis >= 0; --axis) extents.push_back(source.shape[axis]);
    file.tensors.push_back({arch::gguf_name(*arch::find_family(a.family), source.name),
                            extents,
                            static_cast<std::uint32_t>(block_format(*source.codec)->ggml_type),
                            std::string(source.read().parts[0].data.text()),
                            {}});
  }
  return file;
}

std::string raw_llama2c(int version) {
  // dim, hidden_dim, n_layers, n_heads, n_kv_heads, vocab_size, seq_len
  std::string out;
  if (version > 0) out += raw(std::uint32_t{0x616b3432}) + raw(std::int32_t{version});
  for (const std::int32_t field : {32, 32, 1, 2, 1, 16, 8}) out += raw(field);
  const std::uint64_t table = kVocab * kWidth, matrices = kWidth * kWidth * 5 + 2 * 16 * kWidth, norms = 3 * kWidth;
  if (version == 0) return out + floats(table + matrices + norms + 8 * 16, 7);
  out += '\1';  // the head is the embedding
  if (version == 2) out += raw(std::int32_t{32});
  out.resize(256);
  if (version == 1) return out + floats(table + matrices + norms, 7);
  const std::uint64_t quantized = table + matrices;
  out += floats(norms, 7);
  for (std::uint64_t i = 0; i < quantized; ++i) out += static_cast<char>(i * 37);
  return out + floats(quantized / 32, 9);
}

void RawCTranslate2::set(const std::string& name, std::vector<std::uint32_t> shape, std::uint8_t item_bytes) {
  std::uint64_t elements = 1;
  for (const std::uint32_t extent : shape) elements *= extent;
  std::string data = floats(elements, static_cast<std::uint32_t>(variables.size()) + 3);
  if (item_bytes != 4) data = data.substr(0, elements * item_bytes);
  variables.push_back({name, std::move(shape), item_bytes, static_cast<std::uint32_t>(elements), std::move(data)});
}

RawCTranslate2::Variable& RawCTranslate2::at(std::string_view name) {
  for (Variable& variable : variables) {
    if (variable.name == name) return variable;
  }
  throw std::logic_error("no variable " + std::string(name));
}

std::string RawCTranslate2::bytes() const {
  const auto text = [](const std::string& name) {
    return raw(static_cast<std::uint16_t>(name.size() + 1)) + name + std::string(1, '\0');
  };
  std::string out = raw(version) + text(specification) + raw(revision) +
                    raw(count.value_or(static_cast<std::uint32_t>(variables.size())));
  for (const Variable& variable : variables) {
    out += text(variable.name) + static_cast<char>(variable.shape.size());
    for (const std::uint32_t extent : variable.shape) out += raw(extent);
    out += static_cast<char>(variable.item_bytes);
    out += raw(variable.count) + variable.data;
  }
  return out;
}

RawCTranslate2 raw_ctranslate2(std::uint8_t item_bytes) {
  constexpr std::uint32_t kFfn = 16;
  RawCTranslate2 file;
  const auto matrix = [&](const std::string& name, std::uint32_t rows, std::uint32_t cols, bool bias) {
    file.set(name + "/weight", {rows, cols}, item_bytes);
    if (item_bytes != 4) {
      file.set(name + "/weight_scale", {}, 4);
      file.variables.back().data = raw(1000.0f);
    }
    if (bias) file.set(name + "/bias", {rows}, 4);
  };
  const auto norm = [&](const std::string& name) {
    file.set(name + "/gamma", {kWidth}, 4);
    file.set(name + "/beta", {kWidth}, 4);
  };
  for (const bool decoder : {false, true}) {
    const std::string side = decoder ? "decoder/" : "encoder/", layer = side + "layer_0/";
    matrix(side + "embeddings", decoder ? kVocab : kVocab + 4, kWidth, false);
    norm(layer + "self_attention/layer_norm");
    matrix(layer + "self_attention/linear_0", 3 * kWidth, kWidth, true);
    matrix(layer + "self_attention/linear_1", kWidth, kWidth, true);
    if (decoder) {
      norm(layer + "attention/layer_norm");
      matrix(layer + "attention/linear_0", kWidth, kWidth, true);
      matrix(layer + "attention/linear_1", 2 * kWidth, kWidth, true);
      matrix(layer + "attention/linear_2", kWidth, kWidth, true);
    }
    norm(layer + "ffn/layer_norm");
    matrix(layer + "ffn/linear_0", kFfn, kWidth, true);
    matrix(layer + "ffn/linear_1", kWidth, kFfn, true);
    norm(side + "layer_norm");
  }
  matrix("decoder/projection", kVocab, kWidth, true);
  return file;
}

std::string raw_safetensors(std::string_view header, std::string_view data) {
  return raw(std::uint64_t{header.size()}) + std::string(header) + std::string(data);
}

std::string raw_prefixes() {
  constexpr std::uint32_t kBlockTokens = 4;
  constexpr std::uint64_t kBlockBytes = 256;  // on the CPU
  const auto text = [](std::string_view value) {
    return raw(static_cast<std::uint32_t>(value.size())) + std::string(value);
  };
  std::string table = raw(std::uint64_t{1}) + text("fuzz") + text("int8");
  for (const std::uint32_t number : {1u, 1u, 1u, kBlockTokens, 1u}) table += raw(number);
  table += raw(kBlockBytes) + raw(std::uint32_t{2}) + text("full") + text("full\n0123456789abcdef");
  // Two below the scopes, three behind those.
  const std::vector<std::uint32_t> follows = {0, 2, 1, 4, 2};
  table += raw(static_cast<std::uint32_t>(follows.size()));
  std::string blocks;
  for (std::size_t i = 0; i < follows.size(); ++i) {
    table += raw(follows[i]);
    for (std::uint32_t token = 0; token < kBlockTokens; ++token) table += raw(std::uint64_t{i + token});
    const std::string bytes(kBlockBytes, static_cast<char>('a' + i));
    blocks += raw(hash64(bytes)) + bytes;
  }
  return "LPFX" + raw(std::uint32_t{1}) + raw(std::uint64_t{table.size()}) + raw(hash64(table)) + table + blocks;
}

const char* const kTinyConfig =
    R"({"model_type":"llama","hidden_size":32,"intermediate_size":32,"num_hidden_layers":1,"num_attention_heads":2,)"
    R"("num_key_value_heads":1,"vocab_size":16,"max_position_embeddings":32,"rms_norm_eps":1e-05,)"
    R"("tie_word_embeddings":true,"hidden_act":"silu","rope_theta":10000.0})";

std::string raw_hugging_face(std::string_view config) {
  struct Entry {
    const char* name;
    std::vector<int> extents;
  };
  const Entry entries[] = {{"model.embed_tokens.weight", {16, 32}},
                           {"model.layers.0.input_layernorm.weight", {32}},
                           {"model.layers.0.self_attn.q_proj.weight", {32, 32}},
                           {"model.layers.0.self_attn.k_proj.weight", {16, 32}},
                           {"model.layers.0.self_attn.v_proj.weight", {16, 32}},
                           {"model.layers.0.self_attn.o_proj.weight", {32, 32}},
                           {"model.layers.0.post_attention_layernorm.weight", {32}},
                           {"model.layers.0.mlp.gate_proj.weight", {32, 32}},
                           {"model.layers.0.mlp.up_proj.weight", {32, 32}},
                           {"model.layers.0.mlp.down_proj.weight", {32, 32}},
                           {"model.norm.weight", {32}}};
  std::string quoted;  // the config as a JSON string
  for (const char c : config.empty() ? std::string_view(kTinyConfig) : config) {
    if (c == '"' || c == '\\') quoted += '\\';
    quoted += c;
  }
  std::string header = R"({"__metadata__":{"config.json":")" + quoted + "\"}", data;
  for (const Entry& entry : entries) {
    std::uint64_t count = 1;
    std::string extents;
    for (const int extent : entry.extents) {
      count *= static_cast<std::uint64_t>(extent);
      extents += (extents.empty() ? "" : ",") + std::to_string(extent);
    }
    header += std::string(",\"") + entry.name + R"(":{"dtype":"F32","shape":[)" + extents + R"(],"data_offsets":[)" +
              std::to_string(data.size());
    data += floats(count, 5);
    header += "," + std::to_string(data.size()) + "]}";
  }
  return raw_safetensors(header + "}", data);
}

std::string proto_varint(std::uint64_t value) {
  std::string out;
  for (; value >= 0x80; value >>= 7) out += static_cast<char>(value | 0x80);
  return out + static_cast<char>(value);
}

std::string proto_field(std::uint32_t number, std::string_view bytes) {
  return proto_varint(std::uint64_t{number} << 3 | 2) + proto_varint(bytes.size()) + std::string(bytes);
}

std::string proto_field(std::uint32_t number, std::uint64_t value) {
  return proto_varint(std::uint64_t{number} << 3) + proto_varint(value);
}

std::string sentencepiece_piece(std::string_view piece, float score, int kind) {
  return proto_field(1, proto_field(1, piece) + '\x15' + raw(score) + proto_field(3, static_cast<std::uint64_t>(kind)));
}

std::string raw_sentencepiece(std::string_view extra) {
  std::string out;
  for (std::size_t id = 0; id < pieces().size(); ++id) {
    out += sentencepiece_piece(pieces()[id], -static_cast<float>(id), id == 0 ? 2 : id < 3 ? 3 : id == 11 ? 6 : 1);
  }
  return out + proto_field(2, proto_field(3, std::uint64_t{1})) + proto_field(3, proto_field(1, "nmt_nfkc")) +
         std::string(extra);
}

std::string base64(std::string_view bytes) {
  static constexpr std::string_view kAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    std::uint32_t word = 0;
    for (std::size_t j = 0; j < 3; ++j) {
      word = word << 8 | (i + j < bytes.size() ? static_cast<unsigned char>(bytes[i + j]) : 0u);
    }
    for (std::size_t j = 0; j < 4; ++j) {
      out += i + j > bytes.size() ? '=' : kAlphabet[word >> (18 - 6 * j) & 63];
    }
  }
  return out;
}

}  // namespace lathe::fuzz
