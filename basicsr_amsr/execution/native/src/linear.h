// Linear layers of rows, with layer normalisation before and an activation and a sum behind them.
#pragma once
#include "inputs.h"
#include "kernels.h"
#include "layer_norm.h"

namespace SET {

enum { TOGETHER = 6, ABREAST = LANES == 16 ? 4 : 2 };  // rows and vectors whose sums are in registers

template <class T> INLINE int64_t depth_of(const AmsrLinear &l) { return (l.inputs + Inputs<T>::STEP - 1) / Inputs<T>::STEP * Inputs<T>::STEP; }

INLINE void write_some(float *p, Vec v, int lanes) {
#if defined(__AVX512F__)
  _mm512_mask_storeu_ps(p, lanes >= LANES ? 0xffff : (1u << lanes) - 1, v);
#else
  store_some(p, v, lanes);
#endif
}

// Weights [panel of ABREAST vectors][input][lane][STEP], of the last panel the vectors that it has; then the bias.
// What the normalisation multiplies by and adds goes into them.
template <class T> INLINE void pack_linear(const AmsrLinear &l, char *packed) {
  constexpr int STEP = Inputs<T>::STEP;
  const int64_t depth = depth_of<T>(l);
  const int vectors = (l.outputs + LANES - 1) / LANES, lanes = vectors * LANES;
  T *weights = (T *)packed;
  float *bias = (float *)(packed + lanes * ((l.inputs + 1) / 2 * 2) * 4);
  for (int o = 0; o < lanes; o++) {
    const float *from = l.weights + (int64_t)o * l.inputs;
    const int first = o / LANES / ABREAST * ABREAST, wide = least(ABREAST, vectors - first) * LANES;
    float sum = o < l.outputs && l.bias ? l.bias[o] : 0;
    for (int64_t i = 0; i < depth; i++) {
      const bool there = o < l.outputs && i < l.inputs;
      const float weight = there ? from[i] : 0;
      if (there && l.offset) sum += weight * l.offset[i];
      put(weights + first * LANES * depth + (i / STEP * wide + o - first * LANES) * STEP + i % STEP,
          there && l.factor ? weight * l.factor[i] : weight);
    }
    bias[o] = sum;
  }
}

// `count` rows, normalised where the layer says so, as T with zeros behind them; `wide` of a row in `out`.
template <class T> INLINE void prepared(const AmsrLinear &l, int64_t first, int count, int64_t wide, T *out) {
  for (int from = 0; from < count; from += LANES) {
    const float *in[LANES];
    float mean[LANES] = {}, scale[LANES];
    for (int r = 0; r < LANES; r++) {
      in[r] = l.in + (first + least(from + r, count - 1)) * l.in_row;
      scale[r] = 1;
    }
    if (l.normalised)
      moments(in, l.inputs, l.epsilon, [](const float *p, int lanes) INLINE_LAMBDA { return load_some(p, lanes); }, mean, scale);
    for (int r = 0; r < LANES && from + r < count; r++) {
      T *to = out + (from + r) * wide;
      for (int i = 0; i < l.inputs; i += LANES)
        store(to + i, (load_some(in[r] + i, l.inputs - i) - splat(mean[r])) * splat(scale[r]));
      for (int64_t i = l.inputs; i < wide; i++) to[i] = 0;
    }
  }
}

template <int VECTORS, class T>
INLINE void multiplied(const T *in, int64_t wide, int64_t depth, const T *weights, const float *bias, float *out) {
  constexpr int STEP = Inputs<T>::STEP;
  Vec sum[TOGETHER][VECTORS];
  UNROLL(6)
  for (int r = 0; r < TOGETHER; r++) {
    UNROLL(4)
    for (int v = 0; v < VECTORS; v++) sum[r][v] = load(bias + v * LANES);
  }
  for (int64_t i = 0; i < depth; i += STEP, weights += VECTORS * LANES * STEP) {
    Vec weight[VECTORS];
    UNROLL(4)
    for (int v = 0; v < VECTORS; v++) weight[v] = Inputs<T>::weights(weights + v * LANES * STEP);
    UNROLL(6)
    for (int r = 0; r < TOGETHER; r++) {
      const Vec factor = Inputs<T>::spread(in + r * wide + i);
      UNROLL(4)
      for (int v = 0; v < VECTORS; v++) sum[r][v] = Inputs<T>::add(factor, weight[v], sum[r][v]);
    }
  }
  UNROLL(6)
  for (int r = 0; r < TOGETHER; r++) {
    UNROLL(4)
    for (int v = 0; v < VECTORS; v++) store(out + (r * ABREAST + v) * LANES, sum[r][v]);
  }
}

template <class T> INLINE void linear_rows(const AmsrLinear &l, const char *packed, int64_t first, int count, char *scratch) {
  const int64_t depth = depth_of<T>(l), wide = linear_row(l);
  const int vectors = (l.outputs + LANES - 1) / LANES;
  const T *weights = (const T *)packed;
  const float *bias = (const float *)(packed + vectors * LANES * ((l.inputs + 1) / 2 * 2) * 4);
  T *rows = (T *)scratch;
  prepared(l, first, count, wide, rows);
  float made[TOGETHER * ABREAST * LANES];
  for (int part = 0; part < vectors; part += ABREAST) {
    const int now = least(ABREAST, vectors - part);
    for (int from = 0; from < count; from += TOGETHER) {
      const T *in = rows + from * wide, *panel = weights + part * LANES * depth;
      switch (now) {
        case 1: multiplied<1>(in, wide, depth, panel, bias + part * LANES, made); break;
        case 2: multiplied<2>(in, wide, depth, panel, bias + part * LANES, made); break;
        case 3: multiplied<ABREAST < 3 ? ABREAST : 3>(in, wide, depth, panel, bias + part * LANES, made); break;
        default: multiplied<ABREAST>(in, wide, depth, panel, bias + part * LANES, made);
      }
      for (int r = 0; r < least(TOGETHER, count - from); r++) {
        const int64_t row = first + from + r;
        for (int v = 0; v < now; v++) {
          const int at = (part + v) * LANES, lanes = least(LANES, l.outputs - at);
          Vec x = load(made + (r * ABREAST + v) * LANES);
          if (l.gelu) x = gelu(x);
          if (l.add) x += load_some(l.add + row * l.add_row + at, lanes);
          write_some(l.out + row * l.out_row + at, x, lanes);
        }
      }
    }
  }
}

static void pack_linear(const AmsrLinear &l, char *packed) {
#if defined(__AVX512BF16__)
  if (l.bf16) return pack_linear<bf16>(l, packed);
#endif
  pack_linear<float>(l, packed);
}

static void linear(const AmsrLinear &l, const char *packed, int64_t first, int count, char *scratch) {
#if defined(__AVX512BF16__)
  if (l.bf16) return linear_rows<bf16>(l, packed, first, count, scratch);
#endif
  linear_rows<float>(l, packed, first, count, scratch);
}

}  // namespace SET
