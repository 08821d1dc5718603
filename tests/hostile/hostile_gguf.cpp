// GGUF files made by hand, each wrong in one way.
#include <bit>
#include <limits>

#include "base/file.h"
#include "fuzz/raw_files.h"
#include "hostile/hostile_files.h"

namespace lathe::fuzz {
namespace {

constexpr std::uint64_t k2p60 = std::uint64_t{1} << 60, k2p63 = std::uint64_t{1} << 63, kMax = ~std::uint64_t{0};
constexpr std::uint32_t kU32 = 4, kI32 = 5, kF32 = 6, kBool = 7, kString = 8, kArray = 9, kU64 = 10;

// A whole file given as bytes.
HostileFile file_of(std::string name, std::string fault, std::string content) {
  return {std::move(name),
          "model.gguf",
          "model.gguf",
          std::move(fault),
          Load::kModel,
          [content = std::move(content)](const auto& folder) { write_file(folder / "model.gguf", content); }};
}

// The tiny model after `change`.
template <class Change>
HostileFile changed(std::string name, std::string fault, Change change, const char* codec = "F32",
                    const char* family = "llama") {
  RawGguf model = raw_model(family, codec);
  change(model);
  return file_of(std::move(name), std::move(fault), model.bytes());
}

std::string array_of(std::uint32_t type, std::uint64_t count, std::string_view content) {
  return raw(type) + raw(count) + std::string(content);
}

HostileFile key(std::string name, std::string fault, std::string_view key, std::uint32_t type, std::string content) {
  return changed(std::move(name), std::move(fault), [&](RawGguf& model) { model.set(key, type, std::move(content)); });
}

template <class T>
std::string constant(std::size_t count, T value) {
  std::string out;
  for (std::size_t i = 0; i < count; ++i) out += raw(value);
  return out;
}

}  // namespace

std::vector<HostileFile> hostile_gguf_translators() {
  const auto t5 = [](std::string name, std::string fault, auto change) {
    return changed(std::move(name), std::move(fault), change, "F32", "t5");
  };
  const auto size = [&](std::string name, std::string fault, std::string_view field, std::uint32_t value) {
    return t5(std::move(name), std::move(fault),
              [&](RawGguf& model) { model.set_u32("t5." + std::string(field), value); });
  };
  const auto without = [&](std::string name, std::string_view tensor) {
    return t5(std::move(name), "\"" + std::string(tensor) + "\" is missing",
              [&](RawGguf& model) { model.tensor(tensor).name = "gone"; });
  };
  return {
      size("T5 without buckets", "0 buckets", "attention.relative_buckets_count", 0),
      size("T5 of 2^32-1 buckets", "4294967295 buckets", "attention.relative_buckets_count", 0xffffffff),
      size("T5 of other buckets", "enc.blk.0.attn_rel_b.weight", "attention.relative_buckets_count", 16),
      size("T5 without a decoder", "layer count is 0", "decoder_block_count", 0),
      size("T5 of 2^31 decoder layers", "layer count is", "decoder_block_count", 1u << 31),
      size("T5 of 3 decoder layers", "dec.blk.2", "decoder_block_count", 3),
      size("T5 without an encoder", "encoder", "block_count", 0),
      size("T5 that starts with no token", "outside the vocabulary", "decoder_start_token_id", 1u << 20),
      without("T5 without biases by distance", "enc.blk.0.attn_rel_b.weight"),
      t5("T5 without the encoder's last norm", "\"enc.output_norm.weight\" is missing",
         [](RawGguf& model) { model.tensor("enc.output_norm.weight").name = "gone"; }),
      t5("T5 with a short cross attention", "dec.blk.1.cross_attn_output.weight",
         [](RawGguf& model) {
           model.tensor("dec.blk.1.cross_attn_o.weight").extents = {16, 32};
         }),
      t5("T5 with biases for every layer", "UMT5",
         [](RawGguf& model) {
           RawGguf::Tensor tensor = model.tensor("dec.blk.0.attn_rel_b.weight");
           tensor.name = "dec.blk.1.attn_rel_b.weight";
           model.tensors.push_back(tensor);
         }),
  };
}

std::vector<HostileFile> hostile_gguf_experts() {
  const auto moe = [](std::string name, std::string fault, auto change) {
    return changed(std::move(name), std::move(fault), change, "F32", "qwen2moe");
  };
  const auto size = [&](std::string name, std::string fault, std::string_view field, std::uint32_t value) {
    return moe(std::move(name), std::move(fault),
               [&](RawGguf& model) { model.set_u32("qwen2moe." + std::string(field), value); });
  };
  const auto without = [&](std::string name, std::string_view tensor, std::string_view missing) {
    return moe(std::move(name), "\"" + std::string(missing) + "\" is missing",
               [&](RawGguf& model) { model.tensor(tensor).name = "gone"; });
  };
  const auto reshaped = [&](std::string name, std::string_view tensor, std::vector<std::uint64_t> extents,
                            std::string_view fault) {
    return moe(std::move(name), std::string(fault), [&](RawGguf& model) { model.tensor(tensor).extents = extents; });
  };
  const auto factor = [&](std::string name, std::string fault, float value) {
    return moe(std::move(name), std::move(fault),
               [&](RawGguf& model) { model.set_f32("qwen2moe.expert_weights_scale", value); });
  };
  return {
      size("0 experts, and tensors of some", "\"blk.0.ffn_gate_inp.weight\" is a router", "expert_count", 0),
      size("2^32-1 experts", "expert count is 4294967295", "expert_count", 0xffffffff),
      size("2^20 experts", "expert count is 1048576", "expert_count", 1u << 20),
      size("an expert more than the tensors hold", "\"blk.0.ffn_gate_inp.weight\" has shape", "expert_count", 5),
      size("an expert less than the tensors hold", "\"blk.0.ffn_gate_inp.weight\" has shape", "expert_count", 3),
      size("more experts per token than experts", "number of experts per token is 5", "expert_used_count", 5),
      size("2^32-1 experts per token", "number of experts per token is 4294967295", "expert_used_count", 0xffffffff),
      size("no expert per token", "number of experts per token is 0", "expert_used_count", 0),
      moe("nothing about experts per token", "expert_used_count",
          [](RawGguf& model) { model.remove("qwen2moe.expert_used_count"); }),
      size("experts of width 0", "feed-forward width of experts is 0", "expert_feed_forward_length", 0),
      size("experts of another width", "\"blk.0.ffn_gate.0.weight\" has shape", "expert_feed_forward_length", 64),
      size("experts of width 2^32-1", "each expert is 4294967295 wide", "expert_feed_forward_length", 0xffffffff),
      size("a shared expert of another width", "\"blk.0.ffn_gate_shexp.weight\" has shape",
           "expert_shared_feed_forward_length", 32),
      size("a shared expert of width 2^32-1", "width of the shared experts is", "expert_shared_feed_forward_length",
           0xffffffff),
      moe("2^32-1 shared experts", "expert_shared_count",
          [](RawGguf& model) {
            model.remove("qwen2moe.expert_shared_feed_forward_length");
            model.set_u32("qwen2moe.expert_shared_count", 0xffffffff);
          }),
      size("experts in 3 groups", "do not divide into 3 groups", "expert_group_count", 3),
      size("more groups of experts than experts", "number of expert groups is 8", "expert_group_count", 8),
      size("more groups per token than groups", "number of expert groups per token is 2", "expert_group_used_count", 2),
      size("an unknown score of experts", "expert_gating_func", "expert_gating_func", 99),
      size("more dense layers than layers", "3 dense layers", "leading_dense_block_count", 3),
      size("a dense layer that has experts", "\"blk.0.ffn_gate.weight\" is missing", "leading_dense_block_count", 1),
      factor("a scale of expert weights that is no number", "scale of expert weights",
             std::numeric_limits<float>::quiet_NaN()),
      without("no router", "blk.1.ffn_gate_inp.weight", "blk.1.ffn_gate_inp.weight"),
      without("no experts' gates", "blk.0.ffn_gate_exps.weight", "blk.0.ffn_gate.0.weight"),
      without("no experts' outputs", "blk.1.ffn_down_exps.weight", "blk.1.ffn_down.0.weight"),
      without("no shared expert", "blk.0.ffn_up_shexp.weight", "blk.0.ffn_up_shexp.weight"),
      reshaped("fewer matrices than experts", "blk.0.ffn_up_exps.weight", {32, 32, 3},
               "\"blk.0.ffn_up.3.weight\" is missing"),
      reshaped("narrow experts", "blk.0.ffn_down_exps.weight", {16, 32, 4}, "\"blk.0.ffn_down.0.weight\" has shape"),
      reshaped("experts in one matrix", "blk.0.ffn_up_exps.weight", {32, 128}, "\"blk.0.ffn_up.0.weight\" is missing"),
      reshaped("experts of four dimensions", "blk.0.ffn_up_exps.weight", {32, 32, 2, 2},
               "\"blk.0.ffn_up.0.weight\" is missing"),
      reshaped("2^60 experts in a tensor", "blk.0.ffn_up_exps.weight", {32, 32, k2p60}, "blk.0.ffn_up_exps.weight"),
      reshaped("no expert in a tensor", "blk.0.ffn_up_exps.weight", {32, 32, 0}, "blk.0.ffn_up_exps.weight"),
      reshaped("a router of another width", "blk.0.ffn_gate_inp.weight", {16, 4},
               "\"blk.0.ffn_gate_inp.weight\" has shape"),
      reshaped("a shared gate for every expert", "blk.0.ffn_gate_inp_shexp.weight", {8, 4},
               "blk.0.ffn_gate_inp_shexp.weight"),
      moe("an expert twice", "appears twice",
          [](RawGguf& model) {
            RawGguf::Tensor tensor = model.tensor("blk.0.ffn_gate_shexp.weight");
            tensor.name = "blk.0.ffn_gate.1.weight";
            model.tensors.push_back(tensor);
          }),
  };
}

std::vector<HostileFile> hostile_gguf_headers() {
  const std::string good = raw_model().bytes();
  const std::size_t header = raw_model().header().size();
  std::vector<HostileFile> files = {
      file_of("nothing", "is empty", ""),
      file_of("magic only", "the version needs 4 bytes", good.substr(0, 4)),
      file_of("cut after the version", "the number of tensors needs 8 bytes", good.substr(0, 8)),
      file_of("cut in the counts", "the number of metadata keys needs 8 bytes", good.substr(0, 20)),
      file_of("cut before the first key", "promises", good.substr(0, 24)),
      file_of("cut inside a key", "metadata", good.substr(0, 40)),
      file_of("cut inside the tensor table", "tensor", good.substr(0, header - 20)),
      file_of("cut before the data", "the file is truncated", good.substr(0, header)),
      file_of("cut inside the data", "the file is truncated", good.substr(0, good.size() - 200)),
      changed("version 1", "version 1", [](RawGguf& m) { m.version = 1; }),
      changed("version 4", "version 4", [](RawGguf& m) { m.version = 4; }),
      changed("other byte order", "big-endian", [](RawGguf& m) { m.version = 0x03000000; }),
      changed("2^60 tensors", "promises 1152921504606846976 tensors", [](RawGguf& m) { m.n_tensors = k2p60; }),
      changed("2^64-1 tensors", "18446744073709551615 tensors", [](RawGguf& m) { m.n_tensors = kMax; }),
      changed("one tensor too many", "tensor", [](RawGguf& m) { m.n_tensors = m.tensors.size() + 1; }),
      changed("2^60 keys", "promises 1152921504606846976 metadata keys", [](RawGguf& m) { m.n_keys = k2p60; }),
      changed("one key too many", "the file is truncated", [](RawGguf& m) { m.n_keys = m.keys.size() + 1; }),
      file_of("key name of 2^60 bytes", "metadata key needs 1152921504606846976 bytes",
              "GGUF" + raw(3u) + raw(std::uint64_t{0}) + raw(std::uint64_t{1}) + raw(k2p60) + std::string(64, 'x')),
      file_of("key name of 2^64-1 bytes", "metadata key needs 18446744073709551615 bytes",
              "GGUF" + raw(3u) + raw(std::uint64_t{0}) + raw(std::uint64_t{1}) + raw(kMax) + std::string(64, 'x')),
      key("string of 2^60 bytes", "needs 1152921504606846976 bytes", "general.name", kString, raw(k2p60)),
      key("array of 2^60 strings", "promises 1152921504606846976 strings", "x", kArray, array_of(kString, k2p60, {})),
      key("array of 2^61 numbers", "bytes of a metadata array overflows", "x", kArray, array_of(kU64, k2p60 * 2, {})),
      key("array of 2^60 bytes", "needs 1152921504606846976 bytes", "x", kArray, array_of(0, k2p60, {})),
      key("array of arrays", "is an array of arrays", "x", kArray, array_of(kArray, 1, array_of(kU32, 1, raw(1u)))),
      key("array of an unknown type", "unknown type 77", "x", kArray, array_of(77, 1, raw(1u))),
      key("value of an unknown type", "unknown type 13", "x", 13, raw(1u)),
      key("boolean of 2", "boolean of value 2", "x", kBool, std::string(1, '\2')),
      key("key with a control character", "printable ASCII", "evil\x1b[2J", kU32, raw(1u)),
      key("key without a name", "printable ASCII", "", kU32, raw(1u)),
      changed("the same key twice", "appears twice", [](RawGguf& m) { m.keys.push_back(m.keys.front()); }),
      key("alignment 0", "general.alignment is 0", "general.alignment", kU32, raw(0u)),
      key("alignment 3", "general.alignment is 3", "general.alignment", kU32, raw(3u)),
      key("alignment 2^40", "general.alignment is 1099511627776", "general.alignment", kU64,
          raw(std::uint64_t{1} << 40)),
      key("alignment 2^63", "general.alignment", "general.alignment", kU64, raw(k2p63)),
      key("alignment -32", "general.alignment is -32", "general.alignment", kI32, raw(-32)),
      key("alignment of text", "\"general.alignment\" is not an integer", "general.alignment", kString,
          raw_string("32")),
  };
  std::string many;
  for (int i = 0; i < 20'000; ++i) many += raw_string("k" + std::to_string(i)) + raw(kU32) + raw(1u);
  files.push_back(file_of("20000 keys", "20000 metadata keys",
                          "GGUF" + raw(3u) + raw(std::uint64_t{0}) + raw(std::uint64_t{20'000}) + many));
  return files;
}

std::vector<HostileFile> hostile_gguf_tensors() {
  const auto tensor = [](std::string name, std::string fault, auto change) {
    return changed(std::move(name), std::move(fault), [&](RawGguf& m) { change(m.tensor("blk.0.attn_q.weight")); });
  };
  return {
      tensor("no dimensions", "has 0 dimensions", [](auto& t) { t.extents = {}; }),
      tensor("five dimensions", "has 5 dimensions",
             [](auto& t) {
               t.extents = {1, 1, 1, 1, 1};
             }),
      tensor("a dimension of zero", "dimension of size zero",
             [](auto& t) {
               t.extents = {32, 0};
             }),
      // CVE-2026-27940: sizes whose arithmetic overflows.
      tensor("element count overflows", "overflow",
             [](auto& t) {
               t.extents = {k2p63, 4};
             }),
      tensor("element count wraps to 0", "overflow",
             [](auto& t) {
               t.extents = {k2p60, k2p60, k2p60, k2p60};
             }),
      tensor("byte count overflows", "bytes of a tensor overflows",
             [](auto& t) {
               t.extents = {32, k2p60 * 2 / 32};
               t.extents[1] *= 2;
             }),
      tensor("byte count of a row overflows", "overflows",
             [](auto& t) {
               t.extents = {k2p60 * 8, 1};
             }),
      tensor("offset wraps past 2^64", "overflows", [](auto& t) { t.offset = kMax - 31; }),
      tensor("offset 2^63", "tensor \"blk.0.attn_q.weight\" needs", [](auto& t) { t.offset = k2p63; }),
      tensor("offset past the end", "but only 0 bytes are there", [](auto& t) { t.offset = 1 << 20; }),
      tensor("offset between alignments", "not a multiple of 32", [](auto& t) { t.offset = 33; }),
      // CVE-2026-7482: extents that claim more than the file holds.
      tensor("more rows than data", "tensor \"blk.0.attn_q.weight\" needs",
             [](auto& t) {
               t.extents = {32, 1 << 20};
             }),
      tensor("wider than the data", "tensor \"blk.0.attn_q.weight\" needs",
             [](auto& t) {
               t.extents = {1 << 20, 32};
             }),
      tensor("2^40 rows", "tensor \"blk.0.attn_q.weight\" needs",
             [](auto& t) {
               t.extents = {32, std::uint64_t{1} << 40};
             }),
      tensor("an unknown type", "tensor type 9999", [](auto& t) { t.type = 9999; }),
      tensor("a type that was removed", "tensor type 4", [](auto& t) { t.type = 4; }),
      tensor("type 2^32-1", "tensor type 4294967295", [](auto& t) { t.type = 0xffffffff; }),
      tensor("blocks that do not divide", "blk.0.attn_q.weight",
             [](auto& t) {
               t.type = 8;
               t.extents = {33, 32};
             }),
      tensor("k-quant of 32 columns", "blk.0.attn_q.weight", [](auto& t) { t.type = 14; }),
      tensor("a name of another shape", "[64, 16]",
             [](auto& t) {
               t.extents = {16, 64};
             }),
      tensor("a vector for a matrix", "blk.0.attn_q.weight", [](auto& t) { t.extents = {1024}; }),
      tensor("a missing tensor", "blk.0.attn_q.weight", [](auto& t) { t.name = "blk.0.attn_x.weight"; }),
      changed("the same tensor twice", "appears twice", [](RawGguf& m) { m.tensors.push_back(m.tensors.front()); }),
      changed("a name with a control character", "printable ASCII", [](RawGguf& m) { m.tensors[2].name = "a\nb"; }),
      changed("NaN in a norm", "output_norm.weight",
              [](RawGguf& m) {
                m.tensor("output_norm.weight").data = constant(32, std::numeric_limits<float>::quiet_NaN());
              }),
      changed("infinity in a norm", "blk.0.ffn_norm.weight",
              [](RawGguf& m) {
                m.tensor("blk.0.ffn_norm.weight").data = constant(32, std::numeric_limits<float>::infinity());
              }),
      changed("NaN in a matrix", "logit is NaN",
              [](RawGguf& m) {
                m.tensor("blk.0.ffn_down.weight").data = constant(1024, std::numeric_limits<float>::quiet_NaN());
              }),
      changed(
          "NaN as half", "logit is NaN",
          [](RawGguf& m) { m.tensor("output.weight").data = constant(512, std::uint16_t{0x7e00}); }, "F16"),
      changed(
          "NaN scales", "logit is NaN",
          [](RawGguf& m) { m.tensor("output.weight").data = constant(16 * 17, std::uint16_t{0x7e00}); }, "Q8_0"),
      changed("NaN embeddings", "logit is NaN",
              [](RawGguf& m) {
                m.tensor("token_embd.weight").data = constant(512, std::numeric_limits<float>::quiet_NaN());
              }),
      changed("rotary factors of the wrong length", "RoPE factors",
              [](RawGguf& m) {
                m.tensors.push_back({"rope_freqs.weight", {7}, 0, constant(7, 1.0f), {}});
              }),
      changed("rotary factor 0", "RoPE factor",
              [](RawGguf& m) {
                m.tensors.push_back({"rope_freqs.weight", {8}, 0, constant(8, 0.0f), {}});
              }),
      changed("rotary factor NaN", "RoPE factor",
              [](RawGguf& m) {
                m.tensors.push_back(
                    {"rope_freqs.weight", {8}, 0, constant(8, std::numeric_limits<float>::quiet_NaN()), {}});
              }),
  };
}

std::vector<HostileFile> hostile_gguf_models() {
  const auto size = [](std::string name, std::string fault, std::string_view field, std::uint32_t value) {
    return key(std::move(name), std::move(fault), std::string("llama.") + std::string(field), kU32, raw(value));
  };
  const auto number = [](std::string name, std::string fault, std::string_view field, float value) {
    return key(std::move(name), std::move(fault), std::string("llama.") + std::string(field), kF32, raw(value));
  };
  const float nan = std::numeric_limits<float>::quiet_NaN(), infinity = std::numeric_limits<float>::infinity();
  std::vector<HostileFile> files = {
      changed("no architecture", "general.architecture", [](RawGguf& m) { m.remove("general.architecture"); }),
      key("unknown architecture", "nonsense", "general.architecture", kString, raw_string("nonsense")),
      key("architecture of a megabyte", "...", "general.architecture", kString, raw_string(std::string(1 << 20, 'x'))),
      key("architecture is a number", "\"general.architecture\" is not a string", "general.architecture", kU32,
          raw(1u)),
      changed("no layer count", "llama.block_count", [](RawGguf& m) { m.remove("llama.block_count"); }),
      key("layer count is text", "llama.block_count", "llama.block_count", kString, raw_string("1")),
      key("layer count 2^32", "llama.block_count", "llama.block_count", kU64, raw(std::uint64_t{1} << 32)),
      key("layer count -1", "llama.block_count", "llama.block_count", kI32, raw(-1)),
      size("no layers", "layer count is 0", "block_count", 0),
      size("2^31 layers", "layer count is 2147483648", "block_count", 1u << 31),
      size("4096 layers", "blk.1.", "block_count", 4096),
      size("width 0", "model width is 0", "embedding_length", 0),
      size("width 64", "expected [", "embedding_length", 64),
      size("width 2^31", "model width is 2147483648", "embedding_length", 1u << 31),
      size("zero heads", "head_count", "attention.head_count", 0),
      size("heads do not divide the width", "does not divide", "attention.head_count", 3),
      size("2^31 heads", "head", "attention.head_count", 1u << 31),
      size("zero KV heads", "KV head count is 0", "attention.head_count_kv", 0),
      size("more KV heads than heads", "KV head count is 4", "attention.head_count_kv", 4),
      key("heads differ per layer", "differs from layer to layer", "llama.attention.head_count", kArray,
          array_of(kU32, 2, raw(2u) + raw(4u))),
      key("heads of no layer", "is an empty array", "llama.attention.head_count", kArray, array_of(kU32, 0, {})),
      size("head size 2^31", "head dimension", "attention.key_length", 1u << 31),
      size("value head size 0", "value head dimension is 0", "attention.value_length", 0),
      size("feed-forward width 0", "feed-forward width is 0", "feed_forward_length", 0),
      size("context 0", "context length is 0", "context_length", 0),
      size("context 2^32-1", "context length is 4294967295", "context_length", 0xffffffff),
      size("odd rotary size", "rotary dimension 7 is odd", "rope.dimension_count", 7),
      size("rotary size beyond the head", "rotary dimension is 64", "rope.dimension_count", 64),
      number("RoPE base 0", "RoPE base is 0", "rope.freq_base", 0),
      number("RoPE base NaN", "RoPE base is nan", "rope.freq_base", nan),
      number("RoPE base infinite", "RoPE base is inf", "rope.freq_base", infinity),
      number("RoPE factor NaN", "RoPE scaling factor is nan", "rope.scaling.factor", nan),
      number("RoPE factor -1", "RoPE scaling factor is -1", "rope.scaling.factor", -1),
      number("epsilon NaN", "norm epsilon is nan", "attention.layer_norm_rms_epsilon", nan),
      number("epsilon -1", "norm epsilon is -1", "attention.layer_norm_rms_epsilon", -1),
      number("logit scale infinite", "logit scale is inf", "logit_scale", infinity),
      key("unknown RoPE scaling", "\"warp\" is not supported", "llama.rope.scaling.type", kString, raw_string("warp")),
      key("LongRope without factors", "LongRope needs", "llama.rope.scaling.type", kString, raw_string("longrope")),
      changed("vocabulary larger than the embedding", "the tokenizer has 16 tokens, but the model only 8",
              [](RawGguf& m) {
                for (const char* name : {"token_embd.weight", "output.weight"}) m.tensor(name).extents = {32, 8};
              }),
      changed("embedding and head disagree", "output.weight",
              [](RawGguf& m) {
                m.tensor("output.weight").extents = {32, 8};
              }),
      changed(
          "learned positions too few", "position_embd.weight",
          [](RawGguf& m) {
            m.tensor("position_embd.weight").extents = {32, 8};
          },
          "F32", "gpt2"),
  };
  // Split models.
  const auto split = [](std::string name, std::string blames, std::string fault, int count, int number,
                        std::string file, std::function<void(const std::filesystem::path&)> other = {}) {
    RawGguf model = raw_model();
    model.set("split.count", 2, raw(static_cast<std::uint16_t>(count)));
    model.set("split.no", 2, raw(static_cast<std::uint16_t>(number)));
    return HostileFile{std::move(name),
                       file,
                       std::move(blames),
                       std::move(fault),
                       Load::kModel,
                       [content = model.bytes(), file, other](const auto& folder) {
                         write_file(folder / file, content);
                         if (other) other(folder);
                       }};
  };
  files.push_back(split("split by its keys only", "model.gguf", "its name does not say so", 3, 0, "model.gguf"));
  files.push_back(
      split("split with a missing part", "m-00002-of-00003.gguf", "such file", 3, 0, "m-00001-of-00003.gguf"));
  files.push_back(
      split("split without its first part", "m-00001-of-00003.gguf", "such file", 3, 1, "m-00002-of-00003.gguf"));
  files.push_back(split("split into 65535", "m-00002-of-65535.gguf", "such file", 65535, 0, "m-00001-of-65535.gguf"));
  files.push_back(split("split number beyond the count", "m-00001-of-00003.gguf", "not the first file of a split model",
                        3, 7, "m-00001-of-00003.gguf"));
  files.push_back(split("split with a stranger", "m-00002-of-00002.gguf", "is not part 2", 2, 0,
                        "m-00001-of-00002.gguf",
                        [](const auto& folder) { write_file(folder / "m-00002-of-00002.gguf", raw_model().bytes()); }));
  files.push_back(split("split with itself", "m-00002-of-00002.gguf", "is not part 2", 2, 0, "m-00001-of-00002.gguf",
                        [](const auto& folder) {
                          std::filesystem::create_symlink("m-00001-of-00002.gguf", folder / "m-00002-of-00002.gguf");
                        }));
  return files;
}

std::vector<HostileFile> hostile_gguf_vocabularies() {
  const auto vocabulary = [](std::string name, std::string fault, auto change, const char* family = "llama") {
    return changed(std::move(name), std::move(fault), change, "F32", family);
  };
  const auto nan = std::numeric_limits<float>::quiet_NaN();
  std::vector<std::string> cyclic = {"a",  "b",   "c",   "d",      "e", "l", "o", "ab",
                                     "ba", "aba", "bab", "\u0120", "x", "y", "z", "w"};
  constexpr std::size_t kTwins = 300'000;
  return {
      vocabulary("300000 end tokens of one spelling", "the tokenizer has 300000 tokens, but the model only 16",
                 [](RawGguf& m) {
                   m.set_strings("tokenizer.ggml.tokens", std::vector<std::string>(kTwins, "<|im_end|>"));
                   m.set("tokenizer.ggml.token_type", kArray, array_of(kI32, kTwins, constant(kTwins, 3)));
                   m.set("tokenizer.ggml.scores", kArray, array_of(kF32, kTwins, constant(kTwins, 0.0f)));
                 }),
      vocabulary("no tokens", "vocabulary is empty",
                 [](RawGguf& m) {
                   for (const char* k : {"scores", "token_type", "bos_token_id", "eos_token_id"})
                     m.remove(std::string("tokenizer.ggml.") + k);
                   m.set_string("tokenizer.ggml.model", "bert");
                   m.set_strings("tokenizer.ggml.tokens", {});
                 }),
      vocabulary("tokens are numbers", "tokenizer.ggml.tokens",
                 [](RawGguf& m) { m.set("tokenizer.ggml.tokens", kArray, array_of(kU32, 16, constant(16, 1u))); }),
      vocabulary("too few types", "token_type has 3 entries for 16 tokens",
                 [](RawGguf& m) { m.set("tokenizer.ggml.token_type", kArray, array_of(kI32, 3, constant(3, 1))); }),
      vocabulary("an unknown type", "unknown type 7",
                 [](RawGguf& m) { m.set("tokenizer.ggml.token_type", kArray, array_of(kI32, 16, constant(16, 7))); }),
      vocabulary("too few scores", "scores has 1 entries",
                 [](RawGguf& m) { m.set("tokenizer.ggml.scores", kArray, array_of(kF32, 1, raw(0.0f))); }),
      vocabulary("NaN scores", "score of token 0",
                 [&](RawGguf& m) { m.set("tokenizer.ggml.scores", kArray, array_of(kF32, 16, constant(16, nan))); }),
      vocabulary("NaN unigram scores", "score of token 0",
                 [&](RawGguf& m) {
                   m.set_string("tokenizer.ggml.model", "t5");
                   m.set("tokenizer.ggml.scores", kArray, array_of(kF32, 16, constant(16, nan)));
                 }),
      vocabulary("a role outside the vocabulary", "bos_token_id is 99",
                 [](RawGguf& m) { m.set_u32("tokenizer.ggml.bos_token_id", 99); }),
      vocabulary("a role of 2^40", "eos_token_id",
                 [](RawGguf& m) { m.set("tokenizer.ggml.eos_token_id", kU64, raw(std::uint64_t{1} << 40)); }),
      vocabulary("unknown model", "unknown tokenizer model",
                 [](RawGguf& m) { m.set_string("tokenizer.ggml.model", "abacus"); }),
      vocabulary(
          "unknown pre-tokenizer", "unknown pre-tokenizer",
          [](RawGguf& m) { m.set_string("tokenizer.ggml.pre", "scissors"); }, "gpt2"),
      vocabulary(
          "a piece twice", "are both spelled",
          [](RawGguf& m) {
            m.set_strings("tokenizer.ggml.tokens", std::vector<std::string>(16, "a"));
            m.set_strings("tokenizer.ggml.merges", {});
          },
          "gpt2"),
      vocabulary(
          "a merge of strangers", "not in the vocabulary",
          [](RawGguf& m) { m.set_strings("tokenizer.ggml.merges", {"q q"}); }, "gpt2"),
      vocabulary(
          "a merge of one piece", "not two pieces", [](RawGguf& m) { m.set_strings("tokenizer.ggml.merges", {"ab"}); },
          "gpt2"),
      vocabulary(
          "an empty merge", "not two pieces", [](RawGguf& m) { m.set_strings("tokenizer.ggml.merges", {""}); }, "gpt2"),
      vocabulary(
          "cyclic merges", "not in the vocabulary",
          [&](RawGguf& m) {
            m.set_strings("tokenizer.ggml.tokens", cyclic);
            m.set_strings("tokenizer.ggml.merges", {"a b", "b a", "ab a", "a ba", "aba b", "b aba", "bab a"});
          },
          "gpt2"),
      vocabulary(
          "merges are numbers", "tokenizer.ggml.merges",
          [](RawGguf& m) { m.set("tokenizer.ggml.merges", kArray, array_of(kU32, 1, raw(1u))); }, "gpt2"),
      vocabulary("a character map cut off", "character map",
                 [](RawGguf& m) {
                   m.set_string("tokenizer.ggml.model", "t5");
                   m.set("tokenizer.ggml.precompiled_charsmap", kArray, array_of(0, 2, "xx"));
                 }),
      vocabulary("a character map of garbage", "character map",
                 [](RawGguf& m) {
                   m.set_string("tokenizer.ggml.model", "t5");
                   m.set("tokenizer.ggml.precompiled_charsmap", kArray, array_of(0, 64, std::string(64, '\xff')));
                 }),
      vocabulary("an RWKV piece cut off", "model.gguf",
                 [](RawGguf& m) {
                   m.set_string("tokenizer.ggml.model", "rwkv");
                   m.set_strings("tokenizer.ggml.tokens", std::vector<std::string>(16, "\\x"));
                 }),
  };
}

}  // namespace lathe::fuzz
