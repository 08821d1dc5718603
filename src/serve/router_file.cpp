#include "serve/router_file.h"

#include <string_view>

#include "base/checked.h"
#include "base/file.h"
#include "base/hash.h"

namespace lathe::serve {
namespace {

using Remembered = PrefixRouter::Remembered;

constexpr std::string_view kMagic = "LRTR";
constexpr std::uint32_t kVersion = 1;

}  // namespace

void save_router_memory(const std::filesystem::path& path, std::span<const Remembered> memory) {
  static_assert(sizeof(Remembered) == 2 * sizeof(std::uint64_t));
  AtomicFile file(path, 0600);
  file.write(kMagic);
  file.write_value(kVersion);
  file.write_value<std::uint64_t>(memory.size());
  file.write_value(hash64(std::as_bytes(memory)));
  file.write(std::as_bytes(memory));
  file.commit();
}

std::vector<Remembered> load_router_memory(const std::filesystem::path& path) {
  const Bytes file = map_file(path);
  ByteReader reader(file);
  if (reader.string(kMagic.size(), "the magic bytes") != kMagic)
    fail(file.name(), "does not say which engine read what");
  if (const auto version = reader.read<std::uint32_t>("the version"); version != kVersion)
    fail(file.name(), "is version {} of the layout, this program reads {}", version, kVersion);
  const auto count = reader.read<std::uint64_t>("the number of prefixes");
  const auto hash = reader.read<std::uint64_t>("the hash");
  if (count > PrefixRouter::kMostPrefixes || reader.remaining() != count * sizeof(Remembered))
    fail(file.name(), "is damaged: {} bytes for {} prefixes", reader.remaining(), count);
  if (hash64(reader.bytes().span().subspan(reader.position())) != hash)
    fail(file.name(), "is damaged: its hash is another");
  std::vector<Remembered> memory;
  for (std::uint64_t i = 0; i < count; ++i) {
    const auto prefix = reader.read<std::uint64_t>("a prefix");
    memory.push_back({prefix, reader.read<std::uint64_t>("its engines")});
  }
  return memory;
}

}  // namespace lathe::serve
