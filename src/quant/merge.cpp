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

bool same_place(const arch::OpList& list, int a, int b) {
  const Place x = place_of(list, a), y = place_of(list, b);
  return x.slot == y.slot && x.offset == y.offset;
}

// Whether two slots have a column in common.
bool overlap(const arch::OpList& list, int a, int b) {
  if (a == arch::kNoSlot || b == arch::kNoSlot) return false;
  const Place x = place_of(list, a), y = place_of(list, b);
  return x.slot == y.slot && x.offset < y.offset + list.slots[static_cast<std::size_t>(b)].width &&
         y.offset < x.offset + list.slots[static_cast<std::size_t>(a)].width;
}

bool multiplies(const Op& op) { return op.kind == OpKind::kLinear || op.kind == OpKind::kGroupedLinear; }
bool by_experts(const Op& op) { return op.kind == OpKind::kGroupedLinear && op.choice != arch::kNoSlot; }

bool writes(const arch::OpList& list, const Op& op, int slot) {
  if (multiplies(op)) {
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

// The linear whose rows are the columns of `slot` as operation `index` reads it; for experts without their numbers.
bool find_rows(const arch::OpList& list, std::size_t index, int slot, ScaleSite& site) {
  const Op* op = producer(list, index, slot);
  if (op == nullptr || (op->kind != OpKind::kLinear && !by_experts(*op))) return false;
  const Place wanted = place_of(list, slot);
  const std::uint64_t width = list.slots[static_cast<std::size_t>(slot)].width;
  for (const arch::LinearUse& use : op->linears) {
    const Place out = place_of(list, use.out);
    // What experts write are the rows of a view of all of the slot.
    const std::uint64_t features =
        by_experts(*op) ? list.slots[static_cast<std::size_t>(out.slot)].width : use.out_features;
    if (out.slot != wanted.slot || use.accumulate || wanted.offset < out.offset ||
        wanted.offset + width > out.offset + features) {
      continue;
    }
    site.linear = use.weight;
    site.linear_bias = use.has_bias;
    site.first_row = wanted.offset - out.offset;
    return true;
  }
  return false;
}

// The operations that read a slot between its producer and its next writer; nothing when some would see a scale of it
// that cannot be taken back from them.
std::vector<const Op*> linear_readers(const arch::OpList& list, const Op* from, int slot) {
  std::vector<const Op*> readers;
  bool after = false;
  for (const Op& op : list.ops) {
    if (&op == from) {
      after = true;
      continue;
    }
    if (!after) continue;
    const auto reads = [&](int s) { return overlap(list, s, slot); };
    if ((op.kind == OpKind::kLinear || by_experts(op)) && reads(op.in)) {
      readers.push_back(&op);
    } else if (op.kind != OpKind::kLinear && (reads(op.in) || reads(op.in2) || reads(op.k) || reads(op.v))) {
      return {};
    }
    if (writes(list, op, slot)) break;
  }
  return readers;
}

// The weights that the readers of an input multiply it with.
void add_consumers(const LayerWork& work, const std::vector<const Op*>& readers, ScaleSite& site) {
  site.input = readers.front()->linears.front().weight;
  for (const Op* op : readers) {
    for (const arch::LinearUse& use : op->linears) {
      for (std::uint32_t expert = 0; expert < use.matrices; ++expert) {
        site.consumers.push_back(fmt::format("{}.{}", use.weight, expert));
      }
      if (use.matrices > 0) continue;
      (is_router(*work.ops, work.layer, use.out) ? site.routers : site.consumers).push_back(use.weight);
    }
  }
}

// A site for each expert, between two of its linears, from one that names them without numbers.
void add_expert_sites(const Op& down, const ScaleSite& site, std::vector<ScaleSite>& sites) {
  for (std::uint32_t expert = 0; expert < down.linears.front().matrices; ++expert) {
    ScaleSite own = site;
    own.input = fmt::format("{}.{}", down.linears.front().weight, expert);
    own.consumers = {own.input};
    own.linear = fmt::format("{}.{}", site.linear, expert);
    sites.push_back(std::move(own));
  }
}

}  // namespace

std::vector<ScaleSite> scale_sites(const LayerWork& work) {
  const arch::OpList& list = *work.ops;
  const arch::Architecture& a = *work.architecture;
  std::vector<ScaleSite> sites;
  for (std::size_t i = 0; i < list.ops.size(); ++i) {
    const Op& op = list.ops[i];
    if (op.layer != work.layer || (op.kind != OpKind::kLinear && !by_experts(op))) continue;
    const Op* from = producer(list, i, op.in);
    if (from == nullptr || from->layer != work.layer) continue;
    ScaleSite site;
    const std::vector<const Op*> readers = linear_readers(list, from, op.in);
    if (readers.empty() || readers.front() != &op) continue;
    const std::uint64_t width = list.slots[static_cast<std::size_t>(op.in)].width;
    site.row_of.resize(width);
    std::iota(site.row_of.begin(), site.row_of.end(), 0u);
    const std::size_t at = static_cast<std::size_t>(from - list.ops.data());
    bool found = false;
    if (from->kind == OpKind::kNorm && from->out == op.in) {
      site.norm = from->weight;
      site.norm_bias = from->has_bias;
      found = true;
    } else if (from->kind == OpKind::kGated && from->activation_limit == 0 && same_place(list, from->out, op.in)) {
      found = find_rows(list, at, from->in2, site);
    } else if (from->kind == OpKind::kAttention && from->out == op.in && from->v != arch::kNoSlot) {
      found = find_rows(list, at, from->v, site);
      site.through_attention = found;
      for (std::uint64_t column = 0; found && column < width; ++column) {
        const std::uint64_t head = column / a.v_head_dim / (a.n_heads / a.n_kv_heads);
        site.row_of[column] = static_cast<std::uint32_t>(head * a.v_head_dim + column % a.v_head_dim);
      }
    }
    if (!found) continue;
    if (by_experts(op) && site.norm.empty()) {
      add_expert_sites(op, site, sites);
      continue;
    }
    add_consumers(work, readers, site);
    sites.push_back(std::move(site));
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
  std::map<std::shared_ptr<InputStatistics>, Linears> scaled;
  for (const Linears& readers : {site.consumers, site.routers}) {
    for (const std::string& linear : readers) {
      std::vector<float>& weight = work.values(linear + ".weight");
      for (std::size_t i = 0; i < weight.size(); ++i) weight[i] *= scale[i % width];
      const auto input = work.inputs.find(linear);
      if (input != work.inputs.end()) scaled[input->second].push_back(linear);
    }
  }
  for (const auto& [statistics, linears] : scaled) {
    // Experts may share theirs with others whose inputs are not scaled.
    const auto own = std::make_shared<InputStatistics>(*statistics);
    own->divide(scale);
    for (const std::string& linear : linears) work.inputs[linear] = own;
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
