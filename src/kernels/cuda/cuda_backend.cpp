// The Backend over CUDA: memory, prepared weights, and the enqueueing of the kernels in launch.h. Formats without
// device code of their own are decoded to half precision on the host when they are prepared, and count as such.
#include <algorithm>
#include <atomic>
#include <limits>
#include <vector>

#include "base/half.h"
#include "kernels/backend.h"
#include "kernels/cuda/check.h"
#include "kernels/cuda/launch.h"

namespace lathe::kernels {
namespace {

using cuda::check;

constexpr std::uint32_t kMaxHeadDim = 1024;  // attention.cu

class CudaStream final : public Stream {
 public:
  explicit CudaStream(int device) : device_(device) {
    check(cudaSetDevice(device), "select the device");
    check(cudaStreamCreateWithFlags(&handle_, cudaStreamNonBlocking), "create a stream");
  }
  ~CudaStream() override {
    cudaSetDevice(device_);
    cudaStreamSynchronize(handle_);
    cudaFree(scratch_);
    cudaStreamDestroy(handle_);
  }
  CudaStream(const CudaStream&) = delete;
  CudaStream& operator=(const CudaStream&) = delete;

  cudaStream_t handle() const { return handle_; }

  // Device memory for one operation's arguments and temporaries; earlier contents are lost once it grows.
  char* scratch(std::uint64_t bytes) {
    if (bytes > scratch_bytes_) {
      check(cudaStreamSynchronize(handle_), "wait for the device");
      check(cudaFree(scratch_), "free device memory");
      scratch_ = nullptr;
      scratch_bytes_ = 0;
      const std::uint64_t size = std::max<std::uint64_t>(bytes, 1 << 20);
      check(cudaMalloc(&scratch_, size), "allocate workspace");
      scratch_bytes_ = size;
    }
    return static_cast<char*>(scratch_);
  }

 private:
  int device_;
  cudaStream_t handle_ = nullptr;
  void* scratch_ = nullptr;
  std::uint64_t scratch_bytes_ = 0;
};

// Host arrays laid out one after another, 16-byte aligned, and copied to the device in one go.
class Arguments {
 public:
  template <class T>
  std::uint64_t add(std::span<const T> values) {
    bytes_.resize((bytes_.size() + 15) / 16 * 16);
    const std::uint64_t offset = bytes_.size();
    const auto raw = std::as_bytes(values);
    bytes_.insert(bytes_.end(), raw.begin(), raw.end());
    return offset;
  }
  // `extra` bytes of temporaries follow the arguments.
  char* send(CudaStream& stream, std::uint64_t extra = 0) const {
    char* target = stream.scratch((bytes_.size() + 255) / 256 * 256 + extra);
    check(cudaMemcpyAsync(target, bytes_.data(), bytes_.size(), cudaMemcpyHostToDevice, stream.handle()),
          "send arguments");
    return target;
  }
  std::uint64_t padded_size() const { return (bytes_.size() + 255) / 256 * 256; }

 private:
  std::vector<std::byte> bytes_;
};

struct DeviceMatrix {
  cuda::Matrix matrix;
  DeviceBuffer memory;
};

class CudaLinear final : public PreparedLinear {
 public:
  DeviceMatrix weight;
  DeviceBuffer permutation, input_scale, bias;
  std::string_view codec_name, kernel_name;

  std::uint64_t out_features() const override { return weight.matrix.rows; }
  std::uint64_t in_features() const override { return weight.matrix.cols; }
  std::string_view codec() const override { return codec_name; }
  std::string_view kernel() const override { return kernel_name; }
  std::uint64_t bytes() const override { return weight.memory.bytes; }
  cuda::LinearArgs args() const {
    return {weight.matrix, static_cast<const std::uint32_t*>(permutation.data()),
            static_cast<const float*>(input_scale.data()), static_cast<const float*>(bias.data())};
  }
};

class CudaTable final : public PreparedTable {
 public:
  DeviceMatrix table;
  std::uint64_t rows() const override { return table.matrix.rows; }
  std::uint64_t width() const override { return table.matrix.cols; }
};

class CudaBackend final : public Backend {
 public:
  explicit CudaBackend(int device) : device_(device), name_(fmt::format("cuda:{}", device)) {
    int count = 0;
    check(cudaGetDeviceCount(&count), "find a device");
    if (device < 0 || device >= count) fail(name_, "there is no such device; {} answered", count);
    check(cudaSetDevice(device), "select the device");
    check(cudaGetDeviceProperties(&properties_, device), "examine the device");
  }

