#include "quant/merge.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace lathe::quant {
namespace {

using arch::Op;
using arch::OpKind;

// Where a slot lies: the slot that owns the memory, and the first column in it.
struct Place {
  int slot;
  std::uint64_t offset;
};
Place place_of(const arch::OpList& list, int slot) {
  Place place{slot, 0};
  while (list.slots[static_cast<std::size_t>(place.slot)].parent != arch::kNoSlot) {
    place.offset += list.slots[static_cast<std::size_t>(place.slot)].offset;
    place.slot = list.slots[static_cast<std::size_t>(place.slot)].parent;
  }
  return place;
}

// Whether two slots have a column in common.
bool overlap(const arch::OpList& list, int a, int b) {
  if (a == arch::kNoSlot || b == arch::kNoSlot) return false;
  const Place x = place_of(list, a), y = place_of(list, b);
  return x.slot == y.slot && x.offset < y.offset + list.slots[static_cast<std::size_t>(b)].width &&
         y.offset < x.offset + list.slots[static_cast<std::size_t>(a)].width;
}

bool writes(const arch::OpList& list, const Op& op, int slot) {
  if (op.kind == OpKind::kLinear) {
    return std::any_of(op.linears.begin(), op.linears.end(),
                       [&](const arch::LinearUse& use) { return overlap(list, use.out, slot); });
  }
  return overlap(list, op.out, slot);
}

// The last operation before `index` that writes the slot, or nullptr.
const Op* producer(const arch::OpList& list, std::size_t index, int slot) {
  while (index-- > 0) {
    if (writes(list, list.ops[index], slot)) return &list.ops[index];
  }
  return nullptr;
}

// The linear whose rows are the columns of `slot` as operation `index` reads it.
bool find_rows(const arch::OpList& list, std::size_t index, int slot, ScaleSite& site) {
  const Op* op = producer(list, index, slot);
  if (op == nullptr || op->kind != OpKind::kLinear) return false;
  const Place wanted = place_of(list, slot);
  const std::uint64_t width = list.slots[static_cast<std::size_t>(slot)].width;
  for (const arch::LinearUse& use : op->linears) {
    const Place out = place_of(list, use.out);
    if (out.slot != wanted.slot || use.accumulate || wanted.offset < out.offset ||
        wanted.offset + width > out.offset + use.out_features) {
      continue;
    }
    site.linear = use.weight;
    site.linear_bias = use.has_bias;
    site.first_row = wanted.offset - out.offset;
    return true;
  }
  return false;
}

// Other readers of a slot between its producer and its next writer would see the scale too.
bool only_linears_read(const arch::OpList& list, const Op* from, int slot, std::vector<const Op*>& consumers) {
  bool after = false;
  for (const Op& op : list.ops) {
    if (&op == from) {
      after = true;
      continue;
    }
    if (!after) continue;
    const auto reads = [&](int s) { return overlap(list, s, slot); };
    if (op.kind == OpKind::kLinear && reads(op.in)) {
      consumers.push_back(&op);
    } else if (op.kind != OpKind::kLinear && (reads(op.in) || reads(op.in2) || reads(op.k) || reads(op.v))) {
      return false;
    }
    if (writes(list, op, slot)) break;
  }
  return !consumers.empty();
}

}  // namespace

std::vector<ScaleSite> scale_sites(const LayerWork& work) {
  const arch::OpList& list = *work.ops;
  const arch::Architecture& a = *work.architecture;
  std::vector<ScaleSite> sites;
  for (std::size_t i = 0; i < list.ops.size(); ++i) {
    const Op& op = list.ops[i];
    if (op.layer != work.layer || op.kind != OpKind::kLinear) continue;
    const Op* from = producer(list, i, op.in);
    if (from == nullptr || from->layer != work.layer) continue;
    ScaleSite site;
    if (!only_linears_read(list, from, op.in, site.consumers) || site.consumers.front() != &op) continue;
    const std::uint64_t width = list.slots[static_cast<std::size_t>(op.in)].width;
    site.row_of.resize(width);
    std::iota(site.row_of.begin(), site.row_of.end(), 0u);
    const std::size_t at = static_cast<std::size_t>(from - list.ops.data());
    bool found = false;
    if (from->kind == OpKind::kNorm && from->out == op.in) {
      site.norm = from->weight;
      site.norm_bias = from->has_bias;
      found = true;
    } else if (from->kind == OpKind::kGated && from->out == op.in) {
      found = find_rows(list, at, from->in2, site);
    } else if (from->kind == OpKind::kAttention && from->out == op.in && from->v != arch::kNoSlot) {
      found = find_rows(list, at, from->v, site);
      site.through_attention = found;
      for (std::uint64_t column = 0; found && column < width; ++column) {
        const std::uint64_t head = column / a.v_head_dim / (a.n_heads / a.n_kv_heads);
        site.row_of[column] = static_cast<std::uint32_t>(head * a.v_head_dim + column % a.v_head_dim);
      }
    }
    if (found) sites.push_back(std::move(site));
  }
  return sites;
}

void tie_scale(const ScaleSite& site, std::vector<float>& scale) {
  std::map<std::uint32_t, std::pair<double, int>> logs;
  for (std::size_t c = 0; c < scale.size(); ++c) {
    auto& [sum, count] = logs[site.row_of[c]];
    sum += std::log(static_cast<double>(scale[c]));
    ++count;
  }
  for (std::size_t c = 0; c < scale.size(); ++c) {
    const auto& [sum, count] = logs[site.row_of[c]];
    scale[c] = static_cast<float>(std::exp(sum / count));
  }
}

void fold_scale(LayerWork& work, const ScaleSite& site, const std::vector<float>& scale) {
  const std::size_t width = scale.size();
  for (const Op* op : site.consumers) {
    for (const arch::LinearUse& use : op->linears) {
      std::vector<float>& weight = work.values(use.weight + ".weight");
      for (std::size_t i = 0; i < weight.size(); ++i) weight[i] *= scale[i % width];
    }
    const auto input = work.inputs.find(op->linears.front().weight);
    if (input != work.inputs.end()) input->second->divide(scale);
  }
  if (!site.norm.empty()) {
    std::vector<float>& weight = work.values(site.norm + ".weight");
    for (std::size_t i = 0; i < width; ++i) weight[i] /= scale[i];
    if (site.norm_bias) {
      std::vector<float>& bias = work.values(site.norm + ".bias");
      for (std::size_t i = 0; i < width; ++i) bias[i] /= scale[i];
    }
    return;
  }
  std::vector<float>& rows = work.values(site.linear + ".weight");
  const std::size_t cols = work.shape(site.linear + ".weight").cols();
  std::vector<bool> done(work.shape(site.linear + ".weight").rows());
  for (std::size_t c = 0; c < width; ++c) {
    const std::size_t row = site.first_row + site.row_of[c];
    if (done[row]) continue;
    done[row] = true;
    for (std::size_t i = 0; i < cols; ++i) rows[row * cols + i] /= scale[c];
    if (site.linear_bias) work.values(site.linear + ".bias")[row] /= scale[c];
  }
}

}  // namespace lathe::quant
