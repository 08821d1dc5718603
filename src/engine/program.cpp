#include "engine/program.h"

#include <algorithm>

#include "base/error.h"

namespace lathe::engine {
namespace {

std::string node_name(const Program& program, NodeId node) {
  const VariableId output = program.nodes[node].output;
  return output < program.variables.size() ? fmt::format("node {} (-> {})", node, program.variables[output].name)
                                           : fmt::format("node {}", node);
}

}  // namespace

VariableId Program::add_variable(std::string name, std::optional<std::string> value) {
  variables.push_back({std::move(name), std::move(value), std::nullopt});
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

void validate(const Program& program) {
  // Kahn's algorithm over nodes: whatever cannot be scheduled lies on a cycle.
  std::vector<std::uint32_t> waiting(program.nodes.size(), 0);
  std::vector<std::vector<NodeId>> consumers(program.variables.size());
  for (NodeId id = 0; id < program.nodes.size(); ++id) {
    const Node& node = program.nodes[id];
    if (node.output >= program.variables.size())
      fail(node_name(program, id), "its output variable {} does not exist", node.output);
    if (program.variables[node.output].producer != id)
      fail(node_name(program, id), "is not registered as the producer of its output");
    if (program.variables[node.output].value) fail(program.variables[node.output].name, "has a value and a producer");
    if (node.task_group && *node.task_group >= program.task_groups.size())
      fail(node_name(program, id), "task group {} does not exist", *node.task_group);
    for (const auto& piece : node.prompt) {
      const auto* input = std::get_if<VariableId>(&piece);
      if (input == nullptr) continue;
      if (*input >= program.variables.size())
        fail(node_name(program, id), "its input variable {} does not exist", *input);
      const Variable& variable = program.variables[*input];
      if (!variable.value && !variable.producer) fail(variable.name, "has no value and nothing produces it");
      if (!variable.value) {
        consumers[*input].push_back(id);
        ++waiting[id];
      }
    }
  }
  std::vector<NodeId> ready;
  for (NodeId id = 0; id < program.nodes.size(); ++id) {
    if (waiting[id] == 0) ready.push_back(id);
  }
  std::size_t done = 0;
  for (; done < ready.size(); ++done) {
    for (const NodeId consumer : consumers[program.nodes[ready[done]].output]) {
      if (--waiting[consumer] == 0) ready.push_back(consumer);
    }
  }
  if (done < program.nodes.size()) {
    const auto stuck = std::find_if(waiting.begin(), waiting.end(), [](std::uint32_t count) { return count > 0; });
    fail(node_name(program, static_cast<NodeId>(stuck - waiting.begin())), "waits for itself: the program has a cycle");
  }
}

}  // namespace lathe::engine
