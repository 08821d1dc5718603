#include "cache/prefix_file.h"

#include <algorithm>
#include <cstddef>
#include <string_view>
#include <utility>
#include <vector>

#include "base/file.h"
#include "base/hash.h"

namespace lathe::cache {
namespace {

constexpr std::string_view kMagic = "LPFX";
constexpr std::uint32_t kVersion = 1;
constexpr std::uint64_t kPreambleBytes = 24;  // magic, version, bytes of the table, its hash
constexpr std::uint64_t kHashBytes = sizeof(std::uint64_t);

template <class T>
void append(std::string& out, const T& value) {
  out.append(reinterpret_cast<const char*>(&value), sizeof value);
}

void append_string(std::string& out, std::string_view text) {
  append(out, static_cast<std::uint32_t>(text.size()));
  out += text;
}

// The table's beginning: whose blocks these are.
std::string header(const BlockPool& pool, const PrefixOrigin& origin) {
  const kernels::KvLayout& layout = pool.layout();
  std::string out;
  append(out, origin.model);
  append_string(out, origin.computation);
  append_string(out, kernels::kv_codec_name(layout.codec));
  for (const std::uint32_t value :
       {layout.n_kv_heads, layout.k_dim, layout.v_dim, layout.block_tokens, pool.n_layers()})
    append(out, value);
  append(out, pool.block_bytes());
  return out;
}

std::string table(const BlockPool& pool, const PrefixOrigin& origin, const PrefixList& list) {
  std::string out = header(pool, origin);
  append(out, static_cast<std::uint32_t>(list.scopes.size()));
  for (const std::string& scope : list.scopes) append_string(out, scope);
  append(out, static_cast<std::uint32_t>(list.entries.size()));
  for (const PrefixList::Entry& entry : list.entries) {
    append(out, entry.follows);
    for (const std::uint64_t key : entry.keys) append(out, key);
  }
  return out;
}

// What one more block adds to a file.
std::uint64_t bytes_per_block(const BlockPool& pool) {
  return sizeof(std::uint32_t) + sizeof(std::uint64_t) * pool.layout().block_tokens + kHashBytes + pool.block_bytes();
}

std::string read_string(ByteReader& reader, std::string_view what) {
  return reader.string(reader.read<std::uint32_t>(what), what);
}

// A text of a file as messages may repeat it: not much of it, and nothing that a terminal or a log would obey.
std::string shown(std::string_view text) {
  std::string result(text.substr(0, 80));
  std::replace_if(
      result.begin(), result.end(), [](char c) { return c < ' ' || c > '~'; }, '?');
  return result;
}

// Throws unless the table begins as header() would.
void check_header(ByteReader& reader, const BlockPool& pool, const PrefixOrigin& origin) {
  if (reader.read<std::uint64_t>("the model's fingerprint") != origin.model)
    fail(reader.name(), "holds prefixes of another model");
  const std::string computation = read_string(reader, "what computed the blocks");
  if (computation != origin.computation)
    fail(reader.name(), "holds prefixes computed by \"{}\", not by \"{}\"", shown(computation), origin.computation);
  const kernels::KvLayout& layout = pool.layout();
  const std::string codec = read_string(reader, "the KV codec");
  if (codec != kernels::kv_codec_name(layout.codec))
    fail(reader.name(), "holds KV blocks in {}, not in {}", shown(codec), kernels::kv_codec_name(layout.codec));
  for (const auto& [name, expected] : {std::pair<std::string_view, std::uint64_t>{"KV heads", layout.n_kv_heads},
                                       {"a key's size", layout.k_dim},
                                       {"a value's size", layout.v_dim},
                                       {"tokens of a block", layout.block_tokens},
                                       {"layers", pool.n_layers()}}) {
    if (const auto value = reader.read<std::uint32_t>(name); value != expected)
      fail(reader.name(), "holds other KV blocks: {} {}, not {}", name, value, expected);
  }
  if (const auto bytes = reader.read<std::uint64_t>("bytes of a block"); bytes != pool.block_bytes())
    fail(reader.name(), "holds KV blocks of {} bytes, not of {}", bytes, pool.block_bytes());
}

// The table's rest: scopes and entries, without their blocks; `n_entries` is how many there are, of which at most
// `most` are returned.
PrefixList read_entries(ByteReader& reader, std::uint32_t block_tokens, std::uint64_t most, std::uint64_t& n_entries) {
  PrefixList list;
  const auto n_scopes = reader.read<std::uint32_t>("the number of scopes");
  for (std::uint32_t i = 0; i < n_scopes; ++i) list.scopes.push_back(read_string(reader, "a scope"));
  n_entries = reader.read<std::uint32_t>("the number of blocks");
  const std::uint64_t entry_bytes = sizeof(std::uint32_t) + sizeof(std::uint64_t) * std::uint64_t{block_tokens};
  if (reader.remaining() != checked_mul(n_entries, entry_bytes, "the table of blocks", reader.name()))
    fail(reader.name(), "the table of {} blocks has another size", n_entries);
  for (std::uint64_t i = 0; i < std::min(n_entries, most); ++i) {
    PrefixList::Entry& entry = list.entries.emplace_back();
    entry.follows = reader.read<std::uint32_t>("a block's predecessor");
    entry.keys.resize(block_tokens);
    for (std::uint64_t& key : entry.keys) key = reader.read<std::uint64_t>("a block's keys");
  }
  return list;
}

}  // namespace

std::uint64_t save_prefixes(const std::filesystem::path& path, const PrefixTree& tree, const PrefixOrigin& origin,
                            std::uint64_t most_bytes) {
  BlockPool& pool = tree.pool();
  const std::uint64_t fixed = kPreambleBytes + table(pool, origin, tree.most_recent(0)).size();
  const PrefixList list = tree.most_recent(most_bytes > fixed ? (most_bytes - fixed) / bytes_per_block(pool) : 0);
  if (list.entries.empty()) return 0;

  AtomicFile file(path, 0600);
  const std::string head = table(pool, origin, list);
  file.write(kMagic);
  file.write_value(kVersion);
  file.write_value<std::uint64_t>(head.size());
  file.write_value(hash64(head));
  file.write(head);
  const auto stream = pool.backend().make_stream();
  std::vector<std::byte> bytes(pool.block_bytes());
  for (const PrefixList::Entry& entry : list.entries) {
    pool.backend().download(*stream, bytes.data(), entry.block.address(0), bytes.size());
    file.write_value(hash64(bytes));
    file.write(bytes);
  }
  file.commit();
  return list.entries.size();
}

std::uint64_t load_prefixes(const Bytes& file, PrefixTree& tree, const PrefixOrigin& origin) {
  BlockPool& pool = tree.pool();
  ByteReader reader(file);
  if (reader.string(kMagic.size(), "the magic bytes") != kMagic) fail(file.name(), "is no file of prefixes");
  if (const auto version = reader.read<std::uint32_t>("the version"); version != kVersion)
    fail(file.name(), "is version {} of the layout, this program reads {}", version, kVersion);
  const auto table_bytes = reader.read<std::uint64_t>("the table's size");
  const auto table_hash = reader.read<std::uint64_t>("the table's hash");
  ByteReader table(reader.take(table_bytes, "the table"));
  if (hash64(table.bytes().span()) != table_hash) fail(file.name(), "is damaged: the table's hash is another");
  check_header(table, pool, origin);
  std::uint64_t n_entries = 0;
  PrefixList list = read_entries(table, pool.layout().block_tokens, pool.free_blocks(), n_entries);
  if (reader.remaining() != checked_mul(n_entries, kHashBytes + pool.block_bytes(), "the blocks", file.name()))
    fail(file.name(), "holds {} bytes behind the table, not {} blocks", reader.remaining(), n_entries);

  const auto stream = pool.backend().make_stream();
  for (PrefixList::Entry& entry : list.entries) {
    const auto hash = reader.read<std::uint64_t>("a block's hash");
    const Bytes bytes = reader.take(pool.block_bytes(), "a block");
    if (hash64(bytes.span()) != hash) fail(file.name(), "is damaged: a block's hash is another");
    entry.block = pool.allocate();
    pool.backend().upload(*stream, entry.block.address(0), bytes.data(), bytes.size());
  }
  pool.backend().synchronize(*stream);
  const std::uint64_t restored = list.entries.size();
  try {
    tree.restore(std::move(list));
  } catch (const Error& error) {
    throw error.within(file.name());
  }
  return restored;
}

}  // namespace lathe::cache
