#include "cli/scatter_plot.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>

namespace lathe::cli {
namespace {

constexpr double kWidth = 720, kHeight = 480, kLeft = 70, kRight = 150, kTop = 40, kBottom = 55;

std::string escaped(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c == '&') {
      out += "&amp;";
    } else if (c == '<') {
      out += "&lt;";
    } else {
      out += c;
    }
  }
  return out;
}

struct Axis {
  double low, high, step;
  double share(double value) const { return (value - low) / (high - low); }
  std::vector<double> ticks() const {
    std::vector<double> all(static_cast<std::size_t>(std::lround((high - low) / step)) + 1);
    for (std::size_t i = 0; i < all.size(); ++i) all[i] = low + static_cast<double>(i) * step;
    return all;
  }
};

// Ends on round numbers around the values, about five steps apart.
Axis axis_over(double smallest, double largest) {
  const double span = std::max(largest - smallest, 1e-6 * std::max(1.0, std::abs(largest)));
  const double rough = span / 5, power = std::pow(10, std::floor(std::log10(rough)));
  const double step = power * (rough / power > 5 ? 10 : rough / power > 2 ? 5 : rough / power > 1 ? 2 : 1);
  return {std::floor(smallest / step) * step, std::ceil(largest / step) * step + (span == 0 ? step : 0), step};
}

}  // namespace

std::string scatter_plot(const std::string& title, const std::string& x_label, const std::string& y_label,
                         const std::vector<PlotPoint>& all) {
  std::vector<PlotPoint> points;
  for (const PlotPoint& point : all) {
    if (std::isfinite(point.x) && std::isfinite(point.y)) points.push_back(point);
  }
  if (points.empty()) points.push_back({0, 0, "no finite points"});
  const auto range = [&](double PlotPoint::*member) {
    const auto [low, high] = std::minmax_element(points.begin(), points.end(),
                                                 [&](const auto& a, const auto& b) { return a.*member < b.*member; });
    return axis_over((*low).*member, (*high).*member);
  };
  const Axis x = range(&PlotPoint::x), y = range(&PlotPoint::y);
  const double plot_width = kWidth - kLeft - kRight, plot_height = kHeight - kTop - kBottom;
  const auto at_x = [&](double value) { return kLeft + x.share(value) * plot_width; };
  const auto at_y = [&](double value) { return kTop + (1 - y.share(value)) * plot_height; };

  std::string svg = fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {0} {1}\" font-family=\"sans-serif\" font-size=\"12\">\n"
      "<rect width=\"{0}\" height=\"{1}\" fill=\"white\"/>\n"
      "<text x=\"{2}\" y=\"24\" font-size=\"15\">{3}</text>\n",
      kWidth, kHeight, kLeft, escaped(title));
  for (const double tick : x.ticks()) {
    svg += fmt::format(
        "<line x1=\"{0:.1f}\" x2=\"{0:.1f}\" y1=\"{1}\" y2=\"{2}\" stroke=\"#ddd\"/>"
        "<text x=\"{0:.1f}\" y=\"{3}\" text-anchor=\"middle\">{4:.4g}</text>\n",
        at_x(tick), kTop, kHeight - kBottom, kHeight - kBottom + 18, tick);
  }
  for (const double tick : y.ticks()) {
    svg += fmt::format(
        "<line x1=\"{1}\" x2=\"{2}\" y1=\"{0:.1f}\" y2=\"{0:.1f}\" stroke=\"#ddd\"/>"
        "<text x=\"{3}\" y=\"{4:.1f}\" text-anchor=\"end\">{5:.4g}</text>\n",
        at_y(tick), kLeft, kWidth - kRight, kLeft - 6, at_y(tick) + 4, tick);
  }
  svg += fmt::format("<text x=\"{:.1f}\" y=\"{}\" text-anchor=\"middle\">{}</text>\n", kLeft + plot_width / 2,
                     kHeight - 14, escaped(x_label));
  svg += fmt::format("<text transform=\"translate(18 {:.1f}) rotate(-90)\" text-anchor=\"middle\">{}</text>\n",
                     kTop + plot_height / 2, escaped(y_label));
  for (const PlotPoint& point : points) {
    svg += fmt::format(
        "<circle cx=\"{0:.1f}\" cy=\"{1:.1f}\" r=\"4\" fill=\"#2b6cb0\"/><text x=\"{2:.1f}\" "
        "y=\"{3:.1f}\">{4}</text>\n",
        at_x(point.x), at_y(point.y), at_x(point.x) + 7, at_y(point.y) + 4, escaped(point.name));
  }
  return svg + "</svg>\n";
}

}  // namespace lathe::cli
