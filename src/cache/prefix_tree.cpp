#include "cache/prefix_tree.h"

#include <algorithm>

namespace lathe::cache {

// By the keys of the child's block.
using Content = std::vector<std::uint64_t>;

struct PrefixTree::Node {
  BlockRef block;
  std::map<Content, std::unique_ptr<Node>> children;
  std::uint64_t last_used = 0;
};

PrefixTree::PrefixTree(BlockPool& pool) : pool_(pool) {}

// Iterative: a path is as deep as the longest context has blocks.
PrefixTree::~PrefixTree() {
  std::vector<std::unique_ptr<Node>> pending;
  for (auto& [scope, root] : roots_) pending.push_back(std::move(root));
  while (!pending.empty()) {
    const std::unique_ptr<Node> node = std::move(pending.back());
    pending.pop_back();
    for (auto& [key, child] : node->children) pending.push_back(std::move(child));
  }
}

std::vector<BlockRef> PrefixTree::lookup(std::string_view scope, std::span<const std::uint64_t> content) {
  std::vector<BlockRef> blocks;
  const auto root = roots_.find(scope);
  if (root == roots_.end()) return blocks;
  const std::size_t tokens = pool_.layout().block_tokens;
  ++clock_;
  for (Node* node = root->second.get(); content.size() >= tokens; content = content.subspan(tokens)) {
    const auto child = node->children.find({content.begin(), content.begin() + static_cast<std::ptrdiff_t>(tokens)});
    if (child == node->children.end()) break;
    node = child->second.get();
    node->last_used = clock_;
    blocks.push_back(node->block);
  }
  return blocks;
}

void PrefixTree::insert(std::string_view scope, std::span<const std::uint64_t> content,
                        std::span<const BlockRef> blocks) {
  auto& root = roots_[std::string(scope)];
  if (root == nullptr) root = std::make_unique<Node>();
  const std::size_t tokens = pool_.layout().block_tokens;
  ++clock_;
  Node* node = root.get();
  for (const BlockRef& block : blocks) {
    if (content.size() < tokens || !block) break;
    std::vector<std::uint64_t> key(content.begin(), content.begin() + static_cast<std::ptrdiff_t>(tokens));
    auto& child = node->children[std::move(key)];
    if (child == nullptr) {
      child = std::make_unique<Node>();
      child->block = block;
      ++size_;
    }
    node = child.get();
    node->last_used = clock_;
    content = content.subspan(tokens);
  }
}

bool PrefixTree::evict(std::uint64_t blocks) {
  // All droppable leaves, oldest first; dropping one may turn its parent into the next candidate, so repeat.
  struct Leaf {
    std::uint64_t last_used;
    Node* parent;
    std::map<Content, std::unique_ptr<Node>>::iterator position;
  };
  while (pool_.free_blocks() < blocks) {
    std::vector<Leaf> leaves;
    std::vector<Node*> pending;
    for (const auto& [scope, root] : roots_) pending.push_back(root.get());
    while (!pending.empty()) {
      Node* parent = pending.back();
      pending.pop_back();
      for (auto it = parent->children.begin(); it != parent->children.end(); ++it) {
        Node& child = *it->second;
        if (!child.children.empty()) {
          pending.push_back(&child);
        } else if (!child.block.shared()) {
          leaves.push_back({child.last_used, parent, it});
        }
      }
    }
    if (leaves.empty()) return false;
    std::sort(leaves.begin(), leaves.end(), [](const Leaf& a, const Leaf& b) { return a.last_used < b.last_used; });
    for (const Leaf& leaf : leaves) {
      if (pool_.free_blocks() >= blocks) break;
      leaf.parent->children.erase(leaf.position);
      --size_;
    }
  }
  return true;
}

}  // namespace lathe::cache
