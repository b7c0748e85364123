// Everything but convolutions over channels: one vector of channels at a time, whole patches.
#pragma once
#include "epilogue.h"
#include "sources.h"

namespace SET {

struct Valid {  // pixels of a patch that lie in the image
  int rows, columns;
};

INLINE Valid valid_of(const Finish &f, const Spot &s) {
  return {least(4, f.height - s.y), least(4, f.width - s.x)};
}

template <class T>
INLINE void read_patch(const Context &c, const AmsrMap &m, const Spot &s, int channel, Vec (&x)[16][1]) {
  const T *p = address<T>(c, m, s, 1) + channel;
  UNROLL(16)
  for (int i = 0; i < 16; i++) x[i][0] = load(p + i / 4 * m.row + i % 4 * m.pixel);
}

// Planes have no border: the outermost pixels are read again where a pixel, moved by `pad`, lies outside.
INLINE void read_planes(const AmsrMap &m, const Spot &s, Valid valid, int pad, int channel, int channels,
                        Vec (&x)[16][1]) {
  const auto inside = [](int at, int size) INLINE_LAMBDA { return most(least(at, size - 1), 0); };
  const float *base = (const float *)m.base + origin_of(m, s.image) + channel * m.plane;
  const int n = least(LANES, channels);
  float values[16][LANES] = {};
  for (int i = 0; i < 16; i++) {
    if (i / 4 >= valid.rows || i % 4 >= valid.columns) continue;
    const float *p = base + inside(s.y + i / 4 - pad, m.height) * m.row + inside(s.x + i % 4 - pad, m.width) * m.pixel;
    if (m.plane == 1) memcpy(values[i], p, n * sizeof(float));  // channels last
    else for (int l = 0; l < n; l++) values[i][l] = p[l * m.plane];
  }
  for (int i = 0; i < 16; i++) x[i][0] = load(values[i]);
}

NOINLINE void pointwise(const Context &c, const AmsrOp &op, const Spot *spots, int n) {
  const Finish f = finish_of(c, op);
  const AmsrSource &source = c.program->source_table[op.source];
  const AmsrMap &m = c.program->map_table[source.map];
  for (int k = 0; k < n; k++)
    for (int v = 0; v < f.shape.vectors; v++) {
      Vec x[16][1];
      const int channel = source.channel + v * LANES;
      if (m.layout == AMSR_PLANAR)
        read_planes(m, spots[k], valid_of(f, spots[k]), op.pad, channel, source.channels - v * LANES, x);
      else if (m.type == AMSR_BF16) read_patch<bf16>(c, m, spots[k], channel, x);
      else read_patch<float>(c, m, spots[k], channel, x);
      finish_patch(f, Block{spots[k], 0, v}, x);
    }
}

template <class T> INLINE void depthwise_of(const Finish &f, const Context &c, const AmsrSource &source, const Spot &spot) {
  const AmsrOp &op = *f.op;
  const AmsrMap &m = c.program->map_table[source.map];
  const float *w = (const float *)op.weights;
  for (int v = 0; v < f.shape.vectors; v++) {
    const T *in = address<T>(c, m, spot, op.stride, op.pad) + source.channel + v * LANES;
    const int64_t row = op.stride * m.row, pixel = op.stride * m.pixel;
    Vec x[16][1];
    fill(x, op.vector + v * LANES);
    for (int ky = 0; ky < op.kernel; ky++)
      for (int kx = 0; kx < op.kernel; kx++, w += LANES) {
        const Vec weight = load(w);
        const T *p = in + ky * m.row + kx * m.pixel;
        UNROLL(16)
        for (int i = 0; i < 16; i++) x[i][0] = fma(load(p + i / 4 * row + i % 4 * pixel), weight, x[i][0]);
      }
    finish_patch(f, Block{spot, 0, v}, x);
  }
}

NOINLINE void depthwise(const Context &c, const AmsrOp &op, const Spot *spots, int n) {
  const Finish f = finish_of(c, op);
  const AmsrSource &source = c.program->source_table[op.source];
  for (int k = 0; k < n; k++) {
    if (c.program->map_table[source.map].type == AMSR_BF16) depthwise_of<bf16>(f, c, source, spots[k]);
    else depthwise_of<float>(f, c, source, spots[k]);
  }
}

INLINE Vec read_pixel(const AmsrMap &m, int image, int y, int x, int channel) {
  const int64_t offset = image * m.image + y * m.row + x * m.pixel + channel;
  return m.type == AMSR_BF16 ? load((const bf16 *)m.base + offset) : load((const float *)m.base + offset);
}

INLINE Vec bilinear_at(const AmsrMap &m, int image, float y, float x, int channel) {
  y = y > 0 ? y : 0;
  x = x > 0 ? x : 0;
  const int top = least((int)y, m.height - 1), left = least((int)x, m.width - 1);
  const int bottom = least(top + 1, m.height - 1), right = least(left + 1, m.width - 1);
  const Vec wy = splat(y - top), wx = splat(x - left);
  const Vec a = read_pixel(m, image, top, left, channel), b = read_pixel(m, image, top, right, channel);
  const Vec c = read_pixel(m, image, bottom, left, channel), d = read_pixel(m, image, bottom, right, channel);
  const Vec up = fma(b - a, wx, a), down = fma(d - c, wx, c);
  return fma(down - up, wy, up);
}

struct Span {  // rows or columns of a window
  int from, to;
};

INLINE Span span_of(const AmsrOp &op, int at, int size, int out_size) {
  if (op.kind == AMSR_ADAPTIVE_MAX_POOL)
    return {(int)((int64_t)at * size / out_size), (int)(((int64_t)(at + 1) * size + out_size - 1) / out_size)};
  const int first = at * op.stride - op.pad;
  return {most(first, 0), least(first + op.kernel, size)};
}

INLINE Vec largest_of(const AmsrMap &m, int image, Span rows, Span columns, int channel) {
  Vec v = splat(-3.4e38f);
  for (int i = rows.from; i < rows.to; i++)
    for (int j = columns.from; j < columns.to; j++) v = larger(v, read_pixel(m, image, i, j, channel));
  return v;
}

// Bilinear and nearest resize, max-pools: pixels of the output from any pixels of a whole map.
NOINLINE void resample(const Context &c, const AmsrOp &op, const Spot *spots, int n) {
  const Finish f = finish_of(c, op);
  const AmsrSource &source = c.program->source_table[op.source];
  const AmsrMap &m = c.program->map_table[source.map];
  for (int k = 0; k < n; k++) {
    const Valid valid = valid_of(f, spots[k]);
    for (int v = 0; v < f.shape.vectors; v++) {
      const int channel = source.channel + v * LANES;
      Vec out[16][1];
      for (int i = 0; i < 16; i++) {
        const int y = spots[k].y + i / 4, x = spots[k].x + i % 4, image = spots[k].image;
        out[i][0] = Vec{};
        if (i / 4 >= valid.rows || i % 4 >= valid.columns) continue;
        if (op.kind == AMSR_BILINEAR)
          out[i][0] = bilinear_at(m, image, (y + .5f) * op.value[0] - .5f, (x + .5f) * op.value[1] - .5f, channel);
        else if (op.kind == AMSR_NEAREST)
          out[i][0] = read_pixel(m, image, least((int)(y * op.value[0]), m.height - 1),
                                 least((int)(x * op.value[1]), m.width - 1), channel);
        else
          out[i][0] = largest_of(m, image, span_of(op, y, m.height, f.height), span_of(op, x, m.width, f.width), channel);
      }
      finish_patch(f, Block{spots[k], 0, v}, out);
    }
  }
}

// Adds the patches' pixels to this group's sums; run.cpp adds groups up in order, so that threads do not matter.
NOINLINE void mean(const Context &c, const AmsrOp &op, const Spot *spots, int n, int height, int width) {
  const AmsrSource &source = c.program->source_table[op.source];
  const AmsrMap &m = c.program->map_table[source.map];
  for (int channel = 0; channel < source.channels; channel += LANES) {
    for (int k = 0; k < n; k++) {
      float *to = c.mean + (spots[k].image - c.first) * c.lanes + channel;
      Vec sum = load(to);
      Vec x[16][1];
      if (m.type == AMSR_BF16) read_patch<bf16>(c, m, spots[k], source.channel + channel, x);
      else read_patch<float>(c, m, spots[k], source.channel + channel, x);
      const int rows = least(4, height - spots[k].y), columns = least(4, width - spots[k].x);
      for (int i = 0; i < 16; i++)
        if (i / 4 < rows && i % 4 < columns) sum = sum + x[i][0];
      store(to, sum);
    }
  }
}

}  // namespace SET
