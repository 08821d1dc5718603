#include "tensor/peer_codecs.h"

#include <cstring>

#include "base/file.h"
#include "base/json.h"
#include "support/data.h"

namespace lathe::test {
namespace {

std::vector<std::byte> from_hex(const std::string& text) {
  const auto digit = [](char c) { return c <= '9' ? c - '0' : c - 'a' + 10; };
  std::vector<std::byte> bytes(text.size() / 2);
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    bytes[i] = static_cast<std::byte>(digit(text[2 * i]) << 4 | digit(text[2 * i + 1]));
  }
  return bytes;
}

std::vector<float> floats_of(const void* data, std::size_t bytes) {
  std::vector<float> values(bytes / sizeof(float));
  if (!values.empty()) std::memcpy(values.data(), data, values.size() * sizeof(float));
  return values;
}

std::vector<float> floats_in(const char* file) {
  const std::string text = read_file(golden(std::string("golden/peer/") + file));
  return floats_of(text.data(), text.size());
}

std::vector<PeerType> load() {
  const std::string path = golden("golden/peer/codecs.json").string();
  const Json json = parse_json(read_file(path), path);
  std::vector<PeerType> types;
  for (const Json& entry : json.at("types")) {
    PeerType type;
    type.ggml_type = entry.at("id");
    type.name = entry.at("name");
    type.block_size = entry.at("block");
    type.block_bytes = entry.at("bytes");
    if (entry.contains("decode")) {
      for (const Json& set : entry.at("decode")) {
        const std::vector<std::byte> floats = from_hex(set.at("floats"));
        type.decode.push_back({set.at("set"), from_hex(set.at("blocks")), floats_of(floats.data(), floats.size())});
      }
    }
    if (entry.contains("encode") && entry.at("encode").contains("row_rmse")) {
      type.encoded = from_hex(entry.at("encode").at("blocks"));
      type.row_rmse = entry.at("encode").at("row_rmse").get<std::vector<double>>();
    }
    if (entry.contains("encode_weighted")) {
      type.row_weighted_rmse = entry.at("encode_weighted").at("row_weighted_rmse").get<std::vector<double>>();
    }
    types.push_back(std::move(type));
  }
  return types;
}

}  // namespace

const std::vector<PeerType>& peer_types() {
  static const std::vector<PeerType> types = load();
  return types;
}

const std::vector<float>& peer_rows() {
  static const std::vector<float> rows = floats_in("rows-8x512.f32");
  return rows;
}

const std::vector<float>& peer_importance() {
  static const std::vector<float> importance = floats_in("importance-512.f32");
  return importance;
}

}  // namespace lathe::test
