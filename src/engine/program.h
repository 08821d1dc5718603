// The unit of serving: a graph of language-model calls joined by semantic variables (Parrot, Lin et al. 2024, section
// 4). One chat completion is a program with one node. The scheduler's queue holds nodes, so that it can batch, order
// and share prefixes across the calls of one application.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "api/generator.h"

namespace lathe::engine {

using VariableId = std::uint32_t;
using NodeId = std::uint32_t;

// A piece of text that calls read and write. Set by the caller, or produced by one node.
struct Variable {
  std::string name;
  std::optional<std::string> value;
  std::optional<NodeId> producer;
};

// What the application wants of a variable: the deduced goal of the calls behind it (Parrot, section 5.2).
enum class Goal : std::uint8_t { kLatency, kThroughput };

// A call: its prompt is text and variables in order; what it generates becomes the output variable.
struct Node {
  std::vector<std::variant<std::string, VariableId>> prompt;
  VariableId output = 0;
  api::GenerateRequest request;  // settings; its prompt fields are filled from `prompt` unless prompt_ids is set
  std::optional<std::uint32_t> task_group;
  Goal goal = Goal::kLatency;
  std::optional<api::GenerateResult> result;  // once run
};

// Calls that one later call waits for: only the time of the slowest matters, so they are best run together.
struct TaskGroup {
  std::string name;
};

struct Program {
  std::vector<Variable> variables;
  std::vector<Node> nodes;
  std::vector<TaskGroup> task_groups;

  VariableId add_variable(std::string name, std::optional<std::string> value = std::nullopt);
  NodeId add_node(Node node);  // registers it as the producer of its output
};

// Throws an Error naming node or variable: an id out of range, an input nobody sets or produces, two producers, a
// cycle.
void validate(const Program& program);

// What a node's generation adds: text that can be shown, and the tokens since the last piece. Valid during the call.
struct Piece {
  std::string_view text;
  std::span<const api::GeneratedToken> tokens;
};

// Called with each piece of text a node generates; returning false cancels that node.
using NodeCallback = std::function<bool(NodeId node, std::string_view piece)>;

}  // namespace lathe::engine