  std::string_view name() const override { return name_; }
  std::string description() const override {
    return fmt::format("{}, compute {}.{}, {} MiB", properties_.name, properties_.major, properties_.minor,
                       properties_.totalGlobalMem >> 20);
  }
  std::string arithmetic() const override {
    return fmt::format("cuda, compute {}.{}", properties_.major, properties_.minor);
  }
  std::unique_ptr<Stream> make_stream() override { return std::make_unique<CudaStream>(device_); }

  DeviceBuffer allocate(std::uint64_t bytes) override {
    check(cudaSetDevice(device_), "select the device");
    void* memory = nullptr;
    const std::uint64_t size = std::max<std::uint64_t>(bytes, 1);
    check(cudaMalloc(&memory, size), fmt::format("allocate {} bytes", bytes));
    held_->fetch_add(bytes);
    DeviceBuffer buffer{{memory,
                         [held = held_, bytes](void* address) {
                           cudaFree(address);
                           held->fetch_sub(bytes);
                         }},
                        bytes};
    check(cudaMemset(memory, 0, size), "clear device memory");
    return buffer;
  }
  std::uint64_t allocated_bytes() const override { return held_->load(); }

  void upload(Stream& stream, void* target, const void* source, std::uint64_t bytes) override {
    check(cudaMemcpyAsync(target, source, bytes, cudaMemcpyHostToDevice, handle(stream)), "upload");
  }
  void download(Stream& stream, void* target, const void* source, std::uint64_t bytes) override {
    check(cudaMemcpyAsync(target, source, bytes, cudaMemcpyDeviceToHost, handle(stream)), "download");
    synchronize(stream);
  }
  void copy(Stream& stream, void* target, const void* source, std::uint64_t bytes) override {
    check(cudaMemcpyAsync(target, source, bytes, cudaMemcpyDeviceToDevice, handle(stream)), "copy");
  }
  void synchronize(Stream& stream) override { check(cudaStreamSynchronize(handle(stream)), "run the enqueued work"); }

  std::shared_ptr<const PreparedLinear> prepare(const Linear& linear) override {
    auto prepared = std::make_shared<CudaLinear>();
    prepared->weight = prepare_matrix(linear.weight);
    prepared->codec_name = linear.weight.codec->name();
    prepared->kernel_name = kernel_name(prepared->weight.matrix.format);
    prepared->permutation = send(std::span(linear.input_permutation));
    prepared->input_scale = send(std::span(linear.input_scale));
    prepared->bias = send(std::span(linear.bias));
    return prepared;
  }
  std::shared_ptr<const PreparedTable> prepare_table(const PackedTensor& table) override {
    auto prepared = std::make_shared<CudaTable>();
    prepared->table = prepare_matrix(table);
    return prepared;
  }

