#include "serve/openai/kv_policy_field.h"

#include <algorithm>
#include <optional>
#include <vector>

#include <fmt/ranges.h>

#include "base/json.h"
#include "cache/kv_policy.h"
#include "serve/openai/sampling_fields.h"

namespace lathe::serve {
namespace {

using cache::KvPolicyChoice;
using cache::KvPolicyKind;

// The server's own policy where it is of that kind, else the usual one.
KvPolicyChoice starting_point(std::string_view name, const std::string& own) {
  const KvPolicyChoice servers = cache::kv_policy_choice(own);
  return cache::kv_policy_kind_name(servers.kind) == name ? servers : cache::kv_policy_choice(name);
}

void read_sinks(Fields& fields, cache::SinksOptions& sinks) {
  const auto number = [&](const char* key, std::int64_t least, std::uint64_t& value) {
    if (const auto given = fields.integer(key, least, kMostTokens)) value = static_cast<std::uint64_t>(*given);
  };
  number("sinks", 0, sinks.sinks);
  number("window", 1, sinks.window);
}

// Every number is at most what the server allows, or what its own policy has.
void read_memory(Fields& fields, cache::MemoryOptions& memory, std::uint64_t most) {
  const auto number = [&](const char* key, std::int64_t least, std::uint64_t bound, std::uint64_t& value) {
    const auto highest = static_cast<std::int64_t>(std::max(bound, value));
    if (const auto given = fields.integer(key, least, highest)) value = static_cast<std::uint64_t>(*given);
  };
  number("sinks", 0, most, memory.sinks);
  number("window", 2, most, memory.window);
  const std::uint64_t shown = std::max(most, memory.block * memory.shown);
  number("block", 1, most, memory.block);
  number("blocks", 1, most, memory.shown);
  number("representatives", 1, most, memory.representatives);
  number("step", 1, most, memory.step);
  if (memory.block * memory.shown > shown) {
    throw ApiError(400,
                   fmt::format("'{}' blocks of {} tokens are {} shown; this server shows {} at most",
                               fields.name("blocks"), memory.block, memory.block * memory.shown, shown),
                   fields.name("blocks"), "invalid_value");
  }
}

void check_offered(const std::string& name, const std::string& field, const std::vector<std::string>& names) {
  if (std::find(names.begin(), names.end(), name) != names.end()) return;
  throw ApiError(400,
                 fmt::format("'{}' cannot be '{}': requests to this server may choose {}", field, name.substr(0, 100),
                             names.empty() ? "none" : fmt::format("{}", fmt::join(names, ", "))),
                 field, "kv_policy_not_offered");
}

}  // namespace

std::string read_kv_policy(Fields& fields, const Lease& lease) {
  const Json* value = fields.any("kv_policy");
  if (value == nullptr) return {};
  const std::string field = fields.name("kv_policy");
  const LoadedModel& model = *lease.model;
  const Json object = value->is_string() ? Json{{"name", *value}} : *value;
  Fields inner(object, field);
  const std::string name = inner.required_text("name");
  check_offered(name, field, model.policies.offered);
  KvPolicyChoice choice = starting_point(name, model.policies.own);
  if (choice.kind == KvPolicyKind::kSinks) read_sinks(inner, choice.sinks);
  if (choice.kind == KvPolicyKind::kInfLlm) read_memory(inner, choice.memory, model.policies.most_tokens);
  inner.finish();
  try {
    std::string text = cache::kv_policy_text(choice);
    model.any().shares_prefixes(text);  // which refuses what it cannot have
    return text;
  } catch (const Error& refused) {
    throw ApiError(400, refused.what(), field, "unsupported_kv_policy");
  }
}

}  // namespace lathe::serve
