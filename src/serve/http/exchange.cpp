#include "serve/http/exchange.h"

#include <utility>

namespace lathe::serve {

void Exchange::respond(Response response) {
  if (begun_) return;
  bytes_ = response.body.size();
  response_ = std::move(response);
  begun_ = finished_ = true;
  notify();
}

void Exchange::begin_stream(Response head) {
  if (begun_) return;
  response_ = std::move(head);
  begun_ = streams_ = true;
  notify();
}

void Exchange::write(std::string_view data) {
  if (gone_ || finished_) return;
  unsent_ += data;
  bytes_ += data.size();
  if (unsent_.size() > kMostUnsent) return client_gone();
  notify();
}

void Exchange::finish() {
  finished_ = true;
  notify();
}

void Exchange::on_gone(std::function<void()> action) {
  if (gone_) return action();
  gone_action_ = std::move(action);
}

void Exchange::client_gone() {
  if (std::exchange(gone_, true)) return;
  unsent_.clear();
  if (gone_action_) std::exchange(gone_action_, {})();
  notify();
}

}  // namespace lathe::serve
