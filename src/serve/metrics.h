// What the server counts, in Prometheus' text format. Event loop only.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/json_fwd.h"

namespace lathe::serve {

class Models;

class Histogram {
 public:
  void add(double seconds);
  // `name`_bucket, _sum and _count.
  void write(std::string& out, std::string_view name, std::string_view help) const;
  std::uint64_t count() const { return count_; }

 private:
  static constexpr std::array<double, 14> kBounds = {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1,
                                                     0.25,  0.5,    1,     2.5,  5,     10,   60};
  std::array<std::uint64_t, kBounds.size() + 1> buckets_{};
  std::uint64_t count_ = 0;
  double sum_ = 0;
};

struct Metrics {
  std::map<std::pair<std::string, unsigned>, std::uint64_t> requests;  // by route and status
  std::uint64_t prompt_tokens = 0, generated_tokens = 0, disconnects = 0;
  std::uint64_t active = 0;  // requests being answered
  Histogram first_token, between_tokens, whole_request;

  std::string prometheus(const Models& models, std::uint32_t connections) const;
  // The same as JSON, for the page's view of the server (GET /api/status).
  Json status(const Models& models, std::uint32_t connections) const;
};

}  // namespace lathe::serve
