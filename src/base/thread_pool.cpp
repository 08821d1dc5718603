#include "base/thread_pool.h"

#include <sched.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <exception>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "base/cpu_quota.h"

namespace lathe {
namespace {

// About 50 microseconds on current x86: longer than the gap between two loops of one token, shorter than a sleep.
constexpr int kSpins = 2000;

// The worker whose loop this thread is running, or -1 outside of one.
thread_local int current_worker = -1;

inline void pause_cpu() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

}  // namespace

int usable_cores() {
  cpu_set_t set;
  int cores = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  if (::sched_getaffinity(0, sizeof set, &set) == 0) cores = std::max(1, CPU_COUNT(&set));
  const double quota = std::round(std::max(1.0, cpu_quota().value_or(cores)));
  return static_cast<int>(std::min<double>(cores, quota));
}

// On a cache line of its own: what one thread waits for is not moved about by what others count.
template <class T>
struct alignas(64) OnItsLine : std::atomic<T> {
  OnItsLine() : std::atomic<T>(0) {}
};

struct ThreadPool::State {
  OnItsLine<std::size_t> next;
  OnItsLine<std::uint32_t> epoch;  // loops begun: what workers wait for
  // Workers inside the loop, and whether more may enter. A loop is over when its caller has found no range left and
  // nobody is inside: a worker that another process keeps from running is not waited for unless it holds a range.
  static constexpr std::uint32_t kOpen = std::uint32_t{1} << 31;
  OnItsLine<std::uint32_t> gate;

  std::vector<std::thread> workers;
  int size = 1;
  int spins = kSpins;

  std::mutex loop_mutex;  // one loop at a time
  FunctionRef<void(std::size_t, std::size_t, int)>* body = nullptr;
  std::size_t count = 0, grain = 1;
  std::mutex error_mutex;
  std::exception_ptr error;
  std::atomic<bool> stopping{false};

  void work(int worker) {
    current_worker = worker;
    try {
      for (;;) {
        const std::size_t begin = next.fetch_add(grain, std::memory_order_relaxed);
        if (begin >= count) break;
        (*body)(begin, std::min(count, begin + grain), worker);
      }
    } catch (...) {
      next.store(count, std::memory_order_relaxed);
      const std::lock_guard lock(error_mutex);
      if (!error) error = std::current_exception();
    }
    current_worker = -1;
  }

  template <class T>
  void wait_while(std::atomic<T>& value, T seen) const {
    for (int i = 0; i < spins; ++i) {
      if (value.load(std::memory_order_acquire) != seen) return;
      pause_cpu();
    }
    value.wait(seen, std::memory_order_acquire);
  }

  bool enter() {
    std::uint32_t now = gate.load(std::memory_order_relaxed);
    while ((now & kOpen) != 0) {
      if (gate.compare_exchange_weak(now, now + 1, std::memory_order_acquire, std::memory_order_relaxed)) return true;
    }
    return false;
  }
  void leave() {
    if (gate.fetch_sub(1, std::memory_order_release) == 1) gate.notify_one();
  }
  void close() {
    gate.fetch_and(~kOpen, std::memory_order_relaxed);
    for (std::uint32_t inside; (inside = gate.load(std::memory_order_acquire)) != 0;) wait_while(gate, inside);
  }

  void run_worker(int worker) {
    std::uint32_t seen = 0;
    for (;;) {
      wait_while(epoch, seen);
      seen = epoch.load(std::memory_order_acquire);
      if (stopping.load(std::memory_order_relaxed)) return;
      if (!enter()) continue;
      work(worker);
      leave();
    }
  }
};

ThreadPool::ThreadPool(int threads) : state_(std::make_unique<State>()) {
  const int cores = usable_cores();
  state_->size = threads > 0 ? threads : cores;
  if (state_->size > cores) state_->spins = 0;  // spinning would take the core from the thread being waited for
  for (int worker = 1; worker < state_->size; ++worker) {
    state_->workers.emplace_back([state = state_.get(), worker] { state->run_worker(worker); });
  }
}

ThreadPool::~ThreadPool() {
  state_->stopping.store(true, std::memory_order_relaxed);
  state_->epoch.fetch_add(1, std::memory_order_release);
  state_->epoch.notify_all();
  for (std::thread& worker : state_->workers) worker.join();
}

int ThreadPool::size() const { return state_->size; }

void ThreadPool::parallel_for(std::size_t count, std::size_t grain,
                              FunctionRef<void(std::size_t, std::size_t, int)> body) {
  State& state = *state_;
  grain = std::max<std::size_t>(1, grain);
  if (state.size == 1 || count <= grain || current_worker >= 0) {
    const int worker = std::max(0, current_worker);
    for (std::size_t begin = 0; begin < count; begin += grain) body(begin, std::min(count, begin + grain), worker);
    return;
  }
  const std::lock_guard lock(state.loop_mutex);
  state.body = &body;
  state.count = count;
  state.grain = grain;
  state.next.store(0, std::memory_order_relaxed);
  state.gate.store(State::kOpen, std::memory_order_release);
  state.epoch.fetch_add(1, std::memory_order_release);
  state.epoch.notify_all();
  state.work(0);
  state.close();
  if (state.error) std::rethrow_exception(std::exchange(state.error, nullptr));
}

}  // namespace lathe
