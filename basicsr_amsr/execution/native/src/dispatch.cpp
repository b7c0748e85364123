#include "dispatch.h"

#include <atomic>
#include <cstring>

// build.py says HAVE_... for what this compiler could build.
extern const Kernels kernels_plain, kernels_neon, kernels_avx2, kernels_avx512, kernels_avx512bf16, kernels_avx512amx;

#if defined(__x86_64__)
#include <cpuid.h>
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

// By CPUID and XGETBV: __builtin_cpu_supports does not know bf16 in every compiler.
static bool has(bool avx512, bool bf16) {
  unsigned a, b, c, d;
  if (!__get_cpuid(1, &a, &b, &c, &d) || !(c >> 27 & 1) || !(c >> 12 & 1)) return false;  // OSXSAVE, FMA
  unsigned low, high;
  asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  if ((low & 6) != 6 || !__get_cpuid_count(7, 0, &a, &b, &c, &d) || !(b >> 5 & 1)) return false;  // YMM state, AVX2
  if (!avx512) return true;
  const unsigned needed = 1u << 16 | 1u << 17 | 1u << 30 | 1u << 31;  // F, DQ, BW, VL
  if ((low & 0xe6) != 0xe6 || (b & needed) != needed) return false;
  return !bf16 || (a >= 1 && __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a >> 5 & 1));
}

#if defined(HAVE_avx512amx)
// Tiles of bf16, and the system's leave to use them, which a process asks for once (Linux: arch_prctl(2)).
static bool has_tiles() {
#if defined(__linux__)
  unsigned a, b, c, d;
  if (!has(true, true) || !__get_cpuid_count(7, 0, &a, &b, &c, &d) || !(d >> 22 & 1) || !(d >> 24 & 1)) return false;
  unsigned low, high;
  asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  enum { REQUEST = 0x1023, TILE_DATA = 18 };
  return (low >> 17 & 3) == 3 && syscall(SYS_arch_prctl, REQUEST, TILE_DATA) == 0;
#else
  return false;
#endif
}
#endif
#endif

static const Kernels *const *all() {  // best first
  static const Kernels *found[6] = {};
  static const bool once = [] {
    int n = 0;
#if defined(HAVE_avx512amx)
    if (has_tiles()) found[n++] = &kernels_avx512amx;
#endif
#if defined(HAVE_avx512bf16)
    if (has(true, true)) found[n++] = &kernels_avx512bf16;
#endif
#if defined(HAVE_avx512)
    if (has(true, false)) found[n++] = &kernels_avx512;
#endif
#if defined(HAVE_avx2)
    if (has(false, false)) found[n++] = &kernels_avx2;
#endif
#if defined(HAVE_neon)
    found[n++] = &kernels_neon;
#endif
    found[n++] = &kernels_plain;
    return true;
  }();
  (void)once;
  return found;
}

static std::atomic<const Kernels *> choice{nullptr};

const Kernels *selected() {
  const Kernels *k = choice.load();
  return k ? k : all()[0];
}

const char *amsr_available(void) {
  static char names[64];
  static const bool once = [] {
    for (const Kernels *const *k = all(); *k; k++) {
      if (k != all()) strcat(names, " ");
      strcat(names, (*k)->name);
    }
    return true;
  }();
  (void)once;
  return names;
}

int amsr_select(const char *name) {
  for (const Kernels *const *k = all(); *k; k++)
    if (!strcmp((*k)->name, name)) {
      choice.store(*k);
      return 0;
    }
  return -1;
}

int amsr_abi(void) { return AMSR_ABI; }
const char *amsr_selected(void) { return selected()->name; }
int amsr_lanes(void) { return selected()->lanes; }
int amsr_has_bf16(void) { return selected()->bf16; }
int amsr_packed_lanes(const AmsrOp *op) { return selected()->packed_lanes(*op); }
void amsr_lane_channels(const AmsrOp *op, int32_t *channels) { selected()->lane_channels(*op, channels); }
int64_t amsr_packed_bytes(const AmsrOp *op, const AmsrSource *sources) { return selected()->packed_bytes(*op, sources); }
void amsr_pack(const AmsrOp *op, const AmsrSource *sources, const float *weights, void *packed) {
  selected()->pack(*op, sources, weights, packed);
}
