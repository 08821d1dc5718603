// With P reversing the order of rows and columns, P H P = L L^T gives H^-1 = (P L^-T P)(P L^-1 P): P L^-T P is lower
// triangular, so one Cholesky factorisation and one triangular inverse do, and H itself is never inverted. Both run in
// blocks; their inner loops go along rows, where compilers vectorize them without changing the order of any sum.
#include "quant/cholesky.h"

#include <algorithm>
#include <cmath>

namespace lathe::quant {
namespace {

constexpr std::size_t kBlock = 64;
constexpr std::size_t kStrip = 256;  // columns a task updates

// The best of a few instruction sets, chosen when the program starts; all of them give the same bytes.
#if defined(__x86_64__) && defined(__gnu_linux__) && !defined(__clang__)
#define LATHE_VECTOR_CLONES __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define LATHE_VECTOR_CLONES
#endif

// target[0 .. count) -= sum over k of factors[k] * rows[k][0 .. count), k ascending; rows lie `stride` apart.
LATHE_VECTOR_CLONES void subtract_rows(double* target, const double* factors, const double* rows, std::size_t stride,
                                       std::size_t terms, std::size_t count) {
  std::size_t k = 0;
  for (; k + 4 <= terms; k += 4) {
    const double *a = rows + k * stride, *b = a + stride, *c = b + stride, *d = c + stride;
    const double fa = factors[k], fb = factors[k + 1], fc = factors[k + 2], fd = factors[k + 3];
    for (std::size_t i = 0; i < count; ++i) {
      target[i] = (((target[i] - fa * a[i]) - fb * b[i]) - fc * c[i]) - fd * d[i];
    }
  }
  for (; k < terms; ++k) {
    const double f = factors[k];
    const double* a = rows + k * stride;
    for (std::size_t i = 0; i < count; ++i) target[i] -= f * a[i];
  }
}

void reverse(std::vector<double>& a, std::size_t n) {
  // Row i, column j goes to n - 1 - i, n - 1 - j: the lower triangle becomes the upper one.
  std::reverse(a.begin(), a.begin() + static_cast<std::ptrdiff_t>(n * n));
}

void lower_from_upper(std::vector<double>& a, std::size_t n) {
  for (std::size_t i = 0; i < n; ++i) {
    for (std::size_t j = i + 1; j < n; ++j) a[j * n + i] = a[i * n + j], a[i * n + j] = 0;
  }
}

// a's lower triangle to L with a = L L^T.
bool factor(std::vector<double>& a, std::size_t n, ThreadPool& pool) {
  std::vector<double> panel(kBlock * n);  // the panel's columns as rows
  for (std::size_t begin = 0; begin < n; begin += kBlock) {
    const std::size_t end = std::min(n, begin + kBlock), width = end - begin;
    for (std::size_t j = begin; j < end; ++j) {
      double* row = &a[j * n];
      for (std::size_t i = begin; i < j; ++i) {
        double sum = row[i];
        for (std::size_t k = begin; k < i; ++k) sum -= row[k] * a[i * n + k];
        row[i] = sum / a[i * n + i];
      }
      double diagonal = row[j];
      for (std::size_t k = begin; k < j; ++k) diagonal -= row[k] * row[k];
      if (!(diagonal > 0) || !std::isfinite(diagonal)) return false;
      row[j] = std::sqrt(diagonal);
    }
    pool.parallel_for(n - end, 16, [&](std::size_t from, std::size_t to, int) {
      for (std::size_t r = end + from; r < end + to; ++r) {
        double* row = &a[r * n];
        for (std::size_t i = begin; i < end; ++i) {
          double sum = row[i];
          for (std::size_t k = begin; k < i; ++k) sum -= row[k] * a[i * n + k];
          row[i] = sum / a[i * n + i];
          panel[(i - begin) * n + r] = row[i];
        }
      }
    });
    pool.parallel_for(n - end, 16, [&](std::size_t from, std::size_t to, int) {
      for (std::size_t strip = end; strip < end + to; strip += kStrip) {
        for (std::size_t r = std::max(end + from, strip); r < end + to; ++r) {
          const std::size_t last = std::min(strip + kStrip, r + 1);
          subtract_rows(&a[r * n + strip], &a[r * n + begin], &panel[strip], n, width, last - strip);
        }
      }
    });
  }
  return true;
}

// L's inverse into `out`, both lower triangular.
void invert_lower(const std::vector<double>& l, std::vector<double>& out, std::size_t n, ThreadPool& pool) {
  const std::size_t strips = (n + kStrip - 1) / kStrip;
  pool.parallel_for(strips, 1, [&](std::size_t from, std::size_t to, int) {
    for (std::size_t strip = from * kStrip; strip < std::min(n, to * kStrip); strip += kStrip) {
      const std::size_t last = std::min(n, strip + kStrip);
      for (std::size_t block = strip; block < n; block += kBlock) {
        const std::size_t end = std::min(n, block + kBlock);
        for (std::size_t r = block; r < end; ++r) {
          if (r < last) out[r * n + r] = 1;
        }
        for (std::size_t k = strip; k < block; k += kBlock) {  // finished rows, a block at a time
          const std::size_t terms = std::min(kBlock, block - k);
          for (std::size_t r = block; r < end; ++r) {
            subtract_rows(&out[r * n + strip], &l[r * n + k], &out[k * n + strip], n, terms, last - strip);
          }
        }
        for (std::size_t r = block; r < end; ++r) {
          subtract_rows(&out[r * n + strip], &l[r * n + block], &out[block * n + strip], n, r - block, last - strip);
          const double inverse = 1 / l[r * n + r];
          for (std::size_t i = strip; i < last; ++i) out[r * n + i] *= inverse;
        }
      }
    }
  });
}

}  // namespace

bool inverse_factor(std::vector<double>& h, std::size_t n, ThreadPool& pool) {
  for (std::size_t i = 0; i < n; ++i) {
    for (std::size_t j = i + 1; j < n; ++j) h[i * n + j] = h[j * n + i];
  }
  reverse(h, n);
  if (!factor(h, n, pool)) return false;
  std::vector<double> inverse(n * n, 0.0);
  invert_lower(h, inverse, n, pool);
  h = std::move(inverse);
  reverse(h, n);           // P L^-1 P, upper triangular
  lower_from_upper(h, n);  // its transpose
  return true;
}

}  // namespace lathe::quant
