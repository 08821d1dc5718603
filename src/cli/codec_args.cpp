#include "cli/codec_args.h"

#include "base/error.h"

namespace lathe::cli {

void check_target(const quant::Target& target, std::string_view option) {
  if (!target.codec->can_encode()) {
    throw UsageError(fmt::format("{}: {} can be read but not written", option, target.codec->name()));
  }
  if (target.params.activation_bits != 0 && !target.codec->takes_activation_bits()) {
    throw UsageError(fmt::format("{}: {} has no products with {}-bit activations", option, target.codec->name(),
                                 target.params.activation_bits),
                     {}, "INT_SYM, INT_ASYM, BIPOLAR and BALANCED do");
  }
  try {
    quant::check_parameters(target);
  } catch (const UsageError& error) {
    throw UsageError(fmt::format("{}: {}", option, error.problem()), {}, error.remedy());
  }
}

quant::Target codec_target(const std::string& text, std::string_view option) {
  const std::size_t colon = text.find(':');
  quant::Target target{find_codec(text.substr(0, colon)), {}};
  if (target.codec == nullptr) {
    throw UsageError(fmt::format("{}: there is no codec '{}'", option, text.substr(0, colon)), {},
                     "quantize --list shows all");
  }
  if (block_format(*target.codec) == nullptr) target.params = target.codec->usual_params();
  int* const fields[] = {&target.params.bits, &target.params.group_size, &target.params.activation_bits};
  std::size_t field = 0;
  for (std::size_t at = colon; at < text.size(); ++field) {
    const std::size_t end = std::min(text.find(':', at + 1), text.size());
    const std::string number = text.substr(at + 1, end - at - 1);
    if (field == std::size(fields) || number.empty() || number.size() > 6 ||
        number.find_first_not_of("0123456789") != std::string::npos) {
      throw UsageError(fmt::format("{} {}: expected CODEC:BITS:GROUP:ACTIVATION BITS", option, text));
    }
    *fields[field] = std::stoi(number);
    at = end;
  }
  check_target(target, option);
  return target;
}

}  // namespace lathe::cli
