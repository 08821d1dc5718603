#include "fuzz/targets.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <stdexcept>

#include "base/checked.h"
#include "base/json.h"
#include "formats/adapter_readers.h"
#include "formats/ctranslate2.h"
#include "formats/fingerprint.h"
#include "formats/gguf_reader.h"
#include "formats/hf_config.h"
#include "formats/json_tensors.h"
#include "formats/lathe_file.h"
#include "formats/llama2c.h"
#include "formats/safetensors_reader.h"
#include "formats/sentence_folder.h"
#include "formats/tokenizer_gguf.h"
#include "formats/tokenizer_json.h"
#include "formats/tokenizer_llama2c.h"
#include "formats/tokenizer_rwkv.h"
#include "formats/tokenizer_sentencepiece.h"
#include "formats/tokenizer_tiktoken.h"
#include "fuzz/guarded.h"
#include "fuzz/raw_files.h"
#include "fuzz/seeds.h"
#include "net/url.h"
#include "text/chat_template.h"
#include "text/grammar/gbnf.h"
#include "text/grammar/json_schema.h"
#include "text/grammar/token_masks.h"
#include "text/tokenizer_spec.h"

namespace lathe::fuzz {
namespace {

Bytes bytes_of(std::string_view data) { return Bytes::copy_of(data, "input"); }

// Behaviour of a tokenizer that a file described.
void use_tokenizer(text::TokenizerSpec spec) {
  const auto tokenizer = text::make_tokenizer(std::move(spec));
  for (const std::string_view text :
       {std::string_view(""), std::string_view("hello  hello ab\nab 123 <|end|> a"),
        std::string_view("\xe4\xb8\xad\xe6\x96\x87 na\xc3\xafve \xf0\x9f\x98\x80\xff\xc3 it's"),
        std::string_view("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaab")}) {
    guarded([&] {
      const auto ids = tokenizer->encode(text);
      (void)tokenizer->decode(ids);
      (void)tokenizer->decode(ids, {.skip_special = true});
      for (const text::TokenId id : ids) {
        (void)tokenizer->token_bytes(id);
        (void)tokenizer->piece(id);
      }
    });
  }
}

// The first rows of every tensor, decoded.
void use_weights(const arch::Weights& weights) {
  for (const auto& [name, tensor] : weights.all()) {
    if (tensor.parts.empty() || tensor.shape.cols() > 1 << 16) continue;
    std::vector<float> row(tensor.shape.cols());
    for (std::uint64_t r = 0; r < std::min<std::uint64_t>(4, tensor.shape.rows()); ++r) tensor.decode_row(r, row);
  }
}

void fuzz_gguf(std::string_view data) {
  const Bytes bytes = bytes_of(data);
  guarded([&] {
    const formats::GgufFile file = formats::read_gguf_header(bytes);
    for (const formats::GgufTensor& tensor : file.tensors) {
      guarded([&] {
        arch::Weights one;
        one.add(formats::gguf_tensor(bytes, file, tensor));
        use_weights(one);
      });
    }
  });
  guarded([&] { formats::load_model(bytes, {.weights = false}); });
}

void fuzz_gguf_tokenizer(std::string_view data) {
  guarded([&] { use_tokenizer(formats::read_gguf_tokenizer(formats::read_gguf_header(bytes_of(data)).metadata)); });
}

void fuzz_safetensors(std::string_view data) {
  const Bytes bytes = bytes_of(data);
  guarded([&] {
    const formats::SafetensorsFile file = formats::read_safetensors_header(bytes);
    for (const formats::SafetensorsEntry& entry : file.tensors) {
      guarded([&] {
        arch::Weights one;
        one.add(formats::safetensors_tensor(bytes, file, entry));
        use_weights(one);
      });
    }
  });
  guarded([&] { formats::load_model(bytes); });
}

void fuzz_lathe(std::string_view data) {
  guarded([&] { use_weights(formats::load_lathe(bytes_of(data), {}).weights); });
}

void fuzz_ctranslate2(std::string_view data) {
  const Bytes bytes = bytes_of(data);
  guarded([&] { (void)formats::is_ctranslate2(bytes); });
  guarded([&] { use_weights(formats::read_ctranslate2(bytes).weights); });
  guarded([&] { use_tokenizer(formats::parse_word_list(bytes, 16)); });
}

void fuzz_llama2c(std::string_view data) {
  const Bytes bytes = bytes_of(data);
  guarded([&] { use_weights(formats::read_llama2c(bytes, {}).weights); });
  guarded([&] { (void)formats::is_llama2c(bytes); });
}

void fuzz_json_tensors(std::string_view data) {
  guarded([&] { use_weights(formats::load_json_tensors(bytes_of(data), {}).weights); });
}

// A GGUF adapter, or the first line is adapter_config.json and the rest adapter_model.safetensors.
void fuzz_adapter(std::string_view data) {
  const Bytes bytes = bytes_of(data);
  const std::size_t line = std::min(data.find('\n'), data.size()), rest = std::min(line + 1, data.size());
  for (const char* family : {"llama", "gpt2", "t5"}) {
    static const std::map<std::string, arch::Architecture> kModels = {
        {"llama", tiny_architecture("llama")}, {"gpt2", tiny_architecture("gpt2")}, {"t5", tiny_architecture("t5")}};
    const arch::Architecture& a = kModels.at(family);
    guarded([&] {
      const formats::AdapterFile adapter =
          formats::is_gguf(bytes)
              ? formats::read_gguf_adapter(bytes, a)
              : formats::read_peft_adapter(data.substr(0, line), "adapter_config.json", bytes_of(data.substr(rest)), a);
      for (const auto& [name, low_rank] : adapter.low_rank) {
        if (!std::isfinite(low_rank.scale)) throw std::logic_error("the scale of an adapter is not a number");
        for (const PackedTensor& tensor : {low_rank.a, low_rank.b}) {
          arch::Weights one;
          one.add(tensor);
          use_weights(one);
        }
      }
      (void)formats::fingerprint(adapter);
    });
  }
}

void fuzz_config(std::string_view data) {
  guarded([&] {
    const Json config = parse_json(data, "config.json");
    guarded([&] { formats::architecture_from_hf(config, "config.json"); });
    arch::Architecture architecture;
    guarded([&] { formats::apply_pooling_config(data, "1_Pooling/config.json", architecture); });
    guarded([&] { formats::apply_modules(data, "modules.json", architecture); });
    text::TokenizerSpec spec;
    spec.name = "config.json";
    spec.pieces = {"a", "b", "</s>"};
    spec.kinds.assign(3, text::TokenKind::kNormal);
    guarded([&] { formats::apply_generation_config(data, "config.json", spec); });
    guarded([&] { formats::apply_tokenizer_config(data, "config.json", spec); });
    use_tokenizer(std::move(spec));
  });
}

void fuzz_tokenizer_json(std::string_view data) {
  guarded([&] {
    text::TokenizerSpec spec = formats::parse_tokenizer_json(data, "tokenizer.json");
    text::validate(spec);  // as making a tokenizer does; only those are written
    guarded([&] { (void)formats::write_tokenizer_json(spec); });
    guarded([&] {
      formats::Metadata metadata("tokenizer.json");
      formats::write_gguf_tokenizer(spec, metadata);
    });
    use_tokenizer(std::move(spec));
  });
}

void fuzz_sentencepiece(std::string_view data) {
  guarded([&] { use_tokenizer(formats::parse_sentencepiece(bytes_of(data))); });
}

// The file does not say its family, so one is given.
void fuzz_tiktoken(std::string_view data) {
  const Bytes bytes = bytes_of(data);
  guarded([&] { (void)formats::is_tiktoken(bytes); });
  guarded([&] { use_tokenizer(formats::parse_tiktoken(bytes, formats::TiktokenFamily::kGpt2)); });
}

void fuzz_llama2c_tokenizer(std::string_view data) {
  guarded([&] { use_tokenizer(formats::parse_llama2c_tokenizer(bytes_of(data))); });
}

void fuzz_rwkv(std::string_view data) {
  guarded([&] { use_tokenizer(formats::parse_rwkv_vocabulary(bytes_of(data))); });
}

void fuzz_chat_template(std::string_view data) {
  guarded([&] {
    const auto chat = text::ChatTemplate::parse(data, "template");
    guarded([&] {
      (void)chat.render_json(
          R"({"messages":[{"role":"system","content":"be"},{"role":"user","content":"hi","tool_calls":[{"function":)"
          R"({"name":"f","arguments":{"a":[1,2.5,null,true]}}}]}],"bos_token":"<s>","add_generation_prompt":true})",
          std::tm{});
    });
    guarded([&] { (void)chat.render({{.role = "user", .content = "hi"}}, {.tools_json = "[]", .now = std::tm{}}); });
  });
}

// A text along the grammar, every step one of the tokens that the mask allows; the mask must not lie.
void use_grammar(const text::grammar::Grammar& grammar) {
  using namespace text::grammar;
  static const auto vocabulary = [] {
    std::vector<std::string> tokens{""};
    for (int byte = 0; byte < 256; ++byte) tokens.emplace_back(1, static_cast<char>(byte));
    for (const char* more : {"ab", "\": ", "\", \"", "[[", "]]", "12", "\xc3\xa9", "true", "a\"}"})
      tokens.emplace_back(more);
    return std::make_shared<Vocabulary>(std::move(tokens), std::vector<text::TokenId>{0});
  }();
  Matcher matcher(std::make_shared<TokenMasks>(std::make_shared<Automaton>(grammar), vocabulary));
  for (std::size_t step = 0; step < 40; ++step) {
    const TokenSet& allowed = matcher.allowed();
    const std::size_t wanted = (step * 7919 + 13) % vocabulary->size();  // and from there the next that is allowed
    text::TokenId id = text::kNoToken;
    for (std::size_t i = 0; i < vocabulary->size() && id == text::kNoToken; ++i) {
      const auto candidate = static_cast<text::TokenId>((wanted + i) % vocabulary->size());
      if (candidate != 0 && allowed.has(candidate)) id = candidate;
    }
    if (id == text::kNoToken) {
      if (!matcher.complete()) throw std::logic_error("the text is not complete and nothing may follow");
      return;
    }
    if (!matcher.accept(id)) throw std::logic_error("a token that is allowed was not accepted");
  }
}

void fuzz_grammar(std::string_view data) {
  guarded([&] { use_grammar(text::grammar::parse_gbnf(data)); });
}

void fuzz_json_schema(std::string_view data) {
  guarded([&] { use_grammar(text::grammar::grammar_from_json_schema(data)); });
}

// The first line is an address, the second where it redirects to.
void fuzz_url(std::string_view data) {
  const std::size_t end = std::min(data.find('\n'), data.size());
  guarded([&] {
    const net::Url url = net::parse_url(data.substr(0, end));
    const net::Url again = net::parse_url(url.text());
    if (again.text() != url.text()) throw std::logic_error("an address does not read back as it was written");
    (void)net::file_name(url);
    guarded([&] { (void)net::file_name(net::resolve(url, data.substr(std::min(end + 1, data.size())))); });
  });
}

constexpr Target kTargets[] = {
    {"gguf", fuzz_gguf, gguf_seeds},
    {"gguf_tokenizer", fuzz_gguf_tokenizer, gguf_tokenizer_seeds},
    {"safetensors", fuzz_safetensors, safetensors_seeds},
    {"lathe", fuzz_lathe, lathe_seeds},
    {"llama2c", fuzz_llama2c, llama2c_seeds},
    {"ctranslate2", fuzz_ctranslate2, ctranslate2_seeds},
    {"json_tensors", fuzz_json_tensors, json_tensors_seeds},
    {"adapter", fuzz_adapter, adapter_seeds},
    {"config", fuzz_config, config_seeds},
    {"tokenizer_json", fuzz_tokenizer_json, tokenizer_json_seeds},
    {"sentencepiece", fuzz_sentencepiece, sentencepiece_seeds},
    {"tiktoken", fuzz_tiktoken, tiktoken_seeds},
    {"llama2c_tokenizer", fuzz_llama2c_tokenizer, llama2c_tokenizer_seeds},
    {"rwkv", fuzz_rwkv, rwkv_seeds},
    {"chat_template", fuzz_chat_template, chat_template_seeds},
    {"grammar", fuzz_grammar, grammar_seeds},
    {"json_schema", fuzz_json_schema, json_schema_seeds},
    {"url", fuzz_url, url_seeds},
};

}  // namespace

std::span<const Target> parser_targets() { return kTargets; }

const Target& target_named(std::string_view name) {
  for (const Target& target : kTargets) {
    if (target.name == name) return target;
  }
  throw std::invalid_argument("no fuzz target is called " + std::string(name));
}

}  // namespace lathe::fuzz
