#include "tensor/activation_format.h"

namespace lathe {

std::string_view activation_format_name(ActivationFormat format) {
  switch (format) {
    case ActivationFormat::kF32:
      return "f32";
    case ActivationFormat::kQ8Block:
      return "q8-block";
    case ActivationFormat::kQ8Row:
      return "q8-row";
    case ActivationFormat::kLut:
      return "lut";
    case ActivationFormat::kPlanes:
      return "planes";
  }
  return "?";
}

}  // namespace lathe
