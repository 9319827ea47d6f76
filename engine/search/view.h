// What does a search look at?  The open segments of one generation, with their deletions: immutable, shared.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "format/manifest.h"
#include "segment/segment.h"

namespace serotine::search {

struct SegmentView {
  std::shared_ptr<const segment::Segment> segment;
  std::shared_ptr<const segment::Deletions> deletions;  // never null
};

struct View {
  std::vector<SegmentView> segments;  // oldest documents first
  std::vector<format::CalibrationPoint> calibration;
  std::uint64_t dim = 0;  // 0: no document yet
};

}  // namespace serotine::search
