// What keeps a lock usable in a forked child?  That no other thread holds it at the moment of the fork.
//
// A child has only the thread that forked. A mutex that another thread held then would stay locked in it for good, so
// fork() first takes every mutex of this kind, and lets go of them on both sides.
#pragma once

#include <mutex>

namespace serotine {

// For std::scoped_lock. Held for a moment at a time, and by a thread that takes no other of its kind meanwhile: fork()
// takes them in any order.
class ForkSafeMutex {
 public:
  ForkSafeMutex();
  ~ForkSafeMutex();
  ForkSafeMutex(const ForkSafeMutex&) = delete;
  ForkSafeMutex& operator=(const ForkSafeMutex&) = delete;

  void lock() { mutex_.lock(); }
  void unlock() { mutex_.unlock(); }

 private:
  std::mutex mutex_;
};

}  // namespace serotine
