// The table of methods. Adding one is a file, a line here and in method.h, a test and a line in docs/verbs/quantize.md.
#include "base/error.h"
#include "base/nearest.h"
#include "quant/method.h"

namespace lathe::quant {

std::span<const Method* const> all_methods() {
  static const Method* const kMethods[] = {
      &rtn_method(),    &gptq_method(),   &awq_method(), &smoothquant_plus_method(), &spqr_method(),
      &bitmod_method(), &db_llm_method(), &dgq_method(), &slim_llm_method(),         &shadow_method()};
  return kMethods;
}

const Method& method_named(std::string_view name) {
  std::vector<std::string_view> names;
  for (const Method* method : all_methods()) {
    if (method->name() == name) return *method;
    names.push_back(method->name());
  }
  std::string nearest;
  for (const std::string& near : nearest_names(name, names, 3)) nearest += (nearest.empty() ? "" : ", ") + near;
  throw UsageError(fmt::format("there is no method named \"{}\"", name.substr(0, 64)), {},
                   fmt::format("the nearest names are {}; lathe quantize --list shows all", nearest));
}

}  // namespace lathe::quant
