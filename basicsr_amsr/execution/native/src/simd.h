// Vectors of LANES floats for one instruction set. Compiled once for each of them, in a namespace of its own (SET), and
// without the standard library's templates: a copy of them compiled for a newer machine must not be linked elsewhere.
#pragma once
#include <stdint.h>
#include <string.h>
#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#define INLINE static inline __attribute__((always_inline))
#define NOINLINE static __attribute__((noinline))
#define INLINE_LAMBDA __attribute__((always_inline))
#define PRAGMA(text) _Pragma(#text)
#if defined(__clang__)
#define UNROLL(n) PRAGMA(unroll)
#else
#define UNROLL(n) PRAGMA(GCC unroll n)  // gcc keeps accumulators in registers only where every loop over them is unrolled
#endif

#if defined(__AMX_BF16__)
#define TILES 1
#endif

namespace SET {

#if defined(__AVX512F__)
enum { LANES = 16 };
#elif defined(__AVX2__)
enum { LANES = 8 };
#else
enum { LANES = 4 };
#endif
typedef float Vec __attribute__((vector_size(4 * LANES)));
typedef uint32_t Bits __attribute__((vector_size(4 * LANES)));
typedef uint16_t Half __attribute__((vector_size(2 * LANES)));
typedef uint16_t bf16;

INLINE int least(int a, int b) { return a < b ? a : b; }
INLINE int most(int a, int b) { return a > b ? a : b; }

INLINE float widen(bf16 x) {
  uint32_t bits = (uint32_t)x << 16;
  float f;
  memcpy(&f, &bits, 4);
  return f;
}
INLINE float widen(float x) { return x; }
INLINE bf16 to_bf16(float f) {
  uint32_t bits;
  memcpy(&bits, &f, 4);
  if (f != f) return 0x7fc0;
  return (bf16)((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}
INLINE void put(float *p, float x) { *p = x; }
INLINE void put(bf16 *p, float x) { *p = to_bf16(x); }

INLINE Vec load(const float *p) {
  Vec v;
  memcpy(&v, p, sizeof v);
  return v;
}
INLINE Vec load(const bf16 *p) {
  Half h;
  memcpy(&h, p, sizeof h);
  return (Vec)(__builtin_convertvector(h, Bits) << 16);
}
INLINE void store(float *p, Vec v) { memcpy(p, &v, sizeof v); }

#if defined(__AVX512F__)
INLINE Vec splat(float x) { return _mm512_set1_ps(x); }
INLINE Vec larger(Vec a, Vec b) { return _mm512_max_ps(a, b); }
INLINE Vec smaller(Vec a, Vec b) { return _mm512_min_ps(a, b); }
INLINE Vec fma(Vec a, Vec b, Vec c) { return _mm512_fmadd_ps(a, b, c); }
INLINE Vec square_root(Vec v) { return _mm512_sqrt_ps(v); }
#elif defined(__AVX2__)
INLINE Vec splat(float x) { return _mm256_set1_ps(x); }
INLINE Vec larger(Vec a, Vec b) { return _mm256_max_ps(a, b); }
INLINE Vec smaller(Vec a, Vec b) { return _mm256_min_ps(a, b); }
INLINE Vec fma(Vec a, Vec b, Vec c) { return _mm256_fmadd_ps(a, b, c); }
INLINE Vec square_root(Vec v) { return _mm256_sqrt_ps(v); }
#elif defined(__aarch64__)
INLINE Vec splat(float x) { return vdupq_n_f32(x); }
INLINE Vec larger(Vec a, Vec b) { return vmaxq_f32(a, b); }
INLINE Vec smaller(Vec a, Vec b) { return vminq_f32(a, b); }
INLINE Vec fma(Vec a, Vec b, Vec c) { return vfmaq_f32(c, a, b); }
INLINE Vec square_root(Vec v) { return vsqrtq_f32(v); }
#else
INLINE Vec splat(float x) { return Vec{x, x, x, x}; }
INLINE Vec larger(Vec a, Vec b) { return a > b ? a : b; }
INLINE Vec smaller(Vec a, Vec b) { return a < b ? a : b; }
INLINE Vec fma(Vec a, Vec b, Vec c) { return a * b + c; }
INLINE Vec square_root(Vec v) {
  return Vec{__builtin_sqrtf(v[0]), __builtin_sqrtf(v[1]), __builtin_sqrtf(v[2]), __builtin_sqrtf(v[3])};
}
#endif

#if defined(__AVX512BF16__)
INLINE void store(bf16 *p, Vec v) { _mm256_storeu_si256((__m256i *)p, (__m256i)_mm512_cvtneps_pbh(v)); }
INLINE void store_pair(bf16 *p, Vec v, Vec u) { _mm512_storeu_si512(p, (__m512i)_mm512_cvtne2ps_pbh(u, v)); }
#else
INLINE void store(bf16 *p, Vec v) {
  Bits bits = (Bits)v;
  Bits rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
  Half h = __builtin_convertvector((Bits)(v == v) ? rounded : Bits{} + 0x7fc0, Half);
  memcpy(p, &h, sizeof h);
}
INLINE void store_pair(bf16 *p, Vec v, Vec u) {
  store(p, v);
  store(p + LANES, u);
}
#endif
INLINE void store_pair(float *p, Vec v, Vec u) {
  store(p, v);
  store(p + LANES, u);
}

template <class T> INLINE void store_some(T *p, Vec v, int lanes) {  // the first `lanes` of v
  if (lanes >= LANES) {
    store(p, v);
    return;
  }
  T all[LANES];
  store(all, v);
  for (int i = 0; i < lanes; i++) p[i] = all[i];
}

// [a0+a1, a2+a3, ..., b0+b1, b2+b3, ...]
INLINE Vec add_neighbours(Vec a, Vec b) {
#if defined(__AVX512F__)
  const __m512i even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
  return _mm512_permutex2var_ps(a, even, b) + _mm512_permutex2var_ps(a, _mm512_or_si512(even, _mm512_set1_epi32(1)), b);
#elif defined(__AVX2__)
  return (Vec)_mm256_permute4x64_pd((__m256d)_mm256_hadd_ps(a, b), 0xd8);
#else
  return Vec{a[0] + a[1], a[2] + a[3], b[0] + b[1], b[2] + b[3]};
#endif
}

// The sums of LANES vectors, in order.
INLINE Vec sums(Vec *v) {
  UNROLL(4)
  for (int n = LANES / 2; n; n /= 2)
    for (int i = 0; i < n; i++) v[i] = add_neighbours(v[2 * i], v[2 * i + 1]);
  return v[0];
}

INLINE void prefetch(const void *p) { __builtin_prefetch(p, 0, 2); }

}  // namespace SET
