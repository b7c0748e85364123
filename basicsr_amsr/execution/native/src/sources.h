// What a convolution reads: channel ranges of one or several maps, gathered first where their type is not that of the
// products.
#pragma once
#include "micro.h"

namespace SET {

enum { MOST_SOURCES = 16 };

template <class T> struct Input {  // of one patch: the window's first pixel in each source
  const T *at[MOST_SOURCES];
};

struct Steps {  // of one source, the same for all patches
  int64_t row, pixel;
  int channels;
};

INLINE int window_of(const AmsrOp &op) { return (edge_of(op) - 1) * op.stride + op.kernel; }

INLINE bool needs_gather(const Context &c, const AmsrOp &op) {
  for (int s = 0; s < op.sources; s++)
    if (c.program->map_table[c.program->source_table[op.source + s].map].type != op.compute) return true;
  return false;
}

INLINE void copy_lanes(float *out, const bf16 *in) { store(out, load(in)); }
INLINE void copy_lanes(bf16 *out, const float *in) { store(out, load(in)); }
INLINE void copy_lanes(float *out, const float *in) { store(out, load(in)); }
INLINE void copy_lanes(bf16 *out, const bf16 *in) { memcpy(out, in, sizeof(Half)); }

template <class T, class S>
INLINE void gather_one(T *out, int64_t out_row, int64_t out_pixel, const S *in, const AmsrMap &m, int window, int channels) {
  for (int y = 0; y < window; y++)
    for (int x = 0; x < window; x++)
      for (int c = 0; c < channels; c += LANES)
        copy_lanes(out + y * out_row + x * out_pixel + c, in + y * m.row + x * m.pixel + c);
}

// Elements of a gathered window of all sources.
INLINE int64_t gathered(const AmsrOp &op, const AmsrSource *sources) {
  int64_t channels = 0;
  for (int s = 0; s < op.sources; s++) channels += padded(sources[s].channels);
  return window_of(op) * window_of(op) * channels;
}

// Where patch `spot` finds its sources; `buffer` holds it where it must be gathered, else null.
template <class T>
INLINE void prepare_input(const Context &c, const AmsrOp &op, const Spot &spot, T *buffer, Input<T> &input, Steps *steps) {
  const AmsrProgram &p = *c.program;
  const int window = window_of(op);
  for (int s = 0; s < op.sources; s++) {
    const AmsrSource &source = p.source_table[op.source + s];
    const AmsrMap &m = p.map_table[source.map];
    const int channels = source.channels;
    steps[s] = {m.row, m.pixel, channels / op.groups};
    if (!buffer) {
      input.at[s] = address<T>(c, m, spot, op.stride, op.pad) + source.channel;
      continue;
    }
    const int64_t pixel = padded(channels), row = window * pixel;
    if (m.type == AMSR_BF16)
      gather_one(buffer, row, pixel, address<bf16>(c, m, spot, op.stride, op.pad) + source.channel, m, window, channels);
    else
      gather_one(buffer, row, pixel, address<float>(c, m, spot, op.stride, op.pad) + source.channel, m, window, channels);
    input.at[s] = buffer;
    steps[s].row = row;
    steps[s].pixel = pixel;
    buffer += window * row;
  }
}

// Bring what a later group reads into the L2, one patch.
INLINE void prefetch_input(const Context &c, const AmsrOp &op, const Spot &spot, int row_from, int row_to) {
  const AmsrProgram &p = *c.program;
  const int window = window_of(op);
  for (int s = 0; s < op.sources; s++) {
    const AmsrSource &source = p.source_table[op.source + s];
    const AmsrMap &m = p.map_table[source.map];
    if (m.layout == AMSR_LOCAL) continue;
    const int64_t size = m.type == AMSR_BF16 ? 2 : 4;
    const char *base = (const char *)m.base + size * (spot.image * m.image + (spot.y * op.stride - op.pad) * m.row +
                                                      (spot.x * op.stride - op.pad) * m.pixel + source.channel);
    const int64_t pixel = m.pixel * size, row = m.row * size, bytes = source.channels * size;
    for (int y = row_from; y < least(window, row_to); y++)
      for (int x = 0; x < window; x++)
        for (int64_t b = 0; b < bytes; b += 64) prefetch(base + y * row + x * pixel + b);
  }
}

}  // namespace SET
