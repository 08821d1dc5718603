// The one loop behind every byte-pair encoding: merge the neighbouring pair of lowest rank, leftmost first, until no
// pair is left. Short words scan, long ones use a heap, so that a megabyte without a space stays O(n log n).
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "text/tokenizer.h"

namespace lathe::text {

struct Symbol {
  std::uint32_t begin, length;  // bytes of the word
  TokenId id;                   // kNoToken for characters outside the vocabulary
};

struct MergeTarget {
  static constexpr std::uint32_t kNoRank = ~std::uint32_t{0};
  std::uint32_t rank = kNoRank;
  TokenId id = kNoToken;
};

// What a table of merges knows a pair by.
inline std::uint64_t pair_key(TokenId left, TokenId right) {
  return static_cast<std::uint64_t>(static_cast<std::uint32_t>(left)) << 32 | static_cast<std::uint32_t>(right);
}

// Working memory, reused from word to word.
struct MergeScratch {
  std::vector<Symbol> symbols;
  std::vector<MergeTarget> targets;
  struct Candidate {
    std::uint32_t rank, left, length;  // length of the pair when it was found: tells whether it is still there
    TokenId id;
    bool operator<(const Candidate& other) const {  // for a max-heap with the best on top
      return rank != other.rank ? rank > other.rank : left > other.left;
    }
  };
  std::vector<Candidate> heap;
  std::vector<std::uint32_t> next, previous;
};

inline constexpr std::size_t kScanLimit = 40;

// `find(left, right)` gives the merge of two neighbours. The result is left in scratch.symbols.
template <class Find>
void merge_by_scanning(MergeScratch& scratch, Find&& find) {
  auto& symbols = scratch.symbols;
  auto& targets = scratch.targets;
  targets.clear();
  for (std::size_t i = 0; i + 1 < symbols.size(); ++i) targets.push_back(find(symbols[i], symbols[i + 1]));
  for (;;) {
    std::size_t best = 0;
    std::uint32_t rank = MergeTarget::kNoRank;
    for (std::size_t i = 0; i < targets.size(); ++i) {
      if (targets[i].rank < rank) {
        rank = targets[i].rank;
        best = i;
      }
    }
    if (rank == MergeTarget::kNoRank) return;
    symbols[best].length += symbols[best + 1].length;
    symbols[best].id = targets[best].id;
    const auto at = static_cast<std::ptrdiff_t>(best);
    symbols.erase(symbols.begin() + at + 1);
    targets.erase(targets.begin() + at);
    if (best < targets.size()) targets[best] = find(symbols[best], symbols[best + 1]);
    if (best > 0) targets[best - 1] = find(symbols[best - 1], symbols[best]);
  }
}

template <class Find>
void merge_by_heap(MergeScratch& scratch, Find&& find) {
  constexpr std::uint32_t kEnd = ~std::uint32_t{0};
  auto& symbols = scratch.symbols;
  auto& heap = scratch.heap;
  auto& next = scratch.next;
  auto& previous = scratch.previous;
  const auto count = static_cast<std::uint32_t>(symbols.size());
  heap.clear();
  next.resize(count);
  previous.resize(count);
  for (std::uint32_t i = 0; i < count; ++i) {
    next[i] = i + 1 < count ? i + 1 : kEnd;
    previous[i] = i > 0 ? i - 1 : kEnd;
  }
  const auto candidate = [&](std::uint32_t left, auto&& add) {
    const MergeTarget target = find(symbols[left], symbols[next[left]]);
    if (target.rank != MergeTarget::kNoRank) {
      add(MergeScratch::Candidate{target.rank, left, symbols[left].length + symbols[next[left]].length, target.id});
    }
  };
  const auto push = [&](MergeScratch::Candidate c) {
    heap.push_back(c);
    std::push_heap(heap.begin(), heap.end());
  };
  for (std::uint32_t i = 0; i + 1 < count; ++i) candidate(i, [&](MergeScratch::Candidate c) { heap.push_back(c); });
  std::make_heap(heap.begin(), heap.end());
  while (!heap.empty()) {
    std::pop_heap(heap.begin(), heap.end());
    const MergeScratch::Candidate best = heap.back();
    heap.pop_back();
    Symbol& left = symbols[best.left];
    if (left.length == 0 || next[best.left] == kEnd) continue;
    Symbol& right = symbols[next[best.left]];
    if (left.length + right.length != best.length) continue;
    left.length += right.length;
    left.id = best.id;
    right.length = 0;
    next[best.left] = next[next[best.left]];
    if (next[best.left] != kEnd) {
      previous[next[best.left]] = best.left;
      candidate(best.left, push);
    }
    if (previous[best.left] != kEnd) candidate(previous[best.left], push);
  }
  symbols.erase(std::remove_if(symbols.begin(), symbols.end(), [](const Symbol& s) { return s.length == 0; }),
                symbols.end());
}

template <class Find>
void merge_symbols(MergeScratch& scratch, Find&& find) {
  if (scratch.symbols.size() < 2) return;
  if (scratch.symbols.size() <= kScanLimit) {
    merge_by_scanning(scratch, find);
  } else {
    merge_by_heap(scratch, find);
  }
}

}  // namespace lathe::text
