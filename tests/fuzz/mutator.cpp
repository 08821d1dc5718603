#include "fuzz/mutator.h"

#include <algorithm>
#include <cstring>

namespace lathe::fuzz {
namespace {

// SplitMix64 (Steele, Lea & Flood 2014).
class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed * 0x9e3779b97f4a7c15u + 1) {}
  std::uint64_t next() {
    std::uint64_t z = state_ += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
  }
  std::size_t below(std::size_t bound) { return bound == 0 ? 0 : next() % bound; }

 private:
  std::uint64_t state_;
};

template <class T>
void overwrite(std::string& data, std::size_t at, T value) {
  if (data.size() < sizeof value) return;
  std::memcpy(data.data() + std::min(at, data.size() - sizeof value), &value, sizeof value);
}

// Headers are where the decisions are: half of all places are among the first bytes.
std::size_t place(Random& random, const std::string& data) {
  return random.below(random.next() % 2 == 0 ? std::min<std::size_t>(data.size(), 1024) : data.size());
}

void change(Random& random, std::string& data, const std::string& other) {
  static constexpr std::uint64_t kSizes[] = {
      0, 1, 0x7f, 0xffff, 1u << 31, 0xffffffffu, std::uint64_t{1} << 60, std::uint64_t{1} << 63, ~std::uint64_t{0}};
  static constexpr const char* kNumbers[] = {"-1",  "0",    "1e999", "4294967296", "18446744073709551616",
                                             "0.5", "null", "[]",    "{}",         "\"\""};
  const std::size_t at = place(random, data);
  switch (random.below(9)) {
    case 0:
      data.resize(at);
      break;
    case 1:
      if (!data.empty()) data[at] = static_cast<char>(data[at] ^ 1 << random.below(8));
      break;
    case 2:
      if (!data.empty()) data[at] = random.next() % 2 == 0 ? '\0' : '\xff';
      break;
    case 3:
      overwrite(data, at, static_cast<std::uint32_t>(kSizes[random.below(std::size(kSizes))]));
      break;
    case 4:
      overwrite(data, at, kSizes[random.below(std::size(kSizes))]);
      break;
    case 5: {  // a part of another seed in place of what is here
      const std::size_t from = random.below(other.size()), count = random.below(64);
      data.replace(at, random.below(64), other, from, count);
      break;
    }
    case 6:
      data.erase(at, random.below(32));
      break;
    case 7:
      data.insert(at, data.substr(at, random.below(64)));
      break;
    default: {  // a number of a text format
      const std::size_t digit = data.find_first_of("0123456789", at);
      if (digit == std::string::npos) break;
      const std::size_t end = std::min(data.find_first_not_of("0123456789", digit), data.size());
      data.replace(digit, end - digit, kNumbers[random.below(std::size(kNumbers))]);
    }
  }
}

}  // namespace

std::string Mutator::mutation(std::uint64_t n) const {
  Random random(n);
  std::string data = seeds_[n % seeds_.size()];
  for (std::size_t changes = 1 + random.below(3); changes > 0; --changes) {
    change(random, data, seeds_[random.below(seeds_.size())]);
  }
  return data;
}

}  // namespace lathe::fuzz
