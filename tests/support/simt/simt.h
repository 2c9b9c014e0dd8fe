// Runs GPU kernels on the host, thread for thread: every thread of a block is a fiber that gives way at
// barriers, at warp operations and, in shuffled order, at atomics. What a GPU leaves undefined stops the
// program with a message: barriers that not all threads reach, warp operations that not all lanes take part
// in.
#pragma once

#include <ucontext.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <random>
#include <set>
#include <vector>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif

#define STADX_DEVICE inline

namespace simt {

enum class Order { forward, reversed, shuffled };

// Of all launches; set by the tests.
struct Settings {
  Order order = Order::forward;
  uint64_t seed = 0;
  int removed_barrier = 0;  // source line of a sync() that does nothing; 0: none
  std::set<int> barriers;   // lines of every sync() that was reached
};
inline Settings settings;

[[noreturn]] inline void fail(const char* what, int line) {
  std::fprintf(stderr, "simt: %s (line %d)\n", what, line);
  std::fflush(stderr);
  std::_Exit(99);
}

constexpr int kLanes = 32;
constexpr size_t kStack = 256 * 1024;

class Machine;

struct Fiber {
  ucontext_t context;
  std::unique_ptr<char[]> stack{new char[kStack]};
  enum class State { ready, at_barrier, at_warp, done } state = State::done;
  int line = 0;  // where it waits
  int warp_round = 0;
  void* fake_stack = nullptr;
};

struct Warp {
  alignas(
      16) char values[2][kLanes][16];  // of this round and the one before, which some may still be reading
  int arrived = 0, round = 0, line = 0;
};

// The block that runs now. One per process: kernels run one after the other.
class Machine {
 public:
  template <typename Body>
  void run_block(int threads, const Body& body) {
    while (static_cast<int>(fibers_.size()) < threads) fibers_.push_back(std::make_unique<Fiber>());
    threads_ = threads;
    warps_.assign(static_cast<size_t>(threads / kLanes), Warp{});
    call_ = [](const void* b) { (*static_cast<const Body*>(b))(); };
    body_ = &body;
    for (int t = 0; t < threads; ++t) {
      Fiber& fiber = *fibers_[static_cast<size_t>(t)];
      getcontext(&fiber.context);
      fiber.context.uc_stack.ss_sp = fiber.stack.get();
      fiber.context.uc_stack.ss_size = kStack;
      fiber.context.uc_link = nullptr;
      makecontext(&fiber.context, reinterpret_cast<void (*)()>(&Machine::enter), 0);
      fiber.state = Fiber::State::ready;
    }
    while (step()) {
    }
  }

  int current() const { return current_; }

  void barrier(int line) {
    settings.barriers.insert(line);
    if (line == settings.removed_barrier) return;
    wait(Fiber::State::at_barrier, line);
  }

  // Every lane of the warp gives a value; returns those of all lanes.
  const char (*exchange(const void* value, size_t size, int line))[16] {
    Warp& warp = warps_[static_cast<size_t>(current_ / kLanes)];
    const int buffer = warp.round & 1;
    std::memcpy(warp.values[buffer][current_ % kLanes], value, size);
    if (warp.arrived == 0) warp.line = line;
    if (warp.line != line) fail("lanes of a warp take part in different warp operations", line);
    if (++warp.arrived == kLanes) {
      warp.arrived = 0;
      ++warp.round;
      const int first = current_ / kLanes * kLanes;
      for (int t = first; t < first + kLanes; ++t) {
        Fiber& fiber = *fibers_[static_cast<size_t>(t)];
        if (fiber.state == Fiber::State::at_warp) fiber.state = Fiber::State::ready;
      }
    } else {
      wait(Fiber::State::at_warp, line);
    }
    return warp.values[buffer];
  }

  // Lets others run first, at times.
  void maybe_yield() {
    if (settings.order == Order::shuffled && random_() % 4 == 0) wait(Fiber::State::ready, 0);
  }

 private:
  static void enter();

