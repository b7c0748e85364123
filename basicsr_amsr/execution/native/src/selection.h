// Rows of the map of high frequencies, in the steps of selection/high_frequency_mask.py.
#pragma once
#include "kernels.h"
#include "simd.h"

namespace SET {

#if defined(__AVX512F__)
INLINE Vec root(Vec v) { return _mm512_sqrt_ps(v); }
#elif defined(__AVX2__)
INLINE Vec root(Vec v) { return _mm256_sqrt_ps(v); }
#else
INLINE Vec root(Vec v) {
  for (int i = 0; i < LANES; i++) v[i] = __builtin_sqrtf(v[i]);
  return v;
}
#endif
INLINE Vec magnitude(Vec v) { return (Vec)((Bits)v & 0x7fffffff); }  // also of zeros, whose bits are read

// Rows lie in maps with a border left and right, so that every loop is of whole vectors and neighbours are a shift away.
INLINE float *row_of(const DetailRun &d, float *map, int y) { return map + (int64_t)y * d.stride; }
INLINE int inside(const DetailRun &d, int y) { return most(0, least(y, d.detail->height - 1)); }

INLINE void fill(float *row, int from, int to, float value) {
  for (int i = from; i < to; i++) row[i] = value;
}

INLINE void copy_row(const AmsrDetail &a, const float *in, float *out) {
  if (a.pixel == 1) memcpy(out, in, 4 * (int64_t)a.width);
  else
    for (int x = 0; x < a.width; x++) out[x] = in[x * a.pixel];
}

INLINE void luminance(const DetailRun &d, int y) {
  const AmsrDetail &a = *d.detail;
  float *row = row_of(d, d.luminance, y), *out = row + d.border;
  const float *in = a.image + y * a.row;
  copy_row(a, in, out);
  if (a.channels == 3) {  // by copies, as the image ends with its last pixel; whole vectors also round all pixels alike
    float *copy = d.rows + d.border;
    for (int i = 0; i < d.lanes; i += LANES) store(out + i, load(out + i) * a.weights[0]);
    for (int c = 1; c < 3; c++) {
      copy_row(a, in + c * a.plane, copy);
      for (int i = 0; i < d.lanes; i += LANES) store(out + i, fma(splat(a.weights[c]), load(copy + i), load(out + i)));
    }
  }
  fill(row, 0, d.border, out[0]);
  fill(out, a.width, d.stride - d.border, out[a.width - 1]);
}

// v + the sum of w (near - v) over both sides: exactly v where all are equal, so that flat areas have no high frequency.
INLINE void sharpness(const DetailRun &d, int y) {
  const AmsrDetail &a = *d.detail;
  const float *here = row_of(d, d.luminance, y);
  float *down = d.rows, *score = row_of(d, d.score, y);
  for (int i = 0; i < d.stride; i += LANES) {
    const Vec v = load(here + i);
    Vec blurred = v;
    for (int k = 1; k <= a.half; k++) {
      const Vec over = load(row_of(d, d.luminance, inside(d, y - k)) + i);
      const Vec under = load(row_of(d, d.luminance, inside(d, y + k)) + i);
      blurred = fma(splat(a.kernel[k]), (over - v) + (under - v), blurred);
    }
    store(down + i, blurred);
  }
  for (int i = d.border; i < d.border + d.lanes; i += LANES) {
    const Vec v = load(down + i);
    Vec blurred = v;
    for (int k = 1; k <= a.half; k++)
      blurred = fma(splat(a.kernel[k]), (load(down + i - k) - v) + (load(down + i + k) - v), blurred);
    store(score + i, magnitude(load(here + i) - blurred));
  }
  fill(score, 0, d.border, 0);
  fill(score, d.border + a.width, d.stride, 0);
}

// The second difference along both axes, from which the noise is estimated, and how many of its values each bin holds.
INLINE void difference(const DetailRun &d, int y) {
  const AmsrDetail &a = *d.detail;
  const float *over = row_of(d, d.luminance, inside(d, y - 1)), *here = row_of(d, d.luminance, y);
  const float *under = row_of(d, d.luminance, inside(d, y + 1));
  float *down = d.rows, *out = row_of(d, d.other, y) + d.border;
  for (int i = 0; i < d.stride; i += LANES)
    store(down + i, (load(over + i) - load(here + i)) + (load(under + i) - load(here + i)));
  down += d.border;
  for (int i = 0; i < d.lanes; i += LANES) {
    const Vec v = load(down + i);
    store(out + i, magnitude((load(down + i - 1) - v) + (load(down + i + 1) - v)));
  }
  for (int i = 0; i < a.width; i++) {
    uint32_t bits;
    memcpy(&bits, out + i, 4);
    d.bins[bits >> DETAIL_SHIFT]++;
  }
}

// Means of `map` over (2 half + 1)^2 pixels, of those in the image; `square`: of its squares.
template <bool square, class Use> INLINE void box(const DetailRun &d, float *map, int y, int half, const float *part, Use use) {
  float *down = d.rows;
  const int from = most(y - half, 0), to = least(y + half, d.detail->height - 1);
  for (int i = 0; i < d.stride; i += LANES) {
    Vec sum = splat(0);
    for (int r = from; r <= to; r++) {
      const Vec v = load(row_of(d, map, r) + i);
      sum = square ? fma(v, v, sum) : sum + v;
    }
    store(down + i, sum);
  }
  const Vec rows = splat(1.0f / (to - from + 1));
  for (int i = d.border; i < d.border + d.lanes; i += LANES) {
    Vec sum = load(down + i);
    for (int k = 1; k <= half; k++) sum += load(down + i - k) + load(down + i + k);
    use(i, sum * (load(part + i) * rows));
  }
}

// The score without the noise's share, to the power whose means are taken.
INLINE void discounted(const DetailRun &d, int y) {
  const AmsrDetail &a = *d.detail;
  const float *score = row_of(d, d.score, y);
  float *out = row_of(d, d.other, y);
  const Vec none = splat(0);
  if (d.noise != 0) {
    const Vec noise = splat(d.noise);
    box<true>(d, d.score, y, DETAIL_WINDOW, d.window_part, [&](int i, Vec power) INLINE_LAMBDA {
      const Vec share = larger(power - noise, none) / larger(power, splat(1e-37f)), s = load(score + i);
      store(out + i, a.squared ? s * s * share : s * root(share));
    });
  } else {
    for (int i = d.border; i < d.border + d.lanes; i += LANES) {
      const Vec s = load(score + i);
      store(out + i, a.squared ? s * s : s);
    }
  }
  fill(out, 0, d.border, 0);
  fill(out, d.border + a.width, d.stride, 0);
}

// One row of patches: means of the smoothed map, and the map itself, as far as they are wanted.
INLINE void patches(const DetailRun &d, int row) {
  const AmsrDetail &a = *d.detail;
  const int from = row * a.patch_size, to = least(from + a.patch_size, a.height), columns = (a.width + a.patch_size - 1) / a.patch_size;
  float *sum = d.rows + d.stride, *line = d.rows + 2 * d.stride;
  fill(sum, 0, d.stride, 0);
  for (int y = from; y < to; y++) {
    box<false>(d, d.other, y, a.smooth, d.smooth_part, [&](int i, Vec mean) INLINE_LAMBDA {
      store(sum + i, load(sum + i) + mean);
      store(line + i, a.squared ? root(mean) : mean);
    });
    if (a.map) memcpy(a.map + (int64_t)y * a.width, line + d.border, 4 * (int64_t)a.width);
  }
  sum += d.border;
  for (int c = 0; c < columns; c++) {
    const int x = c * a.patch_size, end = least(x + a.patch_size, a.width);
    float total = 0;
    for (int i = x; i < end; i++) total += sum[i];
    const float mean = total / ((float)(to - from) * (end - x));
    a.means[(int64_t)row * columns + c] = a.squared ? __builtin_sqrtf(mean) : mean;
  }
}

static void detail(const DetailRun &d, int phase, int from, int to) {
  for (int y = from; y < to; y++) {
    if (phase == 0) luminance(d, y);
    if (phase == 1) {
      sharpness(d, y);
      if (d.detail->noise != 0) difference(d, y);
    }
    if (phase == 2) discounted(d, y);
    if (phase == 3) patches(d, y);
  }
}

}  // namespace SET
