// Where an image has high frequencies: what selection.py wants.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>

#include "dispatch.h"
#include "pool.h"

namespace {

constexpr int ALIGN = 16, BINS = 1 << (31 - DETAIL_SHIFT);

int border_of(const AmsrDetail &a) {
  const int most = std::max({(int)a.half, (int)a.smooth, (int)DETAIL_WINDOW});
  return (most + ALIGN - 1) / ALIGN * ALIGN;
}
int lanes_of(const AmsrDetail &a) { return (a.width + ALIGN - 1) / ALIGN * ALIGN; }

struct Work {
  DetailRun run;
  float *rows;
  uint32_t *bins;
  int phase, threads, count;      // count: rows, of pixels or patches, in as many parts as threads
  std::atomic<int> next;          // part
  int64_t found[256];             // of each part's bits in the chosen bin
  uint32_t bin;
};

int start(const Work &w, int part) { return (int)((int64_t)w.count * part / w.threads); }

void run_phase(Work &w, int part) {
  DetailRun run = w.run;
  run.rows = w.rows + (int64_t)3 * run.stride * part;
  run.bins = w.bins + (int64_t)BINS * part;
  if (w.phase == 1) memset(run.bins, 0, sizeof(uint32_t) * BINS);
  selected()->detail(run, w.phase, start(w, part), start(w, part + 1));
}

// Of each part the values of the chosen bin to the start of its rows.
void collect(Work &w, int part) {
  float *first = w.run.other + (int64_t)start(w, part) * w.run.stride;
  int64_t n = 0;
  for (int y = start(w, part); y < start(w, part + 1); y++) {
    const float *row = w.run.other + (int64_t)y * w.run.stride + w.run.border;
    for (int x = 0; x < w.run.detail->width; x++) {
      uint32_t bits;
      memcpy(&bits, row + x, 4);
      first[n] = row[x];
      n += bits >> DETAIL_SHIFT == w.bin;
    }
  }
  w.found[part] = n;
}

template <void (*RUN)(Work &, int)> void in_parts(Work &w) {
  w.next.store(0);
  run_parallel(w.threads, [](void *context, int) {
    Work &w = *(Work *)context;
    for (int part; (part = w.next.fetch_add(1)) < w.threads;) RUN(w, part);
  }, &w);
}

// The lower median of all second differences, exactly: of those in its bin alone, which are few.
float median(Work &w) {
  const int64_t all = (int64_t)w.run.detail->height * w.run.detail->width;
  int64_t rank = (all - 1) / 2;
  for (int t = 1; t < w.threads; t++)
    for (int b = 0; b < BINS; b++) w.bins[b] += w.bins[(int64_t)t * BINS + b];
  for (int b = 0x7f800000 >> DETAIL_SHIFT; b < BINS; b++)
    if (w.bins[b]) return NAN;
  for (w.bin = 0; rank >= w.bins[w.bin]; w.bin++) rank -= w.bins[w.bin];
  in_parts<collect>(w);
  int64_t n = w.found[0];
  float *values = w.run.other;
  for (int t = 1; t < w.threads; t++) {
    memmove(values + n, values + (int64_t)start(w, t) * w.run.stride, 4 * w.found[t]);
    n += w.found[t];
  }
  if (std::all_of(values, values + n, [&](float v) { return v == values[0]; })) return values[0];
  std::nth_element(values, values + rank, values + n);
  return values[rank];
}

void parts(const AmsrDetail &a, int border, int half, float *row) {  // 1 / columns of a box that lie in the image
  for (int x = 0; x < lanes_of(a); x++) {
    const int columns = std::min(x + half, a.width - 1) - std::max(x - half, 0) + 1;
    row[border + x] = 1.0f / std::max(columns, 1);
  }
}

}  // namespace

int64_t amsr_detail_scratch(const AmsrDetail *detail) {
  const AmsrDetail &a = *detail;
  const int64_t stride = lanes_of(a) + 2 * border_of(a);
  return 4 * (stride * (3 * (int64_t)a.height + 3 * a.threads + 2) + (int64_t)BINS * a.threads);
}

int amsr_detail(const AmsrDetail *detail) {
  const AmsrDetail &a = *detail;
  if (a.scratch_bytes < amsr_detail_scratch(detail) || a.threads < 1 || a.threads > 255) return -1;
  PoolUse pool(std::min(a.threads, a.height));
  Work w{};
  DetailRun &run = w.run;
  run.detail = detail;
  run.border = border_of(a);
  run.lanes = lanes_of(a);
  run.stride = run.lanes + 2 * run.border;
  const int64_t map = (int64_t)run.stride * a.height;
  run.luminance = (float *)a.scratch;
  run.score = run.luminance + map;
  run.other = run.score + map;
  float *window_part = run.other + map, *smooth_part = window_part + run.stride;
  parts(a, run.border, DETAIL_WINDOW, window_part);
  parts(a, run.border, a.smooth, smooth_part);
  run.window_part = window_part;
  run.smooth_part = smooth_part;
  w.rows = smooth_part + run.stride;
  w.bins = (uint32_t *)(w.rows + (int64_t)3 * run.stride * a.threads);
  w.threads = pool.threads;
  for (w.phase = 0; w.phase < 4; w.phase++) {
    w.count = w.phase == 3 ? (a.height + a.patch_size - 1) / a.patch_size : a.height;
    in_parts<run_phase>(w);
    if (w.phase == 1 && a.noise != 0) {
      const float level = median(w) * a.noise;
      run.noise = level * level;
    }
  }
  return 0;
}
