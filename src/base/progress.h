// A progress bar on standard error for anything longer than two seconds; silent when standard error is not a terminal.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace lathe {

class Progress {
 public:
  // `total` units of work; 0 shows a counter without an end. `enabled` false (for --quiet) never draws.
  Progress(std::string label, std::uint64_t total, bool enabled = true);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  void advance(std::uint64_t units = 1) { set(done_ + units); }
  void set(std::uint64_t done);
  // Shown behind the bar ("loss 2.31").
  void note(std::string text) { note_ = std::move(text); }

 private:
  void draw();
  std::string label_, note_;
  std::uint64_t total_, done_ = 0;
  bool enabled_, drawn_ = false;
  std::chrono::steady_clock::time_point start_, last_;
};

}  // namespace lathe
