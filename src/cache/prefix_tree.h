// Full KV blocks by the content that led to them, so that a prompt that starts like an earlier one starts from its
// blocks. A node is one block; a path from the root spells a prefix. Content is compared, not only hashed.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "cache/block_pool.h"

namespace lathe::cache {

// Blocks of a tree in a row, for a file: the most recently used first, therefore every block behind the one it follows.
struct PrefixList {
  struct Entry {
    // What the block follows: a number below scopes.size() is a scope, whose first block it is; otherwise entry
    // number `follows` - scopes.size(), an earlier one.
    std::uint32_t follows = 0;
    std::vector<std::uint64_t> keys;  // one per token of the block
    BlockRef block;
  };
  std::vector<std::string> scopes;
  std::vector<Entry> entries;
};

class PrefixTree {
 public:
  explicit PrefixTree(BlockPool& pool);
  ~PrefixTree();

  // The longest run of whole blocks stored for a prefix of `content` (one key per token: its id, or a hash of the
  // vector it stands for). `scope` names what else the blocks depend on: adapters, policy.
  std::vector<BlockRef> lookup(std::string_view scope, std::span<const std::uint64_t> content);
  // Remembers the whole blocks of a sequence; content.size() may exceed them.
  void insert(std::string_view scope, std::span<const std::uint64_t> content, std::span<const BlockRef> blocks);
  // Drops least recently used leaves that no sequence holds until `blocks` pool blocks are free, or nothing is left to
  // drop; returns whether it succeeded.
  bool evict(std::uint64_t blocks);
  std::uint64_t size() const { return size_; }
  BlockPool& pool() const { return pool_; }

  // The `most` most recently used blocks, or as many as there are.
  PrefixList most_recent(std::uint64_t most) const;
  // Fills an empty tree with what most_recent() gave, in the same order of use. Throws Error, and stays empty, for a
  // list that spells no tree.
  void restore(PrefixList list);

 private:
  struct Node;
  // By time of last use, then by age: what evict() walks from the start.
  using Order = std::pair<std::uint64_t, std::uint64_t>;
  static Order order(const Node& node);
  void touch(Node& node);
  Node& attach(Node& parent, std::vector<std::uint64_t> keys, BlockRef block, std::uint64_t last_used);
  Node& root(std::string_view scope);
  void fill(PrefixList list);
  void clear();

  BlockPool& pool_;
  std::map<std::string, std::unique_ptr<Node>, std::less<>> roots_;
  std::map<Order, Node*> leaves_;
  std::uint64_t clock_ = 0, size_ = 0, created_ = 0;
};

}  // namespace lathe::cache
