// Attention within windows: shares windows and heads out among threads.
#include <atomic>

#include "dispatch.h"
#include "pool.h"

namespace {

struct Work {
  const AmsrAttention *attention;
  int64_t floats;  // of a thread's scratch memory
  std::atomic<int> next;
};

int64_t floats_of(const AmsrAttention &a) {
  int64_t most = 0;
  for (int w = 0; w < a.windows; w++) {
    const int64_t keys = a.key_start[w + 1] - a.key_start[w];
    if (keys > most) most = keys;
  }
  most = (most + 31) / 32 * 32;
  return most * (2 * a.channels + 4) + 4 * ((a.channels + 15) / 16 * 16) + 16;
}

}  // namespace

int64_t amsr_attention_scratch(const AmsrAttention *a) { return 4 * floats_of(*a) * (a->threads > 1 ? a->threads : 1); }

void amsr_stencil(const AmsrStencil *s) {
  struct Part {
    const AmsrStencil *stencil;
    std::atomic<int> next;
  } work = {s, {0}};
  PoolUse use(s->threads);
  run_parallel(use.threads, [](void *context, int) {
    constexpr int CELLS = 32;
    Part &w = *(Part *)context;
    for (int first; (first = w.next.fetch_add(CELLS)) < w.stencil->cells;)
      for (int i = first; i < first + CELLS && i < w.stencil->cells; i++) selected()->stencil(*w.stencil, i);
  }, &work);
}

int amsr_attention(const AmsrAttention *a) {
  if (a->scratch_bytes < amsr_attention_scratch(a)) return -1;
  PoolUse use(a->threads);
  Work work = {a, floats_of(*a), {0}};
  run_parallel(use.threads, [](void *context, int thread) {
    Work &w = *(Work *)context;
    const AmsrAttention &a = *w.attention;
    // Head after head: the biases of one stay in the cache.
    for (int part; (part = w.next.fetch_add(1)) < a.windows * a.heads;)
      selected()->attention(a, part % a.windows, part / a.windows, a.scratch + w.floats * thread);
  }, &work);
  return 0;
}
