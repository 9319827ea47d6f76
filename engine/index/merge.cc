#include "index/merge.h"

namespace serotine::index {
namespace {

struct Open {
  MergeGroup group;
  std::uint64_t weight;
  std::uint64_t num_tokens;
};

class Planner {
 public:
  Planner(std::span<const Piece> pieces, std::uint64_t max_tokens) : pieces_(pieces), max_tokens_(max_tokens) {}

  // Groups of a run of one kind. to_the_limit: not only where sizes ask for it.
  void add_run(std::uint64_t first, std::uint64_t last, bool to_the_limit) {
    std::vector<Open> stack;
    for (std::uint64_t i = first; i < last; ++i) {
      stack.push_back({{i, i + 1}, pieces_[i].weight(), pieces_[i].num_tokens});
      while (stack.size() > 1 && may_join(stack[stack.size() - 2], stack.back(), to_the_limit)) {
        const Open top = stack.back();
        stack.pop_back();
        stack.back().group.last = top.group.last;
        stack.back().weight += top.weight;
        stack.back().num_tokens += top.num_tokens;
      }
    }
    for (const Open& open : stack) {
      groups.push_back(open.group);
    }
  }

  std::vector<MergeGroup> groups;

 private:
  [[nodiscard]] bool may_join(const Open& below, const Open& top, bool to_the_limit) const {
    return below.num_tokens + top.num_tokens <= max_tokens_ && (to_the_limit || 2 * top.weight >= below.weight);
  }

  std::span<const Piece> pieces_;
  std::uint64_t max_tokens_;
};

}  // namespace

std::vector<MergeGroup> plan_merges(std::span<const Piece> pieces, std::uint64_t max_tokens, bool merge_all) {
  Planner planner(pieces, max_tokens);
  for (std::uint64_t first = 0; first < pieces.size();) {
    std::uint64_t last = first + 1;
    while (last < pieces.size() && pieces[last].same_kind(pieces[first])) {
      ++last;
    }
    planner.add_run(first, last, merge_all || last < pieces.size());
    first = last;
  }
  return planner.groups;
}

}  // namespace serotine::index
