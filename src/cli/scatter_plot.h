// A scatter plot as an SVG picture: points with names, linear axes with round ticks.
#pragma once

#include <string>
#include <vector>

namespace lathe::cli {

struct PlotPoint {
  double x, y;
  std::string name;
};

std::string scatter_plot(const std::string& title, const std::string& x_label, const std::string& y_label,
                         const std::vector<PlotPoint>& points);

}  // namespace lathe::cli