  void embed(Stream& stream, DeviceTensor out, const PreparedTable& table, const std::int32_t* ids, float scale,
             bool accumulate) override {
    cuda::embed(handle(stream), out, static_cast<const CudaTable&>(table).table.matrix, ids, scale, accumulate);
    launched("embed");
  }
  void linear(Stream& stream, DeviceTensor x, std::span<const LinearCall> calls) override {
    for (const LinearCall& call : calls)
      cuda::linear(handle(stream), call.out, x, static_cast<const CudaLinear*>(call.weight)->args(), call.accumulate);
    launched("linear");
  }
  void grouped_linear(Stream& stream, DeviceTensor x, const std::int32_t* choice,
                      std::span<const GroupedCall> calls) override {
    auto& cuda_stream = static_cast<CudaStream&>(stream);
    for (const GroupedCall& call : calls) {
      std::vector<cuda::LinearArgs> args;
      for (const PreparedLinear* weight : call.weights) {
        args.push_back(static_cast<const CudaLinear*>(weight)->args());
        if (args.back().weight.format != args.front().weight.format)
          fail("grouped_linear", "the matrices of a group have different formats");
      }
      Arguments arguments;
      arguments.add(std::span<const cuda::LinearArgs>(args));
      cuda::grouped_linear(cuda_stream.handle(), call.out, x,
                           reinterpret_cast<const cuda::LinearArgs*>(arguments.send(cuda_stream)),
                           args.front().weight.format, static_cast<std::uint32_t>(args.size()), choice);
    }
    launched("grouped_linear");
  }
  void route(Stream& stream, const RouterParams& params, DeviceTensor weights, DeviceTensor experts,
             DeviceTensor logits) override {
    auto& cuda_stream = static_cast<CudaStream&>(stream);
    char* scratch = cuda_stream.scratch(3 * logits.rows * logits.cols * sizeof(float));
    cuda::route(cuda_stream.handle(), params, weights, experts, logits, reinterpret_cast<float*>(scratch));
    launched("route");
  }
  void combine(Stream& stream, DeviceTensor out, DeviceTensor x, DeviceTensor weights, bool accumulate) override {
    cuda::combine(handle(stream), out, x, weights, accumulate);
    launched("combine");
  }
  void low_rank(Stream& stream, DeviceTensor out, DeviceTensor x, const PreparedLinear& a, const PreparedLinear& b,
                float scale, std::span<const std::uint32_t> rows) override {
    if (rows.empty()) return;
    auto& cuda_stream = static_cast<CudaStream&>(stream);
    Arguments arguments;
    arguments.add(rows);
    const std::uint64_t count = rows.size(), floats = count * (x.cols + a.out_features() + b.out_features());
    char* memory = arguments.send(cuda_stream, floats * sizeof(float));
    const auto* device_rows = reinterpret_cast<const std::uint32_t*>(memory);
    auto* next = reinterpret_cast<float*>(memory + arguments.padded_size());
    const auto temporary = [&](std::uint64_t cols) {
      const DeviceTensor tensor = DeviceTensor::dense(next, count, cols);
      next += count * cols;
      return tensor;
    };
    const DeviceTensor gathered = temporary(x.cols), low = temporary(a.out_features()),
                       high = temporary(b.out_features());
    cuda::gather(cuda_stream.handle(), gathered, x, device_rows);
    cuda::linear(cuda_stream.handle(), low, gathered, static_cast<const CudaLinear&>(a).args(), false);
    cuda::linear(cuda_stream.handle(), high, low, static_cast<const CudaLinear&>(b).args(), false);
    cuda::scatter_add(cuda_stream.handle(), out, high, device_rows, scale);
    launched("low_rank");
  }
  void norm(Stream& stream, NormKind kind, DeviceTensor out, DeviceTensor x, const float* weight, const float* bias,
            std::uint64_t weight_size, float eps) override {
    cuda::norm(handle(stream), kind, out, x, weight, bias, weight_size, eps);
    launched("norm");
  }
  void rope_table(Stream& stream, DeviceTensor table, const std::int32_t* positions, const float* inv_freq,
                  std::uint64_t n_freq, float mscale) override {
    cuda::rope_table(handle(stream), table, positions, inv_freq, n_freq, mscale, kRoundedAngles);
    launched("rope_table");
  }
  void rope(Stream& stream, DeviceTensor x, DeviceTensor table, std::uint32_t head_dim, RopeLayout layout) override {
    cuda::rope(handle(stream), x, table, head_dim, layout);
    launched("rope");
  }

