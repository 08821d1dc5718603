// The unit of serving: a graph of language-model calls joined by semantic variables (Parrot, Lin et al. 2024, section
// 4). One chat completion is a program with one node. The scheduler's queue holds nodes, so that it can batch, order
// and share prefixes across the calls of one application.
#pragma once

#include <chrono>
#include <cstdint>
#include <exception>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "api/generator.h"
#include "engine/value_transform.h"

namespace lathe::engine {

using VariableId = std::uint32_t;
using NodeId = std::uint32_t;

// A piece of text that calls read and write. Set by the caller, or produced by one node.
struct Variable {
  std::string name;
  std::optional<std::string> value;
  std::optional<NodeId> producer;
  std::exception_ptr error;  // why it will never have a value
};

// What the application wants of a variable: the deduced goal of the calls behind it (Parrot, section 5.2).
enum class Goal : std::uint8_t { kLatency, kThroughput };

enum class NodeState : std::uint8_t { kWaiting, kQueued, kRunning, kDone, kFailed };
std::string_view node_state_name(NodeState state);  // "waiting" (for inputs), "queued", "running", "done", "failed"

// How far a node has come. Times without meaning yet are zero.
struct NodeProgress {
  using Clock = std::chrono::steady_clock;
  NodeState state = NodeState::kWaiting;
  Clock::time_point added, queued, begun, ended;
  // Of the prompt, once it is known: all its tokens, those that were in the prefix cache, and those read by now, these
  // included; a call that is set back for want of memory has read less again.
  std::uint32_t prompt_tokens = 0, cached_tokens = 0, read_tokens = 0;
  std::uint32_t generated_tokens = 0;  // by now
  std::exception_ptr error;            // of one that failed
};

// A call: its prompt is text and variables in order; what it generates becomes the output variable.
struct Node {
  std::vector<std::variant<std::string, VariableId>> prompt;
  VariableId output = 0;
  api::GenerateRequest request;  // settings; its prompt fields are filled from `prompt` unless prompt_ids is set
  std::optional<std::uint32_t> task_group;
  Goal goal = Goal::kLatency;
  bool wanted = false;                        // somebody waits for what it leads to, for latency
  std::uint32_t depth = 0;                    // how many calls lie before it, on the longest way
  ValueTransform transform;                   // of the generated text, on its way into the output
  std::optional<api::GenerateResult> result;  // once run
  NodeProgress progress;
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

// Whether inputs may be without value and producer: those of an open program (StartOptions::open) are set later.
enum class Inputs : std::uint8_t { kKnown, kMayFollow };

// Throws an Error naming node or variable: an id out of range, an input nobody sets or produces, two producers, a
// cycle. Fills in the depths.
void validate(Program& program, Inputs inputs = Inputs::kKnown);

// The outputs that no call reads, in the order of their calls: what a program is for, unless somebody says otherwise.
std::vector<VariableId> final_outputs(const Program& program);

// What somebody waiting for `wanted` means for the calls behind it (Parrot, section 5.2). kThroughput: all of them.
// kLatency: going backwards by distance, a call that is alone at its distance is on the critical path; several become a
// task group, of which only the end of the last matters, so that each of them is for throughput. What somebody else
// waits for already stays as urgent as it is.
void deduce_goals(Program& program, VariableId wanted, Goal goal);

// What a node's generation adds: text that can be shown, and the tokens since the last piece. Valid during the call.
struct Piece {
  std::string_view text;
  std::span<const api::GeneratedToken> tokens;
};

// Called with each piece of text a node generates; returning false cancels that node.
using NodeCallback = std::function<bool(NodeId node, std::string_view piece)>;

}  // namespace lathe::engine
