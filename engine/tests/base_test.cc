// Sizes never wrap, and work that is spread over threads is done once, with its exceptions carried back.
#include <doctest/doctest.h>

#include <atomic>
#include <cstdint>
#include <limits>
#include <stdexcept>
#include <vector>

#include "base/aligned_buffer.h"
#include "base/checked.h"
#include "base/parallel.h"

namespace serotine {
namespace {

constexpr std::uint64_t kLargest = std::numeric_limits<std::uint64_t>::max();

TEST_CASE("arithmetic on sizes throws where it would wrap") {
  CHECK(checked_add(kLargest - 1, 1) == kLargest);
  CHECK_THROWS_AS(static_cast<void>(checked_add(kLargest, 1)), InvalidInput);
  CHECK(checked_multiply(std::uint64_t{1} << 32, (std::uint64_t{1} << 32) - 1) == kLargest - 0xFFFF'FFFFU);
  CHECK_THROWS_AS(static_cast<void>(checked_multiply(std::uint64_t{1} << 32, std::uint64_t{1} << 32)), InvalidInput);
  CHECK(divide_up(0, 4) == 0);
  CHECK(divide_up(8, 4) == 2);
  CHECK(divide_up(kLargest, 4) == kLargest / 4 + 1);
}

TEST_CASE("an aligned buffer starts on a cache line and refuses sizes that no memory has") {
  AlignedBuffer<float> buffer(3);
  CHECK(reinterpret_cast<std::uintptr_t>(buffer.data()) % kCacheLine == 0);
  buffer.reserve_discarding(2);
  CHECK(buffer.capacity() == 3);
  CHECK_THROWS_AS(buffer.reserve_discarding(kLargest / 2), InvalidInput);
}

TEST_CASE("every chunk is done exactly once, by a worker whose number is below the number of threads") {
  for (const std::uint64_t num_threads : {1, 2, 3, 8, 100}) {
    for (const std::uint64_t num_chunks : {0, 1, 7, 1000}) {
      std::vector<std::atomic<int>> done(num_chunks);
      std::atomic<bool> worker_in_range{true};
      parallel_for(num_chunks, num_threads, [&](std::uint64_t worker, std::uint64_t chunk) {
        worker_in_range = worker_in_range && worker < num_threads;
        ++done[chunk];
      });
      CHECK(worker_in_range);
      for (const std::atomic<int>& count : done) {
        REQUIRE(count == 1);
      }
    }
  }
}

TEST_CASE("an exception ends the work and reaches the caller") {
  for (const std::uint64_t num_threads : {1, 4}) {
    std::atomic<int> calls{0};
    const auto work = [&](std::uint64_t, std::uint64_t chunk) {
      ++calls;
      if (chunk == 3) {
        throw std::runtime_error("chunk 3");
      }
    };
    CHECK_THROWS_WITH_AS(parallel_for(1'000'000, num_threads, work), "chunk 3", std::runtime_error);
    CHECK(calls < 1'000'000);
  }
}

}  // namespace
}  // namespace serotine
