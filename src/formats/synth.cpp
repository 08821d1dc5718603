#include "formats/synth.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <memory>
#include <numbers>

#include "arch/codec_mix.h"
#include "arch/families.h"
#include "arch/weights.h"
#include "base/thread_pool.h"
#include "formats/gguf_architecture.h"
#include "formats/gguf_model.h"
#include "formats/gguf_rope.h"
#include "formats/gguf_writer.h"
#include "formats/matrix_stacks.h"
#include "formats/random.h"
#include "tensor/codecs/block_codec.h"

namespace lathe::formats {
namespace {

using arch::Architecture;

Architecture llama(std::uint32_t layers, std::uint32_t width, std::uint32_t ffn, std::uint32_t heads,
                   std::uint32_t kv_heads, std::uint32_t vocab, std::uint32_t context) {
  const arch::Family& family = arch::family_named("llama", "synth");
  Architecture a = family.defaults;
  a.n_layers = layers;
  a.width = width;
  a.ffn_width = ffn;
  a.n_heads = heads;
  a.n_kv_heads = kv_heads;
  a.head_dim = a.v_head_dim = a.rotary_dim = width / heads;
  a.vocab_size = vocab;
  a.context_length = context;
  a.rope_layout = family.gguf_rope_layout;
  return a;
}

Architecture llama3(std::uint32_t layers, std::uint32_t width, std::uint32_t ffn, std::uint32_t heads,
                    std::uint32_t kv_heads) {
  Architecture a = llama(layers, width, ffn, heads, kv_heads, 128256, 8192);
  a.rope_theta = 500000;
  return a;
}

Architecture mixture(std::string_view name, std::uint32_t layers, std::uint32_t width, std::uint32_t experts,
                     std::uint32_t top_k, std::uint32_t expert_ffn) {
  const arch::Family& family = arch::family_named(name, "synth");
  Architecture a = arch::small_shape(family);
  a.n_layers = layers, a.width = width;
  a.n_heads = width / 64, a.n_kv_heads = std::max(1u, a.n_heads / 4);
  a.head_dim = a.v_head_dim = a.rotary_dim = 64;
  a.ffn_width = a.moe.ffn_width = expert_ffn;
  a.moe.n_experts = experts, a.moe.top_k = top_k;
  a.vocab_size = 32000, a.context_length = 4096;
  return a;
}

Architecture gpt2(std::uint32_t layers, std::uint32_t width, std::uint32_t heads, std::uint32_t vocab,
                  std::uint32_t context) {
  Architecture a = arch::family_named("gpt2", "synth").defaults;
  a.n_layers = layers;
  a.width = width;
  a.ffn_width = 4 * width;
  a.n_heads = a.n_kv_heads = heads;
  a.head_dim = a.v_head_dim = width / heads;
  a.vocab_size = vocab;
  a.context_length = context;
  return a;
}

// Encoded chunks of normally distributed weights, from which tensors of any size are put together. Encoding a few
// million weights once and copying is what makes a model of a billion weights a matter of seconds under every codec.
class Bank {
 public:
  Bank(const BlockFormat& format, std::uint64_t chunk, float deviation, std::uint64_t seed)
      : stride_(chunk / format.block_size * format.block_bytes), bytes_(kChunks * stride_) {
    ThreadPool pool;
    pool.parallel_for(kChunks, 64, [&](std::size_t begin, std::size_t end, int) {
      std::vector<float> values(chunk);
      for (std::size_t i = begin; i < end; ++i) {
        Random random(seed, i);
        for (float& value : values) value = deviation * random.normal();
        encode_rows(format, values, chunk, {}, std::span(bytes_).subspan(i * stride_, stride_), "synth");
      }
    });
  }

  void fill(Random& random, std::span<std::byte> out) const {
    for (std::size_t at = 0; at < out.size(); at += stride_) {
      const std::size_t pick = random.next() % kChunks;
      std::copy_n(bytes_.begin() + static_cast<std::ptrdiff_t>(pick * stride_), stride_,
                  out.begin() + static_cast<std::ptrdiff_t>(at));
    }
  }

