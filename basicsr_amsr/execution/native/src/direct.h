// Direct convolution on listed patches, of any kernel size, stride and number of groups and channels.
#pragma once
#include "epilogue.h"
#include "sources.h"

namespace SET {

template <class T> INLINE int64_t panel_elements(const AmsrOp &op, const AmsrSource *sources, int vectors) {
  int64_t n = 0;
  for (int s = 0; s < op.sources; s++) n += depth<T>(sources[s].channels / op.groups);
  return n * op.kernel * op.kernel * vectors * LANES;
}

// Elements of the weights of outputs that are dot products along channels.
template <class T> INLINE int64_t dot_elements(const AmsrOp &op, const AmsrSource *sources, int outputs) {
  int64_t n = 0;
  for (int s = 0; s < op.sources; s++)
    n += (sources[s].channels + Lane<T>::COUNT - 1) / Lane<T>::COUNT * Lane<T>::COUNT;
  return n * op.kernel * op.kernel * outputs;
}

template <class T, int VECTORS>
INLINE void direct_panel(const Finish &f, const Spot &spot, const Input<T> &input, const Steps *steps, int group,
                         const T *weights, int vector) {
  constexpr int ROWS = rows_for(VECTORS);
  const AmsrOp &op = *f.op;
  const int rows = least(4, f.height - spot.y);
  for (int first = 0; first < rows; first += ROWS) {
    Vec sum[ROWS * 4][VECTORS];
    fill(sum, op.vector + vector * LANES);
    const T *w = weights;
    for (int s = 0; s < op.sources; s++) {
      const int64_t row = steps[s].row, pixel = steps[s].pixel;
      const int n = steps[s].channels;
      const T *in = input.at[s] + first * op.stride * row + group * n;
      if (pixel == n && (sizeof(T) == 4 || n % 2 == 0)) {  // the kernel's row is one run of channels
        for (int ky = 0; ky < op.kernel; ky++)
          w = accumulate<ROWS, VECTORS>(in + ky * row, op.stride * row, op.stride * pixel, op.kernel * n, w, sum);
      } else {
        for (int ky = 0; ky < op.kernel; ky++)
          for (int kx = 0; kx < op.kernel; kx++)
            w = accumulate<ROWS, VECTORS>(in + ky * row + kx * pixel, op.stride * row, op.stride * pixel, depth<T>(n), w,
                                          sum);
      }
    }
    finish(f, Block{spot, first, vector}, sum);
  }
}

// The last outputs, OUTPUTS of them, one vector with as many lanes in use.
template <class T, int OUTPUTS>
INLINE void direct_dots(const Finish &f, const Spot &spot, const Input<T> &input, const Steps *steps, const T *weights,
                        int vector) {
  const AmsrOp &op = *f.op;
  constexpr int STEP = Lane<T>::COUNT;
  Vec all[16 * OUTPUTS];
  for (int y = 0; y < 4; y++) {
    Vec sum[4][OUTPUTS];
    fill(sum, nullptr);
    const T *w = weights;
    for (int s = 0; s < op.sources; s++) {
      const int64_t row = steps[s].row, pixel = steps[s].pixel, by = op.stride * pixel;
      for (int ky = 0; ky < op.kernel; ky++)
        for (int kx = 0; kx < op.kernel; kx++) {
          const T *in = input.at[s] + (y * op.stride + ky) * row + kx * pixel;
          for (int c = 0; c < steps[s].channels; c += STEP, w += OUTPUTS * STEP) {
            UNROLL(4)
            for (int o = 0; o < OUTPUTS; o++) {
              UNROLL(4)
              for (int i = 0; i < 4; i++) sum[i][o] = dot(sum[i][o], in + i * by + c, w + o * STEP);
            }
          }
        }
    }
    UNROLL(4)
    for (int i = 0; i < 4; i++) {
      UNROLL(4)
      for (int o = 0; o < OUTPUTS; o++) all[(y * 4 + i) * OUTPUTS + o] = sum[i][o];
    }
  }
  float value[16 * OUTPUTS + LANES];
  for (int i = 0; i < 16 * OUTPUTS; i += LANES) store(value + i, sums(all + i));
  Vec x[16][1];
  const Vec bias = load(op.vector + vector * LANES);
  for (int i = 0; i < 16; i++) {
    Vec v = {};
    for (int o = 0; o < OUTPUTS; o++) v[o] = value[i * OUTPUTS + o];
    x[i][0] = v + bias;
  }
  finish_patch(f, Block{spot, 0, vector}, x);
}

template <class T>
NOINLINE void direct(const Context &c, const AmsrOp &op, const Spot *spots, int n, const Spot *next, int next_n) {
  const Finish f = finish_of(c, op);
  const AmsrSource *sources = c.program->source_table + op.source;
  const bool gather = needs_gather(c, op);
  const int64_t window = gathered(op, sources);
  Input<T> input[AMSR_GROUP];
  Steps steps[MOST_SOURCES];
  for (int k = 0; k < n; k++) prepare_input<T>(c, op, spots[k], gather ? (T *)c.scratch + k * window : nullptr, input[k], steps);
  const int few = few_outputs(op, f.shape), whole = f.shape.vectors - (few ? 1 : 0);
  const T *w = (const T *)op.weights;
  for (int group = 0; group < op.groups; group++) {
    for (int v = 0; v < whole;) {
      const int size = panel_size(whole - v), vector = group * f.shape.vectors + v;
      for (int k = 0; k < n; k++) {
        if (!vector && k < next_n) {
          prefetch_input(c, op, next[k], 0, 64);
          prefetch_output(f, next[k]);
        }
        if (size == 1) direct_panel<T, 1>(f, spots[k], input[k], steps, group, w, vector);
        else if (size == 2) direct_panel<T, 2>(f, spots[k], input[k], steps, group, w, vector);
        else if constexpr (MOST_PANEL >= 3) direct_panel<T, 3>(f, spots[k], input[k], steps, group, w, vector);
      }
      w += panel_elements<T>(op, sources, size);
      v += size;
    }
  }
  for (int k = 0; few && k < n; k++) {
    if (!whole && k < next_n) prefetch_input(c, op, next[k], 0, 64);
    if (few == 1) direct_dots<T, 1>(f, spots[k], input[k], steps, w, whole);
    else if (few == 2) direct_dots<T, 2>(f, spots[k], input[k], steps, w, whole);
    else direct_dots<T, 3>(f, spots[k], input[k], steps, w, whole);
  }
}

// [group][panel][source][ky][kx][channel][lane], then [source][ky][kx][vector of channels][output][lane] for the dots.
template <class T> INLINE void pack_direct(const AmsrOp &op, const AmsrSource *sources, const float *weights, T *w) {
  const Shape s = shape_of(op);
  const int few = few_outputs(op, s), whole = s.vectors - (few ? 1 : 0), area = op.kernel * op.kernel;
  const int per_group = op.in_channels / op.groups, pair = sizeof(T) == 2 ? 2 : 1;
  for (int group = 0; group < op.groups; group++)
    for (int v = 0; v < whole;) {
      const int size = panel_size(whole - v), lanes = size * LANES;
      int from = 0;
      for (int i = 0; i < op.sources; i++) {
        const int n = sources[i].channels / op.groups, d = depth<T>(n);
        for (int tap = 0; tap < area; tap++)
          for (int c = 0; c < d; c++)
            for (int l = 0; l < lanes; l++) {
              const int o = channel_of(s, (group * s.vectors + v) * LANES + l);
              const float x = o < 0 || c >= n ? 0 : weights[((int64_t)o * per_group + from + c) * area + tap];
              put(w + ((int64_t)(tap * d + c) / pair * lanes + l) * pair + c % pair, x);
            }
        w += (int64_t)area * d * lanes;
        from += n;
      }
      v += size;
    }
  int from = 0;
  for (int i = 0; few && i < op.sources; i++) {
    for (int tap = 0; tap < area; tap++)
      for (int c = 0; c < sources[i].channels; c += Lane<T>::COUNT)
        for (int o = 0; o < few; o++)
          for (int l = 0; l < Lane<T>::COUNT; l++) {
            const float *x = weights + ((int64_t)(whole * LANES + o) * per_group + from + c + l) * area + tap;
            put(w++, c + l < sources[i].channels ? *x : 0);
          }
    from += sources[i].channels;
  }
}

}  // namespace SET