  // One turn for every fiber that can run; false when all are done.
  bool step() {
    bool ran = false, left = false;
    if (settings.order == Order::shuffled) {
      for (int i = 0; i < threads_; ++i) {
        ran = resume_if_ready(static_cast<int>(random_() % static_cast<uint64_t>(threads_))) || ran;
      }
    } else {
      // A warp runs as far ahead of the others as it can: so does it on a GPU, at times.
      for (int first = 0; first < threads_; first += kLanes) {
        for (bool again = true; again;) {
          again = false;
          for (int i = first; i < first + kLanes; ++i) {
            const int t = settings.order == Order::reversed ? threads_ - 1 - i : i;
            again = resume_if_ready(t) || again;
          }
          ran = ran || again;
        }
      }
    }
    int at_barrier = 0, ready = 0, line = 0;
    for (int t = 0; t < threads_; ++t) {
      const Fiber& fiber = *fibers_[static_cast<size_t>(t)];
      left = left || fiber.state != Fiber::State::done;
      ready += fiber.state == Fiber::State::ready;
      if (fiber.state == Fiber::State::at_barrier) {
        if (at_barrier++ > 0 && fiber.line != line) fail("threads wait at different barriers", fiber.line);
        line = fiber.line;
      }
    }
    if (at_barrier == threads_) {
      for (int t = 0; t < threads_; ++t) fibers_[static_cast<size_t>(t)]->state = Fiber::State::ready;
    } else if (!ran && left && ready == 0) {
      fail("not all threads of a block reach a barrier, or not all lanes of a warp a warp operation", line);
    }
    return left;
  }

  void wait(Fiber::State state, int line) {
    Fiber& fiber = *fibers_[static_cast<size_t>(current_)];
    fiber.state = state;
    fiber.line = line;
    leave(fiber, false);
  }

  bool resume_if_ready(int t) {
    if (fibers_[static_cast<size_t>(t)]->state != Fiber::State::ready) return false;
    resume(t);
    return true;
  }

  void resume(int t) {
    current_ = t;
    Fiber& fiber = *fibers_[static_cast<size_t>(t)];
#if defined(__SANITIZE_ADDRESS__)
    void* fake = nullptr;
    __sanitizer_start_switch_fiber(&fake, fiber.stack.get(), kStack);
#endif
    swapcontext(&main_, &fiber.context);
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(fake, nullptr, nullptr);
#endif
  }

  void leave(Fiber& fiber, bool for_good) {
    (void)for_good;
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_start_switch_fiber(for_good ? nullptr : &fiber.fake_stack, main_stack_, main_size_);
#endif
    swapcontext(&fiber.context, &main_);
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(fiber.fake_stack, &main_stack_, &main_size_);
#endif
  }

  std::vector<std::unique_ptr<Fiber>> fibers_;
  std::vector<Warp> warps_;
  std::mt19937_64 random_;
  ucontext_t main_{};
  const void* main_stack_ = nullptr;
  size_t main_size_ = 0;
  int threads_ = 0, current_ = 0;
  void (*call_)(const void*) = nullptr;
  const void* body_ = nullptr;

 public:
  void reseed(uint64_t seed) { random_.seed(seed); }
};

inline Machine machine;

inline void Machine::enter() {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(nullptr, &machine.main_stack_, &machine.main_size_);
#endif
  machine.call_(machine.body_);
  Fiber& fiber = *machine.fibers_[static_cast<size_t>(machine.current_)];
  fiber.state = Fiber::State::done;
  machine.leave(fiber, true);
}

struct Place {
  int64_t x, y, grid_x, grid_y;
};

}  // namespace simt

namespace stadx::cuda {

class Block {
 public:
  explicit Block(const simt::Place& place) : place_(place), thread_(simt::machine.current()) {}

  int thread() const { return thread_; }
  int lane() const { return thread_ % simt::kLanes; }
  int warp() const { return thread_ / simt::kLanes; }
  int64_t x() const { return place_.x; }
  int64_t y() const { return place_.y; }
  int64_t grid_x() const { return place_.grid_x; }
  int64_t grid_y() const { return place_.grid_y; }

