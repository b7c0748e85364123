// Predictions at skipped pixels: a matrix product of the channels of each pixel that is near active patches.
#pragma once
#include "epilogue.h"
#include "micro.h"

namespace SET {

// Elements that a pixel is predicted from.
template <class T> INLINE int features(const AmsrOp &op) { return depth<T>(op.in_channels) * (op.rectified ? 2 : 1); }

// Whether a pixel of a patch, `edge` pixels a side, is within `reach` of an active neighbour.
INLINE bool is_near(int near, int y, int x, int edge, int reach) {
  if (!reach) return true;
  const int rows = (y < reach ? 0x07 : 0) | 0x18 | (y >= edge - reach ? 0xe0 : 0);   // neighbours above, beside, below
  const int columns = (x < reach ? 0x29 : 0) | 0x42 | (x >= edge - reach ? 0x94 : 0);  // to the left, in line, to the right
  return near & rows & columns;
}

template <class T> struct Predicted {
  const Spot *spot;
  int y, x;  // within the patch
  const T *features;
};

// Sums of PIXELS pixels that lie anywhere times VECTORS vectors of outputs.
template <int PIXELS, int VECTORS>
INLINE void products(const float *const *in, int n, const float *w, Vec (&sum)[PIXELS][VECTORS]) {
  for (int c = 0; c < n; c++, w += VECTORS * LANES) {
    Vec weight[VECTORS];
    UNROLL(4)
    for (int v = 0; v < VECTORS; v++) weight[v] = load(w + v * LANES);
    UNROLL(16)
    for (int i = 0; i < PIXELS; i++) {
      const Vec x = splat(in[i][c]);
      UNROLL(4)
      for (int v = 0; v < VECTORS; v++) sum[i][v] = fma(x, weight[v], sum[i][v]);
    }
  }
}

#if defined(__AVX512BF16__)
template <int PIXELS, int VECTORS>
INLINE void products(const bf16 *const *in, int n, const bf16 *w, Vec (&sum)[PIXELS][VECTORS]) {
  for (int c = 0; c < n; c += 2, w += VECTORS * 2 * LANES) {
    __m512bh weight[VECTORS];
    UNROLL(4)
    for (int v = 0; v < VECTORS; v++) weight[v] = (__m512bh)_mm512_loadu_si512(w + v * 2 * LANES);
    UNROLL(16)
    for (int i = 0; i < PIXELS; i++) {
      int pair;
      memcpy(&pair, in[i] + c, 4);
      const __m512bh x = (__m512bh)_mm512_set1_epi32(pair);
      UNROLL(4)
      for (int v = 0; v < VECTORS; v++) sum[i][v] = _mm512_dpbf16_ps(sum[i][v], x, weight[v]);
    }
  }
}
#endif

template <class T, class S>
INLINE void copy_features(T *out, const S *in, const AmsrOp &op) {
  const int half = depth<T>(op.in_channels);
  for (int c = 0; c < op.in_channels; c += LANES) store(out + c, load(in + c));
  for (int c = 0; op.rectified && c < op.in_channels; c += LANES) store(out + half + c, larger(load(in + c), Vec{}));
}

template <class O>
INLINE void store_pixel(const Finish &f, const AmsrMap &m, const Spot &spot, int y, int x, const Place &place, Vec value) {
  const int by = f.op->shuffle;
  const bool last = place.channel + place.count == f.op->out_channels / f.shape.units;  // what follows may be free
  const int count = last ? most(place.count, f.op->out_lanes[0] - place.channel) : place.count;
  O *p = address<O>(*f.context, m, spot, by) + (y * by + place.y) * m.row + (x * by + place.x) * m.pixel;
  store_some(p + f.op->out_channel[0] + place.channel, value, count);
}

template <class T, int VECTORS>
INLINE void predict_panel(const Finish &f, const Predicted<T> *const *pixels, int n, const T *w, int vector) {
  constexpr int PIXELS = rows_for(VECTORS) * 4;
  const AmsrOp &op = *f.op;
  const AmsrMap &m = f.maps[op.out[0]];
  for (int from = 0; from < n; from += PIXELS) {
    const T *in[PIXELS];
    for (int i = 0; i < PIXELS; i++) in[i] = pixels[least(from + i, n - 1)]->features;
    Vec sum[PIXELS][VECTORS];
    fill(sum, op.vector + vector * LANES);
    products(in, features<T>(op), w, sum);
    OnStack<PIXELS, VECTORS> copy(sum);
    for (int v = 0; v < VECTORS; v++) {
      const Place place = place_of(f.shape, vector + v);
      for (int i = 0; i < least(PIXELS, n - from); i++) {
        const Predicted<T> &pixel = *pixels[from + i];
        if (m.type == AMSR_BF16) store_pixel<bf16>(f, m, *pixel.spot, pixel.y, pixel.x, place, copy.x[i][v]);
        else store_pixel<float>(f, m, *pixel.spot, pixel.y, pixel.x, place, copy.x[i][v]);
      }
    }
  }
}

template <class T> NOINLINE void predict(const Context &c, const AmsrOp &op, const Spot *spots, int n) {
  const Finish f = finish_of(c, op);
  const AmsrSource &source = c.program->source_table[op.source];
  const AmsrMap &m = c.program->map_table[source.map];
  const int by = op.shuffle, edge = 4 * by;
  Predicted<T> pixels[AMSR_GROUP * 16];
  T *gathered = (T *)c.scratch;
  int count = 0;
  for (int k = 0; k < n; k++)
    for (int y = 0; y < least(4, f.height - spots[k].y); y++)
      for (int x = 0; x < least(4, f.width - spots[k].x); x++) {
        bool needed = !op.reach;
        for (int i = 0; i < by * by && !needed; i++)
          needed = is_near(c.near[spots[k].k], y * by + i / by, x * by + i % by, edge, op.reach);
        if (!needed) continue;
        const int64_t offset = y * m.row + x * m.pixel + source.channel;
        if (m.type == AMSR_BF16) copy_features(gathered, address<bf16>(c, m, spots[k], 1) + offset, op);
        else copy_features(gathered, address<float>(c, m, spots[k], 1) + offset, op);
        pixels[count++] = {spots + k, y, x, gathered};
        gathered += features<T>(op);
      }
  const T *w = (const T *)op.weights;
  for (int unit = 0; unit < f.shape.units; unit++) {
    const Predicted<T> *chosen[AMSR_GROUP * 16];
    int some = 0;
    for (int i = 0; i < count; i++) {
      const Predicted<T> &p = pixels[i];
      const int y = p.y * by + unit / by, x = p.x * by + unit % by;
      if (by == 1 || !op.reach || is_near(c.near[p.spot->k], y, x, edge, op.reach)) chosen[some++] = &p;
    }
    for (int v = 0; v < f.shape.unit_vectors;) {
      const int size = panel_size(f.shape.unit_vectors - v), vector = unit * f.shape.unit_vectors + v;
      if (!some) break;
      const T *panel = w + (int64_t)vector * LANES * features<T>(op);
      if (size == 1) predict_panel<T, 1>(f, chosen, some, panel, vector);
      else if (size == 2) predict_panel<T, 2>(f, chosen, some, panel, vector);
      else predict_panel<T, 3>(f, chosen, some, panel, vector);
      v += size;
    }
  }
}

// [unit][panel][feature][lane], bf16: pairs of features.
template <class T> INLINE void pack_predict(const AmsrOp &op, const float *weights, T *w) {
  const Shape s = shape_of(op);
  const int pair = sizeof(T) == 2 ? 2 : 1, half = depth<T>(op.in_channels), n = features<T>(op);
  for (int unit = 0; unit < s.units; unit++)
    for (int v = 0; v < s.unit_vectors;) {
      const int size = panel_size(s.unit_vectors - v), lanes = size * LANES;
      for (int i = 0; i < n; i++)
        for (int l = 0; l < lanes; l++) {
          const int o = channel_of(s, (unit * s.unit_vectors + v) * LANES + l), c = i % half;
          const float x = o < 0 || c >= op.in_channels ? 0 : weights[(int64_t)o * op.in_channels * (n / half) + i / half * op.in_channels + c];
          put(w + ((int64_t)i / pair * lanes + l) * pair + i % pair, x);
        }
      w += (int64_t)n * lanes;
      v += size;
    }
}

}  // namespace SET