 private:
  static constexpr std::size_t kChunks = 4096;
  std::size_t stride_;
  std::vector<std::byte> bytes_;
};

// Makes each tensor when the writer asks for it.
class Maker {
 public:
  // `codec` is a codec's name or a mix's.
  Maker(const Architecture& a, std::string_view codec, std::uint64_t seed)
      : a_(a), mix_(arch::find_codec_mix(codec)), codec_(codec_named(mix_ ? mix_->body : codec)), seed_(seed) {}

  TensorSource source(const arch::WeightSpec& spec, std::uint64_t index) {
    const Codec& codec = codec_for(spec);
    return {spec.name, &codec, {}, spec.shape, [this, spec, index, &codec] { return make(spec, index, codec); }};
  }

 private:
  const Codec& codec_for(const arch::WeightSpec& spec) const {
    if (spec.shape.rank() < 2) return codec_named("F32");
    if (mix_ != nullptr) return arch::codec_in_mix(*mix_, a_, spec.name, spec.shape.cols());
    return spec.shape.cols() % codec_.column_alignment({}) == 0 ? codec_ : codec_named("F16");
  }

  PackedTensor make(const arch::WeightSpec& spec, std::uint64_t index, const Codec& codec) {
    Random random(seed_, ~index);
    if (spec.shape.rank() < 2) {
      std::vector<float> values(spec.shape.elements(), 1.0f);
      if (spec.name.ends_with(".bias")) {
        for (float& value : values) value = 0.02f * random.normal();
      }
      return pack(spec.name, codec, spec.shape, values);
    }
    const BlockFormat& format = *block_format(codec);
    const Bank& bank = bank_for(format, spec.shape.cols());
    auto buffer =
        std::make_shared<std::vector<std::byte>>(spec.shape.rows() * row_bytes(format, spec.shape.cols(), spec.name));
    bank.fill(random, *buffer);
    return packed_blocks(spec.name, codec, spec.shape, Bytes(*buffer, spec.name, buffer));
  }

  const Bank& bank_for(const BlockFormat& format, std::uint64_t cols) {
    auto& bank = banks_[{&format, cols}];
    // Chunks must fill rows exactly.
    std::uint64_t chunk = format.block_size;
    while (chunk < 256 && cols % (chunk * 2) == 0) chunk *= 2;
    if (bank == nullptr)
      bank = std::make_unique<Bank>(format, chunk, 1.0f / std::sqrt(static_cast<float>(cols)), seed_ + cols);
    return *bank;
  }

