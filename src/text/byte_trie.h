// A trie over bytes for "which entries begin here": vocabularies of unigram and RWKV models, and the automaton that
// finds added tokens.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

#include "text/hash_index.h"

namespace lathe::text {

class ByteTrie {
 public:
  static constexpr std::uint32_t kRoot = 0, kNone = ~std::uint32_t{0};

  ByteTrie() : value_(1, -1) { root_.fill(kNone); }

  // Later insertions of the same key keep the first value. Returns the node of the key.
  std::uint32_t insert(std::string_view key, std::int32_t value) {
    std::uint32_t node = kRoot;
    for (const char c : key) {
      const auto byte = static_cast<unsigned char>(c);
      std::uint32_t next = child(node, byte);
      if (next == kNone) {
        next = static_cast<std::uint32_t>(value_.size());
        value_.push_back(-1);
        if (node == kRoot) {
          root_[byte] = next;
        } else {
          edges_.insert(key_of(node, byte), next);
        }
      }
      node = next;
    }
    if (value_[node] < 0) value_[node] = value;
    return node;
  }

  std::uint32_t child(std::uint32_t node, unsigned char byte) const {
    if (node == kRoot) return root_[byte];
    const std::uint64_t next = edges_.find(key_of(node, byte));
    return next == KeyTable::kAbsent ? kNone : static_cast<std::uint32_t>(next);
  }
  // The value of the key that ends at `node`, or -1.
  std::int32_t value(std::uint32_t node) const { return value_[node]; }
  std::size_t nodes() const { return value_.size(); }

 private:
  static std::uint64_t key_of(std::uint32_t node, unsigned char byte) { return std::uint64_t{node} << 8 | byte; }
  std::array<std::uint32_t, 256> root_;
  KeyTable edges_;
  std::vector<std::int32_t> value_;
};

}  // namespace lathe::text
