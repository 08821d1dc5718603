#include "engine/program.h"

#include <algorithm>
#include <map>

#include "base/error.h"

namespace lathe::engine {
namespace {

std::string node_name(const Program& program, NodeId node) {
  const VariableId output = program.nodes[node].output;
  return output < program.variables.size() ? fmt::format("node {} (-> {})", node, program.variables[output].name)
                                           : fmt::format("node {}", node);
}

template <class Visit>
void each_input(const Node& node, const Visit& visit) {
  for (const auto& piece : node.prompt) {
    if (const auto* input = std::get_if<VariableId>(&piece)) visit(*input);
  }
}

}  // namespace

std::string_view node_state_name(NodeState state) {
  static constexpr std::string_view kNames[] = {"waiting", "queued", "running", "done", "failed"};
  return kNames[static_cast<std::size_t>(state)];
}

VariableId Program::add_variable(std::string name, std::optional<std::string> value) {
  variables.push_back({std::move(name), std::move(value), std::nullopt, nullptr});
  return static_cast<VariableId>(variables.size() - 1);
}

NodeId Program::add_node(Node node) {
  const auto id = static_cast<NodeId>(nodes.size());
  if (node.output >= variables.size())
    fail(fmt::format("node {}", id), "its output variable {} does not exist", node.output);
  Variable& output = variables[node.output];
  if (output.producer) fail(output.name, "is produced by node {} and by node {}", *output.producer, id);
  output.producer = id;
  nodes.push_back(std::move(node));
  return id;
}

void validate(Program& program, Inputs inputs) {
  // Kahn's algorithm over nodes: whatever cannot be scheduled lies on a cycle. What has been produced has its order.
  std::vector<std::uint32_t> waiting(program.nodes.size(), 0);
  std::vector<std::vector<NodeId>> consumers(program.variables.size());
  for (NodeId id = 0; id < program.nodes.size(); ++id) {
    const Node& node = program.nodes[id];
    if (node.output >= program.variables.size())
      fail(node_name(program, id), "its output variable {} does not exist", node.output);
    if (program.variables[node.output].producer != id)
      fail(node_name(program, id), "is not registered as the producer of its output");
    const bool ended = node.progress.state >= NodeState::kDone;
    if (program.variables[node.output].value && !ended)
      fail(program.variables[node.output].name, "has a value and a producer");
    if (node.task_group && *node.task_group >= program.task_groups.size())
      fail(node_name(program, id), "task group {} does not exist", *node.task_group);
    each_input(node, [&](VariableId input) {
      if (input >= program.variables.size())
        fail(node_name(program, id), "its input variable {} does not exist", input);
      const Variable& variable = program.variables[input];
      if (!variable.value && !variable.producer && inputs == Inputs::kKnown)
        fail(variable.name, "has no value and nothing produces it");
      if (!variable.producer) return;
      consumers[input].push_back(id);
      ++waiting[id];
    });
  }
  std::vector<NodeId> ready;
  for (NodeId id = 0; id < program.nodes.size(); ++id) {
    if (waiting[id] == 0) ready.push_back(id);
  }
  std::size_t done = 0;
  for (; done < ready.size(); ++done) {
    const Node& node = program.nodes[ready[done]];
    for (const NodeId consumer : consumers[node.output]) {
      program.nodes[consumer].depth = std::max(program.nodes[consumer].depth, node.depth + 1);
      if (--waiting[consumer] == 0) ready.push_back(consumer);
    }
  }
  if (done < program.nodes.size()) {
    const auto stuck = std::find_if(waiting.begin(), waiting.end(), [](std::uint32_t count) { return count > 0; });
    fail(node_name(program, static_cast<NodeId>(stuck - waiting.begin())), "waits for itself: the program has a cycle");
  }
}

std::vector<VariableId> final_outputs(const Program& program) {
  std::vector<bool> read(program.variables.size(), false);
  for (const Node& node : program.nodes) each_input(node, [&](VariableId input) { read[input] = true; });
  std::vector<VariableId> outputs;
  for (const Node& node : program.nodes) {
    if (!read[node.output]) outputs.push_back(node.output);
  }
  return outputs;
}

void deduce_goals(Program& program, VariableId wanted, Goal goal) {
  // Distances by levels: a node counts where the longest way from it to `wanted` puts it.
  std::vector<std::optional<std::uint32_t>> distance(program.nodes.size());
  std::vector<NodeId> behind;
  const auto reach = [&](VariableId variable, std::uint32_t far) {
    const auto& producer = program.variables[variable].producer;
    if (!producer) return;
    if (!distance[*producer]) behind.push_back(*producer);
    distance[*producer] = std::max(distance[*producer].value_or(0), far);
  };
  // All that lie behind, then by depth: a node comes after everything that reads its output.
  reach(wanted, 0);
  for (std::size_t i = 0; i < behind.size(); ++i)
    each_input(program.nodes[behind[i]], [&](VariableId input) { reach(input, 0); });
  std::stable_sort(behind.begin(), behind.end(),
                   [&](NodeId a, NodeId b) { return program.nodes[a].depth > program.nodes[b].depth; });
  for (const NodeId id : behind)
    each_input(program.nodes[id], [&](VariableId input) { reach(input, *distance[id] + 1); });

  std::map<std::uint32_t, std::vector<NodeId>> levels;
  for (const NodeId id : behind) levels[*distance[id]].push_back(id);
  for (const auto& [far, nodes] : levels) {
    const bool critical = goal == Goal::kLatency && nodes.size() == 1;
    std::optional<std::uint32_t> group;
    for (const NodeId id : nodes) {
      Node& node = program.nodes[id];
      if (critical) node.goal = Goal::kLatency;
      if (critical || node.wanted) continue;
      node.goal = Goal::kThroughput;
      if (goal != Goal::kLatency) continue;
      if (!group) {
        group = static_cast<std::uint32_t>(program.task_groups.size());
        program.task_groups.push_back({fmt::format("{} - {}", program.variables[wanted].name, far)});
      }
      node.task_group = group;
    }
    for (const NodeId id : nodes) program.nodes[id].wanted |= goal == Goal::kLatency;
  }
}

}  // namespace lathe::engine
