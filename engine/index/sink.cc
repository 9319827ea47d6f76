#include "index/sink.h"

#include <utility>

namespace serotine::index {

Uuid NewFiles::next_uuid() { return derived_uuid(index_, next_file_++); }

std::unique_ptr<io::WritableFile> NewFiles::create(format::FileKind kind, const Uuid& uuid) {
  created_.push_back(uuid);
  return session_.stage(kind, uuid);
}

void NewFiles::discard_all() noexcept {
  for (const Uuid& uuid : created_) {
    try {
      session_.discard(uuid);
    } catch (...) {  // NOLINT(bugprone-empty-catch): the next writer removes it
    }
  }
  created_.clear();
}

segment::SpoolFile spool_file(WriteSession& session) {
  const Uuid uuid = random_uuid();
  constexpr auto kKind = format::FileKind::kSegment;
  return {[&session, uuid] { return session.stage(kKind, uuid); },
          [&session, uuid] { return session.map(kKind, uuid); }, [&session, uuid] { session.discard(uuid); }};
}

SegmentSink::SegmentSink(NewFiles& files, segment::SegmentPlan plan, std::uint64_t max_tokens)
    : files_(files), plan_(std::move(plan)), max_tokens_(max_tokens) {}

void SegmentSink::add(const OriginalDocuments& documents, std::uint64_t first, std::uint64_t last,
                      std::uint64_t num_threads) {
  const std::span<const std::uint32_t> lengths = std::span(documents.lengths).subspan(first, last - first);
  std::uint64_t num_tokens = 0;
  for (const std::uint32_t length : lengths) {
    num_tokens += length;
  }
  make_room(num_tokens);
  writer_->add(std::span(documents.keys).subspan(first, last - first), lengths, documents.document(first), num_threads);
}

void SegmentSink::copy(const segment::Segment& source, std::uint64_t document) {
  make_room(source.length(document));
  writer_->copy(source, document);
}

void SegmentSink::make_room(std::uint64_t num_tokens) {
  if (writer_ && writer_->num_tokens() > 0 && writer_->num_tokens() + num_tokens > max_tokens_) {
    seal();
  }
  if (!writer_) {
    const Uuid uuid = files_.next_uuid();
    segment::SegmentPlan plan = plan_;
    plan.spool = spool_file(files_.session());
    writer_ = std::make_unique<segment::SegmentWriter>(std::move(plan), files_.create(format::FileKind::kSegment, uuid),
                                                       files_.index(), uuid);
  }
}

void SegmentSink::seal() {
  if (writer_) {
    finished_.push_back(writer_->finish());
    writer_.reset();
  }
}

std::vector<format::SegmentRef> SegmentSink::finish(std::uint32_t codebook) {
  seal();
  for (format::SegmentRef& ref : finished_) {
    ref.codebook = codebook;
  }
  return std::move(finished_);
}

}  // namespace serotine::index
