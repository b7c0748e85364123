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
