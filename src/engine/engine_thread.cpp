#include "engine/engine_thread.h"

namespace lathe::engine {

EngineThread::EngineThread(Session& session) : session_(session), thread_([this] { loop(); }) {}

EngineThread::~EngineThread() {
  stop_ = true;
  session_.wake();
  thread_.join();
  session_.cancel_all();
}

void EngineThread::loop() {
  while (!stop_) {
    if (!session_.step()) session_.wait_for_work(stop_);
  }
}

}  // namespace lathe::engine
