// What each instruction set's copy of kernels.cpp offers to run.cpp.
#pragma once
#include "interface.h"

struct GroupRun {
  const AmsrProgram *program;
  const AmsrPass *pass;
  int64_t from;           // first patch, counted through the images
  int count, next_count;  // next: what this thread will probably get afterwards, to prefetch
  char *scratch, *locals;  // this thread's
  float *mean;             // sums of this group, for each of its images, for each MEAN operator of the pass in turn
  int lanes;               // of an image's sums
};

// Bits of a float that a bin of the noise estimate leaves out; pixels that the local power reaches to each side.
enum { DETAIL_SHIFT = 19, DETAIL_WINDOW = 2 };

struct DetailRun {
  const AmsrDetail *detail;
  int border, lanes, stride;  // floats left of a row, of its pixels in whole vectors, from row to row
  float *luminance, *score, *other;              // maps
  const float *window_part, *smooth_part;        // 1 / columns of the boxes, pixel by pixel
  float noise;                                   // its power in the score
  float *rows;                                   // this thread's: three
  uint32_t *bins;
};

struct Kernels {
  const char *name;
  int lanes, bf16;
  void (*run_group)(const GroupRun &);
  int (*packed_lanes)(const AmsrOp &);
  void (*lane_channels)(const AmsrOp &, int32_t *);
  int64_t (*packed_bytes)(const AmsrOp &, const AmsrSource *);
  void (*pack)(const AmsrOp &, const AmsrSource *, const float *, void *);
  int64_t (*scratch_bytes)(const AmsrProgram &, const AmsrOp &);
  void (*detail)(const DetailRun &, int phase, int from, int to);
  void (*stencil)(const AmsrStencil &, int cell);
  void (*attention)(const AmsrAttention &, int window, int head, float *scratch);
  void (*pack_linear)(const AmsrLinear &, char *packed);
  void (*linear)(const AmsrLinear &, const char *packed, int64_t first, int count, char *scratch);
};

inline int64_t linear_row(const AmsrLinear &l) { return (l.inputs + 15) / 16 * 16; }  // of prepared rows