  std::uint64_t kv_block_bytes(const KvLayout& layout) const override {
    if (layout.v_dim > kMaxHeadDim)
      fail(name_, "value heads of {} exceed the {} this backend supports", layout.v_dim, kMaxHeadDim);
    return cuda::kv_block_bytes(layout);
  }
  void kv_append(Stream& stream, const KvLayout& layout, std::span<void* const> blocks, std::uint64_t first_slot,
                 DeviceTensor k, DeviceTensor v) override {
    cuda::kv_append(handle(stream), layout, send_blocks(stream, layout, blocks, first_slot, k.rows),
                    first_slot % layout.block_tokens, k, v);
    launched("kv_append");
  }
  void kv_keys(Stream& stream, const KvLayout& layout, std::span<void* const> blocks, std::uint64_t first_slot,
               DeviceTensor out) override {
    cuda::kv_keys(handle(stream), layout, send_blocks(stream, layout, blocks, first_slot, out.rows),
                  first_slot % layout.block_tokens, out);
    launched("kv_keys");
  }
  void attention(Stream& stream, const KvLayout& layout, const AttentionParams& params, DeviceTensor out,
                 DeviceTensor q, std::span<const AttentionSequence> sequences) override {
    std::vector<cuda::DeviceSequence> device_sequences;
    std::vector<cuda::DeviceRun> runs;
    std::vector<void*> blocks;
    std::vector<std::uint32_t> row_sequence, row_index;
    for (const AttentionSequence& sequence : sequences) {
      device_sequences.push_back(
          {sequence.first_position, sequence.row_begin, sequence.row_count,
           std::min(sequence.bidirectional_rows, sequence.row_count), static_cast<std::uint32_t>(runs.size()),
           static_cast<std::uint32_t>(sequence.runs.size()), sequence.mass, sequence.mass_stride});
      std::uint64_t mass = 0;
      for (const KvRun& run : sequence.runs) {
        runs.push_back({blocks.size(), run.begin, run.end, run.first_position,
                        run.window > 0 ? run.window : params.window, run.lag, mass, run.far});
        blocks.insert(blocks.end(), run.blocks.begin(), run.blocks.end());
        mass += run.far ? 0 : run.end - run.begin;
      }
      for (std::uint64_t row = 0; row < sequence.row_count; ++row) {
        row_sequence.push_back(static_cast<std::uint32_t>(device_sequences.size() - 1));
        row_index.push_back(static_cast<std::uint32_t>(sequence.row_begin + row));
      }
    }
    Arguments arguments;
    const std::uint64_t at_sequences = arguments.add(std::span<const cuda::DeviceSequence>(device_sequences));
    const std::uint64_t at_runs = arguments.add(std::span<const cuda::DeviceRun>(runs));
    const std::uint64_t at_blocks = arguments.add(std::span<void* const>(blocks));
    const std::uint64_t at_row_sequence = arguments.add(std::span<const std::uint32_t>(row_sequence));
    const std::uint64_t at_row_index = arguments.add(std::span<const std::uint32_t>(row_index));
    auto& cuda_stream = static_cast<CudaStream&>(stream);
    char* memory = arguments.send(cuda_stream);
    cuda::attention(
        cuda_stream.handle(), out, q,
        {layout, params, reinterpret_cast<const cuda::DeviceSequence*>(memory + at_sequences),
         reinterpret_cast<const cuda::DeviceRun*>(memory + at_runs), reinterpret_cast<void* const*>(memory + at_blocks),
         reinterpret_cast<const std::uint32_t*>(memory + at_row_sequence),
         reinterpret_cast<const std::uint32_t*>(memory + at_row_index), static_cast<std::uint32_t>(row_index.size())});
    launched("attention");
  }

  void activate(Stream& stream, ActivationKind kind, DeviceTensor out, DeviceTensor x) override {
    cuda::activate(handle(stream), kind, out, x);
    launched("activate");
  }
  void gated(Stream& stream, ActivationKind kind, DeviceTensor out, DeviceTensor gate, DeviceTensor up) override {
    cuda::gated(handle(stream), kind, out, gate, up);
    launched("gated");
  }
  void gated_clamped(Stream& stream, DeviceTensor out, DeviceTensor gate, DeviceTensor up, float limit) override {
    cuda::gated_clamped(handle(stream), out, gate, up, limit);
    launched("gated_clamped");
  }
  void assign(Stream& stream, DeviceTensor out, DeviceTensor x) override {
    cuda::assign(handle(stream), out, x);
    launched("assign");
  }
  void add(Stream& stream, DeviceTensor out, DeviceTensor a, DeviceTensor b) override {
    cuda::add(handle(stream), out, a, b);
    launched("add");
  }
  void scale(Stream& stream, DeviceTensor x, float factor) override {
    cuda::scale(handle(stream), x, factor);
    launched("scale");
  }
  void softcap(Stream& stream, DeviceTensor x, float cap) override {
    cuda::softcap(handle(stream), x, cap);
    launched("softcap");
  }
  void gather_rows(Stream& stream, DeviceTensor out, DeviceTensor x, std::span<const std::uint32_t> rows) override {
    Arguments arguments;
    arguments.add(rows);
    auto& cuda_stream = static_cast<CudaStream&>(stream);
    cuda::gather(cuda_stream.handle(), out, x, reinterpret_cast<const std::uint32_t*>(arguments.send(cuda_stream)));
    launched("gather_rows");
  }
  void argmax(Stream& stream, std::int32_t* out, DeviceTensor x) override {
    cuda::argmax(handle(stream), out, x);
    launched("argmax");
  }

