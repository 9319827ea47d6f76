// How far is a long operation?  Turns the fractions of its stages into calls of the caller's Progress, not too many.
#pragma once

#include <chrono>

#include "codec/train.h"

namespace serotine::codec {

// Used by the calling thread alone: worker 0 of parallel_for.
class Meter {
 public:
  explicit Meter(const Progress& progress) : progress_(progress) {}

  // What follows is the share [begin, end) of the whole.
  void stage(double begin, double end) {
    begin_ = begin;
    end_ = end;
    last_ = begin;
    tell();
  }
  // How far the stage is, in 0..1.
  void tick(double fraction) {
    last_ = begin_ + (end_ - begin_) * fraction;
    poll();
  }
  // The same as last time, for work that has no measure of its own.
  void poll() {
    if (progress_ && Clock::now() - told_ >= kInterval) {
      tell();
    }
  }

 private:
  using Clock = std::chrono::steady_clock;
  static constexpr std::chrono::milliseconds kInterval{50};

  void tell() {
    told_ = Clock::now();
    if (progress_) {
      progress_(last_);
    }
  }

  const Progress& progress_;
  double begin_ = 0;
  double end_ = 1;
  double last_ = 0;
  Clock::time_point told_ = Clock::now();
};

}  // namespace serotine::codec
