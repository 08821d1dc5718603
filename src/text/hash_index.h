// Flat hash tables for vocabularies: strings to ids and pairs of ids to merges. Built once, read often, no allocation
// per entry.
#pragma once

#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace lathe::text {

inline std::uint64_t mix64(std::uint64_t a, std::uint64_t b) {
  const unsigned __int128 product = static_cast<unsigned __int128>(a) * b;
  return static_cast<std::uint64_t>(product) ^ static_cast<std::uint64_t>(product >> 64);
}

inline std::uint64_t hash_bytes(std::string_view text) {
  constexpr std::uint64_t kA = 0x9e3779b97f4a7c15u, kB = 0xd6e8feb86659fd93u;
  const auto load = [](const char* at, std::size_t n) {
    std::uint64_t value = 0;
    std::memcpy(&value, at, n);
    return value;
  };
  const char* at = text.data();
  std::size_t left = text.size();
  std::uint64_t hash = left * kA;
  for (; left > 16; left -= 16, at += 16) hash = mix64(load(at, 8) ^ hash ^ kA, load(at + 8, 8) ^ kB);
  if (left >= 8) return mix64(load(at, 8) ^ hash ^ kA, load(at + left - 8, 8) ^ kB);
  if (left >= 4) return mix64(load(at, 4) ^ hash ^ kA, load(at + left - 4, 4) ^ kB);
  std::uint64_t tail = 0;
  for (std::size_t i = 0; i < left; ++i) tail = tail << 8 | static_cast<unsigned char>(at[i]);
  return mix64(tail ^ hash ^ kA, kB);
}

// Strings kept elsewhere to their numbers. `Strings` is anything whose [i] gives a string_view that stays where it is.
template <class Strings>
class StringIndex {
 public:
  StringIndex() = default;
  StringIndex(const Strings* strings, std::size_t expected) : strings_(strings) {
    std::size_t slots = 16;
    while (slots < expected * 2) slots *= 2;
    slots_.assign(slots, Slot{});
  }

  // Adds strings[id]; returns the id that already had this string, or -1 when it is new. At most `expected` additions.
  std::int32_t insert(std::int32_t id) {
    const std::string_view key = (*strings_)[static_cast<std::size_t>(id)];
    const std::uint64_t hash = hash_bytes(key);
    const std::uint32_t tag = static_cast<std::uint32_t>(hash >> 32);
    for (std::size_t i = hash & (slots_.size() - 1);; i = (i + 1) & (slots_.size() - 1)) {
      Slot& slot = slots_[i];
      if (slot.id < 0) {
        slot = {tag, id};
        return -1;
      }
      if (slot.tag == tag && (*strings_)[static_cast<std::size_t>(slot.id)] == key) return slot.id;
    }
  }

  std::int32_t find(std::string_view key) const {
    if (slots_.empty()) return -1;
    const std::uint64_t hash = hash_bytes(key);
    const std::uint32_t tag = static_cast<std::uint32_t>(hash >> 32);
    for (std::size_t i = hash & (slots_.size() - 1);; i = (i + 1) & (slots_.size() - 1)) {
      const Slot& slot = slots_[i];
      if (slot.id < 0) return -1;
      if (slot.tag == tag && (*strings_)[static_cast<std::size_t>(slot.id)] == key) return slot.id;
    }
  }

 private:
  struct Slot {
    std::uint32_t tag = 0;
    std::int32_t id = -1;
  };
  const Strings* strings_ = nullptr;
  std::vector<Slot> slots_;
};

// 64-bit keys to 64-bit values.
class KeyTable {
 public:
  static constexpr std::uint64_t kAbsent = ~std::uint64_t{0};

  explicit KeyTable(std::size_t expected = 0) { reserve(expected); }
  // False (and no change) when the key is there already. No key may be kAbsent.
  bool insert(std::uint64_t key, std::uint64_t value) {
    if ((count_ + 1) * 2 > slots_.size()) grow();
    for (std::size_t i = start(key);; i = (i + 1) & (slots_.size() - 1)) {
      if (slots_[i].key == key) return false;
      if (slots_[i].key == kAbsent) {
        slots_[i] = {key, value};
        ++count_;
        return true;
      }
    }
  }
  std::uint64_t find(std::uint64_t key) const {
    for (std::size_t i = start(key);; i = (i + 1) & (slots_.size() - 1)) {
      if (slots_[i].key == key) return slots_[i].value;
      if (slots_[i].key == kAbsent) return kAbsent;
    }
  }
  std::size_t size() const { return count_; }

 private:
  struct Slot {
    std::uint64_t key = kAbsent, value = 0;
  };
  std::size_t start(std::uint64_t key) const { return mix64(key, 0x9e3779b97f4a7c15u) & (slots_.size() - 1); }
  void reserve(std::size_t expected) {
    std::size_t slots = 16;
    while (slots < expected * 2 + 2) slots *= 2;
    slots_.assign(slots, Slot{});
  }
  void grow() {
    std::vector<Slot> old;
    old.swap(slots_);
    count_ = 0;
    slots_.assign(old.size() * 2, Slot{});
    for (const Slot& slot : old) {
      if (slot.key != kAbsent) insert(slot.key, slot.value);
    }
  }
  std::vector<Slot> slots_;
  std::size_t count_ = 0;
};

// Many strings in one block of memory.
class StringArena {
 public:
  void reserve(std::size_t strings, std::size_t bytes) {
    ends_.reserve(strings);
    bytes_.reserve(bytes);
  }
  void push_back(std::string_view text) {
    bytes_.append(text);
    ends_.push_back(static_cast<std::uint32_t>(bytes_.size()));
  }
  std::string_view operator[](std::size_t i) const {
    const std::uint32_t begin = i == 0 ? 0 : ends_[i - 1];
    return std::string_view(bytes_).substr(begin, ends_[i] - begin);
  }
  std::size_t size() const { return ends_.size(); }

 private:
  std::string bytes_;
  std::vector<std::uint32_t> ends_;
};

}  // namespace lathe::text
