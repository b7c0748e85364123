// Threads that live as long as the process and sleep between images.
#pragma once

// Runs work(context, thread) for thread 0 to threads - 1, this thread among them, and returns when all are done. One caller
// at a time has the pool: a second one, or a child after fork, works alone, as threads of its own would only disturb.
void run_parallel(int threads, void (*work)(void *, int), void *context);

// Keeps the pool for one caller over several run_parallel calls; `threads` is what it may use.
class PoolUse {
 public:
  explicit PoolUse(int wanted);
  ~PoolUse();
  int threads;

 private:
  bool owner_;
};
