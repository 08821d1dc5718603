// Calls with semantic variables out of a request (Parrot, section 4.1): templates whose {{placeholders}} are inputs or
// outputs become nodes of a program.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "engine/program.h"
#include "serve/models.h"
#include "serve/openai/fields.h"

namespace lathe::serve {

inline constexpr std::size_t kMostNodes = 1024, kMostVariables = 4096;       // of a session
inline constexpr std::uint64_t kMostProgramBytes = std::uint64_t{64} << 20;  // of its templates and values

using VariableNames = std::map<std::string, engine::VariableId, std::less<>>;

// What has been added, as the answer tells it.
struct AddedCalls {
  struct Parameter {
    std::string name;  // of the placeholder
    engine::VariableId variable;
    bool is_output;
  };
  std::vector<std::vector<Parameter>> calls;  // in the order of their placeholders
  std::vector<std::pair<engine::VariableId, engine::Goal>> wanted;
};

// Turns a var_id into a variable of this session.
using FindVariable = std::function<std::optional<engine::VariableId>(const std::string& var_id)>;

// The call of a request ("template", "parameters", settings), whose placeholders are variables of their own unless they
// are bound, or its "calls" beside "variables" and "want", which name the session's variables. Both throw ApiError
// naming the field; `program` and `names` are then to be set back by the caller.
AddedCalls add_call(const Json& request, const Lease& lease, engine::Program& program, VariableNames& names,
                    const FindVariable& find);
AddedCalls add_calls(const Json& request, const Lease& lease, engine::Program& program, VariableNames& names,
                     const FindVariable& find);

// The text that the first call of such a request begins with, as far as it is known: what decides where it runs best.
// Of a request that is not valid, anything.
std::string beginning_of(const Json& request);

// "latency" (and TTFT, TPOT) or "throughput".
engine::Goal goal_named(const std::string& criteria, const std::string& field);

}  // namespace lathe::serve
