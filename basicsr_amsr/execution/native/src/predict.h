// Predictions at skipped pixels: a matrix product of the channels of each pixel that is near active patches.
#pragma once
#include "epilogue.h"
#include "micro.h"
#include "tiles.h"

namespace SET {

// Elements that a pixel is predicted from, and that are kept for it.
template <class T> INLINE int features(const AmsrOp &op) { return depth<T>(op.in_channels) * (op.rectified ? 2 : 1); }
template <class T> INLINE int kept_features(const AmsrOp &op) {
  return has_tiles<T>() ? deep(features<T>(op)) : features<T>(op);
}

// Which pixels of a patch, a bit each, row by row, lie near active neighbours.
struct Nearness {
  int up, down, left, right;  // pixels within reach of each side

  INLINE_LAMBDA inline int of(int near) const {
    const auto if_set = [near](int bit, int pixels) INLINE_LAMBDA { return near & bit ? pixels : 0; };
    return if_set(1, up & left) | if_set(2, up) | if_set(4, up & right) | if_set(8, left) | if_set(16, right) |
           if_set(32, down & left) | if_set(64, down) | if_set(128, down & right);
  }
};

// Of four pixels in a row or column, a bit each, those whose part `part` is one of the first, or last, `reach` of 4 * by.
INLINE int first_ones(int reach, int by, int part) {
  const int n = (reach - part + by - 1) / by;
  return n <= 0 ? 0 : (1 << least(n, 4)) - 1;
}
INLINE int last_ones(int reach, int by, int part) { return 0xf & ~first_ones(4 * by - reach, by, part); }
INLINE int rows_of(int bits) { return (bits & 1) * 0xf | (bits >> 1 & 1) * 0xf0 | (bits >> 2 & 1) * 0xf00 | (bits >> 3) * 0xf000; }

INLINE Nearness nearness(int reach, int by, int i, int j, int last_i, int last_j) {
  return {rows_of(first_ones(reach, by, i)), rows_of(last_ones(reach, by, last_i)), first_ones(reach, by, j) * 0x1111,
          last_ones(reach, by, last_j) * 0x1111};
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

#if defined(TILES)
// Of 16 pixels, one row of a tile each.
template <int PIXELS, int VECTORS>
INLINE void products(const bf16 *const *in, int n, const bf16 *w, Vec (&sum)[PIXELS][VECTORS]) {
  static_assert(PIXELS == 16 && VECTORS <= 3, "");
  const bf16 *rows = in[0];
  alignas(64) bf16 apart[16 * DEEP];
  alignas(64) float sums[VECTORS * SUMS];
  int64_t row = in[1] - in[0];
  bool even = row > 0;
  for (int i = 2; i < PIXELS; i++) even &= in[i] - in[i - 1] == row;
  _tile_zero(0);
  if constexpr (VECTORS > 1) _tile_zero(1);
  if constexpr (VECTORS > 2) _tile_zero(2);
  for (int c = 0; c < n; c += DEEP, w += TILE) {
    if (even) rows = in[0] + c;
    else {
      rows = apart;
      row = DEEP;
      for (int i = 0; i < PIXELS; i++) _mm512_store_si512(apart + i * DEEP, _mm512_loadu_si512(in[i] + c));
    }
    asm volatile("" ::: "memory");  // tile loads do not tell the compiler that they read
    _tile_loadd(4, rows, row * 2);
    _tile_loadd(5, w, 64);
    _tile_dpbf16ps(0, 4, 5);
    if constexpr (VECTORS > 1) _tile_loadd(6, w + (int64_t)n * LANES, 64);
    if constexpr (VECTORS > 1) _tile_dpbf16ps(1, 4, 6);
    if constexpr (VECTORS > 2) _tile_loadd(7, w + 2 * (int64_t)n * LANES, 64);
    if constexpr (VECTORS > 2) _tile_dpbf16ps(2, 4, 7);
  }
  _tile_stored(0, sums, 64);
  if constexpr (VECTORS > 1) _tile_stored(1, sums + SUMS, 64);
  if constexpr (VECTORS > 2) _tile_stored(2, sums + 2 * SUMS, 64);
  for (int i = 0; i < PIXELS; i++)
    for (int v = 0; v < VECTORS; v++) sum[i][v] = sum[i][v] + load(sums + v * SUMS + i * LANES);
}
#elif defined(__AVX512BF16__)
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
  const int count = last ? most(place.count, f.op->out_lanes - place.channel) : place.count;
  O *p = address<O>(*f.context, m, spot, by) + (y * by + place.y) * m.row + (x * by + place.x) * m.pixel;
  store_some(p + f.op->out_channel + place.channel, value, count);
}

// Pixels whose sums are computed together.
template <class T> constexpr int pixels_for(int vectors) { return has_tiles<T>() ? 16 : rows_for(vectors) * 4; }

template <class T, int VECTORS>
INLINE void predict_panel(const Finish &f, const Predicted<T> *const *pixels, int n, const T *w, int vector) {
  constexpr int PIXELS = pixels_for<T>(VECTORS);
  const AmsrOp &op = *f.op;
  const AmsrMap &m = f.maps[op.out];
  for (int from = 0; from < n; from += PIXELS) {
    const T *in[PIXELS];
    for (int i = 0; i < PIXELS; i++) in[i] = pixels[least(from + i, n - 1)]->features;
    Vec sum[PIXELS][VECTORS];
    fill(sum, op.vector + vector * LANES);
    products(in, kept_features<T>(op), w, sum);
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

// Where a pixel's channels are, for reading or writing, brought into the L2 while others are listed.
template <int WRITE> INLINE void prefetch_pixel(const AmsrMap &m, const Spot &spot, int y, int x, int channel, int channels) {
  if (m.layout != AMSR_NHWC) return;
  const int64_t size = m.type == AMSR_BF16 ? 2 : 4;
  const char *p = (const char *)m.base + (spot.image * m.image + (spot.y + y) * m.row + (spot.x + x) * m.pixel + channel) * size;
  for (int64_t b = 0; b < channels * size; b += 64) __builtin_prefetch(p + b, WRITE, 2);
}

template <class T> NOINLINE void predict(const Context &c, const AmsrOp &op, const Spot *spots, int n) {
  const Finish f = finish_of(c, op);
  const AmsrSource &source = c.program->source_table[op.source];
  const AmsrMap &m = c.program->map_table[source.map], &out = f.maps[op.out];
  const int by = op.shuffle;
  const Nearness any = nearness(op.reach, by, 0, 0, by - 1, by - 1);
  Predicted<T> pixels[AMSR_GROUP * 16];
  uint8_t number[AMSR_GROUP][16];
  int inside[AMSR_GROUP], count = 0;
  for (int k = 0; k < n; k++) {
    inside[k] = rows_of((1 << least(4, f.height - spots[k].y)) - 1) & ((1 << least(4, f.width - spots[k].x)) - 1) * 0x1111;
    for (int left = inside[k] & (op.reach ? any.of(c.near[spots[k].k]) : 0xffff); left; left &= left - 1) {
      const int i = __builtin_ctz(left), y = i / 4, x = i % 4;
      number[k][i] = (uint8_t)count;
      pixels[count++] = {spots + k, y, x, nullptr};
      prefetch_pixel<0>(m, spots[k], y, x, source.channel, source.channels);
      if (by == 1) prefetch_pixel<1>(out, spots[k], y, x, op.out_channel, op.out_channels);
    }
  }
  if constexpr (has_tiles<T>()) open_tiles();
  T *gathered = (T *)c.scratch;
  for (int i = 0; i < count; i++, gathered += kept_features<T>(op)) {
    Predicted<T> &p = pixels[i];
    for (int z = features<T>(op); z < kept_features<T>(op); z++) gathered[z] = 0;
    const int64_t offset = p.y * m.row + p.x * m.pixel + source.channel;
    if (m.type == AMSR_BF16) copy_features(gathered, address<bf16>(c, m, *p.spot, 1) + offset, op);
    else copy_features(gathered, address<float>(c, m, *p.spot, 1) + offset, op);
    p.features = gathered;
  }
  const T *w = (const T *)op.weights;
  for (int unit = 0; unit < f.shape.units; unit++) {
    const Predicted<T> *chosen[AMSR_GROUP * 16];
    int some = 0;
    if (by == 1 || !op.reach) {
      for (; some < count; some++) chosen[some] = pixels + some;
    } else {
      const Nearness part = nearness(op.reach, by, unit / by, unit % by, unit / by, unit % by);
      for (int k = 0; k < n; k++)
        for (int left = inside[k] & part.of(c.near[spots[k].k]); left; left &= left - 1)
          chosen[some++] = pixels + number[k][__builtin_ctz(left)];
    }
    if (!some) continue;
    for (int v = 0; v < f.shape.unit_vectors;) {
      const int size = panel_size(f.shape.unit_vectors - v), vector = unit * f.shape.unit_vectors + v;
      const T *panel = w + (int64_t)vector * LANES * kept_features<T>(op);
      if (size == 1) predict_panel<T, 1>(f, chosen, some, panel, vector);
      else if (size == 2) predict_panel<T, 2>(f, chosen, some, panel, vector);
      else predict_panel<T, 3>(f, chosen, some, panel, vector);
      v += size;
    }
  }
  if constexpr (has_tiles<T>()) close_tiles();
}

// [unit][panel][feature][lane], bf16: pairs of features; for tiles panels of one vector.
template <class T> INLINE void pack_predict(const AmsrOp &op, const float *weights, T *w) {
  const Shape s = shape_of(op);
  const int pair = sizeof(T) == 2 ? 2 : 1, half = depth<T>(op.in_channels), n = kept_features<T>(op);
  const int times = op.rectified ? 2 : 1;
  for (int unit = 0; unit < s.units; unit++)
    for (int v = 0; v < s.unit_vectors;) {
      const int size = has_tiles<T>() ? 1 : panel_size(s.unit_vectors - v), lanes = size * LANES;
      for (int i = 0; i < n; i++)
        for (int l = 0; l < lanes; l++) {
          const int o = channel_of(s, (unit * s.unit_vectors + v) * LANES + l), c = i % half;
          const bool real = o >= 0 && c < op.in_channels && i < features<T>(op);
          const float x = real ? weights[((int64_t)o * times + i / half) * op.in_channels + c] : 0;
          put(w + ((int64_t)i / pair * lanes + l) * pair + i % pair, x);
        }
      w += (int64_t)n * lanes;
      v += size;
    }
}

}  // namespace SET
