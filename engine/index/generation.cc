#include "index/generation.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "codec/encode.h"
#include "index/calibration.h"
#include "index/growth.h"
#include "index/open.h"

namespace serotine::index {
namespace {

using format::FileKind;
using format::kNoCodebook;

// Tokens that are encoded between two calls of progress: some 30 ms.
constexpr std::uint64_t kBatchTokens = std::uint64_t{1} << 15;

// Progress of a part of the work as progress of the whole.
codec::Progress part_of(const codec::Progress& whole, double from, double to) {
  if (!whole) {
    return {};
  }
  return [whole, from, to](double fraction) { whole(from + (to - from) * std::clamp(fraction, 0.0, 1.0)); };
}

class Builder {
 public:
  Builder(WriteSession& session, Staging& staging, std::uint64_t& next_file, const GenerationOptions& options)
      : staging_(staging),
        base_(staging.base().manifest()),
        options_(options),
        files_(session, base_.index, next_file),
        next_file_(next_file),
        codebooks_(staging.base().codebooks()) {}

  format::Manifest build() {
    try {
      collect_pieces();
      const Growth growth = decide();
      next_.index = base_.index;
      next_.settings = base_.settings;
      next_.settings.dim = static_cast<std::uint32_t>(staging_.dim());
      next_.codebooks = base_.codebooks;
      next_.calibration = base_.calibration;
      if (growth.kind == Growth::Kind::kTrain) {
        train(growth);
      }
      write_segments(growth);
      write_deletions();
      drop_unused_codebooks();
      calibrate(growth);
      next_.next_file = next_file_;
      return std::move(next_);
    } catch (...) {
      files_.discard_all();
      throw;
    }
  }

 private:
  // What of the base is still alive. sources_[i] is the segment of pieces_[i].
  void collect_pieces() {
    const search::View& view = staging_.base().view();
    for (std::uint32_t i = 0; i < base_.segments.size(); ++i) {
      const format::SegmentRef& ref = base_.segments[i];
      const DeletedDocuments& deleted = staging_.deleted()[i];
      if (deleted.num_documents == ref.num_documents) {
        continue;
      }
      Piece piece;
      piece.codebook = ref.codebook;
      piece.has_originals = view.segments[i].segment->has_originals();
      piece.num_documents = ref.num_documents - deleted.num_documents;
      piece.num_tokens = ref.num_tokens - deleted.num_tokens;
      const bool mostly_deleted = 2 * piece.weight() < ref.num_documents + ref.num_tokens;
      piece.needs_writing = mostly_deleted || (options_.merge_all && deleted.num_documents > 0);
      pieces_.push_back(piece);
      sources_.push_back(i);
    }
  }

  Growth decide() const {
    std::vector<std::uint64_t> trained;
    for (const format::CodebookRef& codebook : base_.codebooks) {
      trained.push_back(codebook.trained_tokens);
    }
    Growth growth = decide_growth({pieces_, trained, staging_.live_tokens(), base_.settings.keep_originals,
                                   options_.limits.first_codebook_tokens});
    if (options_.retrain && growth.num_tokens >= options_.limits.first_codebook_tokens) {
      growth.kind = Growth::Kind::kTrain;
      growth.first_reencoded = 0;
      growth.keep_originals = base_.settings.keep_originals;
    } else if (growth.kind == Growth::Kind::kTrain && staging_.live_documents() == 0) {
      // Nothing came: what is there stays as it is.
      growth.kind = growth.codebook == kNoCodebook ? Growth::Kind::kExact : Growth::Kind::kEncode;
    }
    return growth;
  }

  // The documents of a piece, as originals.
  OriginalDocuments originals(std::uint64_t piece) const {
    const std::uint32_t source = sources_[piece];
    return originals_of(*staging_.base().view().segments[source].segment, staging_.deleted()[source].words,
                        base_.settings.dim);
  }

  void train(const Growth& growth) {
    for (std::uint64_t i = growth.first_reencoded; i < pieces_.size(); ++i) {
      training_.push_back(originals(i));
    }
    training_.push_back(staging_.finish());
    codec::Originals pieces;
    for (const OriginalDocuments& documents : training_) {
      const codec::Originals part = pieces_of(documents);
      pieces.insert(pieces.end(), part.begin(), part.end());
    }
    codec::TrainOptions how;
    how.dim = next_.settings.dim;
    how.nbits = next_.settings.nbits;
    how.seed = next_.settings.seed;
    how.collection_tokens = growth.num_tokens;
    how.num_threads = options_.num_threads;
    how.progress = part_of(options_.progress, 0, 0.5);
    const codec::CodebookContent content = codec::train_codebook(pieces, how);

    const Uuid uuid = files_.next_uuid();
    format::CodebookRef ref;
    ref.file = codec::write_codebook(content, files_.create(FileKind::kCodebook, uuid), files_.index(), uuid);
    ref.trained_tokens = growth.num_tokens;
    next_.codebooks.push_back(ref);
    codebooks_.push_back(std::make_shared<const codec::Codebook>(files_.session().map(FileKind::kCodebook, uuid),
                                                                 files_.index(), ref.file, next_.settings));
  }

