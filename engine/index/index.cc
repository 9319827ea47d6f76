#include "index/index.h"

#include <algorithm>
#include <utility>

#include "index/garbage.h"
#include "index/store.h"

namespace serotine::index {
namespace {

// How often a reader starts again because the files that it was opening have been collected. Each time a newer
// generation is there, so only a writer that commits faster than a reader opens can use them up.
constexpr int kMaxAttempts = 100;

// Documents that check() looks up between two reports.
constexpr std::uint64_t kDocumentsPerReport = 65'536;

}  // namespace

Index::Index(std::shared_ptr<io::Directory> directory, IndexOptions options)
    : directory_(std::move(directory)), options_(std::move(options)), override_pending_(options_.override_existing) {
  if (override_pending_) {
    newest_ = empty_snapshot();
  }
}

std::shared_ptr<const Snapshot> Index::empty_snapshot() const {
  format::Manifest manifest;
  manifest.index = random_uuid();
  manifest.settings = options_.settings.value_or(format::Settings{});
  return Snapshot::open(*directory_, std::move(manifest), nullptr, false);
}

std::shared_ptr<const Snapshot> Index::snapshot() {
  for (;;) {
    std::shared_ptr<const Snapshot> previous;
    std::optional<Newest> seen;
    {
      const std::scoped_lock lock(mutex_);
      if (override_pending_) {
        return newest_;
      }
      previous = newest_;
      seen = seen_;
    }
    // Without the lock: opening can take long, and whoever has what they need is not to wait for it.
    const Newest newest = look_at_newest(*directory_);
    if (previous && seen == newest) {
      return previous;
    }
    std::shared_ptr<const Snapshot> opened = options_.recover_previous
                                                 ? open_recovered(previous.get(), options_.verify_values)
                                                 : open_newest(previous.get(), options_.verify_values);
    if (!opened) {
      opened = empty_snapshot();
    }
    if (std::shared_ptr<const Snapshot> result = keep_newest(std::move(opened), newest, previous.get())) {
      return result;
    }
  }
}

std::shared_ptr<const Snapshot> Index::keep_newest(std::shared_ptr<const Snapshot> opened, const Newest& newest,
                                                   const Snapshot* previous) {
  const std::scoped_lock lock(mutex_);
  if (newest_.get() != previous) {  // another thread was faster, with this generation, a later or an earlier one
    if (newest_->manifest().index != opened->manifest().index) {
      return nullptr;  // rebuilt meanwhile: the numbers of two indexes say nothing about which is there now
    }
    if (newest_->manifest().generation >= opened->manifest().generation) {
      return newest_;
    }
  }
  newest_ = std::move(opened);
  seen_ = newest;
  return newest_;
}

std::shared_ptr<const Snapshot> Index::open_newest(const Snapshot* previous, bool verify_values) const {
  for (int attempt = 1;; ++attempt) {
    const std::uint64_t generation = newest_generation(*directory_);
    try {
      std::optional<format::Manifest> manifest = load_newest_manifest(*directory_);
      return manifest ? Snapshot::open(*directory_, std::move(*manifest), previous, verify_values) : nullptr;
    } catch (const CorruptIndex&) {
      // A writer may have collected what this generation consists of; then a newer one is there.
      if (attempt == kMaxAttempts || newest_generation(*directory_) == generation) {
        throw;
      }
    }
  }
}

std::shared_ptr<const Snapshot> Index::open_recovered(const Snapshot* previous, bool verify_values) const {
  try {
    return open_newest(previous, verify_values);
  } catch (const CorruptIndex&) {
    for (std::vector<std::uint64_t> older = list_generations(*directory_); older.size() > 1;) {
      older.pop_back();
      try {
        if (std::optional<format::Manifest> manifest = load_manifest(*directory_, older.back())) {
          return Snapshot::open(*directory_, std::move(*manifest), previous, verify_values);
        }
      } catch (const CorruptIndex&) {  // NOLINT(bugprone-empty-catch): the newest one's damage is what is told
      }
    }
    throw;
  }
}

std::shared_ptr<const Snapshot> Index::keep_written(std::shared_ptr<const Snapshot> opened, const Newest& newest) {
  const std::scoped_lock lock(mutex_);
  newest_ = std::move(opened);
  seen_ = newest;
  return newest_;
}

std::shared_ptr<const Snapshot> Index::base_of(const std::optional<format::Manifest>& current) {
  std::shared_ptr<const Snapshot> previous;
  bool starts_over = false;
  {
    const std::scoped_lock lock(mutex_);
    previous = newest_;
    starts_over = override_pending_;
  }
  if (starts_over) {
    format::Manifest manifest;
    manifest.index = current ? current->index : random_uuid();
    manifest.generation = current ? current->generation : 0;
    manifest.next_file = current ? current->next_file : 1;
    manifest.settings = options_.settings.value_or(format::Settings{});
    return Snapshot::open(*directory_, std::move(manifest), nullptr, false);
  }
  if (!current) {
    return keep_written(empty_snapshot(), Newest{});
  }
  if (previous && previous->manifest() == *current) {
    return previous;
  }
  return keep_written(Snapshot::open(*directory_, *current, previous.get(), options_.verify_values),
                      look_at_newest(*directory_));
}

std::shared_ptr<const Snapshot> Index::committed(const format::Manifest& manifest) {
  std::shared_ptr<const Snapshot> previous;
  {
    const std::scoped_lock lock(mutex_);
    // From here on, whatever prevents the files from being opened: a change after this one must not start over.
    previous = std::exchange(override_pending_, false) ? nullptr : newest_;
  }
  return keep_written(Snapshot::open(*directory_, manifest, previous.get(), false), look_at_newest(*directory_));
}

void Index::check(const codec::Progress& progress) const {
  const std::shared_ptr<const Snapshot> snapshot = open_newest(nullptr, false);
  if (!snapshot) {
    return;
  }
  const search::View& view = snapshot->view();
  const auto report = [&](std::size_t number) {
    if (progress) {
      progress(static_cast<double>(number) / static_cast<double>(view.segments.size()));
    }
  };
  for (const auto& codebook : snapshot->codebooks()) {
    report(0);
    codebook->verify_all();
  }
  for (std::size_t i = 0; i < view.segments.size(); ++i) {
    const segment::Segment& segment = *view.segments[i].segment;
    report(i);
    segment.verify_all();
    for (std::uint64_t document = 0; document < segment.num_documents(); ++document) {
      if (document % kDocumentsPerReport == 0) {
        report(i);
      }
      if (view.segments[i].deletions->contains(document)) {
        continue;
      }
      const std::optional<search::Hit> found = snapshot->find(segment.key(document));
      if (!found || found->segment != i) {
        throw CorruptIndex(directory_->describe(file_path(format::FileKind::kSegment, segment.uuid())),
                           "each document in one segment", "document " + std::to_string(document) + " in two");
      }
    }
  }
}

}  // namespace serotine::index
