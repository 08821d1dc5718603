// y = x W^T for one row of x, as decoding has it, where weights are read from memory (copies are used in turn), and for
// many, as prompts have it.
#include <fmt/format.h>

#include <algorithm>
#include <memory>

#include "kernels/backend.h"
#include "ladder/integers.h"
#include "ladder/ladder.h"
#include "random_weights.h"
#include "tensor/codec.h"

namespace lathe::kernels::ladder {
namespace {

constexpr std::size_t kCold = std::size_t{256} << 20;  // bytes of copies, more than any cache holds

struct Problem {
  const Codec& codec;
  std::size_t rows, out, in;
  std::vector<PackedTensor> weights;  // copies of one
  std::vector<float> x;               // [rows][in]

  const PackedTensor& weight(std::size_t call) const { return weights[call % weights.size()]; }
};

// `cold`: weights are to come from memory, not from a cache.
Problem make_problem(std::string_view codec, std::size_t rows, std::size_t out, std::size_t in, bool cold) {
  const PackedTensor weight = random_weights(codec_named(codec), out, in);
  Problem p{codec_named(codec), rows, out, in, {weight}, random_floats(rows * in, 2)};
  while (cold && p.weights.size() * weight.bytes() < kCold) {
    p.weights.push_back(weight);
    p.weights.back().parts[0].data = Bytes::copy_of(weight.parts[0].data.span(), "weight");
  }
  return p;
}

// A backend with the weights as it wants them.
class Device {
 public:
  Device(const Problem& p, const std::string& kernel, int threads)
      : rows_(p.rows), out_(p.out), in_(p.in), backend_(make_cpu_backend({.threads = threads, .kernel = kernel})) {
    for (const PackedTensor& weight : p.weights) layers_.push_back(backend_->prepare({weight, {}, {}, {}}));
    x_ = backend_->upload_floats(*stream_, p.x);
    y_ = backend_->allocate(rows_ * out_ * sizeof(float));
  }
  void multiply(std::size_t call) {
    const LinearCall one{layers_[call % layers_.size()].get(), DeviceTensor::dense(y_.data(), rows_, out_), false};
    backend_->linear(*stream_, DeviceTensor::dense(x_.data(), rows_, in_), std::span(&one, 1));
  }
  void fetch(std::vector<float>& result) {
    backend_->download(*stream_, result.data(), y_.data(), rows_ * out_ * sizeof(float));
  }
  bool eight_bit() const { return layers_[0]->kernel().find("x q8") != std::string_view::npos; }

