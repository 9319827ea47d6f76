#include "io/memory_directory.h"

#include <algorithm>
#include <condition_variable>
#include <cstring>
#include <map>
#include <mutex>
#include <set>
#include <stdexcept>
#include <utility>

#include "base/aligned_buffer.h"
#include "base/checked.h"
#include "base/error.h"
#include "base/fork_safe_mutex.h"

namespace serotine::io {
namespace {

// A file's bytes, on a cache line as in a mapping. Replaced, never changed, once somebody else may look at them.
struct Bytes {
  AlignedBuffer<std::byte> buffer;
  std::uint64_t size = 0;
};

struct Node;
using NodePtr = std::shared_ptr<Node>;

// What a name has meant since its folder was synced, oldest first; nullptr: nothing. One element: all on the disk.
using History = std::vector<NodePtr>;

struct Node {
  bool is_folder = false;
  std::shared_ptr<Bytes> bytes;  // of a file
  std::uint64_t synced = 0;      // bytes of it that are on the disk
  std::map<std::string, History> entries;

  [[nodiscard]] NodePtr find(const std::string& name) const {
    const auto entry = entries.find(name);
    return entry == entries.end() ? nullptr : entry->second.back();
  }
  void set(const std::string& name, NodePtr node) {
    History& history = entries[name];
    if (history.empty()) {
      history.push_back(nullptr);
    }
    history.push_back(std::move(node));
  }
};

NodePtr make_node(bool is_folder) {
  auto node = std::make_shared<Node>();
  node->is_folder = is_folder;
  if (!is_folder) {
    node->bytes = std::make_shared<Bytes>();
  }
  return node;
}

std::vector<std::string> split(const std::string& path) {
  std::vector<std::string> parts;
  for (std::size_t start = 0; start < path.size();) {
    const std::size_t end = std::min(path.find('/', start), path.size());
    parts.push_back(path.substr(start, end - start));
    start = end + 1;
  }
  return parts;
}

}  // namespace

struct MemoryDirectory::Tree {
  mutable ForkSafeMutex mutex;
  NodePtr root = make_node(true);
  bool locked = false;
  std::condition_variable_any unlocked;

  [[nodiscard]] NodePtr find(const std::string& path) const {
    NodePtr node = root;
    for (const std::string& part : split(path)) {
      node = node && node->is_folder ? node->find(part) : nullptr;
    }
    return node;
  }

  // The folder of a path and the path's last part.
  [[nodiscard]] std::pair<NodePtr, std::string> parent(const std::string& path) const {
    const std::size_t slash = path.rfind('/');
    NodePtr folder = slash == std::string::npos ? root : find(path.substr(0, slash));
    if (!folder || !folder->is_folder) {
      throw StorageError("memory:/" + path + ": its folder does not exist");
    }
    return {std::move(folder), slash == std::string::npos ? path : path.substr(slash + 1)};
  }
};

namespace {

using Tree = MemoryDirectory::Tree;

class MemoryWritableFile final : public WritableFile {
 public:
  MemoryWritableFile(std::shared_ptr<Tree> tree, NodePtr node) : tree_(std::move(tree)), node_(std::move(node)) {}

  void append(std::span<const std::byte> bytes) override {
    const std::scoped_lock guard(tree_->mutex);
    Bytes& old = *node_->bytes;
    const std::uint64_t size = checked_add(old.size, bytes.size());
    if (size > old.buffer.capacity() || node_->bytes.use_count() > 1) {
      auto grown = std::make_shared<Bytes>();
      grown->buffer.reserve_discarding(std::max(size, 2 * old.buffer.capacity()));
      copy(old.buffer.data(), old.size, grown->buffer.data());
      grown->size = old.size;
      node_->bytes = std::move(grown);
    }
    copy(bytes.data(), bytes.size(), node_->bytes->buffer.data() + node_->bytes->size);
    node_->bytes->size = size;
  }
  void sync() override {
    const std::scoped_lock guard(tree_->mutex);
    node_->synced = node_->bytes->size;
  }
  void close() override {}

 private:
  static void copy(const std::byte* from, std::uint64_t length, std::byte* to) {
    if (length > 0) {
      std::memcpy(to, from, length);
    }
  }

  std::shared_ptr<Tree> tree_;
  NodePtr node_;
};

class MemoryMappedFile final : public MappedFile {
 public:
  MemoryMappedFile(std::string path, std::shared_ptr<const Bytes> bytes)
      : path_(std::move(path)), bytes_(std::move(bytes)), size_(bytes_->size) {}

  [[nodiscard]] std::span<const std::byte> bytes() const noexcept override { return {bytes_->buffer.data(), size_}; }
  [[nodiscard]] const std::string& path() const noexcept override { return path_; }

