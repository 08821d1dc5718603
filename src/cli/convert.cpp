// lathe convert: a model from one file format or number type to another.
#include <string>

#include "arch/codec_mix.h"
#include "base/json.h"
#include "base/log.h"
#include "cli/common.h"
#include "cli/verbs.h"

namespace lathe::cli {

int convert_verb(Arguments arguments) {
  ModelArgs model;
  OutputArgs output;
  std::string in, out;
  formats::SaveOptions save;
  std::optional<std::string> dtype;
  Options options("convert", "IN OUT [options]",
                  "Rewrites a model as the kind of file that OUT names: .gguf, .safetensors, .lathe, or a folder in "
                  "Hugging Face layout. Every tensor keeps its values; where OUT cannot say a tensor's codec, --dtype "
                  "names one that it can.");
  options.positional("IN", in, "the model to read", true);
  options.positional("OUT", out, "the file or folder to write", true);
  options.value("--dtype", dtype, "CODEC",
                "store every matrix as CODEC (F32, F16, BF16, Q8_0, Q4_K, ..., or a mix: Q4_K_M, ...)");
  options.size("--split-size", save.split_bytes, "start another file beyond this size (500M, 2G); 0: one file");
  options.value("--tokenizer", model.tokenizer, "FILE", "use this tokenizer instead of the model's own");
  add_output_options(options, output);
  if (!options.parse(arguments)) return kExitSuccess;
  apply(output);

  check_output_kind(out);
  if (dtype) save.dtype = arch::codec_or_mix_named(*dtype);
  model.model = in;
  const formats::SaveResult result = formats::save_model(load_model(model), out, save);
  if (output.json) {
    print_json({{"tensors", result.tensors}, {"bytes", result.bytes}, {"path", out}});
  } else {
    log_info("{}: {} tensors, {}", out, result.tensors, readable_bytes(result.bytes));
  }
  return kExitSuccess;
}

}  // namespace lathe::cli
