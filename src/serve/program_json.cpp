#include "serve/program_json.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "base/json.h"
#include "serve/openai/error.h"

namespace lathe::serve {
namespace {

using ProgramClock = engine::NodeProgress::Clock;

Json seconds_since(ProgramClock::time_point began, ProgramClock::time_point at) {
  if (at == ProgramClock::time_point{}) return nullptr;
  return std::chrono::duration<double>(at - began).count();
}

Json node_json(const engine::Program& program, engine::NodeId id, ProgramClock::time_point began) {
  const engine::Node& node = program.nodes[id];
  const engine::NodeProgress& progress = node.progress;
  Json inputs = Json::array(), producers = Json::array();
  for (const auto& piece : node.prompt) {
    const auto* input = std::get_if<engine::VariableId>(&piece);
    if (input == nullptr) continue;
    inputs.push_back(*input);
    if (program.variables[*input].producer) producers.push_back(*program.variables[*input].producer);
  }
  Json json = {{"node", id},
               {"output", node.output},
               {"name", program.variables[node.output].name},
               {"state", engine::node_state_name(progress.state)},
               {"goal", node.goal == engine::Goal::kLatency ? "latency" : "throughput"},
               {"group", node.task_group ? Json(program.task_groups[*node.task_group].name) : Json(nullptr)},
               {"depth", node.depth},
               {"inputs", std::move(inputs)},
               {"after", std::move(producers)},
               {"added", seconds_since(began, progress.added)},
               {"queued", seconds_since(began, progress.queued)},
               {"begun", seconds_since(began, progress.begun)},
               {"ended", seconds_since(began, progress.ended)},
               {"prompt_tokens", progress.prompt_tokens},
               {"cached_tokens", progress.cached_tokens},
               {"read_tokens", progress.read_tokens},
               {"generated_tokens", progress.generated_tokens}};
  if (progress.error) json["error"] = as_api_error(progress.error).what();
  return json;
}

}  // namespace

bool at_work(const engine::Program& program) {
  return std::any_of(program.nodes.begin(), program.nodes.end(), [](const engine::Node& node) {
    return node.progress.state == engine::NodeState::kQueued || node.progress.state == engine::NodeState::kRunning;
  });
}

Json program_json(const engine::Program& program, ProgramClock::time_point began) {
  Json nodes = Json::array();
  for (engine::NodeId id = 0; id < program.nodes.size(); ++id) nodes.push_back(node_json(program, id, began));
  return {{"seconds", seconds_since(began, ProgramClock::now())},
          {"state", at_work(program) ? "running" : "idle"},
          {"nodes", std::move(nodes)}};
}

}  // namespace lathe::serve
