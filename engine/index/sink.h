// Where do the documents of a commit go?  Into segments of one kind, sealed at the limit, in the order in which they
// come.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "index/limits.h"
#include "index/originals.h"
#include "index/store.h"
#include "segment/writer.h"

namespace serotine::index {

// New files of a commit: numbers them, and knows which they are.
class NewFiles {
 public:
  NewFiles(WriteSession& session, const Uuid& index, std::uint64_t& next_file)
      : session_(session), index_(index), next_file_(next_file) {}

  [[nodiscard]] Uuid next_uuid();
  [[nodiscard]] std::unique_ptr<io::WritableFile> create(format::FileKind kind, const Uuid& uuid);
  [[nodiscard]] const Uuid& index() const noexcept { return index_; }
  [[nodiscard]] WriteSession& session() noexcept { return session_; }
  // Removes what was created. Never throws: what stays is garbage.
  void discard_all() noexcept;

 private:
  WriteSession& session_;
  Uuid index_;
  std::uint64_t& next_file_;
  std::vector<Uuid> created_;
};

// A file in tmp/ for what does not fit in memory.
[[nodiscard]] segment::SpoolFile spool_file(WriteSession& session);

class SegmentSink {
 public:
  SegmentSink(NewFiles& files, segment::SegmentPlan plan, std::uint64_t max_tokens);

  // Documents [first, last) of `documents`, all alive.
  void add(const OriginalDocuments& documents, std::uint64_t first, std::uint64_t last, std::uint64_t num_threads);
  void copy(const segment::Segment& source, std::uint64_t document);
  // The segments, `codebook` as given.
  [[nodiscard]] std::vector<format::SegmentRef> finish(std::uint32_t codebook);

 private:
  void make_room(std::uint64_t num_tokens);
  void seal();

  NewFiles& files_;
  segment::SegmentPlan plan_;
  std::uint64_t max_tokens_;
  std::unique_ptr<segment::SegmentWriter> writer_;
  std::vector<format::SegmentRef> finished_;
};

}  // namespace serotine::index