 private:
  std::string path_;
  std::shared_ptr<const Bytes> bytes_;
  std::uint64_t size_;
};

class MemoryLock final : public Lock {
 public:
  explicit MemoryLock(std::shared_ptr<Tree> tree) : tree_(std::move(tree)) {}
  MemoryLock(const MemoryLock&) = delete;
  MemoryLock& operator=(const MemoryLock&) = delete;
  ~MemoryLock() override {
    {
      const std::scoped_lock guard(tree_->mutex);
      tree_->locked = false;
    }
    tree_->unlocked.notify_one();
  }

 private:
  std::shared_ptr<Tree> tree_;
};

// One way in which a thing that was not synced may be found, see MemoryDirectory::pending.
std::uint64_t num_ways(const Node& file) { return file.synced < file.bytes->size ? 4 : 1; }

// Every node that some state after a crash can reach, parents first, in the same order every time.
void reach(const NodePtr& node, std::vector<NodePtr>& reached, std::set<const Node*>& seen) {
  if (!node || !seen.insert(node.get()).second) {
    return;
  }
  reached.push_back(node);
  for (const auto& [name, history] : node->entries) {
    for (const NodePtr& meant : history) {
      reach(meant, reached, seen);
    }
  }
}

// Calls visit(node, history or nullptr for a file's data, number of ways) for all that is not on the disk.
template <typename Visit>
void visit_pending(const NodePtr& root, Visit visit) {
  std::vector<NodePtr> reached;
  std::set<const Node*> seen;
  reach(root, reached, seen);
  for (const NodePtr& node : reached) {
    if (!node->is_folder && num_ways(*node) > 1) {
      visit(*node, static_cast<const History*>(nullptr), num_ways(*node));
    }
    for (const auto& [name, history] : node->entries) {
      if (history.size() > 1) {
        visit(*node, &history, history.size());
      }
    }
  }
}

// The bytes of a file after a crash, in the way that was chosen.
std::shared_ptr<Bytes> bytes_after_crash(const Node& file, std::uint64_t way) {
  const std::uint64_t rest = file.bytes->size - file.synced;
  const std::uint64_t kept = way == 0 ? 0 : way == 2 ? rest / 2 : rest;
  auto bytes = std::make_shared<Bytes>();
  bytes->size = file.synced + kept;
  bytes->buffer.reserve_discarding(bytes->size);
  if (bytes->size > 0) {
    std::memcpy(bytes->buffer.data(), file.bytes->buffer.data(), bytes->size);
  }
  if (way == 3) {  // the length has reached the disk, the bytes have not
    std::memset(bytes->buffer.data() + file.synced, 0, rest);
  }
  return bytes;
}

// Copies what is found after a crash; a file with two names stays one file.
struct AfterCrash {
  std::map<const void*, std::uint64_t> ways;  // of a History or, for its data, a Node
  std::map<const Node*, NodePtr> made;

  [[nodiscard]] std::uint64_t way(const void* thing) const {
    const auto found = ways.find(thing);
    return found == ways.end() ? 0 : found->second;
  }

