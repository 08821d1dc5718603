// The engine: one backend, one byte budget, the models loaded on it, and the scheduler that batches their work.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "api/embedder.h"
#include "api/generator.h"
#include "api/scorer.h"
#include "base/cancel.h"
#include "formats/model_file.h"
#include "kernels/backend.h"
#include "model/model.h"

namespace lathe::engine {

struct RuntimeOptions {
  std::string device = "cpu";  // "cpu", "cuda", "cuda:1"
  kernels::CpuOptions cpu;     // threads and kernel
  std::uint64_t kv_bytes = 0;  // budget of all KV blocks; 0: what the sessions' contexts need, within free memory
};

enum class DraftKind : std::uint8_t { kNone, kModel, kLayers, kNgram };

// What guesses tokens ahead for the model to check together (engine/speculative.h). It changes speed, never the text.
struct DraftOptions {
  DraftKind kind = DraftKind::kNone;
  std::shared_ptr<model::Model> model;               // kModel: prepared on the same runtime, with its tokenizer
  std::shared_ptr<const text::Tokenizer> tokenizer;  // may be null
  std::uint32_t layers = 0;                          // kLayers: of the session's own model, from the first
  std::uint32_t tokens = 4;                          // guessed at a time
};

struct SessionOptions {
  std::uint32_t context = 0;  // tokens; 0: the model's trained context
  kernels::KvCodec kv_codec = kernels::KvCodec::kF16;
  std::string kv_policy = "full";   // cache::kv_policy_named
  std::string kv_folder;            // where KV blocks lie in files, so that they may leave memory; empty: nowhere
  std::uint32_t max_batch = 8;      // sequences decoded together
  std::uint32_t chunk = 256;        // rows of one forward pass at most
  std::uint32_t latency_batch = 0;  // sequences decoded together while one of them is for latency; 0: max_batch
  bool prefix_cache = true;
  std::uint32_t max_waiting = 0;  // calls that may wait for a place in the batch; 0: any number
  std::uint64_t kv_bytes = 0;     // budget of the KV blocks; 0: what RuntimeOptions says
  DraftOptions draft;
};

class Session;

// Loads models and shares one backend between them. Thread-safe.
class Runtime {
 public:
  explicit Runtime(const RuntimeOptions& options = {});
  ~Runtime();

  kernels::Backend& backend();
  // Prepares the weights on the backend.
  std::shared_ptr<model::Model> load(const formats::ModelFile& file);
  // A model ready to serve requests.
  std::unique_ptr<Session> open(std::shared_ptr<model::Model> model, std::shared_ptr<const text::Tokenizer> tokenizer,
                                const SessionOptions& options = {});

 private:
  std::shared_ptr<kernels::Backend> backend_;
  RuntimeOptions options_;
};

}  // namespace lathe::engine
