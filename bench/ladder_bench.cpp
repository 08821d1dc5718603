// From naive to fast, rung by rung, on one thread: products of one row and of many with a weight of each codec,
// attention, and what is done to rows between them. Only the last rungs are in src/; the others are written in ladder/,
// plainly, so that what each step is worth can be measured on any machine. Every rung is first held against the
// reference: it computes the same thing.
//
//   ladder_bench [--check] [LADDER [RUNG]]    a table for each ladder whose title contains LADDER, of the rungs whose
//                                             names contain RUNG; with --check without times
#include <fmt/format.h>

#include <string_view>

#include "base/error.h"
#include "ladder/ladder.h"

int main(int argc, char** argv) {
  using namespace lathe::kernels::ladder;
  Options options;
  int names = 0;
  for (int i = 1; i < argc; ++i) {
    if (std::string_view(argv[i]) == "--check") {
      options.check = true;
    } else {
      (names++ == 0 ? options.ladder : options.rung) = argv[i];
    }
  }
  if (names > 2) {
    fmt::print(stderr, "usage: ladder_bench [--check] [LADDER [RUNG]]\n");
    return 2;
  }
  try {
    for (const std::size_t rows : {1, 256}) {
      for (const char* codec :
           {"F16", "BF16", "Q8_0", "Q4_0", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ4_XS", "TQ2_0"})
        linear_ladder(options, codec, rows);
    }
    attention_ladder(options, 1, 4096, 128);
    attention_ladder(options, 256, 1024, 128);
    attention_ladder(options, 1, 4096, 16);
    norm_ladders(options);
    rope_ladders(options);
    activation_ladders(options);
  } catch (const lathe::Error& error) {
    fmt::print(stderr, "{}\n", error.what());
    return 1;
  }
}
