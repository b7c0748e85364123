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
enum { TILE_PATCHES = 2 };                                           // computed together

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

INLINE int64_t tile_scratch(const AmsrOp &op) { return 2 * TILE_PATCHES * records_of(op).elements() * 2 + 256; }

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

enum { STEPS = 6 };  // products of each tile between pauses

struct TilePanel {
  const bf16 *in;          // records of the first patch
  int64_t patch;           // elements from one patch's records to the next
  const bf16 *weights;     // [row of the kernel][tile of the depth]
  int64_t vector;          // elements from one vector's weights to the next
};

// Sums of up to PATCHES patches times VECTORS vectors, [patch][vector][pixel][lane]. The processor goes on with what
// `beside` does while products wait for one another.
template <int PATCHES, int VECTORS, class F>
INLINE void multiply_tiles(const Records &r, int kernel, const TilePanel &p, float *sums, F beside) {
  const int64_t row = r.depth * 2;
  _tile_zero(0);
  if constexpr (VECTORS * PATCHES > 1) _tile_zero(1);
  if constexpr (VECTORS * PATCHES > 2) _tile_zero(2);
  if constexpr (VECTORS * PATCHES > 2) _tile_zero(3);
  const bf16 *w = p.weights;
  for (int ky = 0; ky < kernel; ky++) {
    const bf16 *in = p.in + r.row_of_kernel(ky), *end = in + r.depth;
    while (in < end) {
      const bf16 *pause = end - in > STEPS * DEEP ? in + STEPS * DEEP : end;
      for (; in < pause; in += DEEP, w += TILE) {
        _tile_stream_loadd(6, w, 64);
        _tile_loadd(4, in, row);
        _tile_dpbf16ps(0, 4, 6);
        if constexpr (VECTORS == 2) {
          _tile_stream_loadd(7, w + p.vector, 64);
          _tile_dpbf16ps(1, 4, 7);
        }
        if constexpr (PATCHES == 2) {
          _tile_loadd(5, in + p.patch, row);
          if constexpr (VECTORS == 2) {
            _tile_dpbf16ps(2, 5, 6);
            _tile_dpbf16ps(3, 5, 7);
          } else {
            _tile_dpbf16ps(1, 5, 6);
          }
        }
      }
      beside();
    }
  }
  _tile_stored(0, sums, 64);
  if constexpr (VECTORS * PATCHES > 1) _tile_stored(1, sums + SUMS, 64);
  if constexpr (VECTORS * PATCHES > 2) _tile_stored(2, sums + 2 * SUMS, 64);
  if constexpr (VECTORS * PATCHES > 2) _tile_stored(3, sums + 3 * SUMS, 64);
}

// Bias, steps and store of one patch's sums.
template <int VECTORS> NOINLINE void finish_tiles(const Finish &f, const Spot &spot, int vector, const float *sums) {
  constexpr int ROWS = VECTORS == 1 ? 4 : 2;
  const float *bias = f.op->vector + vector * LANES;
  for (int first = 0; first < least(4, f.height - spot.y); first += ROWS) {
    Vec x[ROWS * 4][VECTORS];
    UNROLL(16)
    for (int i = 0; i < ROWS * 4; i++) {
      UNROLL(2)
      for (int v = 0; v < VECTORS; v++) x[i][v] = load(sums + v * SUMS + (first * 4 + i) * LANES) + load(bias + v * LANES);
    }
    finish(f, Block{spot, first, vector}, x);
  }
}

struct Unfinished {  // sums of up to two patches
  const Spot *spots;
  int patches, vectors, vector;
  const float *sums;
};

INLINE void finish_next(const Finish &f, Unfinished &u) {
  if (u.vectors == 2) finish_tiles<2>(f, *u.spots, u.vector, u.sums);
  else finish_tiles<1>(f, *u.spots, u.vector, u.sums);
  u.spots++;
  u.patches--;
  u.sums += u.vectors * SUMS;
}

// Two patches at a time. While their products are summed, the sums before are finished and the next two patches gathered.
NOINLINE void convolve_tiles(const Context &c, const AmsrOp &op, const Spot *spots, int n) {
  const Finish f = finish_of(c, op);
  const Records r = records_of(op);
  bf16 *const records = (bf16 *)c.scratch;
  const int64_t patch = r.elements(), vector_weights = (int64_t)op.kernel * r.depth * LANES;
  const int vectors = f.shape.vectors * r.merged;                       // of a merged group
  const int items = (n + TILE_PATCHES - 1) / TILE_PATCHES * r.groups;  // pairs of patches, and merged groups of each
  alignas(64) float sums[2][TILE_PATCHES * 2 * SUMS];
  int gathered = 0, which = 0;  // patches of all items
  const auto gather_until = [&](int last) {
    for (; gathered < last; gathered++) {
      const int item = gathered / TILE_PATCHES, k = item / r.groups * TILE_PATCHES + gathered % TILE_PATCHES;
      if (k < n)
        gather_records(c, op, r, spots[k], item % r.groups, records + gathered % (2 * TILE_PATCHES) * patch);
    }
  };
  Unfinished before = {};
  open_tiles();
  gather_until(TILE_PATCHES);
  for (int item = 0; item < items; item++) {
    const int first = item / r.groups * TILE_PATCHES, group = item % r.groups, some = least(TILE_PATCHES, n - first);
    const int ahead = item + 1 < items ? (item + 2) * TILE_PATCHES : 0;
    const auto beside = [&]() INLINE_LAMBDA {
      if (before.patches) finish_next(f, before);
      else if (gathered < ahead) gather_until(gathered + 1);
    };
    TilePanel panel = {records + item % 2 * TILE_PATCHES * patch, patch,
                       (const bf16 *)op.weights + group * vectors * vector_weights, vector_weights};
    for (int v = 0; v < vectors; v += 2, panel.weights += 2 * vector_weights, which ^= 1) {
      const int wide = least(2, vectors - v);
      asm volatile("" ::: "memory");  // tile loads do not tell the compiler that they read
      if (some == 2 && wide == 2) multiply_tiles<2, 2>(r, op.kernel, panel, sums[which], beside);
      else if (some == 2) multiply_tiles<2, 1>(r, op.kernel, panel, sums[which], beside);
      else if (wide == 2) multiply_tiles<1, 2>(r, op.kernel, panel, sums[which], beside);
      else multiply_tiles<1, 1>(r, op.kernel, panel, sums[which], beside);
      while (before.patches) finish_next(f, before);
      before = {spots + first, some, wide, group * vectors + v, sums[which]};
    }
    gather_until(ahead);
  }
  while (before.patches) finish_next(f, before);
  close_tiles();
}

#endif
}  // namespace SET
