// How an operator's outputs are packed into vectors, and where pixels lie.
//
// A *unit* is a run of output channels that lie side by side in the output map: a group of the convolution, or, with pixel
// shuffle, what one group writes into one of the shuffle^2 output pixels. Units are padded to whole vectors. A *panel* is
// one to three vectors of one group that are accumulated together, in registers.
#pragma once
#include "interface.h"
#include "simd.h"

namespace SET {

struct Spot {        // one 4x4 patch at an operator's own resolution
  int y, x;          // pixels
  int k, in_y, in_x;  // which listed patch of the group, and the pixel within it (for local maps)
  int image;          // which
};

struct Context {
  const AmsrProgram *program;
  char *scratch, *locals;  // this thread's
  float *mean;             // where this group's sums go, those of its first image first
  int first, lanes;        // that image, and how many sums each has
  const uint8_t *near;     // for each listed patch of this group its active neighbours
};

struct Shape {
  int groups, shuffle, unit, unit_vectors, units, vectors;  // units and vectors of one group; unit in channels
  bool permuted;  // by pixel shuffle into a map; planar output keeps torch's order
};

INLINE int edge_of(const AmsrOp &op) { return op.kind == AMSR_WINOGRAD6 ? 6 : 4; }

INLINE Shape shape_of(const AmsrOp &op) {
  Shape s;
  s.groups = op.groups;
  s.shuffle = op.shuffle;
  s.permuted = op.shuffle > 1 && !op.planar;
  s.units = s.permuted ? op.shuffle * op.shuffle : 1;
  s.unit = op.out_channels / op.groups / s.units;
  s.unit_vectors = (s.unit + LANES - 1) / LANES;
  s.vectors = s.units * s.unit_vectors;
  return s;
}

// Output channel of a packed lane, or -1 for padding.
INLINE int channel_of(const Shape &s, int lane) {
  int group = lane / (s.vectors * LANES), inside = lane % (s.vectors * LANES);
  int unit = inside / (s.unit_vectors * LANES), c = inside % (s.unit_vectors * LANES);
  if (c >= s.unit) return -1;
  return group * s.unit * s.units + c * s.units + unit;
}

enum { MOST_PANEL = 3, FEW = 3 };  // FEW: so many outputs at most are dot products along channels

// Vectors of the panel that starts with `left` vectors to go.
INLINE int panel_size(int left) {
#if defined(__AVX512F__) || defined(__aarch64__)
  return left % 2 && left > 1 ? 3 : left > 1 ? 2 : 1;
#elif defined(__AVX2__)
  return left == 4 ? 2 : left >= 3 ? 3 : left;
#else
  return left > 1 ? 2 : 1;
#endif
}

// How many of a group's last outputs are dot products: a vector for one to three channels would be mostly padding.
INLINE int few_outputs(const AmsrOp &op, const Shape &s) {
  int rest = s.unit % LANES;
  return op.kind == AMSR_CONV && s.groups == 1 && !s.permuted && rest && rest <= FEW && LANES > 4 &&
         op.in_channels * 2 > LANES ? rest : 0;
}

template <class T> INLINE T *address(const Context &context, const AmsrMap &m, const Spot &s, int by, int up = 0) {
  if (m.layout == AMSR_LOCAL)
    return (T *)(context.locals + m.base) + s.k * m.plane + (s.in_y * by - up) * m.row + (s.in_x * by - up) * m.pixel;
  return (T *)m.base + s.image * m.image + (s.y * by - up) * m.row + (s.x * by - up) * m.pixel;
}

INLINE int64_t origin_of(const AmsrMap &planar, int image) {
  return planar.origins ? planar.origins[image] : image * planar.image;
}

INLINE int padded(int channels) { return (channels + LANES - 1) / LANES * LANES; }

// Lanes that the products run over: bf16 products take two channels at a time.
template <class T> INLINE int depth(int channels) { return sizeof(T) == 2 ? (channels + 1) / 2 * 2 : channels; }

}  // namespace SET
