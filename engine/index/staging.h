// What will the next commit change?  Documents to add, and documents that are no longer wanted.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "index/index.h"
#include "index/originals.h"
#include "segment/spool.h"

namespace serotine::index {

// Deletions of one segment of the base: those it had, and the new ones.
struct DeletedDocuments {
  std::vector<std::uint64_t> words;  // empty: none
  std::uint64_t num_documents = 0;
  std::uint64_t num_tokens = 0;
  bool changed = false;
};

class Staging {
 public:
  // base: what the index holds before the change.
  Staging(std::shared_ptr<const Snapshot> base, std::uint64_t max_memory_bytes, segment::SpoolFile spool);

  // As Writer::add and Writer::remove. An argument that is refused changes nothing.
  void add(std::span<const std::string> keys, std::span<const std::uint32_t> lengths, const std::uint16_t* values,
           std::uint64_t dim, bool replace);
  std::uint64_t remove(std::span<const std::string> keys);

  [[nodiscard]] bool empty() const noexcept;  // a commit would change nothing
  [[nodiscard]] const Snapshot& base() const noexcept { return *base_; }
  [[nodiscard]] const std::vector<DeletedDocuments>& deleted() const noexcept { return deleted_; }
  [[nodiscard]] std::uint64_t dim() const noexcept { return dim_; }
  [[nodiscard]] std::uint64_t live_documents() const noexcept { return positions_.size(); }
  [[nodiscard]] std::uint64_t live_tokens() const noexcept { return live_tokens_; }

  // The staged documents; nothing can be added afterwards. They live as long as this.
  [[nodiscard]] OriginalDocuments finish();

 private:
  void check(std::span<const std::string> keys, std::span<const std::uint32_t> lengths, const std::uint16_t* values,
             std::uint64_t dim, bool replace) const;
  bool remove_one(std::string_view key);
  [[nodiscard]] bool holds(std::string_view key) const;
  void delete_from_base(const search::Hit& place);

  std::shared_ptr<const Snapshot> base_;
  std::vector<DeletedDocuments> deleted_;  // one per segment of the base
  std::uint64_t dim_ = 0;
  std::deque<std::string> keys_;  // of every staged document; a deque, because views of them are kept
  std::vector<std::uint32_t> lengths_;
  std::vector<std::uint8_t> alive_;
  std::unordered_map<std::string_view, std::uint64_t> positions_;  // of those that are alive
  std::uint64_t live_tokens_ = 0;
  segment::Spool values_;
};

}  // namespace serotine::index
