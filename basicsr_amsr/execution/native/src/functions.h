// Activation functions on vectors, within a few units of the last place of float.
#pragma once
#include "simd.h"

namespace SET {

INLINE Vec exponential(Vec x) {  // 2^n * e^r with |r| <= ln(2) / 2; the polynomial is that of Cephes' expf
  x = smaller(larger(x, splat(-87.0f)), splat(88.0f));
  const Vec magic = splat(12582912.0f);  // 1.5 * 2^23: adding it rounds to an integer
  Vec n = fma(x, splat(1.44269504f), magic);
  Bits shift = ((Bits)n) << 23;
  n = n - magic;
  Vec r = fma(n, splat(-0.693359375f), x);
  r = fma(n, splat(2.12194440e-4f), r);
  Vec p = splat(1.9875691500e-4f);
  p = fma(p, r, splat(1.3981999507e-3f));
  p = fma(p, r, splat(8.3334519073e-3f));
  p = fma(p, r, splat(4.1665795894e-2f));
  p = fma(p, r, splat(1.6666665459e-1f));
  p = fma(p, r, splat(5.0000001201e-1f));
  p = fma(p, r * r, r + splat(1.0f));
  return (Vec)((Bits)p + shift);
}

INLINE Vec sigmoid(Vec x) { return splat(1.0f) / (splat(1.0f) + exponential(-x)); }

INLINE Vec hyperbolic_tangent(Vec x) {
  Vec magnitude = larger(x, -x);
  Vec e = exponential(magnitude * splat(-2.0f));
  Vec far = (splat(1.0f) - e) / (splat(1.0f) + e);
  Vec square = x * x;  // near 0 the difference above cancels
  Vec p = splat(-5.70498872745e-3f);
  p = fma(p, square, splat(2.06390887954e-2f));
  p = fma(p, square, splat(-5.37397155531e-2f));
  p = fma(p, square, splat(1.33314422036e-1f));
  p = fma(p, square, splat(-3.33332819422e-1f));
  Vec near = fma(p * square, x, x);
  far = x < Vec{} ? -far : far;
  return magnitude < splat(0.625f) ? near : far;
}

INLINE Vec error_function(Vec x) {  // Abramowitz and Stegun 7.1.26, 1.5e-7; a series near 0, where that is relative
  Vec magnitude = larger(x, -x);
  Vec t = splat(1.0f) / fma(magnitude, splat(0.3275911f), splat(1.0f));
  Vec p = splat(1.061405429f);
  p = fma(p, t, splat(-1.453152027f));
  p = fma(p, t, splat(1.421413741f));
  p = fma(p, t, splat(-0.284496736f));
  p = fma(p, t, splat(0.254829592f));
  Vec far = splat(1.0f) - p * t * exponential(-magnitude * magnitude);
  far = x < Vec{} ? -far : far;
  Vec square = x * x;
  Vec s = splat(5.2239776e-3f);
  s = fma(s, square, splat(-2.6866171e-2f));
  s = fma(s, square, splat(1.1283792e-1f));
  s = fma(s, square, splat(-3.7612639e-1f));
  s = fma(s, square, splat(1.1283792f));
  return magnitude < splat(0.5f) ? s * x : far;
}

INLINE Vec gelu(Vec x) { return x * splat(0.5f) * (splat(1.0f) + error_function(x * splat(0.70710678f))); }
INLINE Vec mish(Vec x) {  // x * tanh(log(1 + e^x)), a quotient of e^x; from 20 on that is x
  const Vec e = exponential(smaller(x, splat(20.0f)));
  const Vec top = e * (e + splat(2.0f));
  return x * top / (top + splat(2.0f));
}
INLINE Vec gelu_tanh(Vec x) {
  Vec inner = x * splat(0.79788456f) * fma(x * x, splat(0.044715f), splat(1.0f));
  return x * splat(0.5f) * (splat(1.0f) + hyperbolic_tangent(inner));
}

}  // namespace SET
