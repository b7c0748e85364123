// Lists of patches: made of a mask, and checked.
#include <cstring>

#include "interface.h"

void amsr_lists(const uint8_t *mask, int rows, int columns, AmsrPatch *patches, AmsrPatch *band, uint8_t *near,
                int64_t *counts) {
  int64_t active = 0, touching = 0;
  for (int64_t i = 0; i < (int64_t)rows * columns; i++) active += mask[i] != 0;
  AmsrPatch *on = patches, *off = patches + active;
  for (int y = 0; y < rows; y++)
    for (int x = 0; x < columns; x++) {
      const AmsrPatch patch = {(int16_t)y, (int16_t)x};
      if (mask[(int64_t)y * columns + x]) {
        *on++ = patch;
        continue;
      }
      *off++ = patch;
      int bits = 0, bit = 0;
      for (int i = y - 1; i <= y + 1; i++)
        for (int j = x - 1; j <= x + 1; j++)
          if (i != y || j != x) {
            const bool inside = i >= 0 && i < rows && j >= 0 && j < columns;
            bits |= (inside && mask[(int64_t)i * columns + j]) << bit++;
          }
      if (!bits) continue;
      band[touching] = patch;
      near[touching++] = (uint8_t)bits;
    }
  counts[0] = active;
  counts[1] = touching;
}

int amsr_check_list(const AmsrPatch *patches, int64_t count, int rows, int columns, uint8_t *seen) {
  memset(seen, 0, (size_t)rows * columns);
  for (int64_t i = 0; i < count; i++) {
    const int y = patches[i].y, x = patches[i].x;
    if (y < 0 || x < 0 || y >= rows || x >= columns) return 1;
    uint8_t &mark = seen[(int64_t)y * columns + x];
    if (mark) return 2;
    mark = 1;
  }
  return 0;
}
