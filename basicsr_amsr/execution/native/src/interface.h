// The C interface of the native library. tables.py mirrors every struct here; abi_version() guards against a mismatch.
//
// A call runs a whole program (operators on maps, for lists of 4x4 patches) over one image, or several of one size. The library keeps nothing
// between calls but its threads: maps, weights and scratch memory belong to the caller.
#pragma once
#include <stdint.h>

#ifdef _WIN32
#define AMSR_EXPORT extern "C" __declspec(dllexport)
#else
#define AMSR_EXPORT extern "C" __attribute__((visibility("default")))
#endif

enum { AMSR_ABI = 10 };
enum { AMSR_PATCH = 4 };   // edge of a patch in pixels
enum { AMSR_GROUP = 12 };  // patches that an operator runs on together: their Winograd tiles fit an L2 of 1 MB

enum AmsrType { AMSR_F32 = 0, AMSR_BF16 = 1 };

// Where the pixels of a map lie.
enum AmsrLayout {
  AMSR_NHWC = 0,    // whole image, pixels of `pixel` elements, with a border that holds zeros
  AMSR_LOCAL = 1,   // one group of patches, in the thread's scratch memory, without border
  AMSR_PLANAR = 2,  // whole image, a tensor of the caller, float only, no border; what is written has a `pixel` of 1
};

struct AmsrMap {
  int64_t base;     // NHWC, PLANAR: address of pixel (0, 0), channel 0; LOCAL: bytes from the start of the thread's locals
  int32_t layout, type;
  int32_t height, width;  // of the image at this map's scale; LOCAL: of the map it stands for, which masks MEAN
  int64_t pixel, row;     // elements from pixel to pixel and from row to row
  int64_t plane;          // PLANAR: elements from channel to channel; LOCAL: elements from patch to patch
  int64_t image;          // elements from the map of one image to that of the next; LOCAL: 0
  const int64_t *origins;  // PLANAR: elements from the base to each image, in place of `image`; or null
};

struct AmsrSource {  // a range of a map's channels that an operator reads
  int32_t map, channel, channels, unused;
};

enum AmsrStepKind {
  AMSR_ADD_VECTOR = 0,  // x + vector[c]
  AMSR_MUL_VECTOR = 1,  // x * vector[c]
  AMSR_SLOPE = 2,       // x > 0 ? x : vector[c] * x: ReLU (0), LeakyReLU, PReLU
  AMSR_GELU = 3,        // by erf, as torch's default
  AMSR_GELU_TANH = 4,
  AMSR_SILU = 5,
  AMSR_SIGMOID = 6,
  AMSR_TANH = 7,
  AMSR_AFFINE = 8,      // a * x + b
  AMSR_CLAMP = 9,       // min(max(x, a), b)
  AMSR_ADD_MAP = 10,    // x + a * map
  AMSR_MUL_MAP = 11,    // x * (map + a)
  AMSR_MUL_PIXEL = 12,  // x * the one pixel of a 1x1 map, the same for the whole image (channel attention)
  AMSR_ADD_NEAREST = 13,  // shuffled output: x + a * map at the operator's own resolution, channel by channel
  AMSR_MISH = 14,
};

struct AmsrStep {
  int32_t kind, map, channel, unused;
  float a, b;
  const float *vector;  // one value for each packed output lane (padded to lanes)
};

enum AmsrOpKind {
  AMSR_CONV = 0,      // direct
  AMSR_WINOGRAD = 1,  // F(4x4, 3x3)
  AMSR_DEPTHWISE = 2,
  AMSR_POINTWISE = 3,  // out = steps(source); of a PLANAR one the pixel `pad` up and left, or the nearest that there is
  AMSR_MEAN = 4,       // average over the image into a 1x1 map
  AMSR_BILINEAR = 5,   // resize, align_corners=False; any pair of sizes
  AMSR_NEAREST = 6,
  AMSR_MAX_POOL = 7,   // windows are cut at the border
  // Of a 3x3 convolution with up to four outputs. COLLECT sums columns (of each pixel: [tap][output] products) to blocks, one
  // pixel of `out` each: a listed patch's 4 * scale pixels a side and a ring around, of four floats. GATHER adds blocks up.
  AMSR_COLLECT = 8,
  AMSR_GATHER = 9,
  AMSR_WINOGRAD6 = 11,  // F(6x6, 3x3), float; of lists of 6x6 patches
  AMSR_PREDICT = 10,  // matrix product at those pixels of the listed patches that lie near active patches
  AMSR_LAYER_NORM = 12,  // over the channels of each pixel
  AMSR_ADAPTIVE_MAX_POOL = 13,  // windows divide the source into as many rows and columns as the output has
};

