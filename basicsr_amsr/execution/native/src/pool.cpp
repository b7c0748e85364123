#include "pool.h"

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <system_error>
#include <thread>
#ifndef _WIN32
#include <pthread.h>
#endif
#ifdef __linux__
#include <sched.h>

#include <vector>
#endif

namespace {

// Longer than the gap between two steps of a wavefront, or between two calls of a pass, shorter than anybody notices. Where
// a machine is a guest of another, waking a processor up that sleeps takes milliseconds.
constexpr auto SPIN = std::chrono::microseconds(1000);

inline void relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// Spins for a while, then sleeps, until ready() holds. Whoever makes it hold calls wake().
class Gate {
 public:
  template <class Ready> void wait(Ready ready) {
    const auto until = std::chrono::steady_clock::now() + SPIN;
    do {
      for (int i = 0; i < 64; i++) {
        if (ready()) return;
        relax();
      }
    } while (std::chrono::steady_clock::now() < until);
    std::unique_lock<std::mutex> lock(mutex_);
    sleepers_.fetch_add(1);
    changed_.wait(lock, ready);
    sleepers_.fetch_sub(1);
  }
  void wake() {
    if (!sleepers_.load()) return;
    std::lock_guard<std::mutex> lock(mutex_);
    changed_.notify_all();
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::atomic<int> sleepers_{0};
};

constexpr unsigned long long OVER = 1 << 16;

struct Pool {
  std::mutex use;  // held by the caller that has the pool
  Gate start, done;
  // One word, so that nobody sees half of it: number of the job, from bit 17; whether it is over, bit 16; the threads that
  // may take part; and, in the low byte, those at work beside the caller. Who wakes up too late is not waited for.
  std::atomic<unsigned long long> job{OVER};
  int count = 0;  // of threads, without the caller
  void (*work)(void *, int) = nullptr;
  void *context = nullptr;

  void serve(int index) {
    unsigned long long seen = 0;
    for (;;) {
      start.wait([&] { return job.load() >> 17 != seen; });
      unsigned long long now = job.load();
      seen = now >> 17;
      while (!(now & OVER) && now >> 17 == seen && index < (int)(now >> 8 & 255))
        if (job.compare_exchange_weak(now, now + 1)) {
          work(context, index);
          if ((job.fetch_sub(1) & (OVER | 255)) == (OVER | 1)) done.wake();
          break;
        }
    }
  }
  void grow(int threads) {
    while (count + 1 < threads) {
      const int index = count + 1;
      std::thread thread([this, index] { serve(index); });
#ifdef __linux__
      handles.push_back(thread.native_handle());
      caller_cpu = -1;
#endif
      thread.detach();
      count++;
    }
  }
#ifdef __linux__
  std::vector<pthread_t> handles;
  int caller_cpu = -1;

  // A thread that wakes up stays where it slept. Where that is the CPU of the caller, who computes, it waits for the next
  // balancing of the scheduler: milliseconds, a whole small image. So threads are kept off the caller's CPU.
  void leave_room() {
    const int cpu = sched_getcpu();
    cpu_set_t allowed;
    if (cpu == caller_cpu || cpu < 0 || sched_getaffinity(0, sizeof allowed, &allowed)) return;
    if (CPU_COUNT(&allowed) <= count) return;
    CPU_CLR(cpu, &allowed);
    for (const pthread_t handle : handles) pthread_setaffinity_np(handle, sizeof allowed, &allowed);
    caller_cpu = cpu;
  }
#else
  void leave_room() {}
#endif
};

std::atomic<Pool *> the_pool{nullptr};
thread_local bool in_use = false;

// Never destroyed: detached threads may look at it until the process is gone. A child after fork has none of the threads,
// and a lock may be held for ever, so that it starts a pool of its own.
Pool &pool() {
  Pool *p = the_pool.load();
  if (!p) {
    Pool *fresh = new Pool;
    if (the_pool.compare_exchange_strong(p, fresh)) {
      p = fresh;
#ifndef _WIN32
      static std::atomic<bool> once{false};
      if (!once.exchange(true)) pthread_atfork(nullptr, nullptr, [] {
        the_pool.store(nullptr);
        in_use = false;
      });
#endif
    } else {
      delete fresh;
    }
  }
  return *p;
}

}  // namespace

PoolUse::PoolUse(int wanted) : threads(1), owner_(false) {
  if (wanted < 2 || in_use || !pool().use.try_lock()) return;
  owner_ = in_use = true;
  try {
    pool().grow(wanted > 255 ? 255 : wanted);
  } catch (const std::system_error &) {  // no more threads to be had: those that are there do
  }
  threads = wanted < pool().count + 1 ? wanted : pool().count + 1;
  pool().leave_room();
}

PoolUse::~PoolUse() {
  if (!owner_) return;
  in_use = false;
  pool().use.unlock();
}

void run_parallel(int threads, void (*work)(void *, int), void *context) {
  if (threads < 2) return work(context, 0);
  Pool &p = pool();
  p.work = work;
  p.context = context;
  p.job.store(((p.job.load() >> 17) + 1) << 17 | (unsigned)threads << 8);
  p.start.wake();
  work(context, 0);
  p.job.fetch_or(OVER);
  p.done.wait([&] { return (p.job.load() & 255) == 0; });
}
