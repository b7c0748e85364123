// Softmax attention of a window's active tokens, one head at a time, and depthwise convolutions of listed cells.
#pragma once
#include "functions.h"
#include "kernels.h"

namespace SET {

enum { QUERIES = 4 };  // at a time

INLINE float peak(Vec v) {
  float all[LANES];
  store(all, v);
  float top = all[0];
  for (int i = 1; i < LANES; i++) top = all[i] > top ? all[i] : top;
  return top;
}

// The sums of as many vectors as there are queries times two.
INLINE void totals(Vec *v, float *out) {
#if defined(__AVX2__) && !defined(__AVX512F__)
  store(out, sums(v));
#else
  for (int i = 0; i < 2 * QUERIES; i++) {
    float all[LANES], sum = 0;
    store(all, v[i]);
    for (int j = 0; j < LANES; j++) sum += all[j];
    out[i] = sum;
  }
#endif
}

INLINE int64_t whole_vectors(int64_t n) { return (n + 15) / 16 * 16; }

// rows[key_rows] of a head, channel by channel, zeros behind them.
INLINE void transposed(const float *rows, int64_t row, const int32_t *key_rows, int64_t keys, int64_t padded, int channels,
                       float *out) {
  for (int64_t i = 0; i < keys; i++) {
    const float *in = rows + key_rows[i] * row;
    for (int c = 0; c < channels; c++) out[c * padded + i] = in[c];
  }
  for (int c = 0; c < channels; c++)
    for (int64_t i = keys; i < padded; i++) out[c * padded + i] = 0;
}

// What is added to the scores of a query, the token `place` of the window, from cell `first` on.
INLINE void biases(const AmsrAttention &a, int head, int place, int region, const int32_t *cells, const int32_t *regions,
                   int first, int whole, int cell_count, int64_t padded, float *out) {
  const int64_t tokens = (int64_t)a.cells * a.area;
  const float *near_bias = a.near_bias + ((int64_t)head * tokens + place) * tokens;
  const float *far_bias = a.far_bias + ((int64_t)head * tokens + place) * a.cells;
  float *at = out + first * a.area;
  for (int i = first; i < whole; i++, at += a.area) {
    const float *from = near_bias + (int64_t)cells[i] * a.area;
    const float apart = regions && regions[i] != region ? -100.0f : 0.0f;
    for (int j = 0; j < a.area; j++) at[j] = from[j] + apart;
  }
  for (int i = whole; i < cell_count; i++)
    *at++ = far_bias[cells[i]] + (regions && regions[i] != region ? -100.0f : 0.0f);
  for (; at < out + padded; at++) *at = -1e30f;
}

// VECTORS vectors of scores of QUERIES rows: products with keys, added to biases.
template <int VECTORS>
INLINE void products(const float *query, const float *keys, int channels, int64_t padded, const float *const *bias, float *rows,
                     Vec *highest) {
  Vec sum[QUERIES][VECTORS];
  UNROLL(4)
  for (int q = 0; q < QUERIES; q++) {
    UNROLL(4)
    for (int v = 0; v < VECTORS; v++) sum[q][v] = load(bias[q] + v * LANES);
  }
  for (int c = 0; c < channels; c++, keys += padded) {
    Vec key[VECTORS];
    UNROLL(4)
    for (int v = 0; v < VECTORS; v++) key[v] = load(keys + v * LANES);
    UNROLL(4)
    for (int q = 0; q < QUERIES; q++) {
      const Vec factor = splat(query[c * QUERIES + q]);
      UNROLL(4)
      for (int v = 0; v < VECTORS; v++) sum[q][v] = fma(factor, key[v], sum[q][v]);
    }
  }
  UNROLL(4)
  for (int q = 0; q < QUERIES; q++) {
    UNROLL(4)
    for (int v = 0; v < VECTORS; v++) {
      store(rows + q * padded + v * LANES, sum[q][v]);
      highest[q] = larger(highest[q], sum[q][v]);
    }
  }
}

// QUERIES rows of scores; returns the largest of each. Biases of the first `direct` cells of 16 tokens are read where they
// are, `near_bias` of each query; those of other keys lie in the rows.
INLINE void scores(const float *query, const float *keys, int channels, int64_t padded, const float *const *near_bias,
                   const int32_t *cells, int direct, float *rows, float *top) {
  Vec highest[QUERIES];
  UNROLL(4)
  for (int q = 0; q < QUERIES; q++) highest[q] = splat(-1e30f);
  constexpr int VECTORS = LANES < 8 ? 1 : 16 / LANES;
  const float *bias[QUERIES];
  for (int64_t i = 0; i < padded; i += VECTORS * LANES) {
    const bool there = i < 16 * (int64_t)direct;
    const int64_t offset = there ? cells[i / 16] * 16 + i % 16 : 0;
    UNROLL(4)
    for (int q = 0; q < QUERIES; q++) bias[q] = there ? near_bias[q] + offset : rows + q * padded + i;
    products<VECTORS>(query, keys + i, channels, padded, bias, rows + i, highest);
  }
  for (int q = 0; q < QUERIES; q++) top[q] = peak(highest[q]);
}

INLINE Vec exponentials(int64_t padded, float *row, float top) {
  Vec all = splat(0);
  const Vec most = splat(top);
  for (int64_t i = 0; i < padded; i += LANES) {
    const Vec e = exponential(load(row + i) - most);
    store(row + i, e);
    all += e;
  }
  return all;
}

// Of two channels, or of the last one twice.
INLINE void weighted(const float *rows, const float *values, int64_t padded, int first, int second, const float *factor,
                     float *const *out) {
  Vec sum[2 * QUERIES];
  UNROLL(8)
  for (int k = 0; k < 2 * QUERIES; k++) sum[k] = splat(0);
  const float *one = values + first * padded, *other = values + second * padded;
  for (int64_t i = 0; i < padded; i += LANES) {
    const Vec v = load(one + i), u = load(other + i);
    UNROLL(4)
    for (int q = 0; q < QUERIES; q++) {
      const Vec e = load(rows + q * padded + i);
      sum[q] = fma(e, v, sum[q]);
      sum[QUERIES + q] = fma(e, u, sum[QUERIES + q]);
    }
  }
  float total[2 * QUERIES];
  totals(sum, total);
  for (int q = 0; q < QUERIES; q++)
    if (out[q]) {
      out[q][first] = total[q] * factor[q];
      out[q][second] = total[QUERIES + q] * factor[q];
    }
}

static void attention(const AmsrAttention &a, int window, int head, float *scratch) {
  const int64_t first_query = a.query_start[window], first_cell = a.cell_start[window], first_key = a.key_start[window];
  const int64_t keys = a.key_start[window + 1] - first_key, padded = whole_vectors(keys);
  const int queries = (int)(a.query_start[window + 1] - first_query), channels = a.channels;
  const int cell_count = (int)(a.cell_start[window + 1] - first_cell);
  if (!queries) return;
  float *key = scratch, *value = key + channels * padded, *rows = value + channels * padded;
  float *query = rows + QUERIES * padded;
  const int whole = a.whole[window];
  bool mixed = false;
  for (int i = 1; a.key_regions && i < cell_count; i++) mixed |= a.key_regions[first_cell + i] != a.key_regions[first_cell];
  const int direct = a.area == 16 && !mixed ? whole : 0;
  const int64_t offset = (int64_t)head * channels;
  transposed(a.key + offset, a.key_row, a.key_rows + first_key, keys, padded, channels, key);
  transposed(a.value + offset, a.value_row, a.key_rows + first_key, keys, padded, channels, value);
  for (int i = 0; i < queries; i++) {
    const int cell = a.query_cells[first_query + i];
    const int region = a.query_regions ? a.query_regions[first_query + i] : 0;
    const int32_t *regions = a.key_regions ? a.key_regions + first_cell : nullptr;
    const int64_t row = a.query_rows[first_query + i];
    for (int from = 0; from < a.area; from += QUERIES) {
      float *out[QUERIES], top[QUERIES], factor[2 * QUERIES];
      const float *near_bias[QUERIES];
      for (int q = 0; q < QUERIES; q++) {
        const int token = from + q < a.area ? from + q : a.area - 1, place = cell * a.area + token;
        const float *in = a.query + (row + token) * a.query_row + offset;
        for (int c = 0; c < channels; c++) query[c * QUERIES + q] = a.scale * in[c];
        out[q] = from + q < a.area ? a.out + (row + token) * a.out_row + offset : nullptr;
        near_bias[q] = a.near_bias + ((int64_t)head * a.cells * a.area + place) * a.cells * a.area;
        biases(a, head, place, region, a.key_cells + first_cell, regions, direct, whole, cell_count, padded, rows + q * padded);
      }
      scores(query, key, channels, padded, near_bias, a.key_cells + first_cell, direct, rows, top);
      Vec sum[2 * QUERIES];
      for (int q = 0; q < QUERIES; q++) sum[q] = sum[QUERIES + q] = exponentials(padded, rows + q * padded, top[q]);
      totals(sum, factor);
      for (int q = 0; q < QUERIES; q++) factor[q] = 1.0f / factor[q];
      for (int c = 0; c < channels; c += 2) weighted(rows, value, padded, c, least(c + 1, channels - 1), factor, out);
    }
  }
}

static void stencil(const AmsrStencil &s, int cell) {
  const int wide = s.side + s.kernel - 1, whole = s.channels / LANES * LANES;
  const int32_t *index = s.index + (int64_t)cell * wide * wide;
  for (int y = 0; y < s.side; y++)
    for (int x = 0; x < s.side; x++) {
      const float *in[81];
      int taps = 0;
      for (int i = 0; i < s.kernel; i++)
        for (int j = 0; j < s.kernel; j++) {
          const int32_t at = index[(y + i) * wide + x + j];
          in[taps++] = at < s.count ? s.rows + at * s.row : s.others + (at - s.count) * s.other_row;
        }
      float *out = s.out + ((int64_t)(cell * s.side + y) * s.side + x) * s.out_row;
      for (int c = 0; c < whole; c += LANES) {
        Vec sum = s.bias ? load(s.bias + c) : splat(0);
        for (int t = 0; t < taps; t++) sum = fma(load(s.weights + t * s.channels + c), load(in[t] + c), sum);
        store(out + c, sum);
      }
      for (int c = whole; c < s.channels; c++) {
        float sum = s.bias ? s.bias[c] : 0;
        for (int t = 0; t < taps; t++) sum += s.weights[t * s.channels + c] * in[t][c];
        out[c] = sum;
      }
    }
}

}  // namespace SET
