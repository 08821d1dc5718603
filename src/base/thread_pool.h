// A persistent pool of threads for data-parallel loops. Workers spin briefly between loops (decoding issues hundreds
// of small ones per token) and then park. The calling thread takes part, so a pool of size 1 starts no thread.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>

namespace lathe {

// Non-owning reference to a callable: no allocation per loop.
template <class Signature>
class FunctionRef;
template <class R, class... Args>
class FunctionRef<R(Args...)> {
 public:
  template <class F>
  FunctionRef(F&& f)  // NOLINT(google-explicit-constructor): meant to bind a lambda in place
      : object_(const_cast<void*>(static_cast<const void*>(&f))), call_([](void* object, Args... args) -> R {
          return (*static_cast<std::remove_reference_t<F>*>(object))(static_cast<Args>(args)...);
        }) {}
  R operator()(Args... args) const { return call_(object_, static_cast<Args>(args)...); }

 private:
  void* object_;
  R (*call_)(void*, Args...);
};

// Cores this process may really use: the affinity mask, capped by the container's CPU quota.
int usable_cores();

class ThreadPool {
 public:
  // `threads` <= 0 means usable_cores().
  explicit ThreadPool(int threads = 0);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int size() const;

  // Calls body(begin, end, worker) on disjoint ranges covering [0, count), each at most `grain` long, taken dynamically
  // by the workers; worker is in [0, size()). Returns when all are done, and waits for no worker that is not at one of
  // them; the first exception thrown is rethrown here.
  // One loop at a time: concurrent callers wait for each other. Loops do not nest: a body that calls parallel_for runs
  // it inline on its own thread.
  void parallel_for(std::size_t count, std::size_t grain,
                    FunctionRef<void(std::size_t begin, std::size_t end, int worker)> body);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace lathe
