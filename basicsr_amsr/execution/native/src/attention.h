// Softmax attention of a window's active tokens, one head at a time, and depthwise convolutions of listed cells.
#pragma once
#include "functions.h"
#include "inputs.h"
#include "kernels.h"

namespace SET {

enum { QUERIES = 4 };  // at a time

INLINE float peak(Vec v) {
#if defined(__AVX512F__)
  return _mm512_reduce_max_ps(v);
#endif
  float all[LANES];
  store(all, v);
  float top = all[0];
  for (int i = 1; i < LANES; i++) top = all[i] > top ? all[i] : top;
  return top;
}

// The sums of as many vectors as there are queries times two.
INLINE void totals(Vec *v, float *out) {
#if defined(__AVX512F__)
  UNROLL(4)
  for (int n = QUERIES; n; n /= 2)
    for (int i = 0; i < n; i++) v[i] = add_neighbours(v[2 * i], v[2 * i + 1]);
  _mm512_mask_storeu_ps(out, (1u << 2 * QUERIES) - 1, add_neighbours(v[0], v[0]));
#elif defined(__AVX2__)
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

INLINE int64_t whole_vectors(int64_t n) { return (n + 31) / 32 * 32; }

// rows[key_rows] of a head, channel by channel, or PAIR channels of a key side by side; zeros behind them.
template <int PAIR, class T>
INLINE void transposed(const float *rows, int64_t row, const int32_t *key_rows, int64_t keys, int64_t padded, int channels,
                       T *out) {
  const int whole = (channels + PAIR - 1) / PAIR * PAIR;
  for (int64_t i = 0; i < keys; i++)
    for (int first = 0; first < whole; first += LANES) {
      T part[LANES];
      store(part, load_some(rows + key_rows[i] * row + first, channels - first));
      for (int c = first; c < least(whole, first + LANES); c += PAIR)
        memcpy(out + c * padded + i * PAIR, part + c - first, PAIR * sizeof(T));
    }
  for (int c = 0; c < whole; c += PAIR)
    for (int64_t i = c * padded + keys * PAIR; i < (c + PAIR) * padded; i++) out[i] = 0;
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
template <int VECTORS, class T, int MOST>
INLINE void products(const T *query, const T *keys, int channels, int64_t padded, const float *const (&bias)[QUERIES][MOST],
                     float *rows, Vec *highest) {
  Vec sum[QUERIES][VECTORS];
  UNROLL(4)
  for (int q = 0; q < QUERIES; q++) {
    UNROLL(4)
    for (int v = 0; v < VECTORS; v++) sum[q][v] = load(bias[q][v]);
  }
  for (int c = 0; c < channels; c += Inputs<T>::STEP, keys += padded * Inputs<T>::STEP) {
    Vec key[VECTORS];
    UNROLL(4)
    for (int v = 0; v < VECTORS; v++) key[v] = Inputs<T>::weights(keys + v * LANES * Inputs<T>::STEP);
    UNROLL(4)
    for (int q = 0; q < QUERIES; q++) {
      const Vec factor = Inputs<T>::spread(query + c * QUERIES + q * Inputs<T>::STEP);
      UNROLL(4)
      for (int v = 0; v < VECTORS; v++) sum[q][v] = Inputs<T>::add(factor, key[v], sum[q][v]);
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
template <class T>
INLINE void scores(const T *query, const T *keys, int channels, int64_t padded, const float *const *near_bias,
                   const int32_t *cells, int direct, float *rows, float *top) {
  Vec highest[QUERIES];
  UNROLL(4)
  for (int q = 0; q < QUERIES; q++) highest[q] = splat(-1e30f);
  constexpr int MOST = LANES / 4, LEAST = MOST < 2 ? MOST : 2;
  const float *bias[QUERIES][MOST];
  for (int64_t i = 0; i < padded;) {
    const int vectors = i + MOST * LANES <= padded ? MOST : LEAST;
    for (int v = 0; v < vectors; v++) {
      const int64_t at = i + v * LANES;
      const bool there = at < 16 * (int64_t)direct;
      const int64_t offset = there ? cells[at / 16] * 16 + at % 16 : 0;
      UNROLL(4)
      for (int q = 0; q < QUERIES; q++) bias[q][v] = there ? near_bias[q] + offset : rows + q * padded + at;
    }
    const T *key = keys + i * Inputs<T>::STEP;
    if (vectors == MOST) products<MOST>(query, key, channels, padded, bias, rows + i, highest);
    else products<LEAST>(query, key, channels, padded, bias, rows + i, highest);
    i += vectors * LANES;
  }
  for (int q = 0; q < QUERIES; q++) top[q] = peak(highest[q]);
}

// e^(x - top), of elements that are used as T, and their sums.
template <class T> INLINE Vec exponentials(int64_t padded, const float *row, float top, T *out) {
  Vec all = splat(0);
  const Vec most = splat(top);
  for (int64_t i = 0; i < padded; i += 2 * LANES) {
    const Vec e = exponential_for((T *)nullptr, load(row + i), most), f = exponential_for((T *)nullptr, load(row + i + LANES), most);
    store_pair(out + i, e, f);
    all += e + f;
  }
  return all;
}

// Of the WIDE channels from `first` on, or of the last one again.
template <int WIDE, class T>
INLINE void weighted(const T *rows, const T *values, int64_t padded, int first, int channels, const float *factor,
                     float *const *out) {
  Vec sum[WIDE][QUERIES];
  const T *value[WIDE];
  UNROLL(5)
  for (int k = 0; k < WIDE; k++) {
    value[k] = values + least(first + k, channels - 1) * padded;
    UNROLL(4)
    for (int q = 0; q < QUERIES; q++) sum[k][q] = splat(0);
  }
  for (int64_t i = 0; i < padded; i += LANES * Inputs<T>::STEP) {
    Vec e[QUERIES];
    UNROLL(4)
    for (int q = 0; q < QUERIES; q++) e[q] = Inputs<T>::weights(rows + q * padded * 4 / (int)sizeof(T) + i);
    UNROLL(5)
    for (int k = 0; k < WIDE; k++) {
      const Vec v = Inputs<T>::weights(value[k] + i);
      UNROLL(4)
      for (int q = 0; q < QUERIES; q++) sum[k][q] = Inputs<T>::add(e[q], v, sum[k][q]);
    }
  }
  for (int k = 0; k < WIDE; k += 2) {
    Vec two[2 * QUERIES];
    UNROLL(4)
    for (int q = 0; q < QUERIES; q++) two[q] = sum[k][q], two[QUERIES + q] = sum[least(k + 1, WIDE - 1)][q];
    float total[2 * QUERIES];
    totals(two, total);
    for (int q = 0; q < QUERIES; q++)
      if (out[q]) {
        out[q][least(first + k, channels - 1)] = total[q] * factor[q];
        if (k + 1 < WIDE) out[q][least(first + k + 1, channels - 1)] = total[QUERIES + q] * factor[q];
      }
  }
}

template <class T> INLINE void attend(const AmsrAttention &a, int window, int head, float *scratch) {
  constexpr int STEP = Inputs<T>::STEP;
  const int64_t first_query = a.query_start[window], first_cell = a.cell_start[window], first_key = a.key_start[window];
  const int64_t keys = a.key_start[window + 1] - first_key, padded = whole_vectors(keys);
  const int queries = (int)(a.query_start[window + 1] - first_query), channels = a.channels;
  const int cell_count = (int)(a.cell_start[window + 1] - first_cell);
  if (!queries) return;
  const int depth = (channels + STEP - 1) / STEP * STEP;
  float *rows = scratch;
  T *key = (T *)(rows + QUERIES * padded), *value = key + depth * padded, *query = value + channels * padded;
  T *weights = (T *)rows;  // of values: where the scores were
  const int whole = a.whole[window];
  bool mixed = false;
  for (int i = 1; a.key_regions && i < cell_count; i++) mixed |= a.key_regions[first_cell + i] != a.key_regions[first_cell];
  const int direct = a.area == 16 && !mixed ? whole : 0;
  const int64_t offset = (int64_t)head * channels;
  transposed<STEP>(a.key + offset, a.key_row, a.key_rows + first_key, keys, padded, channels, key);
  transposed<1>(a.value + offset, a.value_row, a.key_rows + first_key, keys, padded, channels, value);
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
        for (int first = 0; first < depth; first += LANES) {
          T part[LANES];
          store(part, splat(a.scale) * load_some(in + first, channels - first));
          for (int c = first; c < least(depth, first + LANES); c += STEP)
            memcpy(query + c * QUERIES + q * STEP, part + c - first, STEP * sizeof(T));
        }
        out[q] = from + q < a.area ? a.out + (row + token) * a.out_row + offset : nullptr;
        near_bias[q] = a.near_bias + ((int64_t)head * a.cells * a.area + place) * a.cells * a.area;
        biases(a, head, place, region, a.key_cells + first_cell, regions, direct, whole, cell_count, padded, rows + q * padded);
      }
      scores(query, key, channels, padded, near_bias, a.key_cells + first_cell, direct, rows, top);
      Vec sum[2 * QUERIES];
      for (int q = 0; q < QUERIES; q++)
        sum[q] = sum[QUERIES + q] = exponentials(padded, rows + q * padded, top[q], weights + q * padded * 4 / (int)sizeof(T));
      totals(sum, factor);
      for (int q = 0; q < QUERIES; q++) factor[q] = 1.0f / factor[q];
      constexpr int WIDE = LANES < 16 ? 2 : 5;  // as many sums as there are registers
      for (int c = 0; c < channels; c += WIDE) weighted<WIDE>(weights, value, padded, c, channels, factor, out);
    }
  }
}

static void attention(const AmsrAttention &a, int window, int head, float *scratch) {
#if defined(__AVX512BF16__)
  if (a.bf16) return attend<bf16>(a, window, head, scratch);
#endif
  attend<float>(a, window, head, scratch);
}

// Of LANES channels from `c` on, at all tokens of a cell. in: the rows of the cell and around it.
template <int KERNEL> INLINE void stencil_vector(const AmsrStencil &s, const float *const *in, int c, float *out) {
  const int kernel = KERNEL ? KERNEL : s.kernel, wide = s.side + kernel - 1;
  Vec weight[KERNEL ? KERNEL * KERNEL : 1];
  UNROLL(9)
  for (int t = 0; t < KERNEL * KERNEL; t++) weight[t] = load(s.weights + t * s.channels + c);
  const Vec bias = s.bias ? load(s.bias + c) : splat(0);
  for (int y = 0; y < s.side; y++)
    for (int x = 0; x < s.side; x++, out += s.out_row) {
      Vec sum = bias;
      UNROLL(3)
      for (int i = 0; i < kernel; i++) {
        UNROLL(3)
        for (int j = 0; j < kernel; j++)
          sum = fma(KERNEL ? weight[i * KERNEL + j] : load(s.weights + (i * kernel + j) * s.channels + c),
                    load(in[(y + i) * wide + x + j] + c), sum);
      }
      store(out + c, sum);
    }
}

static void stencil(const AmsrStencil &s, int cell) {
  const int wide = s.side + s.kernel - 1;
  const int32_t *index = s.index + (int64_t)cell * wide * wide;
  const float *in[AMSR_STENCIL * AMSR_STENCIL];
  for (int i = 0; i < wide * wide; i++)
    in[i] = index[i] < s.count ? s.rows + index[i] * s.row : s.others + (index[i] - s.count) * s.other_row;
  float *out = s.out + (int64_t)cell * s.side * s.side * s.out_row;
  if (s.channels >= LANES) {
    for (int from = 0; from < s.channels; from += LANES) {
      const int c = least(from, s.channels - LANES);  // the last vector overlaps the one before
      s.kernel == 3 ? stencil_vector<3>(s, in, c, out) : stencil_vector<0>(s, in, c, out);
    }
    return;
  }
  for (int p = 0; p < s.side * s.side; p++)
    for (int c = 0; c < s.channels; c++) {
      float sum = s.bias ? s.bias[c] : 0;
      for (int t = 0; t < s.kernel * s.kernel; t++)
        sum += s.weights[t * s.channels + c] * in[(p / s.side + t / s.kernel) * wide + p % s.side + t % s.kernel][c];
      out[p * s.out_row + c] = sum;
    }
}

}  // namespace SET
