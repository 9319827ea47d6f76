// How much may a file claim?  Bounds that a reader enforces before it believes a number.
#pragma once

#include <cstdint>

namespace serotine::format {

inline constexpr std::uint32_t kMaxSections = 256;                           // of a file
inline constexpr std::uint64_t kMaxManifestBytes = std::uint64_t{16} << 20;  // manifests are read whole
inline constexpr std::uint32_t kMaxCodebooks = 1024;
inline constexpr std::uint32_t kMaxSegments = 65'536;
inline constexpr std::uint32_t kMaxCalibrationPoints = 1024;
inline constexpr std::uint32_t kMaxDim = 4096;
// Of a segment's documents and tokens, and of a file's bytes: sums over all segments stay below 2^64.
inline constexpr std::uint64_t kMaxCount = std::uint64_t{1} << 47;
inline constexpr std::uint64_t kMaxGeneration = std::uint64_t{1} << 62;  // and number of files

}  // namespace serotine::format
