// Convolutions in bf16 by AMX: a patch's 16 pixels are the rows of a tile, 32 values deep, times tiles of 16 outputs.
//
// A tile's rows lie at equal distances, those of a patch in a map do not. So a patch's window is gathered first: for each of
// its rows four *records*, one for each column of outputs, of what a row of the kernel reads there, from all sources. The
// tile for a row of the kernel is then 16 records, one behind the other.
#pragma once
#include "epilogue.h"
#include "sources.h"

namespace SET {

// Whether products of such elements are computed by tiles.
template <class T> constexpr bool has_tiles() {
#if defined(TILES)
  return sizeof(T) == 2;
#else
  return false;
#endif
}

enum { DEEP = 2 * LANES, TILE = LANES * DEEP, SUMS = 16 * LANES };  // elements of a row, of a tile, and its sums

INLINE int deep(int n) { return (n + DEEP - 1) / DEEP * DEEP; }

// Winograd's form, too, is computed directly: its transforms take longer than what they save.
INLINE bool in_tiles(const AmsrOp &op) {
  return has_tiles<bf16>() && op.compute == AMSR_BF16 && (op.kind == AMSR_CONV || op.kind == AMSR_WINOGRAD);
}

// The records of an operator. Groups of few channels are merged: their products would leave a tile half empty.
struct Records {
  int groups, merged;  // groups after merging, and groups of the operator in each
  int depth, values;   // elements of a record: values, then zeros up to whole tiles
  int rows, apart;     // of records; with a stride s rows 0, s, 2 s, ... lie together, `apart` of them
  int window, stride;

