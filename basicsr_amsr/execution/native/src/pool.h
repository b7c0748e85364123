// Threads that live as long as the process and sleep between images.
#pragma once

// Runs work(context, thread) by this thread, number 0, and by those of threads 1 to threads - 1 that come before it is done:
// whatever there is to do has to be shared out among those that are there. Returns when all of them are done. One caller
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