  void write_segments(const Growth& growth) {
    const bool trained = growth.kind == Growth::Kind::kTrain;
    std::vector<Piece> kept(pieces_.begin(), trained
                                                 ? pieces_.begin() + static_cast<std::ptrdiff_t>(growth.first_reencoded)
                                                 : pieces_.end());
    if (trained) {
      new_piece_ = {static_cast<std::uint32_t>(codebooks_.size() - 1), growth.keep_originals};
    } else if (growth.kind == Growth::Kind::kEncode) {
      new_piece_ = {growth.codebook, growth.keep_originals};
    } else {
      new_piece_ = {kNoCodebook, true};
    }
    staged_position_ = kept.size();
    if (trained || staging_.live_documents() > 0) {
      // A codebook's first segments merge with nothing: no other is of their kind.
      new_piece_.num_documents = staging_.live_documents();
      new_piece_.num_tokens = staging_.live_tokens();
      for (std::uint64_t i = kept.size(); i < pieces_.size(); ++i) {  // to be encoded again
        new_piece_.num_documents += pieces_[i].num_documents;
        new_piece_.num_tokens += pieces_[i].num_tokens;
      }
      new_piece_.needs_writing = true;
      kept.push_back(new_piece_);
    }
    const std::vector<MergeGroup> groups = plan_merges(kept, options_.limits.max_segment_tokens, options_.merge_all);
    for (const MergeGroup& group : groups) {
      if (group.last - group.first > 1 || kept[group.first].needs_writing) {
        for (std::uint64_t i = group.first; i < group.last; ++i) {
          tokens_to_write_ += kept[i].num_tokens;
        }
      }
    }
    writing_ = part_of(options_.progress, trained ? 0.5 : 0, trained ? 0.9 : 1);
    for (const MergeGroup& group : groups) {
      if (group.last - group.first == 1 && !kept[group.first].needs_writing) {
        keep_segment(group.first);
      } else {
        write_group(group, kept[group.first], trained);
      }
    }
  }

  void keep_segment(std::uint64_t piece) {
    const std::uint32_t source = sources_[piece];
    next_.segments.push_back(base_.segments[source]);
    if (staging_.deleted()[source].changed) {
      with_new_deletions_.push_back({next_.segments.size() - 1, source});
    }
  }

  void write_group(const MergeGroup& group, const Piece& kind, bool trained) {
    // A newly trained codebook has one group: what is encoded again, and what was staged.
    const bool has_staged = group.last > staged_position_;
    std::vector<OriginalDocuments> staged;
    std::span<const OriginalDocuments> to_encode;
    if (has_staged && trained) {
      to_encode = training_;
    } else if (has_staged) {
      staged.push_back(staging_.finish());
      to_encode = staged;
    }
    segment::SegmentPlan plan;
    plan.dim = next_.settings.dim;
    plan.codebook = kind.codebook == kNoCodebook ? nullptr : codebooks_[kind.codebook];
    plan.keep_originals = kind.has_originals && plan.codebook != nullptr;
    plan.min_posting_tokens = options_.limits.min_posting_tokens;
    plan.max_memory_bytes = options_.limits.max_memory_bytes;
    plan.has_gains = plan.codebook != nullptr && has_gains(group, to_encode);
    SegmentSink sink(files_, plan, options_.limits.max_segment_tokens);
    for (std::uint64_t i = group.first; i < std::min(group.last, staged_position_); ++i) {
      copy_piece(i, sink);
    }
    for (const OriginalDocuments& documents : to_encode) {
      add_documents(documents, sink);
    }
    for (format::SegmentRef& ref : sink.finish(kind.codebook)) {
      next_.segments.push_back(std::move(ref));
    }
  }

  bool has_gains(const MergeGroup& group, std::span<const OriginalDocuments> to_encode) const {
    for (std::uint64_t i = group.first; i < std::min(group.last, staged_position_); ++i) {
      if (staging_.base().view().segments[sources_[i]].segment->has_gains()) {
        return true;
      }
    }
    return std::any_of(to_encode.begin(), to_encode.end(), [](const OriginalDocuments& documents) {
      return codec::needs_gains(pieces_of(documents), documents.dim);
    });
  }

