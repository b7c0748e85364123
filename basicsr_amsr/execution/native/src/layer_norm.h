// Layer normalisation over channels, row by row or pixel by pixel.
#pragma once
#include "epilogue.h"

namespace SET {

INLINE Bits first_lanes(int n) {  // all bits of these
  Bits mask = {};
  for (int i = 0; i < LANES; i++) mask[i] = i < n ? ~0u : 0u;
  return mask;
}

// Averages of LANES rows of n values, and 1 / sqrt(variance + epsilon). last(p, lanes) loads what is left of a row behind
// its whole vectors; more lanes may hold anything.
template <class T, class F>
INLINE void moments(const T *const *rows, int n, float epsilon, F last, float *mean, float *scale) {
  const int whole = n / LANES * LANES;
  const Bits mask = first_lanes(n - whole);
  const auto rest = [&](Vec v) INLINE_LAMBDA { return (Vec)((Bits)v & mask); };
  const Vec share = splat(1.0f / n);
  Vec sum[LANES];
  for (int r = 0; r < LANES; r++) {
    sum[r] = Vec{};
    for (int i = 0; i < whole; i += LANES) sum[r] += load(rows[r] + i);
    if (whole < n) sum[r] += rest(last(rows[r] + whole, n - whole));
  }
  store(mean, sums(sum) * share);
  for (int r = 0; r < LANES; r++) {
    const Vec middle = splat(mean[r]);
    sum[r] = Vec{};
    for (int i = 0; i < whole; i += LANES) {
      const Vec d = load(rows[r] + i) - middle;
      sum[r] = fma(d, d, sum[r]);
    }
    if (whole < n) {
      const Vec d = rest(last(rows[r] + whole, n - whole) - middle);
      sum[r] = fma(d, d, sum[r]);
    }
  }
  store(scale, splat(1.0f) / square_root(fma(sums(sum), share, splat(epsilon))));
}

template <class T> NOINLINE void normalise_patch(const Finish &f, const AmsrSource &source, const Spot &spot) {
  const AmsrMap &m = f.maps[source.map];
  const T *first = address<T>(*f.context, m, spot, 1) + source.channel, *pixels[16];
  for (int i = 0; i < 16; i++) pixels[i] = first + i / 4 * m.row + i % 4 * m.pixel;
  float mean[16], scale[16];
  const auto last = [](const T *p, int) INLINE_LAMBDA { return load(p); };
  for (int i = 0; i < 16; i += LANES) moments(pixels + i, source.channels, f.op->value[0], last, mean + i, scale + i);
  for (int v = 0; v < f.shape.vectors; v++) {
    Vec x[16][1];
    UNROLL(16)
    for (int i = 0; i < 16; i++) x[i][0] = (load(pixels[i] + v * LANES) - splat(mean[i])) * splat(scale[i]);
    finish_patch(f, Block{spot, 0, v}, x);
  }
}

NOINLINE void layer_norm(const Context &c, const AmsrOp &op, const Spot *spots, int n) {
  const Finish f = finish_of(c, op);
  const AmsrSource &source = c.program->source_table[op.source];
  for (int k = 0; k < n; k++) {
    if (f.maps[source.map].type == AMSR_BF16) normalise_patch<bf16>(f, source, spots[k]);
    else normalise_patch<float>(f, source, spots[k]);
  }
}

}  // namespace SET
