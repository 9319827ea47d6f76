// How is one call's work spread over threads?  Threads that live for the call, chunks taken in turn.
//
// There is no pool: nothing survives the call, so a process may fork between two calls. Starting a thread costs some
// 20 us; callers ask for one thread where the work would not pay that back.
#pragma once

#include <cstdint>
#include <functional>

namespace serotine {

// Calls work(worker, chunk) once for every chunk in [0, num_chunks), from at most num_threads threads, the caller
// among them. `worker` < num_threads is the number of the calling thread, for scratch space that is not shared.
// Chunks go to whichever thread is free, in ascending order. The first exception stops the handing out of chunks
// and is thrown again here once every thread has ended. A thread that cannot be started leaves its share to the others.
void parallel_for(std::uint64_t num_chunks, std::uint64_t num_threads,
                  const std::function<void(std::uint64_t worker, std::uint64_t chunk)>& work);

}  // namespace serotine