 private:
  // Of a list of KV blocks those that `rows` slots from first_slot on lie in, on the device.
  static void* const* send_blocks(Stream& stream, const KvLayout& layout, std::span<void* const> blocks,
                                  std::uint64_t first_slot, std::uint64_t rows) {
    const std::uint64_t first = first_slot / layout.block_tokens,
                        last = (first_slot + rows + layout.block_tokens - 1) / layout.block_tokens;
    Arguments arguments;
    arguments.add(blocks.subspan(first, last - first));
    return reinterpret_cast<void* const*>(arguments.send(static_cast<CudaStream&>(stream)));
  }
  static cudaStream_t handle(Stream& stream) { return static_cast<CudaStream&>(stream).handle(); }
  static void launched(std::string_view operation) { check(cudaGetLastError(), operation); }

  static std::string_view kernel_name(cuda::MatrixFormat format) {
    static constexpr std::string_view kNames[] = {"f32", "f16", "bf16", "q8_0", "q4_0"};
    return kNames[static_cast<int>(format)];
  }

  // A buffer with a copy of `values`; none for no values.
  template <class T>
  DeviceBuffer send(std::span<const T> values) {
    if (values.empty()) return {};
    DeviceBuffer buffer = allocate(values.size_bytes());
    check(cudaMemcpy(buffer.data(), values.data(), values.size_bytes(), cudaMemcpyHostToDevice), "upload weights");
    return buffer;
  }

  DeviceMatrix prepare_matrix(const PackedTensor& tensor) {
    struct Row {
      std::string_view codec;
      cuda::MatrixFormat format;
    };
    static constexpr Row kNative[] = {{"F32", cuda::MatrixFormat::kF32},
                                      {"F16", cuda::MatrixFormat::kF16},
                                      {"BF16", cuda::MatrixFormat::kBF16},
                                      {"Q8_0", cuda::MatrixFormat::kQ8_0},
                                      {"Q4_0", cuda::MatrixFormat::kQ4_0}};
    DeviceMatrix result;
    result.matrix.rows = tensor.shape.rows();
    result.matrix.cols = tensor.shape.cols();
    for (const Row& row : kNative) {
      if (tensor.codec->name() != row.codec) continue;
      result.memory = send(tensor.parts.front().data.span());
      result.matrix.format = row.format;
      result.matrix.row_bytes = tensor.bytes() / std::max<std::uint64_t>(1, result.matrix.rows);
      result.matrix.data = result.memory.data();
      return result;
    }
    decode_to_half(tensor, result);
    return result;
  }

  void decode_to_half(const PackedTensor& tensor, DeviceMatrix& result) {
    const std::uint64_t cols = result.matrix.cols;
    std::vector<float> floats(cols);
    std::vector<std::uint16_t> halves(cols);
    result.matrix.format = cuda::MatrixFormat::kF16;
    result.matrix.row_bytes = cols * sizeof(std::uint16_t);
    result.memory = allocate(checked_mul(result.matrix.rows, result.matrix.row_bytes, "decoded size", tensor.name));
    result.matrix.data = result.memory.data();
    for (std::uint64_t row = 0; row < result.matrix.rows; ++row) {
      tensor.decode_row(row, floats);
      std::transform(floats.begin(), floats.end(), halves.begin(), half_from_float);
      check(cudaMemcpy(static_cast<char*>(result.memory.data()) + row * result.matrix.row_bytes, halves.data(),
                       result.matrix.row_bytes, cudaMemcpyHostToDevice),
            "upload weights");
    }
  }

  int device_;
  std::string name_;
  cudaDeviceProp properties_{};
  // Shared with every buffer's deleter: buffers may outlive the backend.
  std::shared_ptr<std::atomic<std::uint64_t>> held_ = std::make_shared<std::atomic<std::uint64_t>>(0);
};

}  // namespace

std::unique_ptr<Backend> make_cuda_backend(int device) { return std::make_unique<CudaBackend>(device); }

}  // namespace lathe::kernels
