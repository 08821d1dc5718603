#include "serve/generation.h"

#include <chrono>
#include <ctime>
#include <random>

#include "base/json.h"
#include "engine/program_run.h"
#include "serve/openai/error.h"

namespace lathe::serve {
namespace {

using Clock = std::chrono::steady_clock;

double seconds(Clock::duration duration) { return std::chrono::duration<double>(duration).count(); }

// Lives on the event loop, kept by the tasks that are posted to it.
class Generation : public std::enable_shared_from_this<Generation> {
 public:
  Generation(Service& service, std::shared_ptr<Exchange> exchange, GenerationStart start)
      : service_(service), exchange_(std::move(exchange)), start_(std::move(start)) {
    last_.resize(start_.requests.size());
  }

  void run() {
    engine::Program program;
    for (std::size_t i = 0; i < start_.requests.size(); ++i) {
      engine::Node node;
      node.output = program.add_variable(fmt::format("choice {}", i));
      node.request = start_.requests[i];
      if (i == 0 || node.request.prompt_ids != start_.requests[i - 1].prompt_ids)
        prompt_tokens_ += node.request.prompt_ids.size();
      program.add_node(std::move(node));
    }
    const auto self = shared_from_this();
    engine::ProgramEvents events;
    // On the engine's thread: what the event loop needs is copied and posted, nothing else.
    events.on_text = [self](engine::NodeId node, const engine::Piece& piece) {
      self->exchange_->post(
          [self, node, text = std::string(piece.text), count = piece.tokens.size(),
           tokens = self->start_.tokens
                        ? std::vector<api::GeneratedToken>(piece.tokens.begin(), piece.tokens.end())
                        : std::vector<api::GeneratedToken>()] { self->piece(node, text, count, tokens); });
      return true;
    };
    events.on_finished = [self](const std::exception_ptr& error) {
      self->exchange_->post([self, error] { self->finished(error); });
    };
    std::string client = exchange_->key_name.empty() ? exchange_->request().peer : exchange_->key_name;
    const api::GenerateRequest& first = start_.requests.front();
    engine::Session& session = start_.lease.model->route(first.adapters, first.kv_policy, first.prompt_ids);
    auto started = session.start(std::move(program), std::move(events), {std::move(client), start_.priority});
    exchange_->post([self, started] {
      self->run_ = started;
      const Exchange& from = *self->exchange_;
      self->service_.requests().begin({.id = self->start_.reply->id(),
                                       .owner = from.key_name,
                                       .endpoint = from.request().path,
                                       .model = self->start_.lease.name,
                                       .created = unix_now(),
                                       .began = from.request().received},
                                      started);
      self->exchange_->on_gone([run = std::weak_ptr(started)] {
        if (const auto alive = run.lock()) alive->cancel();
      });
      if (self->over_) self->conclude();
    });
  }

 private:
  void piece(std::size_t choice, const std::string& text, std::size_t count,
             std::span<const api::GeneratedToken> tokens) {
    const auto now = Clock::now();
    if (last_[choice] == Clock::time_point{}) {
      service_.metrics().first_token.add(seconds(now - exchange_->request().received));
    } else {
      service_.metrics().between_tokens.add(seconds(now - last_[choice]));
    }
    last_[choice] = now;
    exchange_->generated_tokens += count;
    if (!exchange_->gone()) start_.reply->piece(choice, text, tokens);
  }

  void finished(std::exception_ptr error) {
    over_ = true;
    error_ = std::move(error);
    if (run_) conclude();
  }

  // Both the run and its end are known.
  void conclude() {
    service_.requests().end(start_.reply->id(), run_->program);
    exchange_->model = start_.lease.name;
    exchange_->prompt_tokens = prompt_tokens_;
    if (error_) {
      const ApiError error = as_api_error(error_);
      if (!exchange_->begun()) {
        exchange_->respond(error_response(error));
      } else {
        send_event(*exchange_, error_json(error));
        exchange_->finish();
      }
    } else {
      exchange_->generated_tokens = 0;
      for (std::size_t i = 0; i < run_->program.nodes.size(); ++i) {
        const api::GenerateResult& result = *run_->program.nodes[i].result;
        exchange_->generated_tokens += result.tokens.size();
        if (!exchange_->gone()) start_.reply->choice_done(i, result);
      }
      if (!exchange_->gone()) start_.reply->finished();
    }
    run_.reset();
    start_ =
        {};  // with the lease, and the reply that holds the model too: this object lives until the engine forgets it
  }

  Service& service_;
  std::shared_ptr<Exchange> exchange_;
  GenerationStart start_;
  std::uint64_t prompt_tokens_ = 0;
  std::vector<Clock::time_point> last_;  // of each choice, its last piece
  std::shared_ptr<engine::ProgramRun> run_;
  bool over_ = false;
  std::exception_ptr error_;
};

}  // namespace

void start_generation(Service& service, const std::shared_ptr<Exchange>& exchange, GenerationStart start) {
  std::make_shared<Generation>(service, exchange, std::move(start))->run();
}

void begin_events(Exchange& exchange) {
  exchange.begin_stream(
      {.content_type = "text/event-stream", .headers = {{"Cache-Control", "no-cache"}, {"X-Accel-Buffering", "no"}}});
}

void send_event(Exchange& exchange, const Json& data) {
  exchange.write("data: " + data.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n\n");
}

void send_event(Exchange& exchange, std::string_view event, const Json& data) {
  exchange.write(
      fmt::format("event: {}\ndata: {}\n\n", event, data.dump(-1, ' ', false, Json::error_handler_t::replace)));
}

void send_done(Exchange& exchange) { exchange.write("data: [DONE]\n\n"); }

std::string new_id(std::string_view prefix) {
  static constexpr std::string_view kLetters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
  thread_local std::mt19937_64 random{std::random_device{}()};
  std::string id(prefix);
  for (int i = 0; i < 24; ++i) id += kLetters[random() % kLetters.size()];
  return id;
}

std::int64_t unix_now() { return static_cast<std::int64_t>(std::time(nullptr)); }

std::string_view finish_reason(api::StopReason reason) {
  const bool cut = reason == api::StopReason::kLength || reason == api::StopReason::kContextFull;
  return cut ? "length" : "stop";
}

}  // namespace lathe::serve
