#include <cuda_runtime.h>

#include "concat.h"

namespace segframe {
namespace {

constexpr int kThreads = 256;
constexpr int kVectors = 4;  // a thread's vectors: their loads are under way together
constexpr int kTile = kThreads * kVectors;

// What a kernel needs, counted in units: the widest type that all rows and addresses are a multiple of.
struct Plan {
  int parts;
  int64_t rows;
  int64_t units[kMaxParts];          // a row of each part
  int64_t offset[kMaxParts + 1];     // in a row of the whole; its end last
  int64_t tiles[kMaxParts + 1];      // split: the first tile of each part; their number last
  char* part[kMaxParts];
  char* whole;
};

template <typename Unit, int kUnits>
union Vector {
  Unit units[kUnits];
  uint4 whole;
};

// Vectors of kUnits units, first unit first; the end of a tensor may not fill one.
template <typename Unit, int kUnits>
__device__ void Store(Unit* to, int64_t first, int64_t count, const Vector<Unit, kUnits>& vector) {
  if constexpr (kUnits * sizeof(Unit) == 16) {
    if (first + kUnits <= count) {
      *reinterpret_cast<uint4*>(to + first) = vector.whole;
      return;
    }
  }
  for (int k = 0; k < kUnits; ++k)
    if (first + k < count) to[first + k] = vector.units[k];
}

// Each thread writes whole vectors of the destination, gathered unit by unit where rows are no multiple of it.
// Index: uint32_t where a row has less than 2^31 units, as 32-bit division is several times cheaper. The
// 64-bit one is the tile's own, the same for all its threads.
template <typename Unit, int kUnits, typename Index>
__global__ void __launch_bounds__(kThreads) ConcatKernel(const __grid_constant__ Plan plan) {
  const int64_t count = plan.rows * plan.offset[plan.parts];
  const int64_t tile = static_cast<int64_t>(blockIdx.x) * kTile * kUnits;
  const Index width = plan.offset[plan.parts];
  const int64_t tile_row = tile / plan.offset[plan.parts];
  const Index tile_column = tile - tile_row * plan.offset[plan.parts];
  Vector<Unit, kUnits> vectors[kVectors];
#pragma unroll
  for (int v = 0; v < kVectors; ++v) {
    const Index within = tile_column + static_cast<Index>(v * kThreads + threadIdx.x) * kUnits;
    int64_t row = tile_row + within / width;
    int64_t column = within % width;
    int part = 0;
#pragma unroll
    for (int k = 0; k < kUnits; ++k) {
      if (row < plan.rows) {
        while (column >= plan.offset[part + 1]) ++part;  // column < offset[parts] ends it
        const int64_t at = row * plan.units[part] + column - plan.offset[part];
        vectors[v].units[k] = __ldg(reinterpret_cast<const Unit*>(plan.part[part]) + at);
      }
      if (++column == plan.offset[plan.parts]) {
        column = 0, part = 0;
        ++row;
      }
    }
  }
#pragma unroll
  for (int v = 0; v < kVectors; ++v)
    Store<Unit, kUnits>(reinterpret_cast<Unit*>(plan.whole),
                        tile + static_cast<int64_t>(v * kThreads + threadIdx.x) * kUnits, count, vectors[v]);
}

template <typename Unit, int kUnits, typename Index>
__global__ void __launch_bounds__(kThreads) SplitKernel(const __grid_constant__ Plan plan) {
  int part = 0;
  while (blockIdx.x >= plan.tiles[part + 1]) ++part;  // tiles[parts] is the grid's size
  const int64_t units = plan.units[part], count = plan.rows * units, width = plan.offset[plan.parts];
  const int64_t tile = (blockIdx.x - plan.tiles[part]) * static_cast<int64_t>(kTile) * kUnits;
  const int64_t tile_row = tile / units;
  const Index tile_column = tile - tile_row * units;
  const Unit* whole = reinterpret_cast<const Unit*>(plan.whole) + plan.offset[part];
  Vector<Unit, kUnits> vectors[kVectors];
#pragma unroll
  for (int v = 0; v < kVectors; ++v) {
    const Index within = tile_column + static_cast<Index>(v * kThreads + threadIdx.x) * kUnits;
    int64_t row = tile_row + within / static_cast<Index>(units);
    int64_t column = within % static_cast<Index>(units);
#pragma unroll
    for (int k = 0; k < kUnits; ++k) {
      if (row < plan.rows) vectors[v].units[k] = __ldg(whole + row * width + column);
      if (++column == units) {
        column = 0;
        ++row;
      }
    }
  }
#pragma unroll
  for (int v = 0; v < kVectors; ++v)
    Store<Unit, kUnits>(reinterpret_cast<Unit*>(plan.part[part]),
                        tile + static_cast<int64_t>(v * kThreads + threadIdx.x) * kUnits, count, vectors[v]);
}

template <typename Unit, int kUnits>
const char* Launch(const Layout& layout, Plan plan, bool split, cudaStream_t stream) {
  constexpr int64_t kTileUnits = static_cast<int64_t>(kTile) * kUnits;
  plan.tiles[0] = 0;
  for (int i = 0; i < plan.parts; ++i) {
    plan.units[i] = layout.row_bytes[i] / sizeof(Unit);
    plan.offset[i] = layout.offset[i] / sizeof(Unit);
    plan.tiles[i + 1] = plan.tiles[i] + (plan.rows * plan.units[i] + kTileUnits - 1) / kTileUnits;
  }
  const int64_t width = layout.offset[plan.parts] / sizeof(Unit);
  plan.offset[plan.parts] = width;
  const int64_t blocks = split ? plan.tiles[plan.parts] : (plan.rows * width + kTileUnits - 1) / kTileUnits;
  if (blocks == 0) return nullptr;
  if (blocks >= int64_t{1} << 31) return "more than 2^31 blocks";
  const bool narrow = width < (int64_t{1} << 31) - kTileUnits;
  auto* kernel = split ? (narrow ? SplitKernel<Unit, kUnits, uint32_t> : SplitKernel<Unit, kUnits, uint64_t>)
                       : (narrow ? ConcatKernel<Unit, kUnits, uint32_t> : ConcatKernel<Unit, kUnits, uint64_t>);
  kernel<<<static_cast<unsigned>(blocks), kThreads, 0, stream>>>(plan);
  const cudaError_t error = cudaGetLastError();
  return error == cudaSuccess ? nullptr : cudaGetErrorString(error);
}

// 16-byte stores need destinations aligned to 16; TensorFlow's allocator gives 256, but does not promise it.
template <typename Unit>
const char* LaunchAligned(const Layout& layout, const Plan& plan, bool split, bool aligned,
                          cudaStream_t stream) {
  return aligned ? Launch<Unit, 16 / sizeof(Unit)>(layout, plan, split, stream)
                 : Launch<Unit, 1>(layout, plan, split, stream);
}

const char* Copy(const Layout& layout, const Plan& plan, bool split, void* stream) {
  uint64_t common = reinterpret_cast<uint64_t>(plan.whole);  // its low bits: what everything is a multiple of
  uint64_t destinations = split ? 0 : common;
  for (int i = 0; i < plan.parts; ++i) {
    common |= static_cast<uint64_t>(layout.row_bytes[i]);
    if (layout.rows * layout.row_bytes[i] == 0) continue;  // nothing of it is touched
    common |= reinterpret_cast<uint64_t>(plan.part[i]);
    if (split) destinations |= reinterpret_cast<uint64_t>(plan.part[i]);
  }
  const bool aligned = destinations % 16 == 0;
  const auto cuda_stream = static_cast<cudaStream_t>(stream);
  if (common % 16 == 0) return Launch<uint4, 1>(layout, plan, split, cuda_stream);
  if (common % 8 == 0) return LaunchAligned<uint2>(layout, plan, split, aligned, cuda_stream);
  if (common % 4 == 0) return LaunchAligned<uint32_t>(layout, plan, split, aligned, cuda_stream);
  if (common % 2 == 0) return LaunchAligned<uint16_t>(layout, plan, split, aligned, cuda_stream);
  return "an address that is no multiple of 2";
}

Plan MakePlan(const Layout& layout, const char* const* parts, const char* whole) {
  Plan plan = {};
  plan.parts = layout.parts;
  plan.rows = layout.rows;
  plan.whole = const_cast<char*>(whole);
  for (int i = 0; i < layout.parts; ++i) plan.part[i] = const_cast<char*>(parts[i]);
  return plan;
}

}  // namespace

const char* ConcatCuda(const Layout& layout, const char* const* parts, char* whole, void* stream) {
  return Copy(layout, MakePlan(layout, parts, whole), false, stream);
}

const char* SplitCuda(const Layout& layout, const char* whole, char* const* parts, void* stream) {
  return Copy(layout, MakePlan(layout, parts, whole), true, stream);
}

}  // namespace segframe
