// Model files put together by hand, so that tests can lie in every field: counts, types, extents, offsets.
#pragma once

#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "arch/architecture.h"

namespace lathe::fuzz {

// Little-endian bytes of a number.
template <class T>
std::string raw(T value) {
  std::string bytes(sizeof value, '\0');
  std::memcpy(bytes.data(), &value, sizeof value);
  return bytes;
}

// A GGUF file in pieces. bytes() writes what is here, true or not.
struct RawGguf {
  struct Key {
    std::string name, value;  // value: type and content as in the file
  };
  struct Tensor {
    std::string name;
    std::vector<std::uint64_t> extents;  // innermost first, as in the file
    std::uint32_t type = 0;
    std::string data;
    std::optional<std::uint64_t> offset;  // otherwise where the data really lies
  };
  std::uint32_t version = 3;
  std::vector<Key> keys;
  std::vector<Tensor> tensors;
  std::optional<std::uint64_t> n_keys, n_tensors;  // otherwise the truth

  // Replaces a key or adds it; type is the GGUF number of the value's type.
  void set(std::string_view name, std::uint32_t type, std::string content);
  void set_u32(std::string_view name, std::uint32_t value) { set(name, 4, raw(value)); }
  void set_f32(std::string_view name, float value) { set(name, 6, raw(value)); }
  void set_string(std::string_view name, std::string_view value);
  void set_strings(std::string_view name, const std::vector<std::string>& values);
  void remove(std::string_view name);
  Tensor& tensor(std::string_view name);

  std::string header() const;  // everything before the data section, unpadded
  std::string bytes() const;
};

std::string raw_string(std::string_view text);  // length and bytes

// Width 32, 2 heads, 16 tokens, a layer or two; "llama", "gpt2", "t5" or "qwen2moe" (4 experts, a shared one). Small
// enough to be a fuzzer's seed, real enough to run.
arch::Architecture tiny_architecture(std::string_view family);

// A whole file of such a model with seeded weights, matrices packed as `codec`, and a vocabulary.
RawGguf raw_model(std::string_view family = "llama", std::string_view codec = "F32");

// A llama2.c checkpoint of the same shape: version 0, 1 or 2.
std::string raw_llama2c(int version);

// A CTranslate2 file in pieces. bytes() writes what is here, true or not.
struct RawCTranslate2 {
  struct Variable {
    std::string name;
    std::vector<std::uint32_t> shape;
    std::uint8_t item_bytes = 4;
    std::uint32_t count = 0;  // of elements
    std::string data;
  };
  std::uint32_t version = 2, revision = 2;
  std::string specification = "TransformerBase";
  std::vector<Variable> variables;
  std::optional<std::uint32_t> count;  // otherwise the truth

  void set(const std::string& name, std::vector<std::uint32_t> shape, std::uint8_t item_bytes);
  Variable& at(std::string_view name);
  std::string bytes() const;
};

// One layer on either side, width 32; matrices of floats, or of integers of 2 bytes or 1.
RawCTranslate2 raw_ctranslate2(std::uint8_t item_bytes = 4);

// A safetensors file: header length, header, data.
std::string raw_safetensors(std::string_view header, std::string_view data);

// The same model under Hugging Face names with its config.json inside the metadata. `config` replaces that config.
std::string raw_hugging_face(std::string_view config = {});
extern const char* const kTinyConfig;  // its config.json

// KV blocks of two scopes as a file of prefixes (docs/formats/prefix-store.md): one int8 layer of one head, one number
// a key and value, 4 tokens a block; model 1, computed by "fuzz".
std::string raw_prefixes();

// A SentencePiece model in pieces: fields of the protocol-buffers wire format.
std::string proto_varint(std::uint64_t value);
std::string proto_field(std::uint32_t number, std::string_view bytes);  // length-delimited
std::string proto_field(std::uint32_t number, std::uint64_t value);     // varint
std::string sentencepiece_piece(std::string_view piece, float score, int kind = 1);
std::string raw_sentencepiece(std::string_view extra = {});

std::string base64(std::string_view bytes);

}  // namespace lathe::fuzz
