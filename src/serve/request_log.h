// The requests of a server that are programs by themselves: those of independent calls that run, and the last of all
// that have ended. Of the latter only figures are kept, neither their model nor anything they said. Event loop only.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <string>

#include "base/json.h"
#include "engine/program_run.h"

namespace lathe::serve {

struct PlainRequest {
  std::string id;        // of its answer
  std::string owner;     // the name of the key that may see it
  std::string endpoint;  // /v1/chat/completions and the like
  std::string model;
  std::int64_t created = 0;                     // Unix time
  std::chrono::steady_clock::time_point began;  // when it arrived
};

class RequestLog {
 public:
  static constexpr std::size_t kMostEnded = 32;

  void begin(PlainRequest request, const std::shared_ptr<engine::ProgramRun>& run);
  void end(const std::string& id, const engine::Program& program);
  // One that was not begun here.
  void ended(PlainRequest request, const engine::Program& program);
  // Adds those of `owner` to a list, in the form of a session's state.
  void list(const std::string& owner, Json& programs) const;

 private:
  struct Running {
    PlainRequest request;
    std::weak_ptr<engine::ProgramRun> run;
  };
  struct Ended {
    PlainRequest request;
    Json program;  // as it was at the end
  };
  std::map<std::string, Running> running_;  // by id
  std::deque<Ended> ended_;                 // the latest last
};

}  // namespace lathe::serve
