#include "index/generation.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "base/error.h"
#include "index/calibration.h"
#include "index/growth.h"
#include "index/open.h"
#include "index/rewrite.h"
#include "index/store.h"

namespace serotine::index {
namespace {

using format::FileKind;
using format::kNoCodebook;

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
      growth.made_for = growth.num_tokens;
      growth.keep_originals = base_.settings.keep_originals;
    } else if (growth.kind == Growth::Kind::kTrain && staging_.live_documents() == 0) {
      // Nothing came: what is there stays as it is.
      growth.kind = growth.codebook == kNoCodebook ? Growth::Kind::kExact : Growth::Kind::kEncode;
    }
    return growth;
  }

  // The documents of a piece, as originals. Checked first: what was damaged must not get a new checksum.
  OriginalDocuments originals(std::uint64_t piece) const {
    const std::uint32_t source = sources_[piece];
    staging_.base().view().segments[source].segment->verify_all();
    return originals_of(*staging_.base().view().segments[source].segment, staging_.deleted()[source].words,
                        base_.settings.dim);
  }

  void train(const Growth& growth) {
    for (std::uint64_t i = growth.first_reencoded; i < pieces_.size(); ++i) {
      to_encode_.push_back(originals(i));
    }
    to_encode_.push_back(staging_.finish());
    codec::Originals pieces;
    for (const OriginalDocuments& documents : to_encode_) {
      const codec::Originals part = pieces_of(documents);
      pieces.insert(pieces.end(), part.begin(), part.end());
    }
    codec::TrainOptions how;
    how.dim = next_.settings.dim;
    how.nbits = next_.settings.nbits;
    how.seed = next_.settings.seed;
    how.collection_tokens = growth.made_for;
    how.num_threads = options_.num_threads;
    how.progress = part_of(options_.progress, 0, 0.5);
    const codec::CodebookContent content = codec::train_codebook(pieces, how);

    const Uuid uuid = files_.next_uuid();
    format::CodebookRef ref;
    ref.file = codec::write_codebook(content, files_.create(FileKind::kCodebook, uuid), files_.index(), uuid);
    ref.trained_tokens = growth.num_tokens;
    next_.codebooks.push_back(ref);
    codebooks_.push_back(std::make_shared<const codec::Codebook>(map(FileKind::kCodebook, uuid), files_.index(),
                                                                 ref.file, next_.settings));
  }

  // A file that was just written, or one of the base.
  std::shared_ptr<const io::MappedFile> map(FileKind kind, const Uuid& uuid) {
    std::shared_ptr<const io::MappedFile> file = files_.session().map(kind, uuid);
    if (!file) {
      throw CorruptIndex(file_path(kind, uuid), "a file that is in use", "none: another program has removed it");
    }
    return file;
  }

  // What comes of the pieces that keep their codes, and the new one after them if there is one.
  std::vector<Piece> pieces_after(const Growth& growth) const {
    const bool trained = growth.kind == Growth::Kind::kTrain;
    std::vector<Piece> pieces(pieces_.begin(), pieces_.begin() + static_cast<std::ptrdiff_t>(num_kept_));
    if (!trained && staging_.live_documents() == 0) {
      return pieces;
    }
    Piece piece;
    piece.codebook = growth.kind == Growth::Kind::kExact ? kNoCodebook
                     : trained                           ? static_cast<std::uint32_t>(codebooks_.size() - 1)
                                                         : growth.codebook;
    piece.has_originals = growth.kind == Growth::Kind::kExact || growth.keep_originals;
    piece.num_documents = staging_.live_documents();
    piece.num_tokens = staging_.live_tokens();
    for (std::uint64_t i = num_kept_; i < pieces_.size(); ++i) {  // to be encoded again
      piece.num_documents += pieces_[i].num_documents;
      piece.num_tokens += pieces_[i].num_tokens;
    }
    piece.needs_writing = true;
    pieces.push_back(piece);
    return pieces;
  }

  void write_segments(const Growth& growth) {
    const bool trained = growth.kind == Growth::Kind::kTrain;
    num_kept_ = trained ? growth.first_reencoded : pieces_.size();
    const std::vector<Piece> pieces = pieces_after(growth);
    const std::vector<MergeGroup> groups = plan_merges(pieces, options_.limits.max_segment_tokens, options_.merge_all);
    const auto stays = [&](const MergeGroup& group) {
      return group.last - group.first == 1 && !pieces[group.first].needs_writing;
    };
    const bool calibrates = trained || (options_.merge_all && !codebooks_.empty());
    Rewriter::Options how{options_.limits, next_.settings.dim, options_.num_threads,
                          part_of(options_.progress, trained ? 0.5 : 0, calibrates ? 0.9 : 1), 0};
    std::uint64_t num_bytes = 0;
    for (const MergeGroup& group : groups) {
      for (std::uint64_t i = group.first; i < group.last && !stays(group); ++i) {
        how.total_tokens += pieces[i].num_tokens;
        num_bytes += bytes_needed(kind_of(pieces[group.first]), pieces[i], next_.settings.dim);
      }
    }
    files_.session().require_space(num_bytes);
    Rewriter rewriter(files_, staging_, std::move(how));
    for (const MergeGroup& group : groups) {
      if (stays(group)) {
        keep_segment(group.first);
      } else {
        write_group(group, pieces[group.first], rewriter);
      }
    }
  }

  SegmentKind kind_of(const Piece& piece) const {
    return {piece.codebook, piece.codebook == kNoCodebook ? nullptr : codebooks_[piece.codebook], piece.has_originals};
  }

  void keep_segment(std::uint64_t piece) {
    const std::uint32_t source = sources_[piece];
    next_.segments.push_back(base_.segments[source]);
    if (staging_.deleted()[source].changed) {
      with_new_deletions_.push_back({next_.segments.size() - 1, source});
    }
  }

  void write_group(const MergeGroup& group, const Piece& piece, Rewriter& rewriter) {
    if (group.last > num_kept_ && to_encode_.empty()) {
      to_encode_.push_back(staging_.finish());
    }
    const std::uint64_t last_copied = std::min(group.last, num_kept_);
    const auto copied = std::span(sources_).subspan(group.first, last_copied - std::min(group.first, last_copied));
    const auto encoded =
        group.last > num_kept_ ? std::span<const OriginalDocuments>(to_encode_) : std::span<const OriginalDocuments>();
    for (const format::SegmentRef& ref : rewriter.write(kind_of(piece), copied, encoded)) {
      next_.segments.push_back(ref);
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
    const auto map_file = [this](FileKind kind, const Uuid& uuid) { return map(kind, uuid); };
    const OpenFiles open = open_files(next_, map_file, &staging_.base().files(), &base_);
    const std::uint64_t num_queries = options_.limits.num_pseudo_queries;
    const std::vector<search::PseudoQuery> queries =
        trained ? pseudo_queries(to_encode_, open.view, num_queries) : stored_pseudo_queries(open.view, num_queries);
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
  std::uint64_t num_kept_ = 0;                // pieces that keep their codes; the others are in to_encode_
  std::vector<OriginalDocuments> to_encode_;  // what a new codebook was trained from, or what was staged
  struct ChangedDeletions {
    std::size_t position;  // in next_.segments
    std::uint32_t source;
  };
  std::vector<ChangedDeletions> with_new_deletions_;
  format::Manifest next_;
};

}  // namespace

format::Manifest build_generation(WriteSession& session, Staging& staging, std::uint64_t& next_file,
                                  const GenerationOptions& options) {
  return Builder(session, staging, next_file, options).build();
}

}  // namespace serotine::index
