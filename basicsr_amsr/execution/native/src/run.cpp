// Runs a program: passes in order, those of one stage as a wavefront, groups of patches shared out among the threads.
#include <algorithm>
#include <atomic>
#include <cstring>
#include <vector>

#include "dispatch.h"
#include "pool.h"

namespace {

struct Range {  // patches of one pass and one step, and their first group's number
  int64_t from, to;
  int64_t group;
};

int64_t groups_in(int64_t patches, int size) { return (patches + size - 1) / size; }

// Listed patches that run through a pass together: so few that an operator's own ones are whole twelves.
int group_of(const AmsrProgram &p, const AmsrPass &pass) {
  int scale = AMSR_GROUP;
  for (int i = 0; i < pass.ops; i++) scale = std::min(scale, (int)p.op_table[pass.op + i].scale);
  int size = 1;
  while (size * scale * scale % AMSR_GROUP) size++;
  return size;
}

int64_t rounded(int64_t bytes) { return (bytes + 4095) / 4096 * 4096; }

int mean_lanes(const AmsrProgram &p, const AmsrPass &pass) {
  const int lanes = selected()->lanes;
  int n = 0;
  for (int i = 0; i < pass.ops; i++) {
    const AmsrOp &op = p.op_table[pass.op + i];
    if (op.kind == AMSR_MEAN) n += (p.source_table[op.source].channels + lanes - 1) / lanes * lanes;
  }
  return n;
}

int64_t patches_of(const AmsrProgram &p, const AmsrPass &pass) { return p.list_table[pass.list].count * p.images; }

bool in_steps(const AmsrProgram &p) { return p.chunk > 0 && p.images == 1; }

// So many images at most have patches in one group of a pass.
int images_of(const AmsrProgram &p, const AmsrPass &pass) {
  const int64_t count = p.list_table[pass.list].count;
  return (int)std::min<int64_t>(p.images, count ? (group_of(p, pass) + count - 2) / count + 1 : 1);
}

struct Memory {  // how scratch is shared out
  int64_t kernel = 0, local = 0, mean = 0, thread = 0;
};

// A wavefront cuts lists at rows, and each cut may leave a group that is not full.
int64_t most_groups(const AmsrProgram &p, const AmsrPass &pass) {
  const int64_t n = patches_of(p, pass);
  const int size = group_of(p, pass);
  if (!in_steps(p)) return groups_in(n, size);
  int64_t longest = 0;
  for (int i = 0; i < p.lists; i++) longest = std::max(longest, p.list_table[i].count);
  return groups_in(n, size) + std::min(n, longest / p.chunk + 1);
}

int64_t mean_floats(const AmsrProgram &p, const AmsrPass &pass) {
  return most_groups(p, pass) * mean_lanes(p, pass) * images_of(p, pass);
}

Memory memory_of(const AmsrProgram &p) {
  Memory m;
  for (int i = 0; i < p.ops; i++) {
    const int64_t bytes = selected()->scratch_bytes(p, p.op_table[i]);
    if (bytes > m.kernel) m.kernel = bytes;
  }
  m.kernel = rounded(m.kernel);
  m.local = rounded(p.local_bytes);
  m.thread = m.kernel + m.local + 4096;  // threads a page apart, and room for reads beyond a local map's end
  for (int i = 0; i < p.passes; i++) m.mean += mean_floats(p, p.pass_table[i]) * 4;
  m.mean = rounded(m.mean);
  return m;
}

struct Job {
  const AmsrProgram *program;
  const AmsrPass *pass;
  Range range;
  int threads, size, lanes, images;  // patches of a group, lanes of an image's sums, images that a group may have sums of
  float *mean;
  const Memory *memory;
  struct alignas(64) Share {
    std::atomic<int64_t> next;
    int64_t end;
  } shares[256];
};

void run_one(const Job &job, int64_t group, int64_t group_end, int thread) {
  const AmsrProgram &p = *job.program;
  GroupRun run = {};
  run.program = &p;
  run.pass = job.pass;
  run.from = job.range.from + group * job.size;
  run.count = (int)std::min<int64_t>(job.size, job.range.to - run.from);
  if (group + 1 < group_end) run.next_count = (int)std::min<int64_t>(job.size, job.range.to - run.from - job.size);
  run.scratch = p.scratch + thread * job.memory->thread;
  run.locals = run.scratch + job.memory->kernel;
  run.mean = job.mean + (job.range.group + group) * job.lanes * job.images;
  run.lanes = job.lanes;
  selected()->run_group(run);
}

// Each thread works through its own share, whose patches it had in the pass before, then helps the others.
void run_share(void *context, int thread) {
  Job &job = *(Job *)context;
  for (int i = 0; i < job.threads; i++) {
    Job::Share &share = job.shares[(thread + i) % job.threads];
    for (;;) {
      const int64_t group = share.next.fetch_add(1, std::memory_order_relaxed);
      if (group >= share.end) break;
      run_one(job, group, share.end, thread);
    }
  }
}

void run_range(Job &job, const Range &range) {
  const int64_t groups = groups_in(range.to - range.from, job.size);
  if (!groups) return;
  job.range = range;
  for (int t = 0; t < job.threads; t++) {
    job.shares[t].next.store(groups * t / job.threads, std::memory_order_relaxed);
    job.shares[t].end = groups * (t + 1) / job.threads;
  }
  run_parallel(groups > 1 ? job.threads : 1, run_share, &job);
}

// Row of patches at which each step of a wavefront ends, or nothing where a list is not sorted.
std::vector<int> cuts(const AmsrProgram &p, const AmsrPass *passes, int n) {
  std::vector<int64_t> rows;
  for (int i = 0; i < n; i++) {
    const AmsrList &list = p.list_table[passes[i].list];
    for (int64_t k = 0; k < list.count; k++) {
      const int row = list.patches[k].y;
      if (k && row < list.patches[k - 1].y) return {};
      if (row >= (int)rows.size()) rows.resize(row + 1);
      rows[row]++;
    }
  }
  std::vector<int> ends;
  int64_t sum = 0;
  for (int row = 0; row < (int)rows.size(); row++) {
    sum += rows[row];
    if (sum >= (int64_t)p.chunk * n || row + 1 == (int)rows.size()) {
      ends.push_back(row + 1);
      sum = 0;
    }
  }
  return ends;
}

void finish_means(const AmsrProgram &p, const AmsrPass &pass, const float *sums, int64_t groups) {
  const int lanes = mean_lanes(p, pass), images = images_of(p, pass), size = group_of(p, pass);
  const int64_t count = p.list_table[pass.list].count;
  int first = 0;
  for (int i = 0; i < pass.ops; i++) {
    const AmsrOp &op = p.op_table[pass.op + i];
    if (op.kind != AMSR_MEAN) continue;
    const AmsrMap &out = p.map_table[op.out];
    for (int image = 0; image < p.images; image++) {
      // whose patches lie in these groups, but for one image, of which a wavefront cuts groups anywhere
      const int64_t from = p.images > 1 ? image * count / size : 0;
      const int64_t to = p.images > 1 ? groups_in((image + 1) * count, size) : groups;
      for (int c = 0; c < op.out_channels; c++) {
        double sum = 0;
        for (int64_t g = from; g < to; g++) {
          const int64_t before = p.images > 1 ? g * size / count : 0;  // the group's first image
          sum += sums[(g * images + image - before) * lanes + first + c];
        }
        ((float *)out.base)[image * out.image + op.out_channel + c] = (float)(sum * op.value[0]);
      }
    }
    first += (p.source_table[op.source].channels + selected()->lanes - 1) / selected()->lanes * selected()->lanes;
  }
}

void run_stage(const AmsrProgram &p, const AmsrPass *passes, int n, Job &job, float *&mean) {
  std::vector<float *> sums(n);
  std::vector<int64_t> group(n, 0), at(n, 0);
  for (int i = 0; i < n; i++) {
    sums[i] = mean;
    const int64_t size = mean_floats(p, passes[i]);
    memset(mean, 0, size * 4);
    mean += size;
  }
  const std::vector<int> ends = n > 1 && in_steps(p) ? cuts(p, passes, n) : std::vector<int>();
  const int steps = ends.empty() ? 1 : (int)ends.size();
  const auto run = [&](int i, int64_t to) {
    job.pass = &passes[i];
    job.mean = sums[i];
    job.lanes = mean_lanes(p, passes[i]);
    job.images = images_of(p, passes[i]);
    job.size = group_of(p, passes[i]);
    run_range(job, {at[i], to, group[i]});
    group[i] += groups_in(to - at[i], job.size);
    at[i] = to;
  };
  for (int step = 0; step < steps + n - 1; step++)
    for (int i = 0; i < n; i++) {
      const AmsrList &list = p.list_table[passes[i].list];
      if (ends.empty()) {
        if (step == i) run(i, patches_of(p, passes[i]));
      } else if (step - i >= 0 && step - i < steps) {
        int64_t to = at[i];
        while (to < list.count && list.patches[to].y < ends[step - i]) to++;
        run(i, to);
      }
    }
  for (int i = 0; i < n; i++) finish_means(p, passes[i], sums[i], group[i]);
}

}  // namespace

int64_t amsr_scratch(const AmsrProgram *program) {
  const Memory m = memory_of(*program);
  return m.thread * program->threads + m.mean;
}

int amsr_run(const AmsrProgram *program) {
  const AmsrProgram &p = *program;
  if (p.threads < 1 || p.threads > 255 || p.images < 1 || amsr_scratch(program) > p.scratch_bytes) return -1;
  const Memory memory = memory_of(p);
  PoolUse use(p.threads);
  Job job;
  job.program = &p;
  job.threads = use.threads;
  job.memory = &memory;
  float *mean = (float *)(p.scratch + memory.thread * p.threads);
  for (int i = 0; i < p.passes;) {
    int n = 1;
    while (i + n < p.passes && p.pass_table[i + n].stage == p.pass_table[i].stage) n++;
    run_stage(p, p.pass_table + i, n, job, mean);
    i += n;
  }
  return 0;
}
