#include <cuda_pipeline.h>
#include <cuda_runtime.h>

#include <algorithm>

#include "concat.h"

// By what rows and addresses are multiples of:
//   RowsKernel         rows of up to 2 KB: a thread makes 16 bytes of the whole of what lies in a piece or two, or,
//                      where all is a multiple of 16 bytes, moves them either way
//   VectorKernel       longer rows, and those of 16 bytes, multiples of 16: a load and a store each; a thread moves
//                      kVectors vectors, and its loads are under way together
//   ShiftConcatKernel  other longer rows: a vector of the destination is put together from the one or two pieces of
//                      source that it covers, loaded by aligned vectors
//   StagedSplitKernel  the way back: the same, but a block brings its rows to shared memory first, as the pieces of
//                      a part lie far apart in the whole
//   ShiftSplitKernel   the same without shared memory, for rows that are too long for it
//   UnitKernel         anything else, unit by unit: parts of one or two channels
// Nothing is loaded or stored past the L2 cache (as __ldcs and __stcs do): maps that fit into it are looked at next.
namespace segframe {
namespace {

constexpr int kThreads = 256;
constexpr int kVectors = 2;
constexpr int kTile = kThreads * kVectors;
constexpr int kRowsTile = 4096;     // bytes of the whole that a block takes, about: a vector for each thread
constexpr int kRowsWidth = 2048;    // bytes of a row at most
constexpr int kRowsThreads = 1024;  // at most
constexpr int kShiftVectors = 2;
constexpr int kShiftTile = kThreads * kShiftVectors * 16;  // bytes
constexpr int kStagedTile = 8192;   // bytes of the whole, about
constexpr int kStagedWidth = 4096;  // bytes of a row at most: 8 of them fit into what every device has, 48 KB
constexpr int kRowsUnit = 8;        // rows of 2 bytes and more: as many begin at a multiple of 16 bytes

// Rows and offsets are in units of the kernel: 16 bytes, 1 byte, or the widest type that all are multiples of.
struct Plan {
  int parts;
  int64_t rows;
  int64_t units[kMaxParts];       // a row of each part
  int64_t offset[kMaxParts + 1];  // in a row of the whole; its end last
  int64_t block_rows;             // RowsKernel, StagedSplitKernel: rows of a block, a multiple of kRowsUnit
  uint32_t reciprocal;            // RowsKernel: of a row of the whole
  uint32_t reciprocals[kMaxParts];  // StagedSplitKernel: of each part's
  int vectors[kMaxParts + 1];     // StagedSplitKernel: of a block before each part's; all of them last
  int64_t chunks;                 // ShiftSplitKernel: blocks of a row
  char* part[kMaxParts];
  char* whole;
};

// Where a thread's unit lies: the tile's row by one 64-bit division, the same for all threads of a block; from
// there by Index, uint32_t where rows are short enough, as its division is several times cheaper.
template <typename Index>
struct Place {
  int64_t row;
  int64_t column;
  __device__ Place(int64_t tile, int64_t within, int64_t width) {
    row = tile / width;
    const Index from_row = static_cast<Index>(tile - row * width) + static_cast<Index>(within);
    const Index rows = from_row / static_cast<Index>(width);
    row += rows;
    column = from_row - rows * static_cast<Index>(width);
  }
};

template <typename Index, bool kSplit>
__global__ void __launch_bounds__(kThreads) VectorKernel(const __grid_constant__ Plan plan) {
  const int64_t width = plan.offset[plan.parts], tile = static_cast<int64_t>(blockIdx.x) * kTile;
  uint4 values[kVectors];
  uint4* targets[kVectors];
#pragma unroll
  for (int v = 0; v < kVectors; ++v) {
    const int64_t within = v * kThreads + threadIdx.x;
    const Place<Index> place(tile, within, width);
    int part = 0;
    while (place.column >= plan.offset[part + 1]) ++part;  // column < offset[parts] ends it
    uint4* in_part = reinterpret_cast<uint4*>(plan.part[part]) + place.row * plan.units[part] +
                     (place.column - plan.offset[part]);
    uint4* in_whole = reinterpret_cast<uint4*>(plan.whole) + tile + within;
    targets[v] = place.row < plan.rows ? (kSplit ? in_part : in_whole) : nullptr;
    if (targets[v]) values[v] = __ldg(kSplit ? in_whole : in_part);
  }
#pragma unroll
  for (int v = 0; v < kVectors; ++v)
    if (targets[v]) *targets[v] = values[v];
}

// at / width for at * width < 2^32, by Reciprocal(width): a division takes several times as long.
__device__ inline int Quotient(int at, uint32_t reciprocal) {
  return static_cast<int>(__umulhi(static_cast<uint32_t>(at), reciprocal));
}

uint32_t Reciprocal(int64_t width) { return static_cast<uint32_t>((int64_t{1} << 32) / width + 1); }

// kCount units are 16 bytes, and every row of a part has as many or none, so that they are of two pieces at most. Which
// of the two a unit is of changes its address alone: no thread waits for another's second piece.
template <typename Unit, bool kSplit>
__global__ void __launch_bounds__(kRowsThreads) RowsKernel(const __grid_constant__ Plan plan) {
  constexpr int kCount = 16 / sizeof(Unit);
  const int width = static_cast<int>(plan.offset[plan.parts]);
  const int64_t first_row = blockIdx.x * plan.block_rows;
  const int end = static_cast<int>(min(plan.block_rows, plan.rows - first_row)) * width;
  const int at = threadIdx.x * kCount;
  if (at >= end) return;
  Unit* whole = reinterpret_cast<Unit*>(plan.whole) + first_row * width + at;
  int row = Quotient(at, plan.reciprocal), part = 0;
  const int column = at - row * width;
  while (column >= static_cast<int>(plan.offset[part + 1])) ++part;
  Unit* here = reinterpret_cast<Unit*>(plan.part[part]) + (first_row + row) * plan.units[part] +
               (column - static_cast<int>(plan.offset[part]));
  if constexpr (kCount == 1) {
    if (kSplit) *here = __ldg(whole);
    else *whole = __ldg(here);
    return;
  } else {
    const int left = static_cast<int>(plan.offset[part + 1]) - column;
    do {
      if (++part == plan.parts) part = 0, ++row;
    } while (plan.units[part] == 0);
    const Unit* next =
        reinterpret_cast<const Unit*>(plan.part[part]) + (first_row + row) * plan.units[part] - left;
    if (at + kCount > end) {  // the last of all
      for (int k = 0; at + k < end; ++k) whole[k] = (k < left ? here : next)[k];
      return;
    }
    Unit units[kCount];
#pragma unroll
    for (int k = 0; k < kCount; ++k) units[k] = __ldg((k < left ? here : next) + k);
    uint4 value;
    memcpy(&value, units, 16);
    *reinterpret_cast<uint4*>(whole) = value;
  }
}

// The bytes first..last-1 of the 16 that begin at `start`, which need not be aligned; others are rubbish. Only
// aligned vectors that hold one of those bytes are read: they lie in memory that is the tensor's to its last
// vector, as allocations begin and end at multiples of more than 16 bytes.
__device__ inline ulonglong2 Load(const char* start, int first, int last) {
  const uintptr_t address = reinterpret_cast<uintptr_t>(start);
  const int skew = address & 15;
  const ulonglong2* aligned = reinterpret_cast<const ulonglong2*>(address - skew);
  ulonglong2 low = {0, 0}, high = {0, 0};
  if (first < 16 - skew && first < last) low = __ldg(aligned);
  if (skew + last > 16 && first < last) high = __ldg(aligned + 1);
  uint32_t words[8];
  memcpy(words, &low, 16);
  memcpy(words + 4, &high, 16);
#pragma unroll
  for (int k = 0; k < 6; ++k) words[k] = skew & 8 ? words[k + 2] : words[k];
#pragma unroll
  for (int k = 0; k < 5; ++k) words[k] = skew & 4 ? words[k + 1] : words[k];
  uint32_t shifted[4];
#pragma unroll
  for (int k = 0; k < 4; ++k) shifted[k] = __funnelshift_r(words[k], words[k + 1], skew * 8);
  ulonglong2 value;
  memcpy(&value, shifted, 16);
  return value;
}

// The first `bytes` bytes of one, the others of the other.
__device__ inline ulonglong2 Merge(const ulonglong2& one, const ulonglong2& other, int bytes) {
  uint32_t a[4], b[4];
  memcpy(a, &one, 16);
  memcpy(b, &other, 16);
#pragma unroll
  for (int k = 0; k < 4; ++k) {
    const uint32_t mask = __funnelshift_lc(0xffffffffu, 0u, max(0, min(32, bytes * 8 - 32 * k)));
    a[k] = (a[k] & mask) | (b[k] & ~mask);
  }
  ulonglong2 value;
  memcpy(&value, a, 16);
  return value;
}

// A vector of the destination: what is `here` for `left` bytes, then what is `next`; `wanted` bytes in all.
__device__ inline ulonglong2 Gather(const char* here, int left, const char* next, int wanted) {
  const int first = min(left, wanted);
  const ulonglong2 value = Load(here, 0, first);
  if (first == wanted) return value;
  const ulonglong2 rest = Load(next - first, first, wanted);
  return Merge(value, rest, first);
}

__device__ inline void Store(char* destination, int64_t at, int64_t count, const ulonglong2& value) {
  if (at + 16 <= count) {
    *reinterpret_cast<ulonglong2*>(destination + at) = value;
    return;
  }
  for (int k = 0; k < 16 && at + k < count; ++k)
    destination[at + k] = static_cast<char>((k < 8 ? value.x : value.y) >> (k % 8 * 8));
}

__device__ inline int UpTo16(int64_t bytes) { return static_cast<int>(min(bytes, static_cast<int64_t>(16))); }

// Units are bytes. Every row of a part has 16 or none, so a vector covers at most two pieces.
template <typename Index>
__global__ void __launch_bounds__(kThreads) ShiftConcatKernel(const __grid_constant__ Plan plan) {
  const int64_t width = plan.offset[plan.parts], count = plan.rows * width;
  const int64_t tile = static_cast<int64_t>(blockIdx.x) * kShiftTile;
#pragma unroll
  for (int v = 0; v < kShiftVectors; ++v) {
    const int within = (v * kThreads + threadIdx.x) * 16;
    const int wanted = UpTo16(count - tile - within);
    if (wanted <= 0) return;
    const Place<Index> place(tile, within, width);
    int part = 0;
    while (place.column >= plan.offset[part + 1]) ++part;
    const char* here = plan.part[part] + place.row * plan.units[part] + place.column - plan.offset[part];
    const int left = UpTo16(plan.offset[part + 1] - place.column);
    int64_t row = place.row;
    do {
      if (++part == plan.parts) part = 0, ++row;
    } while (plan.units[part] == 0);
    Store(plan.whole, tile + within, count, Gather(here, left, plan.part[part] + row * plan.units[part], wanted));
  }
}

// A block takes a share of a row for all parts. A vector belongs to the block of its first byte.
__global__ void __launch_bounds__(kThreads) ShiftSplitKernel(const __grid_constant__ Plan plan) {
  const int64_t width = plan.offset[plan.parts], row = blockIdx.x / plan.chunks, chunk = blockIdx.x % plan.chunks;
  for (int part = 0; part < plan.parts; ++part) {
    const int64_t row_bytes = plan.units[part], first = row * row_bytes, count = plan.rows * row_bytes;
    const int64_t begin = (first + row_bytes * chunk / plan.chunks + 15) / 16;
    const int64_t end = (first + row_bytes * (chunk + 1) / plan.chunks + 15) / 16;
    const char* piece_end = plan.whole + row * width + plan.offset[part] + row_bytes;
    for (int64_t vector = begin + threadIdx.x; vector < end; vector += kThreads) {
      const int64_t at = vector * 16, left = first + row_bytes - at;
      Store(plan.part[part], at, count,
            Gather(piece_end - left, UpTo16(left), piece_end + (width - row_bytes), UpTo16(count - at)));
    }
  }
}

__device__ inline ulonglong2 LoadShared(const char* start) {
  const int skew = reinterpret_cast<uintptr_t>(start) & 3, bits = skew * 8;
  const uint32_t* words = reinterpret_cast<const uint32_t*>(start - skew);
  uint32_t found[4] = {words[0], words[1], words[2], words[3]};
  if (bits) {
    for (int k = 0; k < 3; ++k) found[k] = __funnelshift_r(found[k], found[k + 1], bits);
    found[3] = __funnelshift_r(found[3], words[4], bits);
  }
  return {found[0] | static_cast<unsigned long long>(found[1]) << 32,
          found[2] | static_cast<unsigned long long>(found[3]) << 32};
}

// As Gather, from shared memory: there more may be read than is wanted, up to 19 bytes from where it begins.
__device__ inline ulonglong2 GatherShared(const char* here, int left, const char* next, int wanted) {
  const ulonglong2 value = LoadShared(here);
  if (left >= wanted) return value;
  const ulonglong2 rest = LoadShared(next - left);
  return Merge(value, rest, left);
}

// Units are bytes. A block takes plan.block_rows rows; its vectors are dealt out over all parts.
__global__ void __launch_bounds__(kThreads) StagedSplitKernel(const __grid_constant__ Plan plan) {
  extern __shared__ uint4 stage[];
  const int width = static_cast<int>(plan.offset[plan.parts]);
  const int64_t first_row = blockIdx.x * plan.block_rows;
  const int rows = static_cast<int>(min(plan.block_rows, plan.rows - first_row));
  const char* start = plan.whole + first_row * width;
  const int skew = reinterpret_cast<uintptr_t>(start) & 15;
  for (int i = threadIdx.x; i * 16 < skew + rows * width; i += kThreads)
    __pipeline_memcpy_async(stage + i, start - skew + 16 * i, 16);
  __pipeline_commit();
  __pipeline_wait_prior(0);
  __syncthreads();
  const char* shared = reinterpret_cast<const char*>(stage) + skew;
  for (int i = threadIdx.x; i < plan.vectors[plan.parts]; i += kThreads) {
    int part = 0;
    while (i >= plan.vectors[part + 1]) ++part;
    const int row_bytes = static_cast<int>(plan.units[part]);
    const int at = (i - plan.vectors[part]) * 16, end = rows * row_bytes;
    if (at >= end) continue;  // of the last block
    const int row = Quotient(at, plan.reciprocals[part]), column = at - row * row_bytes, left = row_bytes - column;
    const char* here = shared + row * width + static_cast<int>(plan.offset[part]) + column;
    Store(plan.part[part] + first_row * row_bytes, at, end,
          GatherShared(here, min(left, 16), here + left + (width - row_bytes), min(end - at, 16)));
  }
}

template <typename Unit, bool kSplit>
__global__ void __launch_bounds__(kThreads) UnitKernel(const __grid_constant__ Plan plan) {
  const int64_t width = plan.offset[plan.parts];
#pragma unroll
  for (int v = 0; v < kVectors; ++v) {
    const int64_t at = static_cast<int64_t>(blockIdx.x) * kTile + v * kThreads + threadIdx.x;
    const int64_t row = at / width, column = at - row * width;
    if (row >= plan.rows) return;
    int part = 0;
    while (column >= plan.offset[part + 1]) ++part;
    Unit* in_part =
        reinterpret_cast<Unit*>(plan.part[part]) + row * plan.units[part] + column - plan.offset[part];
    Unit* in_whole = reinterpret_cast<Unit*>(plan.whole) + at;
    if (kSplit) *in_part = *in_whole;
    else *in_whole = *in_part;
  }
}

using Kernel = void (*)(Plan);

Kernel ChooseVector(bool split, bool narrow) {
  if (split) return narrow ? VectorKernel<uint32_t, true> : VectorKernel<uint64_t, true>;
  return narrow ? VectorKernel<uint32_t, false> : VectorKernel<uint64_t, false>;
}

Kernel ChooseShift(bool split, bool narrow) {
  if (split) return ShiftSplitKernel;
  return narrow ? ShiftConcatKernel<uint32_t> : ShiftConcatKernel<uint64_t>;
}

const char* Launch(Kernel kernel, const Plan& plan, int64_t blocks, cudaStream_t stream, int64_t shared = 0,
                   int threads = kThreads) {
  if (blocks == 0) return nullptr;
  if (blocks >= int64_t{1} << 31) return "more than 2^31 blocks";
  kernel<<<static_cast<unsigned>(blocks), threads, static_cast<size_t>(shared), stream>>>(plan);
  const cudaError_t error = cudaGetLastError();
  return error == cudaSuccess ? nullptr : cudaGetErrorString(error);
}

// Rows of a block that takes about `tile` bytes.
int64_t BlockRows(int64_t tile, int64_t row_bytes) {
  return std::max<int64_t>(1, (tile / row_bytes + kRowsUnit / 2) / kRowsUnit) * kRowsUnit;
}

// Units of the plan are 16 bytes or 1; the kernel's are as wide as what all is a multiple of.
const char* LaunchRows(Plan plan, int64_t bytes, uint64_t all, bool split, cudaStream_t stream) {
  const int64_t unit = all % 16 == 0 ? 16 : all % 8 == 0 ? 8 : all % 4 == 0 ? 4 : 2;
  const int64_t units = plan.offset[plan.parts], wider = units * unit / bytes;  // than the plan's
  for (int i = 0; i < plan.parts; ++i) {
    plan.units[i] /= wider;
    plan.offset[i + 1] /= wider;
  }
  plan.block_rows = BlockRows(kRowsTile, bytes);
  plan.reciprocal = Reciprocal(units / wider);
  const int64_t blocks = (plan.rows + plan.block_rows - 1) / plan.block_rows;
  const int threads = static_cast<int>((plan.block_rows * bytes + 511) / 512 * 32);
  const Kernel kernel = unit == 16 ? (split ? RowsKernel<uint4, true> : RowsKernel<uint4, false>)
                        : unit == 8 ? RowsKernel<uint2, false>
                        : unit == 4 ? RowsKernel<uint32_t, false> : RowsKernel<uint16_t, false>;
  return Launch(kernel, plan, blocks, stream, 0, threads);
}

const char* Copy(const Layout& layout, const char* const* parts, const char* whole, bool split,
                 cudaStream_t stream) {
  uint64_t all = reinterpret_cast<uint64_t>(whole);  // its low bits: what everything is a multiple of
  uint64_t destinations = split ? 0 : all;
  bool short_rows = false;
  for (int i = 0; i < layout.parts; ++i) {
    if (layout.row_bytes[i] == 0) continue;  // nothing of it is touched
    all |= reinterpret_cast<uint64_t>(parts[i]) | static_cast<uint64_t>(layout.row_bytes[i]);
    if (split) destinations |= reinterpret_cast<uint64_t>(parts[i]);
    short_rows = short_rows || layout.row_bytes[i] < 16;
  }
  const bool vectors = all % 16 == 0, shift = !vectors && !short_rows && destinations % 16 == 0;
  const int unit = vectors ? 16 : shift ? 1 : all % 8 == 0 ? 8 : all % 4 == 0 ? 4 : 2;
  if (all % 2) return "an address or a row that is no multiple of 2 bytes";

  Plan plan = {};
  plan.parts = layout.parts;
  plan.rows = layout.rows;
  plan.whole = const_cast<char*>(whole);
  const int64_t tile = shift ? kShiftTile : kTile;  // in units
  for (int i = 0; i < layout.parts; ++i) {
    plan.part[i] = const_cast<char*>(parts[i]);
    plan.units[i] = layout.row_bytes[i] / unit;
    plan.offset[i + 1] = layout.offset[i + 1] / unit;
  }
  const int64_t width = plan.offset[plan.parts], bytes = width * unit;
  if (plan.rows * width == 0) return nullptr;
  // Of a single unit there is no reciprocal.
  if ((vectors || (shift && !split)) && bytes <= kRowsWidth && bytes > 16)
    return LaunchRows(plan, bytes, all, split, stream);
  if (shift && split && width <= kStagedWidth) {
    plan.block_rows = BlockRows(kStagedTile, width);
    for (int i = 0; i < plan.parts; ++i) {
      plan.vectors[i + 1] = plan.vectors[i] + static_cast<int>(plan.block_rows * plan.units[i] / 16);
      if (plan.units[i]) plan.reciprocals[i] = Reciprocal(plan.units[i]);
    }
    const int64_t blocks = (plan.rows + plan.block_rows - 1) / plan.block_rows;
    return Launch(StagedSplitKernel, plan, blocks, stream, plan.block_rows * width + 48);
  }
  int64_t blocks = (plan.rows * width + tile - 1) / tile;
  const bool narrow = width + tile < int64_t{1} << 31;
  if (vectors) return Launch(ChooseVector(split, narrow), plan, blocks, stream);
  if (shift && split) {
    plan.chunks = std::max<int64_t>(1, width / kShiftTile);
    blocks = plan.rows * plan.chunks;
  }
  if (shift) return Launch(ChooseShift(split, narrow), plan, blocks, stream);
  if (unit == 8) return Launch(split ? UnitKernel<uint2, true> : UnitKernel<uint2, false>, plan, blocks, stream);
  if (unit == 4)
    return Launch(split ? UnitKernel<uint32_t, true> : UnitKernel<uint32_t, false>, plan, blocks, stream);
  return Launch(split ? UnitKernel<uint16_t, true> : UnitKernel<uint16_t, false>, plan, blocks, stream);
}

}  // namespace

const char* ConcatCuda(const Layout& layout, const char* const* parts, char* whole, void* stream) {
  return Copy(layout, parts, whole, false, static_cast<cudaStream_t>(stream));
}

const char* SplitCuda(const Layout& layout, const char* whole, char* const* parts, void* stream) {
  return Copy(layout, parts, whole, true, static_cast<cudaStream_t>(stream));
}

}  // namespace segframe
