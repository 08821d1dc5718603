#include "serve/load/load.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cmath>
#include <cstring>
#include <memory>
#include <random>

#include "base/error.h"
#include "base/json.h"

namespace lathe::serve {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point from) { return std::chrono::duration<double>(Clock::now() - from).count(); }

class Socket {
 public:
  Socket(const std::string& host, std::uint16_t port) : fd_(::socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    if (::inet_pton(AF_INET, host.c_str(), &address.sin_addr) != 1)
      throw Error("no IPv4 address", host, "the load is for servers on this machine: 127.0.0.1");
    const int on = 1;
    ::setsockopt(fd_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (fd_ < 0 || ::connect(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
      throw Error(std::string("cannot connect: ") + std::strerror(errno), fmt::format("{}:{}", host, port),
                  "is the server running?");
  }
  ~Socket() {
    if (fd_ >= 0) ::close(fd_);
  }
  Socket(const Socket&) = delete;
  Socket& operator=(const Socket&) = delete;
  int fd() const { return fd_; }

 private:
  int fd_;
};

// One request at a time on one connection.
struct Stream {
  std::unique_ptr<Socket> socket;
  std::string received;
  Clock::time_point asked, last;
  bool any = false;
};

class Load {
 public:
  Load(const LoadOptions& options, const CancelToken* cancel, const std::atomic<bool>* enough)
      : options_(options), cancel_(cancel), enough_(enough), random_(options.seed) {}

  LoadReport run() {
    begin_ = Clock::now();
    due_ = begin_;
    while (report_.completed + report_.failed < options_.requests && !(enough_ != nullptr && enough_->load())) {
      if (cancel_ != nullptr) cancel_->check();
      start_due();
      wait();
    }
    report_.seconds = seconds_since(begin_);
    for (auto* list : {&report_.first_token, &report_.between_tokens, &report_.whole})
      std::sort(list->begin(), list->end());
    return std::move(report_);
  }

 private:
  void start_due() {
    while (started_ < options_.requests && streams_.size() < options_.streams &&
           (options_.rate <= 0 || Clock::now() >= due_)) {
      start();
      if (options_.rate > 0) {
        const double gap = std::exponential_distribution<double>(options_.rate)(random_);
        due_ += std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(gap));
      }
    }
  }

  // The n-th prompt is the same whatever the order requests end in.
  Json prompt(std::uint32_t n) const {
    std::mt19937_64 shared(options_.seed), own(options_.seed + 1 + n);
    Json ids = Json::array();
    for (std::uint32_t i = 0; i < options_.prompt_tokens; ++i)
      ids.push_back(3 + (i < options_.shared_tokens ? shared() : own()) % (options_.vocab - 3));
    return ids;
  }

  void start() {
    auto stream = std::make_unique<Stream>();
    stream->socket = std::make_unique<Socket>(options_.host, options_.port);
    Json body = {{"prompt", prompt(started_++)},
                 {"max_tokens", options_.generate},
                 {"temperature", 0},
                 {"ignore_eos", true},
                 {"stream", true},
                 {"stream_options", {{"include_usage", true}}}};
    if (!options_.model.empty()) body["model"] = options_.model;
    const std::string text = body.dump();
    std::string request = fmt::format(
        "POST /v1/completions HTTP/1.1\r\nHost: {}:{}\r\nContent-Type: application/json\r\nConnection: close\r\n",
        options_.host, options_.port);
    if (!options_.api_key.empty()) request += "Authorization: Bearer " + options_.api_key + "\r\n";
    request += fmt::format("Content-Length: {}\r\n\r\n{}", text.size(), text);
    stream->asked = Clock::now();
    for (std::size_t sent = 0; sent < request.size();) {
      const ssize_t count = ::send(stream->socket->fd(), request.data() + sent, request.size() - sent, MSG_NOSIGNAL);
      if (count <= 0) throw Error("the server closed a connection while it was asked", options_.host);
      sent += static_cast<std::size_t>(count);
    }
    streams_.push_back(std::move(stream));
  }

  void wait() {
    std::vector<pollfd> watched;
    for (const auto& stream : streams_) watched.push_back({stream->socket->fd(), POLLIN, 0});
    int limit = 100;  // milliseconds
    if (options_.rate > 0 && started_ < options_.requests && streams_.size() < options_.streams) {
      const double left = std::chrono::duration<double, std::milli>(due_ - Clock::now()).count();
      limit = static_cast<int>(std::clamp(left, 0.0, 100.0));
    }
    ::poll(watched.data(), watched.size(), limit);
    for (std::size_t i = watched.size(); i-- > 0;) {
      if (watched[i].revents != 0 && !read(*streams_[i]))
        streams_.erase(streams_.begin() + static_cast<std::ptrdiff_t>(i));
    }
  }

  // False when the answer is over.
  bool read(Stream& stream) {
    char buffer[16384];
    const ssize_t count = ::recv(stream.socket->fd(), buffer, sizeof buffer, 0);
    if (count <= 0) {
      end(stream);
      return false;
    }
    const std::string_view piece(buffer, static_cast<std::size_t>(count));
    // An event that carries text: servers put at most one token into each, and several events may come in one read.
    std::size_t events = 0;
    for (std::size_t at = piece.find("\"text\":"); at != std::string_view::npos; at = piece.find("\"text\":", at + 1))
      ++events;
    stream.received.append(piece);
    const auto now = Clock::now();
    for (; events > 0; --events) {
      const double gap = std::chrono::duration<double>(now - (stream.any ? stream.last : stream.asked)).count();
      (stream.any ? report_.between_tokens : report_.first_token).push_back(gap);
      stream.any = true;
      stream.last = now;
    }
    return true;
  }

  void end(const Stream& stream) {
    const std::string& all = stream.received;
    const std::size_t usage = all.rfind("\"usage\":{");
    if (!all.starts_with("HTTP/1.1 200") || usage == std::string::npos || all.rfind("[DONE]") == std::string::npos) {
      if (report_.failed++ == 0) report_.first_failure = all.substr(0, 300);
      return;
    }
    ++report_.completed;
    report_.whole.push_back(seconds_since(stream.asked));
    const std::size_t end = all.find('}', usage);
    Json figures = Json::parse(all.substr(usage + 8, end - usage - 7), nullptr, false);
    if (figures.is_discarded())
      figures = Json::parse(all.substr(usage + 8, all.find("}}", usage) - usage - 6), nullptr, false);
    if (!figures.is_object()) return;
    report_.prompt_tokens += figures.value("prompt_tokens", std::uint64_t{0});
    report_.generated_tokens += figures.value("completion_tokens", std::uint64_t{0});
  }

  const LoadOptions& options_;
  const CancelToken* cancel_;
  const std::atomic<bool>* enough_;
  std::mt19937_64 random_;
  LoadReport report_;
  std::vector<std::unique_ptr<Stream>> streams_;
  std::uint32_t started_ = 0;
  Clock::time_point begin_, due_;
};

}  // namespace

LoadReport run_load(const LoadOptions& options, const CancelToken* cancel, const std::atomic<bool>* enough) {
  if (options.vocab <= 3 || options.streams == 0 || options.prompt_tokens == 0)
    throw UsageError("a load needs streams, prompts and a vocabulary", "load");
  return Load(options, cancel, enough).run();
}

double quantile(const std::vector<double>& sorted, double q) {
  if (sorted.empty()) return 0;
  const auto rank = static_cast<std::size_t>(std::ceil(q * static_cast<double>(sorted.size())));
  return sorted[std::clamp<std::size_t>(rank, 1, sorted.size()) - 1];
}

}  // namespace lathe::serve
