// The inner loop: ROWS x 4 pixels times VECTORS vectors of outputs, summed over n channels, all in registers.
#pragma once
#include "layout.h"

namespace SET {

// Pixel i is at in + (i / 4) * row + (i % 4) * pixel; weights are [n][VECTORS * LANES]. Returns the weights' end.
template <int ROWS, int VECTORS>
INLINE const float *accumulate(const float *in, int64_t row, int64_t pixel, int n, const float *w,
                               Vec (&sum)[ROWS * 4][VECTORS]) {
  const float *rows[ROWS];
  UNROLL(4)
  for (int r = 0; r < ROWS; r++) rows[r] = in + r * row;
  for (int c = 0; c < n; c++) {
    Vec weight[VECTORS];
    UNROLL(4)
    for (int v = 0; v < VECTORS; v++) weight[v] = load(w + v * LANES);
    w += VECTORS * LANES;
    UNROLL(16)
    for (int i = 0; i < ROWS * 4; i++) {
      Vec x = splat(rows[i / 4][(i % 4) * pixel + c]);
      UNROLL(4)
      for (int v = 0; v < VECTORS; v++) sum[i][v] = fma(x, weight[v], sum[i][v]);
    }
  }
  return w;
}

#if defined(__AVX512BF16__)
// The same for pairs of channels, n even; weights are [n / 2][VECTORS * LANES][2].
template <int ROWS, int VECTORS>
INLINE const bf16 *accumulate(const bf16 *in, int64_t row, int64_t pixel, int n, const bf16 *w,
                              Vec (&sum)[ROWS * 4][VECTORS]) {
  const bf16 *rows[ROWS];
  UNROLL(4)
  for (int r = 0; r < ROWS; r++) rows[r] = in + r * row;
  for (int c = 0; c < n; c += 2) {
    __m512bh weight[VECTORS];
    UNROLL(4)
    for (int v = 0; v < VECTORS; v++) weight[v] = (__m512bh)_mm512_loadu_si512(w + v * 2 * LANES);
    w += VECTORS * 2 * LANES;
    UNROLL(16)
    for (int i = 0; i < ROWS * 4; i++) {
      int pair;
      memcpy(&pair, rows[i / 4] + (i % 4) * pixel + c, 4);
      __m512bh x = (__m512bh)_mm512_set1_epi32(pair);
      UNROLL(4)
      for (int v = 0; v < VECTORS; v++) sum[i][v] = _mm512_dpbf16_ps(sum[i][v], x, weight[v]);
    }
  }
  return w;
}
#endif

template <int PIXELS, int VECTORS> INLINE void fill(Vec (&sum)[PIXELS][VECTORS], const float *bias) {
  UNROLL(4)
  for (int v = 0; v < VECTORS; v++) {
    Vec b = bias ? load(bias + v * LANES) : Vec{};
    UNROLL(16)
    for (int i = 0; i < PIXELS; i++) sum[i][v] = b;
  }
}

// Rows of pixels that fit the registers beside a panel of so many vectors.
constexpr int rows_for(int vectors) {
#if defined(__AVX512F__) || defined(__aarch64__)
  return vectors == 1 ? 4 : 2;
#else
  return vectors == 1 ? 2 : 1;
#endif
}

template <class T> struct Lane { enum { COUNT = LANES }; };      // elements of T in a vector register
template <> struct Lane<bf16> { enum { COUNT = 2 * LANES }; };

INLINE Vec dot(Vec sum, const float *x, const float *w) { return fma(load(x), load(w), sum); }
#if defined(__AVX512BF16__)
INLINE Vec dot(Vec sum, const bf16 *x, const bf16 *w) {
  return _mm512_dpbf16_ps(sum, (__m512bh)_mm512_loadu_si512(x), (__m512bh)_mm512_loadu_si512(w));
}
#endif

}  // namespace SET
