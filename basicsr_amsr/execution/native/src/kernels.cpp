// One instruction set's kernels: compiled once for each, with its flags and SET as its name.
#include "kernels.h"
#include "attention.h"
#include "direct.h"
#include "layer_norm.h"
#include "linear.h"
#include "predict.h"
#include "scatter.h"
#include "selection.h"
#include "tiles.h"
#include "winograd.h"

namespace SET {

enum { MOST_SCALE = 8 };

// Listed patches, in units of these.
INLINE void listed(const AmsrList &list, int64_t from, int n, Spot *spots) {
  int image = (int)(from / list.count);
  for (int64_t k = 0, at = from % list.count; k < n; k++, at++) {
    if (at == list.count) {
      at = 0;
      image++;
    }
    spots[k] = {list.patches[at].y, list.patches[at].x, (int)k, 0, 0, image};
  }
}

// The patches of an operator for a group of listed ones: scale^2 for each, without those outside the image.
INLINE int spread(const AmsrOp &op, int height, int width, const Spot *patches, int n, Spot *spots, int room) {
  const int edge = edge_of(op);
  int count = 0;
  for (int k = 0; k < n; k++)
    for (int i = 0; i < op.scale; i++)
      for (int j = 0; j < op.scale; j++) {
        const int y = (patches[k].y * op.scale + i) * edge, x = (patches[k].x * op.scale + j) * edge;
        if (y < height && x < width && count < room)
          spots[count++] = {y, x, k, i * edge, j * edge, patches[k].image};
      }
  return count;
}

INLINE void run_spots(const Context &c, const AmsrOp &op, const Spot *spots, int n, const Spot *next, int next_n, int height,
                      int width) {
  switch (op.kind) {
    case AMSR_CONV:
      if (in_tiles(op)) return convolve_tiles(c, op, spots, n);
#if defined(__AVX512BF16__) && !defined(TILES)
      if (op.compute == AMSR_BF16) return direct<bf16>(c, op, spots, n, next, next_n);
#endif
      return direct<float>(c, op, spots, n, next, next_n);
    case AMSR_WINOGRAD:
      if (in_tiles(op)) return convolve_tiles(c, op, spots, n);
#if defined(__AVX512BF16__) && !defined(TILES)
      if (op.compute == AMSR_BF16) return winograd<bf16>(c, op, spots, n, next, next_n);
#endif
      return winograd<float>(c, op, spots, n, next, next_n);
    case AMSR_WINOGRAD6: return winograd<float>(c, op, spots, n, next, next_n);
    case AMSR_DEPTHWISE: return depthwise(c, op, spots, n);
    case AMSR_POINTWISE: return pointwise(c, op, spots, n);
    case AMSR_LAYER_NORM: return layer_norm(c, op, spots, n);
    case AMSR_MEAN: return mean(c, op, spots, n, height, width);
    case AMSR_GATHER: return gather(c, op, spots, n);
    case AMSR_PREDICT:
#if defined(__AVX512BF16__)
      if (op.compute == AMSR_BF16) return predict<bf16>(c, op, spots, n);
#endif
      return predict<float>(c, op, spots, n);
    default: return resample(c, op, spots, n);
  }
}

static void run_group(const GroupRun &run) {
  const AmsrProgram &p = *run.program;
  const AmsrList &list = p.list_table[run.pass->list];
  Spot patches[2 * AMSR_GROUP];
  listed(list, run.from, run.count + run.next_count, patches);
  Context c = {&p, run.scratch, run.locals, run.mean, patches[0].image, run.lanes, list.near ? list.near + run.from : nullptr};
  Spot spots[AMSR_GROUP * MOST_SCALE * MOST_SCALE + AMSR_GROUP];
  for (int i = 0; i < run.pass->ops; i++) {
    const AmsrOp &op = p.op_table[run.pass->op + i];
    if (op.kind == AMSR_COLLECT) {
      collect(c, op, patches, run.count);
      continue;
    }
    const bool mean = op.kind == AMSR_MEAN;
    const AmsrMap &m = p.map_table[mean ? p.source_table[op.source].map : op.out];
    const int height = mean ? m.height : m.height / op.shuffle, width = mean ? m.width : m.width / op.shuffle;
    const int n = spread(op, height, width, patches, run.count, spots, AMSR_GROUP * MOST_SCALE * MOST_SCALE);
    const int ahead = spread(op, height, width, patches + run.count, run.next_count, spots + n, AMSR_GROUP);
    for (int from = 0; from < n; from += AMSR_GROUP)
      run_spots(c, op, spots + from, least(AMSR_GROUP, n - from), spots + from + least(AMSR_GROUP, n - from),
                least(AMSR_GROUP, n + ahead - from - least(AMSR_GROUP, n - from)), height, width);
    if (mean) c.mean += padded(p.source_table[op.source].channels);
  }
}

static int packed_lanes(const AmsrOp &op) {
  const Shape s = shape_of(op);
  return s.groups * s.vectors * LANES;
}

static void lane_channels(const AmsrOp &op, int32_t *channels) {
  const Shape s = shape_of(op);
  for (int lane = 0; lane < s.groups * s.vectors * LANES; lane++) channels[lane] = channel_of(s, lane);
}

INLINE int64_t places_of(const AmsrOp &op) { return (edge_of(op) + 2) * (edge_of(op) + 2); }

template <class T> INLINE int64_t elements_of(const AmsrOp &op, const AmsrSource *sources) {
  const Shape s = shape_of(op);
  sources += op.source;
  if (op.kind == AMSR_DEPTHWISE) return (int64_t)op.kernel * op.kernel * s.vectors * LANES;
  if (op.kind == AMSR_CONV) {
    const int few = few_outputs(op, s);
    return panel_elements<T>(op, sources, s.vectors - (few ? 1 : 0)) * op.groups + dot_elements<T>(op, sources, few);
  }
  if (op.kind == AMSR_PREDICT) return (int64_t)kept_features<T>(op) * s.vectors * LANES;
  if (op.kind != AMSR_WINOGRAD && op.kind != AMSR_WINOGRAD6) return 0;
  return places_of(op) * winograd_depth<T>(op, sources) * op.groups * s.vectors * LANES;
}

static int64_t packed_bytes(const AmsrOp &op, const AmsrSource *sources) {
  if (in_tiles(op)) return 2 * tile_elements(op);
  return op.compute == AMSR_BF16 ? 2 * elements_of<bf16>(op, sources) : 4 * elements_of<float>(op, sources);
}

static void pack(const AmsrOp &op, const AmsrSource *sources, const float *weights, void *packed) {
  sources += op.source;
  if (in_tiles(op)) return pack_tiles(op, sources, weights, (bf16 *)packed);
  if (op.kind == AMSR_DEPTHWISE) {
    const int area = op.kernel * op.kernel, lanes = packed_lanes(op);
    for (int c = 0; c < lanes; c++)
      for (int tap = 0; tap < area; tap++)
        ((float *)packed)[(c / LANES * area + tap) * LANES + c % LANES] =
            c < op.out_channels ? weights[c * area + tap] : 0;
  } else if (op.kind == AMSR_CONV) {
    if (op.compute == AMSR_BF16) pack_direct(op, sources, weights, (bf16 *)packed);
    else pack_direct(op, sources, weights, (float *)packed);
  } else if (op.kind == AMSR_PREDICT) {
    if (op.compute == AMSR_BF16) pack_predict(op, weights, (bf16 *)packed);
    else pack_predict(op, weights, (float *)packed);
  } else if (op.kind == AMSR_WINOGRAD) {
    if (op.compute == AMSR_BF16) pack_winograd<bf16, 4>(op, sources, weights, (bf16 *)packed);
    else pack_winograd<float, 4>(op, sources, weights, (float *)packed);
  } else if (op.kind == AMSR_WINOGRAD6) {
    pack_winograd<float, 6>(op, sources, weights, (float *)packed);
  }
}

static int64_t scratch_bytes(const AmsrProgram &p, const AmsrOp &op) {
  const AmsrSource *sources = p.source_table + op.source;
  const int64_t size = op.compute == AMSR_BF16 ? 2 : 4;
  if (in_tiles(op)) return tile_scratch(op);
  if (op.kind == AMSR_CONV) {
    bool gather = false;
    for (int s = 0; s < op.sources; s++) gather |= p.map_table[sources[s].map].type != op.compute;
    return gather ? AMSR_GROUP * gathered(op, sources) * size + 256 : 0;
  }
  if (op.kind == AMSR_PREDICT) return (int64_t)AMSR_GROUP * 16 * kept_features<bf16>(op) * size + 256;
  if (op.kind != AMSR_WINOGRAD && op.kind != AMSR_WINOGRAD6) return 0;
  const int64_t channels = winograd_channels(op, sources), lanes = packed_lanes(op) / op.groups;
  const int64_t stride = op.compute == AMSR_BF16 ? place_stride<bf16>(channels) : place_stride<float>(channels);
  return places_of(op) * (stride * size + AMSR_GROUP * lanes * 4) + 256;
}

}  // namespace SET

#define JOIN_(a, b) a##b
#define JOIN(a, b) JOIN_(a, b)
#define TEXT_(a) #a
#define TEXT(a) TEXT_(a)
#if defined(__AVX512BF16__)
enum { BF16 = 1 };
#else
enum { BF16 = 0 };
#endif
extern const Kernels JOIN(kernels_, SET);
const Kernels JOIN(kernels_, SET) = {TEXT(SET),          SET::LANES,        BF16,      SET::run_group, SET::packed_lanes,
                                     SET::lane_channels, SET::packed_bytes, SET::pack, SET::scratch_bytes,
                                     SET::detail,        SET::stencil,      SET::attention, SET::pack_linear,
                                     SET::linear};
