// Convolution 3x3 by Winograd's F(4x4, 3x3): each listed patch is one of its tiles.
//
// Points 0, +-sqrt(1/2), +-sqrt(2) and infinity: in bf16 4 dB closer than the usual 0, +-1, +-2, at the same cost.
#pragma once
#include "epilogue.h"
#include "sources.h"

namespace SET {

// Transformed tiles are [36][patch][channel], a line of the cache more from place to place, so that these do not fall into
// the same sets; products are [vector][36][patch][lane].
enum { TILE = 36, SLICE = AMSR_GROUP * LANES, VECTOR = TILE * SLICE };
template <class T> INLINE int64_t place_stride(int64_t channels) { return AMSR_GROUP * channels + 64 / sizeof(T); }
const float A = 0.70710678f, B = 1.41421356f;

// Rows of B^T times d.
INLINE void transform_in(const Vec *d, Vec *o, int step) {
  const Vec two = splat(2), half = splat(.5f), c = splat(2.5f), a = splat(A), b = splat(B);
  o[0] = fma(-c, d[2], d[0] + d[4]);
  Vec even = fma(-two, d[2], d[4]), odd = fma(-two, d[1], d[3]);
  o[step] = fma(a, odd, even);
  o[2 * step] = fma(-a, odd, even);
  even = fma(-half, d[2], d[4]);
  odd = fma(-half, d[1], d[3]);
  o[3 * step] = fma(b, odd, even);
  o[4 * step] = fma(-b, odd, even);
  o[5 * step] = fma(-c, d[3], d[1] + d[5]);
}

// Rows of A^T times m.
INLINE void transform_out(const Vec *m, Vec *o, int step) {
  const Vec two = splat(2), half = splat(.5f), a = splat(A), b = splat(B);
  Vec s1 = m[1] + m[2], d1 = m[1] - m[2], s2 = m[3] + m[4], d2 = m[3] - m[4];
  o[0] = m[0] + (s1 + s2);
  o[step] = fma(b, d2, a * d1);
  o[2 * step] = fma(two, s2, half * s1);
  o[3 * step] = fma(splat(2 * B), d2, fma(splat(A / 2), d1, m[5]));
}

// One patch, LANES channels.
template <class S, class T> INLINE void tile_in(const S *in, int64_t row, int64_t pixel, T *out, int64_t stride) {
  Vec t[TILE];
  UNROLL(6)
  for (int x = 0; x < 6; x++) {
    Vec d[6];
    UNROLL(6)
    for (int y = 0; y < 6; y++) d[y] = load(in + y * row + x * pixel);
    transform_in(d, t + x, 6);
  }
  UNROLL(6)
  for (int y = 0; y < 6; y++) {
    Vec o[6];
    transform_in(t + 6 * y, o, 1);
    UNROLL(6)
    for (int x = 0; x < 6; x++) store(out + (y * 6 + x) * stride, o[x]);
  }
}

INLINE void tile_out(const float *in, Vec (&out)[16][1]) {
  Vec t[24];
  UNROLL(6)
  for (int x = 0; x < 6; x++) {
    Vec m[6];
    UNROLL(6)
    for (int y = 0; y < 6; y++) m[y] = load(in + (y * 6 + x) * SLICE);
    transform_out(m, t + x, 6);
  }
  UNROLL(4)
  for (int y = 0; y < 4; y++) {
    Vec o[4];
    transform_out(t + 6 * y, o, 1);
    UNROLL(4)
    for (int x = 0; x < 4; x++) out[y * 4 + x][0] = o[x];
  }
}

// Products of 4 * QUADS patches with one panel at one of the 36 places.
template <class T, int QUADS, int VECTORS>
INLINE void multiply_block(const T *u, int64_t pixel, int n, const T *w, float *m) {
  Vec sum[4 * QUADS][VECTORS];
  fill(sum, nullptr);
  accumulate<QUADS, VECTORS>(u, 4 * pixel, pixel, n, w, sum);
  UNROLL(12)
  for (int i = 0; i < 4 * QUADS; i++) {
    UNROLL(4)
    for (int v = 0; v < VECTORS; v++) store(m + v * VECTOR + i * LANES, sum[i][v]);
  }
}

template <class T, int VECTORS>
INLINE void multiply(const T *u, int64_t pixel, int n, const T *w, float *m, int quads) {
#if defined(__AVX512F__) || defined(__aarch64__)
  constexpr int MOST = VECTORS == 3 ? 2 : 3;
#else
  constexpr int MOST = VECTORS == 1 ? 3 : 1;
#endif
  int q = 0;
  for (; q + MOST <= quads; q += MOST)
    multiply_block<T, MOST, VECTORS>(u + q * 4 * pixel, pixel, n, w, m + q * 4 * LANES);
  if constexpr (MOST == 3)
    if (q + 2 <= quads) {
      multiply_block<T, 2, VECTORS>(u + q * 4 * pixel, pixel, n, w, m + q * 4 * LANES);
      q += 2;
    }
  if constexpr (MOST > 1)
    if (q < quads) multiply_block<T, 1, VECTORS>(u + q * 4 * pixel, pixel, n, w, m + q * 4 * LANES);
}

// Channels of a transformed tile: those of one group, or of all sources, each padded to vectors.
INLINE int64_t winograd_channels(const AmsrOp &op, const AmsrSource *sources) {
  if (op.sources == 1) return padded(op.in_channels / op.groups);
  int64_t n = 0;
  for (int s = 0; s < op.sources; s++) n += padded(sources[s].channels);
  return n;
}

// Channels that the products of one group run over; padding between sources counts.
template <class T> INLINE int winograd_depth(const AmsrOp &op, const AmsrSource *sources) {
  return depth<T>(op.sources == 1 ? op.in_channels / op.groups : (int)winograd_channels(op, sources));
}

template <class T>
INLINE void transform_sources(const Context &c, const AmsrOp &op, int group, const Spot &spot, T *u, int64_t stride) {
  const AmsrProgram &p = *c.program;
  for (int s = 0; s < op.sources; s++) {
    const AmsrSource &source = p.source_table[op.source + s];
    const AmsrMap &m = p.map_table[source.map];
    const int channels = source.channels / op.groups, first = source.channel + group * channels;
    for (int ch = 0; ch < channels; ch += LANES, u += LANES) {
      if (m.type == AMSR_BF16)
        tile_in(address<bf16>(c, m, spot, 1, 1) + first + ch, m.row, m.pixel, u, stride);
      else
        tile_in(address<float>(c, m, spot, 1, 1) + first + ch, m.row, m.pixel, u, stride);
    }
  }
}

// Group by group of the convolution, so that its tiles stay in the L1.
// CHANNELS of a tile, or 0 where that is not known before.
template <class T, int CHANNELS>
NOINLINE void winograd_of(const Context &c, const AmsrOp &op, const Spot *spots, int n, const Spot *next, int next_n) {
  const Finish f = finish_of(c, op);
  const AmsrSource *sources = c.program->source_table + op.source;
  const int64_t channels = CHANNELS ? CHANNELS : winograd_channels(op, sources), stride = place_stride<T>(channels);
  T *u = (T *)c.scratch;
  float *m = (float *)(c.scratch + TILE * stride * (int64_t)sizeof(T));
  const int quads = (n + 3) / 4, d = winograd_depth<T>(op, sources);
  const T *w = (const T *)op.weights;
  for (int group = 0; group < op.groups; group++) {
    for (int k = 0; k < n; k++)
      transform_sources<T>(c, op, group, spots[k], u + k * channels, stride);
    for (int place = 0; place < TILE; place++) {
      // of the next patches, spread over the products
      for (int i = place % 6; i < next_n; i += 6)
        if (i / 6 % op.groups == group) prefetch_input(c, op, next[i], place / 6, place / 6 + 1);
      const T *x = u + place * stride;
      float *out = m + place * SLICE;
      for (int v = 0; v < f.shape.vectors;) {
        const int size = panel_size(f.shape.vectors - v);
        if (size == 1) multiply<T, 1>(x, channels, d, w, out, quads);
        else if (size == 2) multiply<T, 2>(x, channels, d, w, out, quads);
        else if constexpr (MOST_PANEL >= 3) multiply<T, 3>(x, channels, d, w, out, quads);
        w += (int64_t)d * size * LANES;
        out += size * VECTOR;
        v += size;
      }
    }
    for (int k = 0; k < n; k++)
      for (int v = 0; v < f.shape.vectors; v++) {
        Vec x[16][1];
        tile_out(m + v * VECTOR + k * LANES, x);
        const int vector = group * f.shape.vectors + v;
        const Vec bias = load(op.vector + vector * LANES);
        UNROLL(16)
        for (int i = 0; i < 16; i++) x[i][0] = x[i][0] + bias;
        finish(f, Block{spots[k], 0, vector}, x);
      }
  }
}

template <class T>
INLINE void winograd(const Context &c, const AmsrOp &op, const Spot *spots, int n, const Spot *next, int next_n) {
  const int64_t channels = winograd_channels(op, c.program->source_table + op.source);
  if (channels == 16) return winograd_of<T, 16>(c, op, spots, n, next, next_n);
  if (channels == 64) return winograd_of<T, 64>(c, op, spots, n, next, next_n);
  winograd_of<T, 0>(c, op, spots, n, next, next_n);
}

// [group][place][panel][channel][lane]
template <class T> INLINE void pack_winograd(const AmsrOp &op, const AmsrSource *sources, const float *weights, T *w) {
  static const double p[4] = {0.70710678118654752, -0.70710678118654752, 1.41421356237309505, -1.41421356237309505};
  double g[6][3] = {{1, 0, 0}, {}, {}, {}, {}, {0, 0, 1}};
  for (int i = 0; i < 4; i++) {
    const double n = i < 2 ? -1.5 : 6;
    g[i + 1][0] = 1 / n;
    g[i + 1][1] = p[i] / n;
    g[i + 1][2] = p[i] * p[i] / n;
  }
  const Shape s = shape_of(op);
  const int pair = sizeof(T) == 2 ? 2 : 1, per_group = op.in_channels / op.groups;
  const int d = winograd_depth<T>(op, sources);
  for (int group = 0; group < op.groups; group++)
    for (int place = 0; place < TILE; place++)
      for (int v = 0; v < s.vectors;) {
        const int size = panel_size(s.vectors - v), lanes = size * LANES;
        int source = 0, before = 0, base = 0;  // before: real channels, base: padded ones of the sources so far
        for (int c = 0; c < d; c++) {
          if (op.sources > 1 && c == base + padded(sources[source].channels)) {
            before += sources[source].channels;
            base = c;
            source++;
          }
          const bool real = op.sources == 1 ? c < per_group : c - base < sources[source].channels;
          for (int l = 0; l < lanes; l++) {
            const int o = channel_of(s, (group * s.vectors + v) * LANES + l);
            double sum = 0;
            if (real && o >= 0) {
              const float *k = weights + ((int64_t)o * per_group + before + c - base) * 9;
              for (int a = 0; a < 3; a++)
                for (int b = 0; b < 3; b++) sum += g[place / 6][a] * k[a * 3 + b] * g[place % 6][b];
            }
            put(w + ((int64_t)c / pair * lanes + l) * pair + c % pair, (float)sum);
          }
        }
        w += (int64_t)d * lanes;
        v += size;
      }
}

}  // namespace SET