  void sync(int line = __builtin_LINE()) { simt::machine.barrier(line); }

  uint32_t ballot(bool value, int line = __builtin_LINE()) {
    const auto* values = simt::machine.exchange(&value, sizeof value, line);
    uint32_t bits = 0;
    for (int i = 0; i < simt::kLanes; ++i) bits |= static_cast<uint32_t>(values[i][0] != 0) << i;
    return bits;
  }
  template <typename T>
  T shuffle(T value, int lane, int line = __builtin_LINE()) {
    return take(value, lane & (simt::kLanes - 1), line);
  }
  template <typename T>
  T shuffle_xor(T value, int mask, int line = __builtin_LINE()) {
    return take(value, lane() ^ mask, line);
  }
  template <typename T>
  T shuffle_up(T value, int lanes, int line = __builtin_LINE()) {
    return take(value, lane() < lanes ? lane() : lane() - lanes, line);
  }

  int32_t atomic_add(int32_t* p, int32_t value) {
    return change(p, [&](int32_t old) { return old + value; });
  }
  uint32_t atomic_add(uint32_t* p, uint32_t value) {
    return change(p, [&](uint32_t old) { return old + value; });
  }
  int64_t atomic_add(int64_t* p, int64_t value) {
    return change(p, [&](int64_t old) { return old + value; });
  }
  int32_t atomic_min(int32_t* p, int32_t value) {
    return change(p, [&](int32_t old) { return old < value ? old : value; });
  }
  uint32_t atomic_or(uint32_t* p, uint32_t value) {
    return change(p, [&](uint32_t old) { return old | value; });
  }

  int32_t load_changing(const int32_t* p) {
    simt::machine.maybe_yield();
    return *p;
  }

 private:
  template <typename T>
  T take(T value, int lane, int line) {
    static_assert(sizeof(T) <= 16);
    const auto* values = simt::machine.exchange(&value, sizeof value, line);
    T result;
    std::memcpy(&result, values[lane], sizeof result);
    return result;
  }

  template <typename T, typename F>
  static T change(T* p, const F& f) {
    simt::machine.maybe_yield();
    const T old = *p;
    *p = f(old);
    return old;
  }

  simt::Place place_;
  int thread_;
};

template <typename T>
T load_constant(const T* p) {
  return *p;
}

inline int popcount(uint32_t bits) { return __builtin_popcount(bits); }
inline int popcount(uint64_t bits) { return __builtin_popcountll(bits); }
inline int lowest_bit(uint32_t bits) { return bits == 0 ? -1 : __builtin_ctz(bits); }

}  // namespace stadx::cuda

namespace simt {

template <typename Kernel>
void launch(const Kernel& kernel, int64_t grid_x, int64_t grid_y) {
  using Shared = typename Kernel::Shared;
  static_assert(Kernel::kThreads % kLanes == 0 && Kernel::kThreads <= 1024);
  static_assert(std::is_trivially_default_constructible_v<Shared>);
  if (grid_x >= int64_t{1} << 31 || grid_y > 65535) fail("the grid is too large", 0);
  machine.reseed(settings.seed);
  const int64_t blocks = grid_x * grid_y;
  for (int64_t i = 0; i < blocks; ++i) {
    const int64_t b = settings.order == Order::reversed ? blocks - 1 - i : i;
    const auto memory = std::make_unique<char[]>(sizeof(Shared) + alignof(Shared));
    std::memset(memory.get(), 0xA5, sizeof(Shared) + alignof(Shared));  // nobody may rely on zeros
    const auto begin = reinterpret_cast<uintptr_t>(memory.get());
    auto* shared =
        reinterpret_cast<Shared*>((begin + alignof(Shared) - 1) / alignof(Shared) * alignof(Shared));
    const Place place{b % grid_x, b / grid_x, grid_x, grid_y};
    machine.run_block(Kernel::kThreads, [&] {
      stadx::cuda::Block block(place);
      kernel(block, *shared);
    });
  }
}

}  // namespace simt
