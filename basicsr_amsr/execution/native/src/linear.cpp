// Linear layers of rows: packs the weights, and shares the rows out among threads.
#include <atomic>

#include "dispatch.h"
#include "pool.h"

namespace {

enum { BLOCK = 48 };  // rows at a time: multiples of all vectors and of linear.h's TOGETHER

int64_t packed_bytes(const AmsrLinear &l) {
  const int64_t lanes = (l.outputs + 15) / 16 * 16;
  return 4 * lanes * ((l.inputs + 1) / 2 * 2 + 1) + 64;
}

int64_t thread_bytes(const AmsrLinear &l) { return 4 * BLOCK * linear_row(l) + 64; }

}  // namespace

int64_t amsr_linear_scratch(const AmsrLinear *l) { return packed_bytes(*l) + thread_bytes(*l) * (l->threads > 1 ? l->threads : 1); }

int amsr_linear(const AmsrLinear *l) {
  if (l->scratch_bytes < amsr_linear_scratch(l)) return -1;
  struct Part {
    const AmsrLinear *linear;
    std::atomic<int64_t> next;
  } work = {l, {0}};
  const int64_t blocks = (l->rows + BLOCK - 1) / BLOCK;
  PoolUse use((int)(blocks < l->threads ? blocks : l->threads));
  selected()->pack_linear(*l, l->scratch);
  run_parallel(use.threads, [](void *context, int thread) {
    Part &w = *(Part *)context;
    const AmsrLinear &l = *w.linear;
    char *scratch = l.scratch + packed_bytes(l) + thread_bytes(l) * thread;
    for (int64_t first; (first = w.next.fetch_add(BLOCK)) < l.rows;)
      selected()->linear(l, l.scratch, first, (int)(l.rows - first < BLOCK ? l.rows - first : BLOCK), scratch);
  }, &work);
  return 0;
}