  INLINE_LAMBDA int64_t elements() const { return (int64_t)rows * 4 * depth + DEEP; }  // zeros may end behind the last
  INLINE_LAMBDA int64_t row_of_kernel(int ky) const {
    return (int64_t)(stride == 1 ? ky : ky % stride * apart + ky / stride) * 4 * depth;
  }
  INLINE_LAMBDA int row_of_window(int i) const { return stride == 1 ? i : i % apart * stride + i / apart; }
};

INLINE Records records_of(const AmsrOp &op) {
  Records r;
  const int channels = op.in_channels / op.groups;
  for (r.merged = 1; r.merged * channels < DEEP && op.groups % (2 * r.merged) == 0;) r.merged *= 2;
  r.groups = op.groups / r.merged;
  r.values = channels * r.merged * op.kernel;
  r.depth = deep(r.values);
  r.window = window_of(op);
  r.stride = op.stride;
  r.apart = (r.window + op.stride - 1) / op.stride;
  r.rows = r.apart * op.stride;
  return r;
}

INLINE int64_t tile_elements(const AmsrOp &op) {
  const Shape s = shape_of(op);
  return (int64_t)op.kernel * records_of(op).depth * s.groups * s.vectors * LANES;
}

// Records of four patches, and a strip's window of all sources.
INLINE int64_t tile_scratch(const AmsrOp &op) {
  const Records r = records_of(op);
  return (4 * r.elements() + r.window * (r.window + 12) * r.values / op.kernel + op.sources * DEEP) * 2 + 256;
}

// [group][vector][row of the kernel][value of a record / 2][lane][2]
INLINE void pack_tiles(const AmsrOp &op, const AmsrSource *sources, const float *weights, bf16 *w) {
  const Shape s = shape_of(op);
  const Records r = records_of(op);
  const int per_group = op.in_channels / op.groups, area = op.kernel * op.kernel;
  memset(w, 0, tile_elements(op) * 2);
  for (int vector = 0; vector < s.groups * s.vectors; vector++)
    for (int ky = 0; ky < op.kernel; ky++, w += r.depth * LANES)
      for (int l = 0; l < LANES; l++) {
        const int o = channel_of(s, vector * LANES + l), part = vector / s.vectors % r.merged;
        int k = 0, from = 0;
        for (int i = 0; o >= 0 && i < op.sources; i++) {
          const int channels = sources[i].channels / op.groups;
          for (int kx = 0; kx < op.kernel; kx++, k += channels * r.merged)
            for (int ch = 0; ch < channels; ch++) {
              const int at = k + part * channels + ch;
              put(w + (at / 2 * LANES + l) * 2 + at % 2,
                  weights[((int64_t)o * per_group + from + ch) * area + ky * op.kernel + kx]);
            }
          from += channels;
        }
      }
}

#if !defined(TILES)
INLINE void open_tiles() {}
INLINE void close_tiles() {}
INLINE void convolve_tiles(const Context &, const AmsrOp &, const Spot *, int) {}
#else
struct alignas(64) TileConfig {
  uint8_t palette, start, unused[14];
  uint16_t row_bytes[16];
  uint8_t rows[16];
};

// All eight registers hold 16 rows of 64 bytes, until close_tiles().
INLINE void open_tiles() {
  static const TileConfig config = {1, 0, {}, {64, 64, 64, 64, 64, 64, 64, 64}, {16, 16, 16, 16, 16, 16, 16, 16}};
  _tile_loadconfig(&config);
}
INLINE void close_tiles() { _tile_release(); }

// n values, then zeros up to a multiple of DEEP.
INLINE void copy_deep(bf16 *out, const bf16 *in, int n) {
  for (; n >= DEEP; n -= DEEP, in += DEEP, out += DEEP) _mm512_storeu_si512(out, _mm512_loadu_si512(in));
  if (n > 0) _mm512_storeu_si512(out, _mm512_maskz_loadu_epi16((__mmask32)((1u << n) - 1), in));
}
INLINE void copy_deep(bf16 *out, const float *in, int n) {
  const auto some = [](const float *p, int k) INLINE_LAMBDA {
    return (Vec)_mm512_maskz_loadu_ps((__mmask16)(k >= LANES ? 0xffff : k <= 0 ? 0 : (1 << k) - 1), p);
  };
  for (; n >= DEEP; n -= DEEP, in += DEEP, out += DEEP) store_pair(out, load(in), load(in + LANES));
  if (n > 0) store_pair(out, some(in, n), some(in + LANES, n - LANES));
}

// What one patch reads of one source: runs of elements that lie side by side there as in a record.
struct Window {
  const char *at;
  int64_t row, column, next;  // bytes to the next row, to what the next output reads, to the next run
  int runs, n;                // elements of a run
  bool half;
};

INLINE Window window_in(const Context &c, const AmsrOp &op, const Records &r, const AmsrSource &source, const Spot &spot,
                        int group) {
  const AmsrMap &m = c.program->map_table[source.map];
  const bool half = m.type == AMSR_BF16;
  const int size = half ? 2 : 4, channels = source.channels / r.groups, together = m.pixel == channels ? op.kernel : 1;
  const char *at = half ? (const char *)address<bf16>(c, m, spot, op.stride, op.pad)
                        : (const char *)address<float>(c, m, spot, op.stride, op.pad);
  return {at + (source.channel + group * channels) * size, m.row * size, op.stride * m.pixel * size, m.pixel * size,
          op.kernel / together, channels * together, half};
}

// One run of all records where it is whole tiles.
template <class S> INLINE void copy_run(const Records &r, const Window &w, const char *at, bf16 *out) {
  for (int i = 0; i < r.rows; i++) {
    const int y = r.row_of_window(i);
    if (y >= r.window) continue;
    const char *in = at + y * w.row;
    bf16 *to = out + i * 4 * r.depth;
    for (int d = 0; d < w.n; d += DEEP) {
      UNROLL(4)
      for (int x = 0; x < 4; x++) copy_deep(to + x * r.depth + d, (const S *)(in + x * w.column) + d, DEEP);
    }
  }
}

// All runs of one source alone, each of FULL times DEEP elements and some. In the order of the addresses, so that the zeros
// behind each run are overwritten by the next one.
template <int FULL> INLINE void copy_runs(const Records &r, const Window &w, bf16 *out) {
  for (int i = 0; i < r.rows; i++) {
    const int y = r.row_of_window(i);
    if (y >= r.window) continue;
    for (int x = 0; x < 4; x++) {
      bf16 *to = out + (i * 4 + x) * r.depth;
      const char *in = w.at + y * w.row + x * w.column;
      _mm512_storeu_si512(to + r.depth - DEEP, _mm512_setzero_si512());
      for (int k = 0; k < w.runs; k++, in += w.next, to += w.n) {
        UNROLL(4)
        for (int d = 0; d < FULL; d++) copy_deep(to + d * DEEP, (const bf16 *)in + d * DEEP, DEEP);
        copy_deep(to + FULL * DEEP, (const bf16 *)in + FULL * DEEP, w.n - FULL * DEEP);
      }
    }
  }
}

NOINLINE void gather_records(const Context &c, const AmsrOp &op, const Records &r, const Spot &spot, int group, bf16 *out) {
  Window windows[MOST_SOURCES];
  bool whole = true;
  for (int s = 0; s < op.sources; s++) {
    windows[s] = window_in(c, op, r, c.program->source_table[op.source + s], spot, group);
    whole &= windows[s].n % DEEP == 0;
  }
  if (whole) {
    for (int s = 0; s < op.sources; s++)
      for (int k = 0; k < windows[s].runs; k++, out += windows[s].n) {
        const char *at = windows[s].at + k * windows[s].next;
        if (windows[s].half) copy_run<bf16>(r, windows[s], at, out);
        else copy_run<float>(r, windows[s], at, out);
      }
    return;
  }
  if (op.sources == 1 && windows[0].half && windows[0].n < 3 * DEEP) {
    if (windows[0].n < DEEP) copy_runs<0>(r, windows[0], out);
    else if (windows[0].n < 2 * DEEP) copy_runs<1>(r, windows[0], out);
    else copy_runs<2>(r, windows[0], out);
    return;
  }
  for (int i = 0; i < r.rows; i++) {
    const int y = r.row_of_window(i);
    for (int x = 0; x < 4 && y < r.window; x++) {
      bf16 *to = out + (i * 4 + x) * r.depth;
      _mm512_storeu_si512(to + r.depth - DEEP, _mm512_setzero_si512());
      for (int s = 0; s < op.sources; s++) {
        const Window &w = windows[s];
        const char *in = w.at + y * w.row + x * w.column;
        for (int k = 0; k < w.runs; k++, in += w.next, to += w.n) {
          if (w.half) copy_deep(to, (const bf16 *)in, w.n);
          else copy_deep(to, (const float *)in, w.n);
        }
      }
    }
  }
}

// One run of what a row of the kernel reads: `tiles` tiles, one behind the other.
struct Run {
  const char *at;
  int64_t row, next;  // bytes from row to row of a tile, and to what the next tile of sums reads
  int tiles;
};

enum { MOST_RUNS = 64, STEPS = 6 };  // of an operator; products of each tile between pauses

// Sums of ROWS tiles of pixels, from the first one on, times VECTORS vectors: [row][vector][pixel][lane]. The processor goes
// on with what `beside` does while products wait for one another.
template <int ROWS, int VECTORS, class F>
INLINE void multiply_tiles(const Run *run, const Run *end, const bf16 *w, int first, int64_t vector, float *sums, F beside) {
  asm volatile("" ::: "memory");  // tile loads do not tell the compiler that they read
  _tile_zero(0);
  if constexpr (VECTORS * ROWS > 1) _tile_zero(1);
  if constexpr (VECTORS * ROWS > 2) _tile_zero(2);
  if constexpr (VECTORS * ROWS > 2) _tile_zero(3);
  int steps = 0;
  for (; run < end; run++) {
    const int64_t row = run->row, next = run->next;
    const char *in = run->at + first * next;
    for (int i = run->tiles; i > 0; i--, in += 2 * DEEP, w += TILE) {
      _tile_stream_loadd(6, w, 64);
      _tile_loadd(4, in, row);
      _tile_dpbf16ps(0, 4, 6);
      if constexpr (VECTORS == 2) {
        _tile_stream_loadd(7, w + vector, 64);
        _tile_dpbf16ps(1, 4, 7);
      }
      if constexpr (ROWS >= 2) {
        _tile_loadd(5, in + next, row);
        if constexpr (VECTORS == 2) {
          _tile_dpbf16ps(2, 5, 6);
          _tile_dpbf16ps(3, 5, 7);
        } else {
          _tile_dpbf16ps(1, 5, 6);
        }
      }
      if constexpr (ROWS == 4) {
        _tile_loadd(4, in + 2 * next, row);
        _tile_dpbf16ps(2, 4, 6);
        _tile_loadd(5, in + 3 * next, row);
        _tile_dpbf16ps(3, 5, 6);
      }
      if (++steps == STEPS) {
        steps = 0;
        beside();
      }
    }
  }
  _tile_stored(0, sums, 64);
  if constexpr (VECTORS * ROWS > 1) _tile_stored(1, sums + SUMS, 64);
  if constexpr (VECTORS * ROWS > 2) _tile_stored(2, sums + 2 * SUMS, 64);
  if constexpr (VECTORS * ROWS > 2) _tile_stored(3, sums + 3 * SUMS, 64);
}

struct Unfinished {  // sums of parts of patches
  const Spot *spots;
  int patches, vectors, vector;
  int first, last;     // rows of each patch
  const float *sums;
  int64_t patch, row;  // floats to the next patch, and to the next row of one
};

// Bias, steps and store of one patch's sums.
template <int VECTORS> NOINLINE void finish_tiles(const Finish &f, const Unfinished &u) {
  constexpr int ROWS = VECTORS == 1 ? 4 : 2;
  const float *bias = f.op->vector + u.vector * LANES;
  for (int first = u.first; first < least(u.last, f.height - u.spots->y); first += ROWS) {
    const float *sums = u.sums + (first - u.first) * u.row;
    Vec x[ROWS * 4][VECTORS];
    UNROLL(16)
    for (int i = 0; i < ROWS * 4; i++) {
      UNROLL(2)
      for (int v = 0; v < VECTORS; v++)
        x[i][v] = load(sums + i / 4 * u.row + v * SUMS + i % 4 * LANES) + load(bias + v * LANES);
    }
    finish(f, Block{*u.spots, first, u.vector}, x);
  }
}

INLINE void finish_next(const Finish &f, Unfinished &u) {
  if (u.vectors == 2) finish_tiles<2>(f, u);
  else finish_tiles<1>(f, u);
  u.spots++;
  u.patches--;
  u.sums += u.patch;
}

enum { STRIP = 4 };  // patches side by side: a row of theirs is a tile of what lies in a map as it is

// Whether runs of a pixel's channels, or of a row of the kernel, are as in records: values behind the last one of all are
// those of the next pixel, times zero.
INLINE bool run_fits(const AmsrOp &op, const Records &r, int n) {
  return n % DEEP == 0 || (op.sources == 1 && r.groups == 1);
}

// Of a strip that must be copied first, into pixels without anything between: of another type, or of runs that do not fit.
INLINE bool is_copied(const AmsrOp &op, const Records &r, const AmsrMap &m, int channels) {
  const bool together = m.pixel == channels || op.kernel == 1;
  return m.type != AMSR_BF16 || !(together ? run_fits(op, r, channels * op.kernel) : channels % DEEP == 0);
}

INLINE bool in_strips(const Context &c, const AmsrOp &op, const Records &r) {
  int runs = 0;
  for (int s = 0; s < op.sources; s++) {
    const AmsrSource &source = c.program->source_table[op.source + s];
    const AmsrMap &m = c.program->map_table[source.map];
    const int channels = source.channels / r.groups;
    const bool copied = is_copied(op, r, m, channels);
    if (m.layout != AMSR_NHWC || (copied && !run_fits(op, r, channels * op.kernel))) return false;
    runs += copied || m.pixel == channels ? 1 : op.kernel;
  }
  return op.stride == 1 && runs * op.kernel <= MOST_RUNS;
}

// A window of a strip's pixels, one behind the other, and zeros.
NOINLINE bf16 *copy_strip(const Records &r, const Window &w, int channels, bf16 *out) {
  for (int y = 0; y < r.window; y++)
    for (int x = 0; x < r.window + 12; x++, out += channels) {
      const char *in = w.at + y * w.row + x * w.column;
      if (w.half) copy_deep(out, (const bf16 *)in, channels);
      else copy_deep(out, (const float *)in, channels);
    }
  _mm512_storeu_si512(out, _mm512_setzero_si512());
  return out + DEEP;
}

// What the rows of the kernel read for a strip that begins with `spot`, copied to `copies` where it must be; returns the end.
INLINE Run *runs_of_strip(const Context &c, const AmsrOp &op, const Records &r, const Spot &spot, int group, bf16 *copies,
                          Run *runs) {
  Window windows[MOST_SOURCES];
  for (int s = 0; s < op.sources; s++) {
    const AmsrSource &source = c.program->source_table[op.source + s];
    Window &w = windows[s] = window_in(c, op, r, source, spot, group);
    const int channels = source.channels / r.groups;
    if (!is_copied(op, r, c.program->map_table[source.map], channels)) continue;
    bf16 *const at = copies;
    copies = copy_strip(r, w, channels, at);
    w = {(const char *)at, (r.window + 12) * channels * 2, channels * 2, 0, 1, channels * op.kernel, true};
  }
  for (int ky = 0; ky < op.kernel; ky++)
    for (int s = 0; s < op.sources; s++) {
      const Window &w = windows[s];
      for (int k = 0; k < w.runs; k++) *runs++ = {w.at + ky * w.row + k * w.next, w.column, w.row, deep(w.n) / DEEP};
    }
  return runs;
}

INLINE Run *runs_of_records(const AmsrOp &op, const Records &r, const bf16 *records, Run *run) {
  for (int ky = 0; ky < op.kernel; ky++)
    *run++ = {(const char *)(records + r.row_of_kernel(ky)), r.depth * 2, r.elements() * 2, r.depth / DEEP};
  return run;
}

// Copies spots, those of strips first; returns how many these are.
INLINE int sort_strips(const Spot *spots, int n, Spot *sorted) {
  bool strip[AMSR_GROUP] = {};
  int strips = 0;
  for (int k = 0; k + STRIP <= n; k++) {
    bool row = true;
    for (int i = 1; i < STRIP; i++)
      row &= spots[k + i].y == spots[k].y && spots[k + i].x == spots[k].x + 4 * i && spots[k + i].image == spots[k].image;
    for (int i = 0; row && i < STRIP; i++) {
      strip[k + i] = true;
      sorted[strips++] = spots[k + i];
    }
    if (row) k += STRIP - 1;
  }
  for (int k = 0, at = strips; k < n; k++)
    if (!strip[k]) sorted[at++] = spots[k];
  return strips;
}

// Strips, then the other patches two at a time, gathered. While products are summed, the sums before are finished and the
// next two patches gathered.
NOINLINE void convolve_tiles(const Context &c, const AmsrOp &op, const Spot *spots, int n) {
  const Finish f = finish_of(c, op);
  const Records r = records_of(op);
  bf16 *const records = (bf16 *)c.scratch;
  const int64_t vector_weights = (int64_t)op.kernel * r.depth * LANES;
  const int vectors = f.shape.vectors * r.merged;  // of a merged group
  alignas(64) float sums[2][4 * SUMS];
  Spot sorted[AMSR_GROUP];
  Run runs[MOST_RUNS], *end;
  Unfinished before = {};
  int which = 0, gathered = 0;
  const int strips = in_strips(c, op, r) ? sort_strips(spots, n, sorted) : 0;
  const Spot *const loose = strips ? sorted + strips : spots;
  const int pairs = (n - strips + 1) / 2 * r.groups;  // of patches, for each merged group
  const auto gather_until = [&](int last) {  // counts the patches of pairs
    for (; gathered < least(last, 2 * pairs); gathered++) {
      const int k = gathered / 2 / r.groups * 2 + gathered % 2;
      if (k < n - strips) gather_records(c, op, r, loose[k], gathered / 2 % r.groups, records + gathered % 4 * r.elements());
    }
  };
  int ahead = 2;
  const auto beside = [&]() INLINE_LAMBDA {
    if (before.patches) finish_next(f, before);
    else if (gathered < ahead) gather_until(gathered + 1);
  };
  const auto summed = [&](const Unfinished &sums) INLINE_LAMBDA {
    while (before.patches) finish_next(f, before);
    before = sums;
    which ^= 1;
  };
  open_tiles();
  for (int k = 0; k < strips; k += STRIP)
    for (int group = 0; group < r.groups; group++) {
      end = runs_of_strip(c, op, r, sorted[k], group, records + 4 * r.elements(), runs);
      const bf16 *w = (const bf16 *)op.weights + group * vectors * vector_weights;
      for (int v = 0; v < vectors; v += 2, w += 2 * vector_weights) {
        const int vector = group * vectors + v;
        if (v + 1 == vectors) {
          multiply_tiles<4, 1>(runs, end, w, 0, vector_weights, sums[which], beside);
          summed({sorted + k, STRIP, 1, vector, 0, 4, sums[which], 4 * LANES, SUMS});
        } else {
          for (int first = 0; first < 4; first += 2) {
            multiply_tiles<2, 2>(runs, end, w, first, vector_weights, sums[which], beside);
            summed({sorted + k, STRIP, 2, vector, first, first + 2, sums[which], 4 * LANES, 2 * SUMS});
          }
        }
      }
    }
  gather_until(2);
  for (int pair = 0; pair < pairs; pair++) {
    const int first = pair / r.groups * 2, group = pair % r.groups, some = least(2, n - strips - first);
    ahead = 2 * (pair + 2);
    end = runs_of_records(op, r, records + pair % 2 * 2 * r.elements(), runs);
    const bf16 *w = (const bf16 *)op.weights + group * vectors * vector_weights;
    for (int v = 0; v < vectors; v += 2, w += 2 * vector_weights) {
      const int wide = least(2, vectors - v);
      if (some == 2 && wide == 2) multiply_tiles<2, 2>(runs, end, w, 0, vector_weights, sums[which], beside);
      else if (some == 2) multiply_tiles<2, 1>(runs, end, w, 0, vector_weights, sums[which], beside);
      else if (wide == 2) multiply_tiles<1, 2>(runs, end, w, 0, vector_weights, sums[which], beside);
      else multiply_tiles<1, 1>(runs, end, w, 0, vector_weights, sums[which], beside);
      summed({loose + first, some, wide, group * vectors + v, 0, 4, sums[which], wide * SUMS, 4 * LANES});
    }
    gather_until(ahead);
  }
  while (before.patches) finish_next(f, before);
  close_tiles();
}

#endif
}  // namespace SET
