// Memory that is kept between images: zeroed, in huge pages where the system has them.
#include "interface.h"

#include <cstdlib>
#include <cstring>
#ifdef _WIN32
#include <malloc.h>
#else
#include <sys/mman.h>
#endif

static const int64_t HUGE_PAGE = 2 << 20;

static int64_t whole_pages(int64_t bytes) { return (bytes + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE; }

void *amsr_allocate(int64_t bytes) {
  if (bytes <= 0 || bytes > INT64_MAX - 2 * HUGE_PAGE) return nullptr;
  const int64_t size = whole_pages(bytes);
#ifdef _WIN32
  void *memory = _aligned_malloc((size_t)size, HUGE_PAGE);
  if (memory) memset(memory, 0, (size_t)size);
  return memory;
#else
  // One huge page more, so that an aligned range lies within; what is over is given back.
  char *raw = (char *)mmap(nullptr, (size_t)(size + HUGE_PAGE), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (raw == MAP_FAILED) return nullptr;
  char *memory = (char *)(((uintptr_t)raw + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE);
  if (memory > raw) munmap(raw, memory - raw);
  if (memory < raw + HUGE_PAGE) munmap(memory + size, raw + HUGE_PAGE - memory);
#ifdef MADV_HUGEPAGE
  madvise(memory, (size_t)size, MADV_HUGEPAGE);
#endif
  return memory;
#endif
}

void amsr_free(void *memory, int64_t bytes) {
#ifdef _WIN32
  (void)bytes;
  _aligned_free(memory);
#else
  if (memory) munmap(memory, (size_t)whole_pages(bytes));
#endif
}

// Eight chains, so that they do not wait for one another's multiplication.
enum { CHAINS = 8, LINE = 8 * CHAINS };
static const uint64_t PRIME = 0x9E3779B97F4A7C15u;

static inline void mix(uint64_t *chain, const char *line) {
  uint64_t words[CHAINS];
  memcpy(words, line, LINE);
  for (int k = 0; k < CHAINS; k++) {
    const uint64_t mixed = (chain[k] ^ words[k]) * PRIME;
    chain[k] = mixed ^ mixed >> 32;
  }
}

uint64_t amsr_checksum(const void *const *arrays, const int64_t *bytes, int64_t count) {
  uint64_t chain[CHAINS] = {1, 2, 3, 4, 5, 6, 7, 8};
  for (int64_t i = 0; i < count; i++) {
    const char *at = (const char *)arrays[i], *end = at + bytes[i];
    for (; end - at >= LINE; at += LINE) mix(chain, at);
    char rest[LINE] = {};
    if (at < end) memcpy(rest, at, (size_t)(end - at));
    mix(chain, rest);
    for (int k = 0; k < CHAINS; k++) chain[k] = (chain[k] + (uint64_t)bytes[i]) * PRIME;
  }
  for (int k = 1; k < CHAINS; k++) chain[0] = (chain[0] ^ (chain[k] << k * 7 | chain[k] >> (64 - k * 7))) * PRIME;
  return chain[0];
}
