#include "cache/prefix_tree.h"

namespace lathe::cache {

// By the keys of the child's block.
using Content = std::vector<std::uint64_t>;

struct PrefixTree::Node {
  BlockRef block;
  std::map<Content, std::unique_ptr<Node>> children;
  Node* parent = nullptr;                                    // of a root: none
  std::map<Content, std::unique_ptr<Node>>::iterator place;  // among the parent's children
  std::uint64_t last_used = 0, number = 0;
  bool is_leaf() const { return parent != nullptr && children.empty(); }
};

PrefixTree::PrefixTree(BlockPool& pool) : pool_(pool) {}

PrefixTree::Order PrefixTree::order(const Node& node) { return {node.last_used, node.number}; }

void PrefixTree::touch(Node& node) {
  if (!node.is_leaf()) {
    node.last_used = clock_;
    return;
  }
  auto entry = leaves_.extract(order(node));
  node.last_used = clock_;
  entry.key() = order(node);
  leaves_.insert(std::move(entry));
}

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
    touch(*node);
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
    Content key(content.begin(), content.begin() + static_cast<std::ptrdiff_t>(tokens));
    auto child = node->children.find(key);
    if (child == node->children.end()) {
      auto fresh = std::make_unique<Node>();
      fresh->block = block;
      fresh->parent = node;
      fresh->number = created_++;
      fresh->last_used = clock_;
      leaves_.emplace(order(*fresh), fresh.get());
      if (node->is_leaf()) leaves_.erase(order(*node));
      child = node->children.emplace(std::move(key), std::move(fresh)).first;
      child->second->place = child;
      ++size_;
    } else {
      touch(*child->second);
    }
    node = child->second.get();
    content = content.subspan(tokens);
  }
}

bool PrefixTree::evict(std::uint64_t blocks) {
  auto oldest = leaves_.begin();
  while (pool_.free_blocks() < blocks) {
    while (oldest != leaves_.end() && oldest->second->block.shared()) ++oldest;
    if (oldest == leaves_.end()) break;
    Node& leaf = *oldest->second;
    Node& parent = *leaf.parent;
    oldest = leaves_.erase(oldest);
    parent.children.erase(leaf.place);
    --size_;
    if (!parent.is_leaf()) continue;
    // Its last leaf gone, the parent is the next candidate of its branch; it may be due before the others.
    const auto added = leaves_.emplace(order(parent), &parent).first;
    if (oldest == leaves_.end() || added->first < oldest->first) oldest = added;
  }
  std::erase_if(roots_, [](const auto& root) { return root.second->children.empty(); });
  return pool_.free_blocks() >= blocks;
}

}  // namespace lathe::cache
