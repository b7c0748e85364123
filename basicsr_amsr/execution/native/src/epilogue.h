// What follows the sums of an operator: its steps, then the store into a map.
#pragma once
#include "functions.h"
#include "layout.h"

namespace SET {

// A part of one patch: rows of COLUMNS pixels (4, or 6 of a patch of 6x6) from row `first` on, vectors from `vector` on.
struct Block {
  Spot spot;
  int first, vector;
};

struct Finish {  // what is the same for all blocks of an operator
  const Context *context;
  const AmsrOp *op;
  Shape shape;
  const AmsrStep *steps;
  const AmsrMap *maps;
  int height, width;  // at the operator's resolution
  bool plain;         // vectors lie one after the other in the output
  bool whole;         // or units are whole vectors at least
};

// A copy of a block for functions that are not inlined: they would have the sums themselves live in memory, and every
// accumulation load and store them.
template <int PIXELS, int VECTORS> struct OnStack {
  Vec x[PIXELS][VECTORS];
  INLINE_LAMBDA OnStack(const Vec (&from)[PIXELS][VECTORS]) { move(x, from); }
  INLINE_LAMBDA void back(Vec (&to)[PIXELS][VECTORS]) const { move(to, x); }

 private:
  static INLINE_LAMBDA inline void move(Vec (&to)[PIXELS][VECTORS], const Vec (&from)[PIXELS][VECTORS]) {
    UNROLL(16)
    for (int i = 0; i < PIXELS; i++) {
      UNROLL(4)
      for (int v = 0; v < VECTORS; v++) to[i][v] = from[i][v];
    }
  }
};

INLINE Finish finish_of(const Context &context, const AmsrOp &op) {
  const AmsrProgram &p = *context.program;
  const AmsrMap &out = p.map_table[op.out];
  const Shape shape = shape_of(op);
  return {&context, &op, shape, p.step_table + op.step, p.map_table, out.height / op.shuffle, out.width / op.shuffle,
          shape.groups == 1 && shape.units == 1, shape.unit % LANES == 0};
}

struct Place {  // of one vector in the output: pixel of the shuffle, channel, channels that count
  int y, x, channel, count;
};

INLINE Place place_of(const Shape &s, int vector) {
  if (s.groups == 1 && s.units == 1) return {0, 0, vector * LANES, s.unit - vector * LANES};
  int group = vector / s.vectors, inside = vector % s.vectors;
  int unit = inside / s.unit_vectors, c = inside % s.unit_vectors * LANES;
  return {unit / s.shuffle, unit % s.shuffle, group * s.unit + c, s.unit - c};
}

// A step that reads a map at the operator's own resolution and channel order; `change(x, value)` is what it does.
template <int COLUMNS, int PIXELS, int VECTORS, class F>
INLINE void with_map(const Finish &f, const Block &b, const AmsrStep &step, Vec (&x)[PIXELS][VECTORS], F change) {
  const AmsrMap &m = f.maps[step.map];
  const int64_t row = m.row, pixel = m.pixel;
  UNROLL(4)
  for (int v = 0; v < VECTORS; v++) {
    const int channel = step.channel + place_of(f.shape, b.vector + v).channel;
    if (m.type == AMSR_BF16) {
      const bf16 *p = address<bf16>(*f.context, m, b.spot, 1) + b.first * row + channel;
      UNROLL(16)
      for (int i = 0; i < PIXELS; i++) x[i][v] = change(x[i][v], load(p + i / COLUMNS * row + i % COLUMNS * pixel));
    } else {
      const float *p = address<float>(*f.context, m, b.spot, 1) + b.first * row + channel;
      UNROLL(16)
      for (int i = 0; i < PIXELS; i++) x[i][v] = change(x[i][v], load(p + i / COLUMNS * row + i % COLUMNS * pixel));
    }
  }
}

// Shuffled output in torch's order: lane l gets the map's channel l / shuffle^2.
template <int COLUMNS, int PIXELS, int VECTORS>
NOINLINE void add_nearest(const Finish &f, const Block &b, const AmsrStep &step, Vec (&x)[PIXELS][VECTORS]) {
  const AmsrMap &m = f.maps[step.map];
  const int square = f.op->shuffle * f.op->shuffle;
  for (int i = 0; i < PIXELS; i++) {
    const int64_t pixel = (b.first + i / COLUMNS) * m.row + i % COLUMNS * m.pixel + step.channel;
    const auto value = [&](int lane) {
      const int64_t at = pixel + (lane < f.op->out_channels ? lane / square : 0);
      return step.a * (m.type == AMSR_BF16 ? widen(address<bf16>(*f.context, m, b.spot, 1)[at])
                                           : address<float>(*f.context, m, b.spot, 1)[at]);
    };
    for (int v = 0; v < VECTORS; v++) {
      const int first = (b.vector + v) * LANES;
      if (square % LANES == 0) x[i][v] = x[i][v] + splat(value(first));
      else
        for (int l = 0; l < LANES; l++) x[i][v][l] += value(first + l);
    }
  }
}

template <int PIXELS, int VECTORS, class F> INLINE void each(Vec (&x)[PIXELS][VECTORS], F change) {
  UNROLL(16)
  for (int i = 0; i < PIXELS; i++) {
    UNROLL(4)
    for (int v = 0; v < VECTORS; v++) x[i][v] = change(x[i][v], v);
  }
}

template <int COLUMNS, int PIXELS, int VECTORS>
NOINLINE void rare_step(const Finish &f, const Block &b, const AmsrStep &step, Vec (&x)[PIXELS][VECTORS]) {
  const Vec a = splat(step.a), c = splat(step.b);
  switch (step.kind) {
    case AMSR_GELU: each(x, [](Vec y, int) INLINE_LAMBDA { return gelu(y); }); break;
    case AMSR_GELU_TANH: each(x, [](Vec y, int) INLINE_LAMBDA { return gelu_tanh(y); }); break;
    case AMSR_SILU: each(x, [](Vec y, int) INLINE_LAMBDA { return y * sigmoid(y); }); break;
    case AMSR_SIGMOID: each(x, [](Vec y, int) INLINE_LAMBDA { return sigmoid(y); }); break;
    case AMSR_TANH: each(x, [](Vec y, int) INLINE_LAMBDA { return hyperbolic_tangent(y); }); break;
    case AMSR_MISH: each(x, [](Vec y, int) INLINE_LAMBDA { return mish(y); }); break;
    case AMSR_CLAMP: each(x, [=](Vec y, int) INLINE_LAMBDA { return smaller(larger(y, a), c); }); break;
    case AMSR_ADD_NEAREST: add_nearest<COLUMNS>(f, b, step, x); break;
    case AMSR_MUL_PIXEL: {
      const AmsrMap &m = f.maps[step.map];
      for (int v = 0; v < VECTORS; v++) {
        const int channel = step.channel + place_of(f.shape, b.vector + v).channel;
        const int64_t at = b.spot.image * m.image + channel;
        Vec y = m.type == AMSR_BF16 ? load((const bf16 *)m.base + at) : load((const float *)m.base + at);
        for (int i = 0; i < PIXELS; i++) x[i][v] = x[i][v] * y;
      }
      break;
    }
  }
}

template <int COLUMNS, int PIXELS, int VECTORS>
INLINE void take_steps(const Finish &f, const Block &b, Vec (&x)[PIXELS][VECTORS]) {
  for (int s = 0; s < f.op->steps; s++) {
    const AmsrStep &step = f.steps[s];
    const Vec a = splat(step.a), c = splat(step.b);
    const float *vector = step.vector + b.vector * LANES;
    switch (step.kind) {
      case AMSR_ADD_VECTOR:
        each(x, [=](Vec y, int v) INLINE_LAMBDA { return y + load(vector + v * LANES); });
        break;
      case AMSR_MUL_VECTOR:
        each(x, [=](Vec y, int v) INLINE_LAMBDA { return y * load(vector + v * LANES); });
        break;
      case AMSR_SLOPE:
        each(x, [=](Vec y, int v) INLINE_LAMBDA {
          return fma(load(vector + v * LANES), smaller(y, Vec{}), larger(y, Vec{}));
        });
        break;
      case AMSR_AFFINE: each(x, [=](Vec y, int) INLINE_LAMBDA { return fma(y, a, c); }); break;
      case AMSR_ADD_MAP:
        with_map<COLUMNS>(f, b, step, x, [=](Vec y, Vec z) INLINE_LAMBDA { return fma(z, a, y); });
        break;
      case AMSR_MUL_MAP:
        with_map<COLUMNS>(f, b, step, x, [=](Vec y, Vec z) INLINE_LAMBDA { return y * (z + a); });
        break;
      default: {
        OnStack<PIXELS, VECTORS> copy(x);
        rare_step<COLUMNS>(f, b, step, copy.x);
        copy.back(x);
      }
    }
  }
}

// Whole vectors of a whole block, one after the other in the map.
template <int COLUMNS, class T, int PIXELS, int VECTORS>
INLINE void store_block(T *p, int64_t row, int64_t pixel, Vec (&x)[PIXELS][VECTORS]) {
  UNROLL(16)
  for (int i = 0; i < PIXELS; i++) {
    T *q = p + i / COLUMNS * row + i % COLUMNS * pixel;
    if constexpr (VECTORS > 1) store_pair(q, x[i][0], x[i][1]);
    if constexpr (VECTORS % 2 == 1) store(q + (VECTORS - 1) * LANES, x[i][VECTORS - 1]);
  }
}

// Any block: cut by the image, by groups, by pixel shuffle, by the channels that may be written.
template <class T, int COLUMNS, int PIXELS, int VECTORS>
NOINLINE void store_parts(const Finish &f, const Block &b, const AmsrMap &m, Vec (&x)[PIXELS][VECTORS]) {
  constexpr int ROWS = PIXELS / COLUMNS;
  const int rows = m.layout == AMSR_LOCAL ? ROWS : least(ROWS, f.height - b.spot.y - b.first);
  const int columns = m.layout == AMSR_LOCAL ? COLUMNS : least(COLUMNS, f.width - b.spot.x);
  const int by = f.op->shuffle, lanes = f.op->out_lanes;
  const int64_t row = m.row, pixel = m.pixel;
  T *origin = address<T>(*f.context, m, b.spot, by) + b.first * by * row + f.op->out_channel;
  for (int v = 0; v < VECTORS; v++) {
    const Place place = place_of(f.shape, b.vector + v);
    const bool last = place.channel + place.count == f.op->out_channels / f.shape.units;  // what follows may be free
    const int count = last ? most(place.count, lanes - place.channel) : place.count;
    T *p = origin + place.y * row + place.x * pixel + place.channel;
    if (count >= LANES && rows >= ROWS && columns >= COLUMNS) {
      UNROLL(16)
      for (int i = 0; i < PIXELS; i++) store(p + i / COLUMNS * by * row + i % COLUMNS * by * pixel, x[i][v]);
    } else {
      for (int i = 0; i < PIXELS; i++)
        if (i / COLUMNS < rows && i % COLUMNS < columns)
          store_some(p + i / COLUMNS * by * row + i % COLUMNS * by * pixel, x[i][v], count);
    }
  }
}

// Lanes in torch's order are channel, row, column of the shuffle: runs of `shuffle` lanes are neighbours in a row.
template <int COLUMNS, int PIXELS, int VECTORS>
NOINLINE void store_planar(const Finish &f, const Block &b, const AmsrMap &m, Vec (&x)[PIXELS][VECTORS]) {
  const int by = f.op->shuffle, square = by * by;
  const int rows = f.height - b.spot.y - b.first, columns = least(COLUMNS, f.width - b.spot.x);
  const int from = b.vector * LANES, to = least(from + VECTORS * LANES, f.op->out_channels);
  const int run = by == 4 ? 4 : 1;
  float *origin = (float *)m.base + origin_of(m, b.spot.image) + f.op->out_channel * m.plane +
                  (int64_t)(b.spot.y + b.first) * by * m.row + (int64_t)b.spot.x * by;
  for (int lane = from; lane < to; lane += run) {
    const int part = lane % square;
    float *p = origin + lane / square * m.plane + part / by * m.row + part % by;
    const float *value = (const float *)&x + lane - from;
    for (int i = 0; i < least(PIXELS / COLUMNS, rows); i++)
      for (int j = 0; j < columns; j++) {
        float *q = p + i * by * m.row + j * by;
        const float *from_pixel = value + (i * COLUMNS + j) * VECTORS * LANES;
        if (run == 4) memcpy(q, from_pixel, 16);
        else *q = *from_pixel;
      }
  }
}

template <class T, int COLUMNS, int PIXELS, int VECTORS>
INLINE void store_map(const Finish &f, const Block &b, const AmsrMap &m, Vec (&x)[PIXELS][VECTORS]) {
  const bool inside = m.layout == AMSR_LOCAL || (b.spot.y + b.first + PIXELS / COLUMNS <= f.height &&
                                                   b.spot.x + COLUMNS <= f.width);
  if (inside && f.plain && (b.vector + VECTORS) * LANES <= f.op->out_lanes) {
    T *p = address<T>(*f.context, m, b.spot, 1) + b.first * m.row + f.op->out_channel + b.vector * LANES;
    store_block<COLUMNS>(p, m.row, m.pixel, x);
  } else if (inside && f.whole) {
    const int by = f.op->shuffle;
    const int64_t row = by * m.row, pixel = by * m.pixel;
    UNROLL(4)
    for (int v = 0; v < VECTORS; v++) {
      const Place place = place_of(f.shape, b.vector + v);
      T *p = address<T>(*f.context, m, b.spot, by) + b.first * row + f.op->out_channel + place.y * m.row +
             place.x * m.pixel + place.channel;
      UNROLL(16)
      for (int i = 0; i < PIXELS; i++) store(p + i / COLUMNS * row + i % COLUMNS * pixel, x[i][v]);
    }
  } else {
    OnStack<PIXELS, VECTORS> copy(x);
    store_parts<T, COLUMNS>(f, b, m, copy.x);
  }
}

template <int COLUMNS = 4, int PIXELS, int VECTORS>
INLINE void finish(const Finish &f, const Block &b, Vec (&x)[PIXELS][VECTORS]) {
  take_steps<COLUMNS>(f, b, x);
  const AmsrMap &m = f.maps[f.op->out];
  if (m.layout == AMSR_PLANAR) {
    OnStack<PIXELS, VECTORS> copy(x);
    store_planar<COLUMNS>(f, b, m, copy.x);
  } else if (m.type == AMSR_BF16) {
    store_map<bf16, COLUMNS>(f, b, m, x);
  } else {
    store_map<float, COLUMNS>(f, b, m, x);
  }
}

// Bring the lines that a later patch is stored to into the L1 or L2, ready to be written.
INLINE void prefetch_output(const Finish &f, const Spot &spot) {
  const AmsrMap &m = f.maps[f.op->out];
  if (m.layout != AMSR_NHWC || f.op->shuffle > 1) return;
  const int64_t size = m.type == AMSR_BF16 ? 2 : 4;
  const char *base = (const char *)m.base + size * (spot.image * m.image + spot.y * m.row + spot.x * m.pixel + f.op->out_channel);
  const int64_t pixel = m.pixel * size, row = m.row * size, bytes = f.op->out_channels * size;
  for (int i = 0; i < 16; i++)
    for (int64_t b = 0; b < bytes; b += 64) __builtin_prefetch(base + i / 4 * row + i % 4 * pixel + b, 1, 2);
}

// For operators whose products take longer than the way over the stack.
NOINLINE void finish_patch(const Finish &f, const Block &b, Vec (&x)[16][1]) { finish(f, b, x); }

}  // namespace SET
