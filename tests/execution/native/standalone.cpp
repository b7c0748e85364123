// The library without Python, for machines that are emulated: random convolutions against a plain loop, for every
// instruction set. emulated.py beside this file builds and runs it. Prints the cases and the largest errors.
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <string>
#include <vector>

#include "interface.h"

static uint32_t state = 1;
static int below(int n) { return (int)((state = state * 1664525u + 1013904223u) >> 8) % n; }
static float number() { return (float)below(2000) / 1000 - 1; }

static float rounded(float x) {  // to bf16
  uint32_t bits;
  memcpy(&bits, &x, 4);
  bits = (bits + 0x7fff + ((bits >> 16) & 1)) & 0xffff0000u;
  memcpy(&x, &bits, 4);
  return x;
}

struct Image {  // an NHWC map with border, and what it holds as float
  AmsrMap c = {};
  int channels;
  void *memory;
  int64_t bytes;
  Image(int height, int width, int n, int type) : channels(n) {
    const int border = 12, rows = height + 2 * border, columns = width + 2 * border;
    c.type = type;
    c.height = height;
    c.width = width;
    c.pixel = (n + 15) / 16 * 16;
    c.row = columns * c.pixel;
    bytes = rows * c.row * 4 + 4096;
    memory = amsr_allocate(bytes);
    c.base = (int64_t)memory + (border * c.row + border * c.pixel) * (type == AMSR_BF16 ? 2 : 4);
  }
  ~Image() { amsr_free(memory, bytes); }
  float get(int y, int x, int ch) const {
    const int64_t at = y * c.row + x * c.pixel + ch;
    if (c.type == AMSR_F32) return ((float *)c.base)[at];
    uint32_t bits = (uint32_t)((uint16_t *)c.base)[at] << 16;
    float f;
    memcpy(&f, &bits, 4);
    return f;
  }
  void set(int y, int x, int ch, float f) {
    const int64_t at = y * c.row + x * c.pixel + ch;
    uint32_t bits;
    memcpy(&bits, &f, 4);
    if (c.type == AMSR_F32) ((float *)c.base)[at] = f;
    else ((uint16_t *)c.base)[at] = (uint16_t)(bits >> 16);
  }
};

static double one_case(int kind) {  // largest error relative to the largest value
  const int kernel = kind == AMSR_WINOGRAD ? 3 : 1 + 2 * below(3), groups = 1 + below(3);
  const int inputs = groups * (1 + below(20)), outputs = groups * (1 + below(40)), height = 1 + below(20), width = 1 + below(30);
  const int type = below(2);
  Image in(height, width, inputs, type), out(height, width, outputs, type);
  for (int y = 0; y < height; y++)
    for (int x = 0; x < width; x++)
      for (int c = 0; c < inputs; c++) in.set(y, x, c, rounded(number()));
  std::vector<float> weights((size_t)outputs * inputs / groups * kernel * kernel);
  for (auto &w : weights) w = rounded(number());
  AmsrOp op = {};
  op.kind = kind;
  op.kernel = kernel;
  op.stride = op.scale = op.shuffle = 1;
  op.pad = kernel / 2;
  op.groups = groups;
  op.in_channels = inputs;
  op.out_channels = outputs;
  op.sources = 1;
  op.steps = 1;
  op.out[0] = 1;
  op.out[1] = -1;
  op.out_lanes[0] = (int)out.c.pixel;
  const AmsrSource source = {0, 0, inputs, 0};
  const int lanes = amsr_packed_lanes(&op);
  std::vector<int32_t> channels(lanes);
  amsr_lane_channels(&op, channels.data());
  std::vector<float> bias(outputs), packed_bias(lanes + 64), slope(lanes + 64, .25f), packed(amsr_packed_bytes(&op, &source) / 4 + 64);
  for (auto &b : bias) b = number();
  for (int l = 0; l < lanes; l++)
    if (channels[l] >= 0) packed_bias[l] = bias[channels[l]];
  amsr_pack(&op, &source, weights.data(), packed.data());
  op.weights = packed.data();
  op.vector = packed_bias.data();
  AmsrStep step = {};
  step.kind = AMSR_SLOPE;
  step.vector = slope.data();
  std::vector<AmsrPatch> patches;
  std::vector<char> listed((height + 3) / 4 * ((width + 3) / 4));
  for (int y = 0; y < (height + 3) / 4; y++)
    for (int x = 0; x < (width + 3) / 4; x++)
      if (below(4)) {
        patches.push_back({(int16_t)y, (int16_t)x});
        listed[y * ((width + 3) / 4) + x] = 1;
      }
  const AmsrList list = {patches.data(), (int64_t)patches.size()};
  const AmsrPass pass = {0, 1, 0, 0};
  const AmsrMap maps[2] = {in.c, out.c};
  AmsrProgram p = {&op, &source, &step, maps, &pass, &list, 1, 1, 1, 2, 1, 1, 2, 0, 1, 0, nullptr, 0, 0};
  p.scratch_bytes = amsr_scratch(&p);
  p.scratch = (char *)amsr_allocate(p.scratch_bytes);
  if (amsr_run(&p)) return 1e9;
  amsr_free(p.scratch, p.scratch_bytes);
  double most = 0, largest = 1e-3;
  for (int y = 0; y < height; y++)
    for (int x = 0; x < width; x++)
      for (int o = 0; o < outputs; o++) {
        double sum = 0;
        if (listed[y / 4 * ((width + 3) / 4) + x / 4]) {
          const int per = inputs / groups, from = o / (outputs / groups) * per;
          sum = bias[o];
          for (int c = 0; c < per; c++)
            for (int i = 0; i < kernel; i++)
              for (int j = 0; j < kernel; j++) {
                const int v = y + i - kernel / 2, u = x + j - kernel / 2;
                if (v < 0 || u < 0 || v >= height || u >= width) continue;
                sum += (double)in.get(v, u, from + c) * weights[((size_t)o * per + c) * kernel * kernel + i * kernel + j];
              }
          sum = sum > 0 ? sum : .25 * sum;
        }
        most = fmax(most, fabs(sum - out.get(y, x, o)) - (type == AMSR_BF16 ? fabs(sum) / 256 : 0));
        largest = fmax(largest, fabs(sum));
      }
  return most / largest;
}

int main(int count, char **arguments) {
  const int cases = count > 1 ? atoi(arguments[1]) : 100;
  std::string names = amsr_available();
  bool good = true;
  for (char *name = strtok(names.data(), " "); name; name = strtok(nullptr, " ")) {
    amsr_select(name);
    for (int kind : {AMSR_CONV, AMSR_WINOGRAD}) {
      double most = 0;
      for (int i = 0; i < cases; i++) most = fmax(most, one_case(kind));
      printf("%s %s: %d cases, error %.1e\n", name, kind == AMSR_CONV ? "direct" : "winograd", cases, most);
      good &= most < (kind == AMSR_CONV ? 1e-5 : 1e-4);
    }
  }
  return good ? 0 : 1;
}
