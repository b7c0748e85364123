// Convolution 3x3 by Winograd's F(4x4, 3x3): each listed patch is one of its tiles; or by F(6x6, 3x3), of which lists have
// patches of 6x6 pixels.
//
// Points 0, +-sqrt(1/2), +-sqrt(2) and infinity: in bf16 4 dB closer than the usual 0, +-1, +-2, at the same cost.
// F(6x6, 3x3) has 0, +-1, +-1/2, +-2 and infinity, and is for float alone.
#pragma once
#include "epilogue.h"
#include "sources.h"

namespace SET {

// Transformed tiles are [place][patch][channel], a line of the cache more from place to place, so that these do not fall
// into the same sets; products are [vector][place][patch][lane].
enum { SLICE = AMSR_GROUP * LANES };
template <int EDGE> struct Tile { enum { SIDE = EDGE + 2, PLACES = SIDE * SIDE, VECTOR = PLACES * SLICE }; };
template <class T> INLINE int64_t place_stride(int64_t channels) { return AMSR_GROUP * channels + 64 / sizeof(T); }
const float A = 0.70710678f, B = 1.41421356f;

// Rows of B^T times d.
template <int EDGE> INLINE void transform_in(const Vec *d, Vec *o, int step) {
  if constexpr (EDGE == 4) {
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
  } else {
    const Vec c = splat(5.25f), two = splat(2), half = splat(.5f), one = splat(1);
    o[0] = fma(c, d[2] - d[4], d[6] - d[0]);
    const auto pair = [&](int at, Vec point, float s, float t) INLINE_LAMBDA {
      const Vec even = fma(splat(t), d[2], fma(splat(-s), d[4], d[6]));
      const Vec odd = fma(splat(t), d[1], fma(splat(-s), d[3], d[5]));
      o[at * step] = fma(point, odd, even);
      o[(at + 1) * step] = fma(-point, odd, even);
    };
    pair(1, one, 4.25f, 1);
    pair(3, half, 5, 4);
    pair(5, two, 1.25f, .25f);
    o[7 * step] = fma(c, d[3] - d[5], d[7] - d[1]);
  }
}

// Rows of A^T times m.
template <int EDGE> INLINE void transform_out(const Vec *m, Vec *o, int step) {
  const Vec s1 = m[1] + m[2], d1 = m[1] - m[2], s2 = m[3] + m[4], d2 = m[3] - m[4];
  if constexpr (EDGE == 4) {
    o[0] = m[0] + (s1 + s2);
    o[step] = fma(splat(B), d2, splat(A) * d1);
    o[2 * step] = fma(splat(2), s2, splat(.5f) * s1);
    o[3 * step] = fma(splat(2 * B), d2, fma(splat(A / 2), d1, m[5]));
  } else {
    const Vec s3 = m[5] + m[6], d3 = m[5] - m[6];
    o[0] = (m[0] + s1) + (s2 + s3);
    o[step] = fma(splat(2), d3, fma(splat(.5f), d2, d1));
    o[2 * step] = fma(splat(4), s3, fma(splat(.25f), s2, s1));
    o[3 * step] = fma(splat(8), d3, fma(splat(.125f), d2, d1));
    o[4 * step] = fma(splat(16), s3, fma(splat(.0625f), s2, s1));
    o[5 * step] = fma(splat(32), d3, fma(splat(.03125f), d2, d1 + m[7]));
  }
}

// One patch, LANES channels.
template <int EDGE, class S, class T> INLINE void tile_in(const S *in, int64_t row, int64_t pixel, T *out, int64_t stride) {
  constexpr int SIDE = Tile<EDGE>::SIDE;
  Vec t[SIDE * SIDE];
  UNROLL(8)
  for (int x = 0; x < SIDE; x++) {
    Vec d[SIDE];
    UNROLL(8)
    for (int y = 0; y < SIDE; y++) d[y] = load(in + y * row + x * pixel);
    transform_in<EDGE>(d, t + x, SIDE);
  }
  UNROLL(8)
  for (int y = 0; y < SIDE; y++) {
    Vec o[SIDE];
    transform_in<EDGE>(t + SIDE * y, o, 1);
    UNROLL(8)
    for (int x = 0; x < SIDE; x++) store(out + (y * SIDE + x) * stride, o[x]);
  }
}

template <int EDGE> INLINE void tile_out(const float *in, Vec (&out)[EDGE * EDGE][1]) {
  constexpr int SIDE = Tile<EDGE>::SIDE;
  Vec t[EDGE * SIDE];
  UNROLL(8)
  for (int x = 0; x < SIDE; x++) {
    Vec m[SIDE];
    UNROLL(8)
    for (int y = 0; y < SIDE; y++) m[y] = load(in + (y * SIDE + x) * SLICE);
    transform_out<EDGE>(m, t + x, SIDE);
  }
  UNROLL(6)
  for (int y = 0; y < EDGE; y++) {
    Vec o[EDGE];
    transform_out<EDGE>(t + SIDE * y, o, 1);
    UNROLL(6)
    for (int x = 0; x < EDGE; x++) out[y * EDGE + x][0] = o[x];
  }
}

// Products of 4 * QUADS patches with one panel at one of the places; `apart`: from vector to vector of m.
template <class T, int QUADS, int VECTORS>
INLINE void multiply_block(const T *u, int64_t pixel, int n, const T *w, float *m, int64_t apart) {
  Vec sum[4 * QUADS][VECTORS];
  fill(sum, nullptr);
  accumulate<QUADS, VECTORS>(u, 4 * pixel, pixel, n, w, sum);
  UNROLL(12)
  for (int i = 0; i < 4 * QUADS; i++) {
    UNROLL(4)
    for (int v = 0; v < VECTORS; v++) store(m + v * apart + i * LANES, sum[i][v]);
  }
}

template <class T, int VECTORS>
INLINE void multiply(const T *u, int64_t pixel, int n, const T *w, float *m, int64_t apart, int quads) {
#if defined(__AVX512F__) || defined(__aarch64__)
  constexpr int MOST = VECTORS == 3 ? 2 : 3;
#else
  constexpr int MOST = VECTORS == 1 ? 3 : 1;
#endif
  int q = 0;
  for (; q + MOST <= quads; q += MOST)
    multiply_block<T, MOST, VECTORS>(u + q * 4 * pixel, pixel, n, w, m + q * 4 * LANES, apart);
  if constexpr (MOST == 3)
    if (q + 2 <= quads) {
      multiply_block<T, 2, VECTORS>(u + q * 4 * pixel, pixel, n, w, m + q * 4 * LANES, apart);
      q += 2;
    }
  if constexpr (MOST > 1)
    if (q < quads) multiply_block<T, 1, VECTORS>(u + q * 4 * pixel, pixel, n, w, m + q * 4 * LANES, apart);
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

template <class T, int EDGE>
INLINE void transform_sources(const Context &c, const AmsrOp &op, int group, const Spot &spot, T *u, int64_t stride) {
  const AmsrProgram &p = *c.program;
  for (int s = 0; s < op.sources; s++) {
    const AmsrSource &source = p.source_table[op.source + s];
    const AmsrMap &m = p.map_table[source.map];
    const int channels = source.channels / op.groups, first = source.channel + group * channels;
    for (int ch = 0; ch < channels; ch += LANES, u += LANES) {
      if (m.type == AMSR_BF16)
        tile_in<EDGE>(address<bf16>(c, m, spot, 1, op.pad) + first + ch, m.row, m.pixel, u, stride);
      else
        tile_in<EDGE>(address<float>(c, m, spot, 1, op.pad) + first + ch, m.row, m.pixel, u, stride);
    }
  }
}

// Group by group of the convolution, so that its tiles stay in the L1.
// CHANNELS of a tile, or 0 where that is not known before.
template <class T, int EDGE, int CHANNELS>
NOINLINE void winograd_of(const Context &c, const AmsrOp &op, const Spot *spots, int n, const Spot *next, int next_n) {
  constexpr int SIDE = Tile<EDGE>::SIDE, PLACES = Tile<EDGE>::PLACES, VECTOR = Tile<EDGE>::VECTOR;
  const Finish f = finish_of(c, op);
  const AmsrSource *sources = c.program->source_table + op.source;
  const int64_t channels = CHANNELS ? CHANNELS : winograd_channels(op, sources), stride = place_stride<T>(channels);
  T *u = (T *)c.scratch;
  float *m = (float *)(c.scratch + PLACES * stride * (int64_t)sizeof(T));
  const int quads = (n + 3) / 4, d = winograd_depth<T>(op, sources);
  const T *w = (const T *)op.weights;
  for (int group = 0; group < op.groups; group++) {
    for (int k = 0; k < n; k++)
      transform_sources<T, EDGE>(c, op, group, spots[k], u + k * channels, stride);
    for (int place = 0; place < PLACES; place++) {
      // of the next patches, spread over the products
      for (int i = place % SIDE; i < next_n; i += SIDE)
        if (i / SIDE % op.groups == group) prefetch_input(c, op, next[i], place / SIDE, place / SIDE + 1);
      const T *x = u + place * stride;
      float *out = m + place * SLICE;
      for (int v = 0; v < f.shape.vectors;) {
        const int size = panel_size(f.shape.vectors - v);
        if (size == 1) multiply<T, 1>(x, channels, d, w, out, VECTOR, quads);
        else if (size == 2) multiply<T, 2>(x, channels, d, w, out, VECTOR, quads);
        else if constexpr (MOST_PANEL >= 3) multiply<T, 3>(x, channels, d, w, out, VECTOR, quads);
        w += (int64_t)d * size * LANES;
        out += size * VECTOR;
        v += size;
      }
    }
    for (int k = 0; k < n; k++)
      for (int v = 0; v < f.shape.vectors; v++) {
        Vec x[EDGE * EDGE][1];
        tile_out<EDGE>(m + v * VECTOR + k * LANES, x);
        const int vector = group * f.shape.vectors + v;
        const Vec bias = load(op.vector + vector * LANES);
        UNROLL(16)
        for (int i = 0; i < EDGE * EDGE; i++) x[i][0] = x[i][0] + bias;
        if constexpr (EDGE == 4) finish(f, Block{spots[k], 0, vector}, x);
        else
          for (int first = 0; first < least(EDGE, f.height - spots[k].y); first += 2)
            finish<EDGE>(f, Block{spots[k], first, vector}, *(Vec(*)[2 * EDGE][1])(x + first * EDGE));
      }
  }
}

template <class T>
INLINE void winograd(const Context &c, const AmsrOp &op, const Spot *spots, int n, const Spot *next, int next_n) {
  const int64_t channels = winograd_channels(op, c.program->source_table + op.source);
  if constexpr (sizeof(T) == 4)
    if (op.kind == AMSR_WINOGRAD6) {
      if (channels == 64) return winograd_of<T, 6, 64>(c, op, spots, n, next, next_n);
      return winograd_of<T, 6, 0>(c, op, spots, n, next, next_n);
    }
  if (channels == 16) return winograd_of<T, 4, 16>(c, op, spots, n, next, next_n);
  if (channels == 64) return winograd_of<T, 4, 64>(c, op, spots, n, next, next_n);
  winograd_of<T, 4, 0>(c, op, spots, n, next, next_n);
}

// Rows of G: 1, p, p^2 of each point p over the product of its distances to the others; the last is infinity's.
template <int EDGE> INLINE void filter_rows(double (&g)[Tile<EDGE>::SIDE][3]) {
  static const double four[5] = {0, 0.70710678118654752, -0.70710678118654752, 1.41421356237309505, -1.41421356237309505};
  static const double six[7] = {0, 1, -1, .5, -.5, 2, -2};
  const double *points = EDGE == 4 ? four : six;
  for (int i = 0; i <= EDGE; i++) {
    double n = 1;
    for (int j = 0; j <= EDGE; j++) n *= j == i ? 1 : points[i] - points[j];
    for (int k = 0; k < 3; k++) g[i][k] = (k == 0 ? 1 : k == 1 ? points[i] : points[i] * points[i]) / n;
  }
  g[EDGE + 1][0] = g[EDGE + 1][1] = 0;
  g[EDGE + 1][2] = 1;
}

// [group][place][panel][channel][lane]
template <class T, int EDGE> INLINE void pack_winograd(const AmsrOp &op, const AmsrSource *sources, const float *weights, T *w) {
  constexpr int SIDE = Tile<EDGE>::SIDE;
  double g[SIDE][3];
  filter_rows<EDGE>(g);
  const Shape s = shape_of(op);
  const int pair = sizeof(T) == 2 ? 2 : 1, per_group = op.in_channels / op.groups;
  const int d = winograd_depth<T>(op, sources);
  for (int group = 0; group < op.groups; group++)
    for (int place = 0; place < SIDE * SIDE; place++)
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
                for (int b = 0; b < 3; b++) sum += g[place / SIDE][a] * k[a * 3 + b] * g[place % SIDE][b];
            }
            put(w + ((int64_t)c / pair * lanes + l) * pair + c % pair, (float)sum);
          }
        }
        w += (int64_t)d * lanes;
        v += size;
      }
}

}  // namespace SET
