// What each instruction set's copy of kernels.cpp offers to run.cpp.
#pragma once
#include "interface.h"

struct GroupRun {
  const AmsrProgram *program;
  const AmsrPass *pass;
  const AmsrPatch *patches, *next;  // next: what this thread will probably get afterwards, to prefetch
  int count, next_count;
  char *scratch, *locals;  // this thread's
  float *mean;             // sums of this group, for each MEAN operator of the pass in turn
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
};