  NodePtr copy(const NodePtr& node) {
    NodePtr& copied = made[node.get()];
    if (copied) {
      return copied;
    }
    copied = make_node(node->is_folder);
    if (!node->is_folder) {
      copied->bytes = bytes_after_crash(*node, num_ways(*node) > 1 ? way(node.get()) : 0);
      copied->synced = copied->bytes->size;
    }
    for (const auto& [name, history] : node->entries) {
      if (const NodePtr& meant = history[way(&history)]) {
        copied->entries[name] = {copy(meant)};
      }
    }
    return copied;
  }
};

}  // namespace

MemoryDirectory::MemoryDirectory() : tree_(std::make_shared<Tree>()) {}

std::vector<std::string> MemoryDirectory::list(const std::string& folder) const {
  const std::scoped_lock guard(tree_->mutex);
  std::vector<std::string> names;
  if (const NodePtr node = tree_->find(folder)) {
    for (const auto& [name, history] : node->entries) {
      if (history.back()) {
        names.push_back(name);
      }
    }
  }
  return names;
}

std::optional<std::uint64_t> MemoryDirectory::size(const std::string& path) const {
  const std::scoped_lock guard(tree_->mutex);
  const NodePtr node = tree_->find(path);
  if (!node) {
    return std::nullopt;
  }
  return node->is_folder ? 0 : node->bytes->size;
}

std::shared_ptr<const MappedFile> MemoryDirectory::map(const std::string& path) const {
  const std::scoped_lock guard(tree_->mutex);
  const NodePtr node = tree_->find(path);
  if (!node) {
    return nullptr;
  }
  if (node->is_folder) {
    throw StorageError("cannot read " + describe(path) + ": it is not a file");
  }
  return std::make_shared<MemoryMappedFile>(describe(path), node->bytes);
}

std::unique_ptr<WritableFile> MemoryDirectory::create(const std::string& path) {
  const std::scoped_lock guard(tree_->mutex);
  const auto [folder, name] = tree_->parent(path);
  if (folder->find(name)) {
    throw StorageError("cannot create " + describe(path) + ": it exists");
  }
  NodePtr node = make_node(false);
  folder->set(name, node);
  return std::make_unique<MemoryWritableFile>(tree_, std::move(node));
}

void MemoryDirectory::make_folder(const std::string& folder) {
  const std::scoped_lock guard(tree_->mutex);
  NodePtr node = tree_->root;
  for (const std::string& part : split(folder)) {
    if (!node->find(part)) {
      node->set(part, make_node(true));
    }
    node = node->find(part);
    if (!node->is_folder) {
      throw StorageError("cannot make the folder " + describe(folder) + ": a file is in its place");
    }
  }
}

void MemoryDirectory::rename(const std::string& from, const std::string& to) {
  const std::scoped_lock guard(tree_->mutex);
  const auto [old_folder, old_name] = tree_->parent(from);
  const auto [new_folder, new_name] = tree_->parent(to);
  NodePtr node = old_folder->find(old_name);
  if (!node || new_folder->find(new_name)) {
    throw StorageError("cannot move " + describe(from) + " to " + describe(to) + ": " +
                       (node ? "the target exists" : "there is no such file"));
  }
  old_folder->set(old_name, nullptr);
  new_folder->set(new_name, std::move(node));
}

void MemoryDirectory::remove(const std::string& path) {
  const std::scoped_lock guard(tree_->mutex);
  const NodePtr node = tree_->find(path);
  if (!node) {
    return;
  }
  for (const auto& [name, history] : node->entries) {
    if (history.back()) {
      throw StorageError("cannot remove " + describe(path) + ": the folder is not empty");
    }
  }
  const auto [folder, name] = tree_->parent(path);
  folder->set(name, nullptr);
}

void MemoryDirectory::sync_folder(const std::string& folder) {
  const std::scoped_lock guard(tree_->mutex);
  const NodePtr node = tree_->find(folder);
  if (!node || !node->is_folder) {
    throw CommitFailed("cannot bring " + describe(folder) + " to the disk: there is no such folder",
                       CommitFailed::Outcome::kUnknown);
  }
  for (auto entry = node->entries.begin(); entry != node->entries.end();) {
    NodePtr now = entry->second.back();
    entry = now ? std::next(entry) : node->entries.erase(entry);
    if (now) {
      std::prev(entry)->second = {std::move(now)};
    }
  }
}

std::unique_ptr<Lock> MemoryDirectory::lock(std::chrono::milliseconds timeout) {
  std::unique_lock guard(tree_->mutex);
  if (!tree_->unlocked.wait_for(guard, timeout, [this] { return !tree_->locked; })) {
    throw IndexLocked(describe("") + " is being written by another writer; waited " + std::to_string(timeout.count()) +
                      " ms");
  }
  tree_->locked = true;
  return std::make_unique<MemoryLock>(tree_);
}

std::vector<std::uint64_t> MemoryDirectory::pending() const {
  const std::scoped_lock guard(tree_->mutex);
  std::vector<std::uint64_t> ways;
  visit_pending(tree_->root, [&](const Node&, const History*, std::uint64_t count) { ways.push_back(count); });
  return ways;
}

std::shared_ptr<MemoryDirectory> MemoryDirectory::crash(const std::vector<std::uint64_t>& choices) const {
  auto found = std::make_shared<MemoryDirectory>();  // before the lock: it has one of its own
  const std::scoped_lock guard(tree_->mutex);
  AfterCrash after;
  std::size_t i = 0;
  visit_pending(tree_->root, [&](const Node& node, const History* history, std::uint64_t count) {
    const void* thing = history != nullptr ? static_cast<const void*>(history) : &node;
    after.ways[thing] = choices.at(i++) % count;
  });
  found->tree_->root = after.copy(tree_->root);
  return found;
}

std::uint64_t MemoryDirectory::total_bytes() const {
  const std::scoped_lock guard(tree_->mutex);
  std::uint64_t total = 0;
  std::vector<NodePtr> folders{tree_->root};
  while (!folders.empty()) {
    const NodePtr folder = folders.back();
    folders.pop_back();
    for (const auto& [name, history] : folder->entries) {
      if (const NodePtr& node = history.back(); node && node->is_folder) {
        folders.push_back(node);
      } else if (node) {
        total += node->bytes->size;
      }
    }
  }
  return total;
}

}  // namespace serotine::io
