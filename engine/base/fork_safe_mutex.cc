#include "base/fork_safe_mutex.h"

#include <pthread.h>

#include <set>

namespace serotine {
namespace {

struct Registry {
  std::mutex mutex;
  std::set<ForkSafeMutex*> members;
};

Registry& registry() {
  static Registry* const made = [] {
    auto* created = new Registry;  // never destroyed: a fork may come during the exit of the process
    const auto let_go = [] {
      for (ForkSafeMutex* member : registry().members) {
        member->unlock();
      }
      registry().mutex.unlock();
    };
    pthread_atfork(
        [] {
          registry().mutex.lock();
          for (ForkSafeMutex* member : registry().members) {
            member->lock();
          }
        },
        let_go, let_go);
    return created;
  }();
  return *made;
}

}  // namespace

ForkSafeMutex::ForkSafeMutex() {
  const std::scoped_lock guard(registry().mutex);
  registry().members.insert(this);
}

ForkSafeMutex::~ForkSafeMutex() {
  const std::scoped_lock guard(registry().mutex);
  registry().members.erase(this);
}

}  // namespace serotine