 private:
  std::size_t rows_, out_, in_;
  std::unique_ptr<Backend> backend_;
  std::unique_ptr<Stream> stream_ = backend_->make_stream();
  std::vector<std::shared_ptr<const PreparedLinear>> layers_;
  DeviceBuffer x_, y_;
};

std::vector<float> reference(const Problem& p) {
  Problem one{p.codec, p.rows, p.out, p.in, {p.weights[0]}, p.x};
  Device device(one, "scalar", 0);
  device.multiply(0);
  std::vector<float> y(p.rows * p.out);
  device.fetch(y);
  return y;
}

// Everything decoded first, then three loops.
template <class Dot>
void decode_whole(const Problem& p, std::size_t call, std::vector<float>& matrix, std::vector<float>& y, Dot dot) {
  for (std::size_t o = 0; o < p.out; ++o) p.weight(call).decode_row(o, std::span(&matrix[o * p.in], p.in));
  for (std::size_t r = 0; r < p.rows; ++r) {
    for (std::size_t o = 0; o < p.out; ++o) y[r * p.out + o] = dot(&p.x[r * p.in], &matrix[o * p.in], p.in);
  }
}

// The same in pieces of the matrix that stay in the second-level cache while every row of x passes.
void decode_blocked(const Problem& p, std::size_t call, std::vector<float>& matrix, std::vector<float>& y) {
  constexpr std::size_t kRows = 64, kColumns = 512;
  for (std::size_t o = 0; o < p.out; ++o) p.weight(call).decode_row(o, std::span(&matrix[o * p.in], p.in));
  std::fill(y.begin(), y.end(), 0.0f);
  for (std::size_t first = 0; first < p.out; first += kRows) {
    for (std::size_t column = 0; column < p.in; column += kColumns) {
      for (std::size_t r = 0; r < p.rows; ++r) {
        for (std::size_t o = first; o < first + kRows; ++o)
          y[r * p.out + o] += lanes_dot(&p.x[r * p.in + column], &matrix[o * p.in + column], kColumns);
      }
    }
  }
}

// One row of weights decoded, and multiplied with every row of x while it is in the first-level cache.
template <class Dot>
void decode_rows(const Problem& p, std::size_t call, std::vector<float>& row, std::vector<float>& y, Dot dot) {
  for (std::size_t o = 0; o < p.out; ++o) {
    p.weight(call).decode_row(o, row);
    for (std::size_t r = 0; r < p.rows; ++r) y[r * p.out + o] = dot(row.data(), &p.x[r * p.in], p.in);
  }
}

// The same with integers, and x of 8 bits.
void integer_rows(const Problem& p, std::size_t call, const IntegerFormat& format, IntegerRow& row,
                  std::vector<float>& y) {
  const EightBitInput x = eight_bit(p.x, p.in);
  const std::byte* bytes = p.weight(call).parts[0].data.span().data();
  for (std::size_t o = 0; o < p.out; ++o) {
    format.unpack_row(bytes + o * (p.in / format.block * format.block_bytes), row);
    for (std::size_t r = 0; r < p.rows; ++r) y[r * p.out + o] = integer_dot(format, row, x, r);
  }
}

}  // namespace

void linear_ladder(const Options& options, std::string_view codec, std::size_t rows) {
  const std::size_t out = rows == 1 ? 4096 : 2048, in = out;
  const std::string title = fmt::format("{}, {} x {}, {} {}", codec, out, in, rows, rows == 1 ? "row" : "rows");
  if (!options.wants(title)) return;
  const Problem p = make_problem(codec, rows, out, in, rows == 1 && !options.check);
  const double products = static_cast<double>(rows) * static_cast<double>(out) * static_cast<double>(in);
  Ladder ladder(options, title, {static_cast<double>(p.weights[0].bytes()), 2 * products}, reference(p));
  std::vector<float>& y = ladder.result();
  std::vector<float> row(in), matrix(rows == 1 ? 0 : out * in);
  if (rows == 1) {
    ladder.rung("rows decoded to floats, one sum", kExact,
                [&](std::size_t call) { decode_rows(p, call, row, y, plain_dot); });
    ladder.rung("sixteen sums", kExact, [&](std::size_t call) { decode_rows(p, call, row, y, lanes_dot); });
  } else {
    ladder.rung("all decoded to floats, three loops, one sum", kExact,
                [&](std::size_t call) { decode_whole(p, call, matrix, y, plain_dot); });
    ladder.rung("sixteen sums", kExact, [&](std::size_t call) { decode_whole(p, call, matrix, y, lanes_dot); });
    ladder.rung("in pieces for the cache", kExact, [&](std::size_t call) { decode_blocked(p, call, matrix, y); });
    ladder.rung("a row decoded for all rows of input", kExact,
                [&](std::size_t call) { decode_rows(p, call, row, y, lanes_dot); });
  }
  if (const IntegerFormat* format = integer_format(codec)) {
    IntegerRow integers = integer_row(*format, in);
    ladder.rung("integer products, plainly", kEightBit,
                [&](std::size_t call) { integer_rows(p, call, *format, integers, y); });
  }
  for (const std::string& set : kernel_sets()) {
    const std::string name = fmt::format("Lathe's kernel, {}", set);
    if (!options.wants_rung(name)) continue;
    Device device(p, set, 1);
    ladder.rung(
        name, device.eight_bit() ? kEightBit : kExact, [&](std::size_t call) { device.multiply(call); },
        [&] { device.fetch(y); });
  }
}

}  // namespace lathe::kernels::ladder
