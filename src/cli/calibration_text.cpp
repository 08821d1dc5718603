// The bytes come from calibration_data.S, which includes the file as it is.
#include "cli/calibration_text.h"

extern "C" {
extern const char lathe_calibration_begin[];
extern const char lathe_calibration_end[];
}

namespace lathe::cli {

std::string_view calibration_text() { return {lathe_calibration_begin, lathe_calibration_end}; }

}  // namespace lathe::cli