struct AmsrOp {
  int32_t kind, compute;               // compute: AmsrType of the products; sums are always float
  int32_t kernel, stride, pad, groups;
  int32_t in_channels, out_channels;   // of the whole convolution
  int32_t scale;                       // the operator's own resolution over that of the list: scale^2 patches for each listed
  int32_t shuffle;                     // output pixels a side for each pixel (pixel shuffle), 1: none
  int32_t source, sources;             // first and number in the table of sources
  int32_t step, steps;                 // first and number in the table of steps
  int32_t out, out_channel, out_lanes;  // the map to write; channels from out_channel on that may be overwritten, at least out_channels
  int32_t planar;                      // out is PLANAR
  int32_t reach, rectified;            // PREDICT: how near, in pixels of out (0: all pixels); max(x, 0) beside each x is read too
  float value[2];                      // MEAN: 1 / number of pixels; BILINEAR, NEAREST: source pixels for each output pixel, y, x;
                                       // LAYER_NORM: what is added to the variance
  const void *weights;                 // packed by amsr_pack
  const float *vector;                 // bias, one value for each packed lane
};

struct AmsrPatch {  // in units of patches at the list's resolution: of 4x4 pixels, for WINOGRAD6 of 6x6
  int16_t y, x;
};

// near: for each patch which of its eight neighbours are active, bit (dy + 1) * 3 + dx + 1, without the middle one (4 and up
// move down); null where no operator asks.
struct AmsrList {
  const AmsrPatch *patches;
  int64_t count;
  const uint8_t *near;
};

// Operators [op, op + ops) run group by group (12 patches, or fewer where all operators are of a larger scale), so that
// local maps and what was just written stay in the cache. Passes of one stage run as a wavefront over rows of patches: pass
// p works on rows that pass p - 1 has left two chunks ago, so it may read neighbours of what p - 1 wrote.
struct AmsrPass {
  int32_t op, ops, list, stage;
};

struct AmsrProgram {
  const AmsrOp *op_table;
  const AmsrSource *source_table;
  const AmsrStep *step_table;
  const AmsrMap *map_table;
  const AmsrPass *pass_table;
  const AmsrList *list_table;
  int32_t ops, sources, steps, maps, passes, lists;
  int32_t threads;
  int32_t chunk;         // patches for each step of a wavefront, at least; 0, or more than one image: no wavefront
  int32_t images, unused;  // the lists hold for each of them
  char *scratch;         // aligned to 64
  int64_t scratch_bytes;
  int64_t local_bytes;   // of each thread's local maps
};

struct AmsrDetail {  // the map of high frequencies of an image, and its means over patches
  const float *image;       // planes
  int64_t row, plane, pixel;  // elements from row to row, from channel to channel and from pixel to pixel
  int32_t channels, height, width;  // 1 or 3 channels
  int32_t half, smooth;     // pixels that the blur and the smoothing reach to each side
  int32_t squared;          // means are of squares, and then their roots
  int32_t patch_size, threads;
  float weights[3];         // of the channels in the luminance
  float noise;              // the noise in the score for a median of 1 of the second differences; 0: no discount
  const float *kernel;      // of the blur, from its middle outwards
  float *map;               // height x width, or null
  float *means;             // one for each patch
  char *scratch;            // aligned to 64
  int64_t scratch_bytes;
};

// Attention within windows of tokens. A window has cells of `area` tokens; queries are whole cells, keys are whole cells, or
// one key for a cell.
struct AmsrAttention {
  const float *query, *key, *value;           // rows; a head's channels lie beside those of the one before
  float *out;                                 // rows as those of the queries
  int64_t query_row, key_row, value_row, out_row;  // elements from row to row
  const float *near_bias;   // [head][token of the window][cell][area]
  const float *far_bias;    // [head][token of the window][cell], of cells that are one key
  // For each window, one behind the last too: where its part begins in query_*, in key_cells and in key_rows. Of the parts of
  // key_cells the first `whole` are cells whose `area` tokens are keys, the others are one key each.
  const int64_t *query_start, *cell_start, *key_start;
  const int32_t *whole;
  const int32_t *query_cells, *query_rows;    // cell of the window, first of `area` rows
  const int32_t *key_cells, *key_rows;        // cell of the window; row of each key
  const int32_t *query_regions, *key_regions; // beside query_cells and key_cells: what differs is kept apart; or null
  int32_t windows, heads, channels, cells, area, threads;  // channels: of a head
  int32_t bf16;             // products may be of bf16
  float scale;
  float *scratch;           // aligned to 64
  int64_t scratch_bytes;
};

