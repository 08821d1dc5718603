// The calibration text that ships inside the program: public-domain English (models/calibration/).
#pragma once

#include <string_view>

namespace lathe::cli {

std::string_view calibration_text();

}  // namespace lathe::cli
