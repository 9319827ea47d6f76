#include <algorithm>
#include <utility>

#include "base/error.h"
#include "index/generation.h"
#include "index/index.h"
#include "index/staging.h"
#include "index/store.h"

namespace serotine::index {

struct Writer::State {
  State(Index& owner_, std::unique_ptr<WriteSession> session_, std::shared_ptr<const Snapshot> base, Limits limits_)
      : owner(owner_), session(std::move(session_)), limits(limits_), next_file(base->manifest().next_file) {
    begin(std::move(base));
  }

  void begin(std::shared_ptr<const Snapshot> base) {
    staging.reset();
    staging = std::make_unique<Staging>(std::move(base), limits.max_memory_bytes, spool_file(*session));
  }

  // Marks the writer as unusable until the work, at its end, says otherwise: what was staged may be half used up.
  template <typename Work>
  auto guarded(const Work& work) {
    if (failed) {
      throw CommitFailed("this writer had an error: what it was told is gone. Begin another one.");
    }
    failed = true;
    return work();
  }

  // The same for work that only stages: a refused argument was refused before anything changed.
  template <typename Work>
  auto staged(const Work& work) {
    return guarded([&] {
      try {
        const auto result = work();
        failed = false;
        return result;
      } catch (const InvalidInput&) {
        failed = false;
        throw;
      }
    });
  }

  std::uint64_t publish(const GenerationOptions& options);
  void require_originals() const;

  Index& owner;
  std::unique_ptr<WriteSession> session;
  Limits limits;
  std::uint64_t next_file;
  bool failed = false;
  std::unique_ptr<Staging> staging;  // after the session: its spool's file is the session's
};

std::uint64_t Writer::State::publish(const GenerationOptions& options) {
  const std::uint64_t generation = session->commit(build_generation(*session, *staging, next_file, options));
  try {
    begin(owner.committed(*session->current()));
    failed = false;
  } catch (const std::exception&) {  // NOLINT(bugprone-empty-catch)
    // The change is made, whatever prevents its files from being opened now. Only this writer cannot go on.
  }
  return generation;
}

void Writer::State::require_originals() const {
  const search::View& view = staging->base().view();
  for (std::size_t i = 0; i < view.segments.size(); ++i) {
    const bool is_alive = staging->deleted()[i].num_documents < view.segments[i].segment->num_documents();
    if (is_alive && !view.segments[i].segment->has_originals()) {
      throw InvalidInput(
          "a new codebook can only be trained from the float16 vectors, and the index does not keep them. Make the "
          "index with keep_originals, or add all documents to a new one.");
    }
  }
}

Writer::Writer(std::unique_ptr<State> state) : state_(std::move(state)) {}

Writer::~Writer() = default;

void Writer::add(std::span<const std::string> keys, std::span<const std::uint32_t> lengths, const std::uint16_t* values,
                 std::uint64_t dim, bool replace) {
  state_->staged([&] {
    state_->staging->add(keys, lengths, values, dim, replace);
    return keys.size();
  });
}

std::uint64_t Writer::remove(std::span<const std::string> keys) {
  return state_->staged([&] { return state_->staging->remove(keys); });
}

std::uint64_t Writer::commit(std::uint64_t num_threads, const codec::Progress& progress) {
  State& state = *state_;
  return state.guarded([&] {
    if (state.staging->empty()) {
      state.failed = false;
      return state.staging->base().manifest().generation;
    }
    GenerationOptions options;
    options.limits = state.limits;
    options.num_threads = std::max<std::uint64_t>(1, num_threads);
    options.progress = progress;
    return state.publish(options);
  });
}

std::uint64_t Writer::optimize(bool retrain, std::uint64_t num_threads, const codec::Progress& progress) {
  State& state = *state_;
  if (retrain) {
    state.require_originals();
  }
  return state.guarded([&] {
    if (state.staging->empty() && state.staging->base().manifest().segments.empty()) {
      state.failed = false;
      return state.staging->base().manifest().generation;
    }
    GenerationOptions options;
    options.limits = state.limits;
    options.merge_all = true;
    options.retrain = retrain;
    options.num_threads = std::max<std::uint64_t>(1, num_threads);
    options.progress = progress;
    return state.publish(options);
  });
}

std::unique_ptr<Writer> Index::begin_write() {
  const bool starts_over = [&] {
    const std::scoped_lock lock(mutex_);
    return override_pending_;
  }();
  auto session = std::make_unique<WriteSession>(directory_, options_.lock_timeout, starts_over);
  std::shared_ptr<const Snapshot> base = base_of(session->current());
  return std::unique_ptr<Writer>(
      new Writer(std::make_unique<Writer::State>(*this, std::move(session), std::move(base), options_.limits)));
}

}  // namespace serotine::index
