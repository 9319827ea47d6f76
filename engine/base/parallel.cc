#include "base/parallel.h"

#include <algorithm>
#include <atomic>
#include <exception>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

namespace serotine {
namespace {

// Joins on every way out, so that no thread outlives the data it works on.
class ThreadGroup {
 public:
  ThreadGroup() = default;
  ThreadGroup(const ThreadGroup&) = delete;
  ThreadGroup& operator=(const ThreadGroup&) = delete;
  ~ThreadGroup() {
    for (std::thread& thread : threads_) {
      thread.join();
    }
  }

  void reserve(std::size_t size) { threads_.reserve(size); }

  template <typename Work>
  void start(Work work) {
    threads_.emplace_back(std::move(work));
  }

 private:
  std::vector<std::thread> threads_;
};

}  // namespace

void parallel_for(std::uint64_t num_chunks, std::uint64_t num_threads,
                  const std::function<void(std::uint64_t, std::uint64_t)>& work) {
  std::atomic<std::uint64_t> next{0};
  std::exception_ptr failure;
  std::mutex failure_mutex;

  const auto take_chunks = [&](std::uint64_t worker) noexcept {
    try {
      for (std::uint64_t chunk = next.fetch_add(1); chunk < num_chunks; chunk = next.fetch_add(1)) {
        work(worker, chunk);
      }
    } catch (...) {
      next.store(num_chunks);
      const std::scoped_lock lock(failure_mutex);
      if (!failure) {
        failure = std::current_exception();
      }
    }
  };

  {
    ThreadGroup others;
    const std::uint64_t num_workers = std::min(num_threads, num_chunks);
    if (num_workers > 1) {
      others.reserve(num_workers - 1);
    }
    for (std::uint64_t worker = 1; worker < num_workers; ++worker) {
      try {
        others.start([&take_chunks, worker] { take_chunks(worker); });
      } catch (const std::system_error&) {
        break;  // at the limit of threads: those that run do the work
      }
    }
    take_chunks(0);
  }
  if (failure) {
    std::rethrow_exception(failure);
  }
}

}  // namespace serotine