  const Architecture& a_;
  const arch::CodecMix* mix_;
  const Codec& codec_;  // without a mix, of every matrix it divides
  std::uint64_t seed_;
  std::map<std::pair<const BlockFormat*, std::uint64_t>, std::unique_ptr<Bank>> banks_;
};

SynthResult write_synthetic_gguf(const Architecture& a, const std::filesystem::path& path,
                                 const SynthOptions& options) {
  const arch::CodecMix* mix = arch::find_codec_mix(options.codec);
  const Codec& codec = codec_named(mix != nullptr ? mix->body : options.codec);
  const BlockFormat* format = block_format(codec);
  if (format == nullptr || format->encode == nullptr || format->ggml_type < 0) {
    throw Error(fmt::format("a synthetic model cannot have {} weights", codec.name()), path.string(),
                "choose a codec that GGUF files hold");
  }
  Maker maker(a, options.codec, options.seed);
  std::vector<TensorSource> tensors;
  SynthResult result;
  for (const arch::WeightSpec& spec : arch::weight_schema(a)) {
    tensors.push_back(maker.source(spec, tensors.size()));
    result.parameters += spec.shape.elements();
  }
  tensors = stacked(std::move(tensors), path.string());
  const arch::Family& family = arch::family_named(a.family, path.string());
  for (TensorSource& tensor : tensors) tensor.name = arch::gguf_name(family, tensor.name);
  for (const PackedTensor& factors : rope_factor_tensors(a)) {
    tensors.push_back({factors.name, factors.codec, {}, factors.shape, [factors] { return factors; }});
  }
  Metadata metadata(path.string());
  architecture_to_gguf(a, metadata);
  if (mix != nullptr) {
    set_file_type(*mix, metadata);
  } else {
    set_file_type(tensors, metadata);
  }
  synth_vocabulary(a, options.seed, metadata);
  result.bytes = write_gguf(path, metadata, tensors, options.split_bytes).bytes;
  return result;
}

std::vector<SynthPreset> presets() {
  std::vector<SynthPreset> all = {
      {"llama-tiny", "4 layers x 256, for tests", llama(4, 256, 768, 8, 4, 4096, 512)},
      {"llama-15m", "6 layers x 288", llama(6, 288, 768, 6, 6, 32000, 256)},
      {"llama-110m", "12 layers x 768", llama(12, 768, 2048, 12, 12, 32000, 1024)},
      {"llama-1b", "22 layers x 2048, the shape of TinyLlama 1.1B", llama(22, 2048, 5632, 32, 4, 32000, 2048)},
      {"llama-3b", "26 layers x 3200, the shape of OpenLLaMA 3B", llama(26, 3200, 8640, 32, 32, 32000, 2048)},
      {"llama-7b", "32 layers x 4096, the shape of Llama 2 7B", llama(32, 4096, 11008, 32, 32, 32000, 4096)},
      {"llama-13b", "40 layers x 5120, the shape of Llama 2 13B", llama(40, 5120, 13824, 40, 40, 32000, 4096)},
      {"llama3-8b", "32 layers x 4096, the shape of Llama 3 8B", llama3(32, 4096, 14336, 32, 8)},
      {"llama3-70b", "80 layers x 8192, the shape of Llama 3 70B", llama3(80, 8192, 28672, 64, 8)},
      {"mixtral-2b", "16 layers x 1024, 8 experts of which 2 take part", mixture("mixtral", 16, 1024, 8, 2, 3584)},
      {"qwen3moe-2b", "16 layers x 1024, 64 experts of which 8 take part", mixture("qwen3moe", 16, 1024, 64, 8, 512)},
      {"gpt2-tiny", "4 layers x 128, for tests", gpt2(4, 128, 4, 1024, 256)},
      {"gpt2", "12 layers x 768", gpt2(12, 768, 12, 50257, 1024)},
      {"gpt2-xl", "48 layers x 1600", gpt2(48, 1600, 25, 50257, 1024)},
  };
  // A small model of every family.
  for (const arch::Family& family : arch::families()) {
    const std::string name = fmt::format("{}-tiny", family.name);
    if (std::any_of(all.begin(), all.end(), [&](const SynthPreset& preset) { return preset.name == name; })) continue;
    const Architecture a = arch::small_shape(family);
    all.push_back({name, fmt::format("{} layers x {}, for tests", a.n_layers, a.width), a});
  }
  return all;
}

}  // namespace

const std::vector<SynthPreset>& synth_presets() {
  static const std::vector<SynthPreset> kPresets = presets();
  return kPresets;
}

Architecture synth_preset(std::string_view name) {
  std::string known;
  for (const SynthPreset& preset : synth_presets()) {
    if (preset.name == name) return preset.architecture;
    known += fmt::format("{}{}", known.empty() ? "" : ", ", preset.name);
  }
  throw Error(fmt::format("there is no model shape named \"{}\"", name), {}, "known are " + known);
}

SynthResult synthesize(const Architecture& a, const std::filesystem::path& path, const SynthOptions& options) {
  arch::validate(a, "the model shape asked for");
  if (path.extension() == ".gguf") return write_synthetic_gguf(a, path, options);
  // Other layouts are converted from a GGUF file of the same content.
  const std::filesystem::path beside = path.string() + ".synth.gguf";
  struct Removal {
    const std::filesystem::path& file;
    ~Removal() {
      std::error_code ignored;
      std::filesystem::remove(file, ignored);
    }
  } removal{beside};
  SynthOptions whole = options;
  whole.split_bytes = 0;
  SynthResult result = write_synthetic_gguf(a, beside, whole);
  result.bytes = save_model(load_model(beside), path, {.dtype = {}, .split_bytes = options.split_bytes}).bytes;
  return result;
}

}  // namespace lathe::formats
