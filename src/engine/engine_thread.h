// The thread that steps a session while there is work, for callers that only start programs and wait for callbacks.
#pragma once

#include <atomic>
#include <thread>

#include "engine/session.h"

namespace lathe::engine {

class EngineThread {
 public:
  explicit EngineThread(Session& session);
  // Programs that still run are cancelled, and are told so on the calling thread; none may be started meanwhile.
  ~EngineThread();
  EngineThread(const EngineThread&) = delete;
  EngineThread& operator=(const EngineThread&) = delete;

 private:
  void loop();
  Session& session_;
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

}  // namespace lathe::engine
