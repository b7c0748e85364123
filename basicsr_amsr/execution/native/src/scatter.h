// A convolution with few outputs whose large input need not exist: each pixel's products with all taps ("columns") are
// summed to a block, its patch and a ring of one pixel around; then each patch takes what its neighbours' rings hold.
#pragma once
#include "pointwise.h"

namespace SET {

enum { TAPS = 3, LEAF = 4 };                                // of the kernel a side; floats of a pixel in a block
typedef float Leaf __attribute__((vector_size(4 * LEAF)));  // up to four outputs

INLINE Leaf leaf(const float *p) {
  Leaf v;
  memcpy(&v, p, sizeof v);
  return v;
}

// Of one pixel of a block: the taps [LEFT, RIGHT) of some rows of the kernel, which lie at p.
template <int LEFT, int RIGHT>
INLINE void collect_pixel(const float *p, int64_t row, int64_t pixel, int from, int to, int outputs, float *out) {
  Leaf sum = {};
  for (int ky = from; ky < to; ky++) {
    UNROLL(3)
    for (int kx = LEFT; kx < RIGHT; kx++) sum = sum + leaf(p + ky * row + kx * pixel + (ky * TAPS + kx) * outputs);
  }
  memcpy(out, &sum, sizeof sum);
}

// The block of one patch, `side` pixels a side, of which rows x width lie in the image. Others add nothing.
NOINLINE void collect_patch(const float *columns, int64_t row, int64_t pixel, int rows, int width, int outputs, float *block,
                            int side) {
  for (int r = 0; r < side; r++) {
    const int from = most(0, 2 - r), to = least(TAPS, rows + 2 - r);
    const float *p = columns + (r - 2) * row - 2 * pixel;  // of the pixel that tap (0, 0) of the block's first one reads
    float *out = block + r * side * LEAF;
    for (int c = 0; c < side; c++, p += pixel, out += LEAF) {
      if (c > 1 && c < width) collect_pixel<0, TAPS>(p, row, pixel, from, to, outputs, out);
      else if (c == 0) collect_pixel<2, TAPS>(p, row, pixel, from, to, outputs, out);
      else if (c == 1 && width > 1) collect_pixel<1, TAPS>(p, row, pixel, from, to, outputs, out);
      else if (c == 1) collect_pixel<1, 2>(p, row, pixel, from, to, outputs, out);
      else if (c == width) collect_pixel<0, 2>(p, row, pixel, from, to, outputs, out);
      else if (c == width + 1) collect_pixel<0, 1>(p, row, pixel, from, to, outputs, out);
      else collect_pixel<0, 0>(p, row, pixel, from, to, outputs, out);
    }
  }
}

// spots: of the listed patches themselves, in pixels of these.
NOINLINE void collect(const Context &c, const AmsrOp &op, const Spot *patches, int n) {
  const AmsrSource &source = c.program->source_table[op.source];
  const AmsrMap &m = c.program->map_table[source.map], &blocks = c.program->map_table[op.out];
  const int edge = 4 * op.scale;
  for (int k = 0; k < n; k++) {
    const Spot spot = {patches[k].y * edge, patches[k].x * edge, k, 0, 0, patches[k].image};
    float *block = address<float>(c, blocks, patches[k], 1);
    collect_patch(address<float>(c, m, spot, 1) + source.channel, m.row, m.pixel, least(edge, m.height - spot.y),
                  least(edge, m.width - spot.x), source.channels / (TAPS * TAPS), block, edge + 2);
  }
}

// Add what the neighbours' rings hold to the outermost pixels of a patch; their map has a border of zeros.
NOINLINE void take_rings(float *own, int64_t row, int64_t pixel, int edge) {
  const int side = edge + 2;
  const auto add = [&](int y, int x, int dy, int dx) {
    const float *ring = own + dy * row + dx * pixel + ((y - dy * edge) * side + x - dx * edge) * LEAF;
    const Leaf sum = leaf(own + (y * side + x) * LEAF) + leaf(ring);
    memcpy(own + (y * side + x) * LEAF, &sum, sizeof sum);
  };
  for (int i = 1; i <= edge; i++) {
    add(1, i, -1, 0);
    add(edge, i, 1, 0);
    add(i, 1, 0, -1);
    add(i, edge, 0, 1);
  }
  for (int dy = -1; dy <= 1; dy += 2)
    for (int dx = -1; dx <= 1; dx += 2) add(dy < 0 ? 1 : edge, dx < 0 ? 1 : edge, dy, dx);
}

// Lanes beyond the outputs hold anything: such a map has no room for more.
NOINLINE void gather(const Context &c, const AmsrOp &op, const Spot *spots, int n) {
  const Finish f = finish_of(c, op);
  const AmsrMap &m = c.program->map_table[c.program->source_table[op.source].map];
  const int edge = 4 * op.scale, side = edge + 2;
  for (int k = 0; k < n; k++) {
    float *own = (float *)m.base + spots[k].image * m.image + spots[k].y / edge * m.row + spots[k].x / edge * m.pixel;
    if (!spots[k].in_y && !spots[k].in_x) take_rings(own, m.row, m.pixel, edge);
    const float *p = own + ((spots[k].in_y + 1) * side + spots[k].in_x + 1) * LEAF;
    Vec x[16][1];
    UNROLL(16)
    for (int i = 0; i < 16; i++) x[i][0] = load(p + (i / 4 * side + i % 4) * LEAF);
    finish_patch(f, Block{spots[k], 0, 0}, x);
  }
}

}  // namespace SET
