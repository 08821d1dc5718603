#include "serve/request_log.h"

#include <utility>

#include "serve/program_json.h"

namespace lathe::serve {
namespace {

Json request_json(const PlainRequest& request, const Json& program) {
  Json json = {{"id", request.id},
               {"object", "request"},
               {"endpoint", request.endpoint},
               {"model", request.model},
               {"created", request.created}};
  json.update(program);
  return json;
}

}  // namespace

void RequestLog::begin(PlainRequest request, const std::shared_ptr<engine::ProgramRun>& run) {
  std::string id = request.id;
  running_.emplace(std::move(id), Running{std::move(request), run});
}

void RequestLog::end(const std::string& id, const engine::Program& program) {
  auto running = running_.extract(id);
  if (running.empty()) return;
  ended(std::move(running.mapped().request), program);
}

void RequestLog::ended(PlainRequest request, const engine::Program& program) {
  Json json = program_json(program, request.began);
  ended_.push_back({std::move(request), std::move(json)});
  if (ended_.size() > kMostEnded) ended_.pop_front();
}

void RequestLog::list(const std::string& owner, Json& programs) const {
  for (const auto& [id, running] : running_) {
    const auto run = running.run.lock();
    if (run == nullptr || running.request.owner != owner) continue;
    const auto look = [began = running.request.began](const engine::Program& program) {
      return program_json(program, began);
    };
    programs.push_back(request_json(running.request, run->look(look)));
  }
  for (const Ended& one : ended_) {
    if (one.request.owner != owner) continue;
    Json json = request_json(one.request, one.program);
    json["seconds"] = std::chrono::duration<double>(std::chrono::steady_clock::now() - one.request.began).count();
    programs.push_back(std::move(json));
  }
}

}  // namespace lathe::serve
