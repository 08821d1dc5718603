#include "cache/prefix_tree.h"

#include <algorithm>
#include <unordered_map>

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

PrefixTree::~PrefixTree() { clear(); }

// Iterative: a path is as deep as the longest context has blocks.
void PrefixTree::clear() {
  std::vector<std::unique_ptr<Node>> pending;
  for (auto& [scope, root] : roots_) pending.push_back(std::move(root));
  while (!pending.empty()) {
    const std::unique_ptr<Node> node = std::move(pending.back());
    pending.pop_back();
    for (auto& [key, child] : node->children) pending.push_back(std::move(child));
  }
  roots_.clear();
  leaves_.clear();
  size_ = 0;
}

PrefixTree::Node& PrefixTree::root(std::string_view scope) {
  auto& root = roots_[std::string(scope)];
  if (root == nullptr) root = std::make_unique<Node>();
  return *root;
}

// A child that the parent does not have yet.
PrefixTree::Node& PrefixTree::attach(Node& parent, Content keys, BlockRef block, std::uint64_t last_used) {
  auto fresh = std::make_unique<Node>();
  fresh->block = std::move(block);
  fresh->parent = &parent;
  fresh->number = created_++;
  fresh->last_used = last_used;
  leaves_.emplace(order(*fresh), fresh.get());
  if (parent.is_leaf()) leaves_.erase(order(parent));
  const auto child = parent.children.emplace(std::move(keys), std::move(fresh)).first;
  child->second->place = child;
  ++size_;
  return *child->second;
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
  const std::size_t tokens = pool_.layout().block_tokens;
  if (content.size() < tokens || blocks.empty() || !blocks.front()) return;  // nothing would hang on a scope's root
  ++clock_;
  Node* node = &root(scope);
  for (const BlockRef& block : blocks) {
    if (content.size() < tokens || !block) break;
    Content key(content.begin(), content.begin() + static_cast<std::ptrdiff_t>(tokens));
    const auto child = node->children.find(key);
    if (child == node->children.end()) {
      node = &attach(*node, std::move(key), block, clock_);
    } else {
      node = child->second.get();
      touch(*node);
    }
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

PrefixList PrefixTree::most_recent(std::uint64_t most) const {
  PrefixList list;
  std::vector<const Node*> nodes, pending;
  std::unordered_map<const Node*, std::uint32_t> numbers;  // as Entry::follows counts
  for (const auto& [scope, root] : roots_) {
    numbers.emplace(root.get(), static_cast<std::uint32_t>(list.scopes.size()));
    list.scopes.push_back(scope);
    pending.push_back(root.get());
  }
  while (!pending.empty()) {
    const Node* node = pending.back();
    pending.pop_back();
    if (node->parent != nullptr) nodes.push_back(node);
    for (const auto& [keys, child] : node->children) pending.push_back(child.get());
  }
  // A node is used whenever a child is, and was made before it.
  std::sort(nodes.begin(), nodes.end(), [](const Node* a, const Node* b) {
    return a->last_used != b->last_used ? a->last_used > b->last_used : a->number < b->number;
  });
  nodes.resize(std::min<std::uint64_t>(nodes.size(), most));
  for (const Node* node : nodes) {
    list.entries.push_back({numbers.at(node->parent), node->place->first, node->block});
    numbers.emplace(node, static_cast<std::uint32_t>(list.scopes.size() + list.entries.size() - 1));
  }
  return list;
}

void PrefixTree::restore(PrefixList list) {
  if (size_ > 0) fail("prefix cache", "holds blocks already");
  try {
    fill(std::move(list));
  } catch (...) {
    clear();
    throw;
  }
}

void PrefixTree::fill(PrefixList list) {
  const std::size_t n_scopes = list.scopes.size(), n_entries = list.entries.size();
  clock_ = std::max<std::uint64_t>(clock_, n_entries);
  std::vector<Node*> nodes;
  for (std::size_t i = 0; i < n_entries; ++i) {
    PrefixList::Entry& entry = list.entries[i];
    if (entry.follows >= n_scopes + i) fail("prefix cache", "block {} follows one that is not before it", i);
    Node& parent = entry.follows < n_scopes ? root(list.scopes[entry.follows]) : *nodes[entry.follows - n_scopes];
    if (parent.children.contains(entry.keys)) fail("prefix cache", "block {} is there twice", i);
    nodes.push_back(&attach(parent, std::move(entry.keys), std::move(entry.block), n_entries - i));
  }
}

}  // namespace lathe::cache
