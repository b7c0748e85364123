// Products of vectors with numbers, in float32 or of pairs of bf16.
#pragma once
#include "functions.h"

namespace SET {

INLINE Vec load_some(const float *p, int lanes) {  // zeros behind them
#if defined(__AVX512F__)
  return _mm512_maskz_loadu_ps(lanes >= LANES ? 0xffff : (1u << lanes) - 1, p);
#else
  if (lanes >= LANES) return load(p);
  float all[LANES] = {};
  for (int i = 0; i < lanes; i++) all[i] = p[i];
  return load(all);
#endif
}

// STEP numbers side by side are multiplied by as many, lane by lane, and added.
template <class T> struct Inputs;
template <> struct Inputs<float> {
  enum { STEP = 1 };
  INLINE_LAMBDA static Vec weights(const float *p) { return load(p); }
  INLINE_LAMBDA static Vec spread(const float *p) { return splat(*p); }
  INLINE_LAMBDA static Vec add(Vec a, Vec b, Vec sum) { return fma(a, b, sum); }
};
#if defined(__AVX512BF16__)
template <> struct Inputs<bf16> {
  enum { STEP = 2 };
  INLINE_LAMBDA static Vec weights(const bf16 *p) { return load((const float *)p); }
  INLINE_LAMBDA static Vec spread(const bf16 *p) {
    int32_t pair;
    memcpy(&pair, p, sizeof pair);
    return (Vec)_mm512_set1_epi32(pair);
  }
  INLINE_LAMBDA static Vec add(Vec a, Vec b, Vec sum) { return _mm512_dpbf16_ps(sum, (__m512bh)a, (__m512bh)b); }
};
#endif

// e^(x - top), x <= top, to a millionth where that counts; or to a tenth of bf16's rounding.
#if defined(__AVX512F__)
INLINE Vec exponential_for(const float *, Vec x, Vec top) {  // 2^n * 2^r, |r| <= 1/2
  const Vec t = (x - top) * splat(1.44269504f);
  const Vec r = _mm512_reduce_ps(t, 0);
  Vec p = splat(0.0001534581145f);
  p = fma(p, r, splat(0.001339993122f));
  p = fma(p, r, splat(0.009618488959f));
  p = fma(p, r, splat(0.05550328777f));
  p = fma(p, r, splat(0.2402264689f));
  p = fma(p, r, splat(0.6931472057f));
  p = fma(p, r, splat(1.000000001f));
  return _mm512_scalef_ps(p, t - r);
}
INLINE Vec exponential_for(const bf16 *, Vec x, Vec top) {  // 2^floor(t) * 2^r, 0 <= r < 1
  const Vec t = (x - top) * splat(1.44269504f);
  const Vec r = _mm512_reduce_ps(t, 1);
  Vec p = splat(0.07802451f);
  p = fma(p, r, splat(0.22606718f));
  p = fma(p, r, splat(0.69583353f));
  p = fma(p, r, splat(0.99992522f));
  return _mm512_scalef_ps(p, t);
}
#else
INLINE Vec exponential_for(const float *, Vec x, Vec top) { return exponential(x - top); }
#endif

}  // namespace SET
