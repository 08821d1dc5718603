// Damping where inputs are linearly dependent: how often it is raised, and what is said when that does not help.
#include "quant/hessian.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace lathe::quant {
namespace {

// Two columns whose sum of x x^T is [[1, off], [off, 1]]: singular at off = 1, indefinite beyond.
InputStatistics two_columns(float off) {
  InputStatistics input(2);
  input.gram = {1, off, off, 1};
  return input;
}

float damping_for(float off, float damping) {
  ThreadPool pool(1);
  return factorise(two_columns(off), damping, false, "blk.0.up", pool).damping;
}

TEST(Hessian, RaisesDampingByTensUntilItIsEnough) {
  EXPECT_EQ(damping_for(0.5f, 0), 0);  // none is enough for inputs that are independent
  EXPECT_FLOAT_EQ(damping_for(1, 0), 1e-5f);
  EXPECT_FLOAT_EQ(damping_for(1.05f, 0.01f), 0.1f);
  EXPECT_FLOAT_EQ(damping_for(6, 0.01f), 10);
  EXPECT_FLOAT_EQ(damping_for(6, 1), 10);  // SpQR's own can be raised too
}

TEST(Hessian, GivesUpAfterThreeRaisesAndNamesTensorAndRemedy) {
  try {
    damping_for(6, 0);
    FAIL() << "an indefinite matrix has no factor";
  } catch (const Error& error) {
    EXPECT_EQ(error.where(), "tensor \"blk.0.up.weight\"");
    EXPECT_EQ(error.remedy(), "use more calibration text, or a --damping above 0.001");
  }
}

}  // namespace
}  // namespace lathe::quant