  void copy_piece(std::uint64_t piece, SegmentSink& sink) {
    const std::uint32_t source = sources_[piece];
    const segment::Segment& segment = *staging_.base().view().segments[source].segment;
    const std::vector<std::uint64_t>& deleted = staging_.deleted()[source].words;
    std::uint64_t since_progress = 0;
    for (std::uint64_t document = 0; document < segment.num_documents(); ++document) {
      if (!deleted.empty() && ((deleted[document / 64] >> (document % 64)) & 1) != 0) {
        continue;
      }
      sink.copy(segment, document);
      since_progress += segment.length(document);
      if (since_progress >= kBatchTokens) {
        report(std::exchange(since_progress, 0));
      }
    }
    report(since_progress);
  }

  void add_documents(const OriginalDocuments& documents, SegmentSink& sink) {
    const std::uint64_t batch = std::min(kBatchTokens, options_.limits.max_segment_tokens);
    for_each_batch(documents, batch, [&](std::uint64_t first, std::uint64_t last) {
      sink.add(documents, first, last, options_.num_threads);
      std::uint64_t num_tokens = 0;
      for (std::uint64_t i = first; i < last; ++i) {
        num_tokens += documents.lengths[i];
      }
      report(num_tokens);
    });
  }

  void report(std::uint64_t num_tokens) {
    tokens_written_ += num_tokens;
    if (writing_) {
      writing_(static_cast<double>(tokens_written_) /
               static_cast<double>(std::max<std::uint64_t>(1, tokens_to_write_)));
    }
  }

  void write_deletions() {
    for (const auto& [position, source] : with_new_deletions_) {
      const DeletedDocuments& deleted = staging_.deleted()[source];
      format::SegmentRef& ref = next_.segments[position];
      const Uuid uuid = files_.next_uuid();
      ref.num_deleted = deleted.num_documents;
      ref.deleted_tokens = deleted.num_tokens;
      ref.deletions = segment::write_deletions(deleted.words, ref.file.uuid, files_.create(FileKind::kDeletions, uuid),
                                               files_.index(), uuid);
    }
  }

  void drop_unused_codebooks() {
    std::vector<std::uint32_t> position(next_.codebooks.size(), kNoCodebook);
    for (const format::SegmentRef& segment : next_.segments) {
      if (segment.codebook != kNoCodebook) {
        position[segment.codebook] = 0;
      }
    }
    std::vector<format::CodebookRef> used;
    for (std::size_t i = 0; i < position.size(); ++i) {
      if (position[i] != kNoCodebook) {
        position[i] = static_cast<std::uint32_t>(used.size());
        used.push_back(next_.codebooks[i]);
      }
    }
    next_.codebooks = std::move(used);
    for (format::SegmentRef& segment : next_.segments) {
      if (segment.codebook != kNoCodebook) {
        segment.codebook = position[segment.codebook];
      }
    }
    if (next_.codebooks.empty()) {
      next_.calibration.clear();  // it was about codes
    }
  }

  // After a codebook was trained the settings of the search are measured again.
  void calibrate(const Growth& growth) {
    const bool trained = growth.kind == Growth::Kind::kTrain;
    if (next_.codebooks.empty() || (!trained && !options_.merge_all)) {
      return;
    }
    const auto map = [this](FileKind kind, const Uuid& uuid) { return files_.session().map(kind, uuid); };
    const OpenFiles open = open_files(next_, map, &staging_.base().files(), &base_);
    const std::uint64_t num_queries = options_.limits.num_pseudo_queries;
    const std::vector<search::PseudoQuery> queries =
        trained ? pseudo_queries(training_, open.view, num_queries) : stored_pseudo_queries(open.view, num_queries);
    if (!queries.empty()) {
      next_.calibration =
          search::calibrate(open.view, queries, options_.num_threads, part_of(options_.progress, 0.9, 1));
    }
  }

  Staging& staging_;
  const format::Manifest& base_;
  const GenerationOptions& options_;
  NewFiles files_;
  std::uint64_t& next_file_;
  std::vector<std::shared_ptr<const codec::Codebook>> codebooks_;  // of the base, and the new one
  std::vector<Piece> pieces_;
  std::vector<std::uint32_t> sources_;
  std::vector<OriginalDocuments> training_;  // what a new codebook was trained from
  Piece new_piece_;
  std::uint64_t staged_position_ = 0;  // pieces before it are the base's
  struct ChangedDeletions {
    std::size_t position;  // in next_.segments
    std::uint32_t source;
  };
  std::vector<ChangedDeletions> with_new_deletions_;
  std::uint64_t tokens_to_write_ = 0;
  std::uint64_t tokens_written_ = 0;
  codec::Progress writing_;
  format::Manifest next_;
};

}  // namespace

format::Manifest build_generation(WriteSession& session, Staging& staging, std::uint64_t& next_file,
                                  const GenerationOptions& options) {
  return Builder(session, staging, next_file, options).build();
}

}  // namespace serotine::index
