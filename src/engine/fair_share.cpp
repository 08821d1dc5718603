#include "engine/fair_share.h"

#include <algorithm>
#include <limits>

namespace lathe::engine {

void FairShare::arrive(std::string_view client) {
  std::uint64_t least = std::numeric_limits<std::uint64_t>::max();
  for (const auto& [name, account] : accounts_) {
    if (account.jobs > 0) least = std::min(least, account.served);
  }
  if (accounts_.size() >= kMostRemembered)
    std::erase_if(accounts_, [](const auto& one) { return one.second.jobs == 0; });
  Account& account = accounts_.try_emplace(std::string(client)).first->second;
  if (account.jobs++ == 0 && least != std::numeric_limits<std::uint64_t>::max())
    account.served = std::max(account.served, least);
}

void FairShare::leave(std::string_view client) {
  const auto it = accounts_.find(client);
  if (it != accounts_.end() && it->second.jobs > 0) --it->second.jobs;
}

void FairShare::charge(std::string_view client, std::uint64_t prefill_tokens, std::uint64_t decode_tokens) {
  const auto it = accounts_.find(client);
  if (it != accounts_.end()) it->second.served += prefill_tokens + kDecodeWeight * decode_tokens;
}

std::uint64_t FairShare::served(std::string_view client) const {
  const auto it = accounts_.find(client);
  return it == accounts_.end() ? 0 : it->second.served;
}

}  // namespace lathe::engine