enum { AMSR_STENCIL = 16 };  // side + kernel - 1, at most

// A depthwise convolution of listed cells of side x side tokens.
struct AmsrStencil {
  const float *rows, *others;  // what the index counts: `count` rows, then others
  const int32_t *index;        // [cell][side + kernel - 1][side + kernel - 1]
  const float *weights;        // [kernel][kernel][channel]
  const float *bias;           // or null
  float *out;                  // side^2 rows for each cell
  int64_t row, other_row, out_row;  // elements from row to row
  int32_t count, cells, side, kernel, channels, threads;
};

// out = activation(weights * norm(in) + bias) + add, row by row.
struct AmsrLinear {
  const float *in, *weights, *bias;  // weights: [output][input]; bias: or null
  const float *factor, *offset;      // of the layer normalisation, or null
  const float *add;                  // or null
  float *out;
  int64_t in_row, add_row, out_row, rows;  // elements from row to row
  int32_t inputs, outputs, threads;
  int32_t normalised, gelu, bf16;    // bf16: products may be
  float epsilon;                     // of the normalisation
  char *scratch;                     // aligned to 64
  int64_t scratch_bytes;
};

AMSR_EXPORT int amsr_abi(void);
// Space-separated names of the instruction sets that are compiled in and that this machine has, best first.
AMSR_EXPORT const char *amsr_available(void);
// Choose one of them; 0, or -1 where it is not available. Weights packed for another one are not valid any more.
AMSR_EXPORT int amsr_select(const char *name);
AMSR_EXPORT const char *amsr_selected(void);
AMSR_EXPORT int amsr_lanes(void);          // floats in a vector
AMSR_EXPORT int amsr_has_bf16(void);       // whether products in bf16 are faster than in float
AMSR_EXPORT int amsr_packed_lanes(const AmsrOp *op);   // of vectors in steps and bias
// For each packed lane the output channel, or -1 for padding.
AMSR_EXPORT void amsr_lane_channels(const AmsrOp *op, int32_t *channels);
AMSR_EXPORT int64_t amsr_packed_bytes(const AmsrOp *op, const AmsrSource *sources);
// weights: [out][in / groups][kernel][kernel], float; sources: the table that op.source counts in
AMSR_EXPORT void amsr_pack(const AmsrOp *op, const AmsrSource *sources, const float *weights, void *packed);
AMSR_EXPORT int64_t amsr_scratch(const AmsrProgram *program);  // bytes that scratch must have
AMSR_EXPORT int amsr_run(const AmsrProgram *program);          // 0, or -1 where scratch is too small
AMSR_EXPORT void *amsr_allocate(int64_t bytes);                // zeroed, aligned to 2 MB, huge pages where there are; or null
AMSR_EXPORT void amsr_free(void *memory, int64_t bytes);
// Of the bytes of so many arrays, to tell whether weights have changed.
AMSR_EXPORT uint64_t amsr_checksum(const void *const *arrays, const int64_t *bytes, int64_t count);
// Of a mask of patches the positions of active ones, then those of the others, in `patches`; those of the others that touch
// active ones, and which these are (AmsrList::near). Each has room for all. counts: of the first and of the third.
AMSR_EXPORT void amsr_lists(const uint8_t *mask, int rows, int columns, AmsrPatch *patches, AmsrPatch *band, uint8_t *near,
                            int64_t *counts);
// 0, 1 where a patch lies outside of rows x columns, 2 where one comes twice. seen: room for a byte for each.
AMSR_EXPORT int amsr_check_list(const AmsrPatch *patches, int64_t count, int rows, int columns, uint8_t *seen);
AMSR_EXPORT int64_t amsr_detail_scratch(const AmsrDetail *detail);
AMSR_EXPORT int amsr_detail(const AmsrDetail *detail);         // 0, or -1 where scratch is too small
AMSR_EXPORT int64_t amsr_attention_scratch(const AmsrAttention *attention);
AMSR_EXPORT void amsr_stencil(const AmsrStencil *stencil);
AMSR_EXPORT int64_t amsr_linear_scratch(const AmsrLinear *linear);
AMSR_EXPORT int amsr_linear(const AmsrLinear *linear);           // 0, or -1 where scratch is too small
AMSR_EXPORT int amsr_attention(const AmsrAttention *attention);  // 0, or -1 where scratch is too small
