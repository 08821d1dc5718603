// Blocks recorded from llama.cpp (tests/golden/peer/codecs.json): what it decodes them to, and how it encodes eight
// rows.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace lathe::test {

struct PeerDecode {
  std::string set;  // "random" or "edge"
  std::vector<std::byte> blocks;
  std::vector<float> floats;
};

struct PeerType {
  int ggml_type = 0;
  std::string name;
  unsigned block_size = 0, block_bytes = 0;
  std::vector<PeerDecode> decode;
  std::vector<std::byte> encoded;         // rows 0..7; empty where it has none
  std::vector<double> row_rmse;           // of `encoded`
  std::vector<double> row_weighted_rmse;  // with the importance; empty where it has none
};

constexpr int kPeerRows = 8, kPeerCols = 512;

const std::vector<PeerType>& peer_types();
const std::vector<float>& peer_rows();        // [kPeerRows, kPeerCols]
const std::vector<float>& peer_importance();  // [kPeerCols]

}  // namespace lathe::test
