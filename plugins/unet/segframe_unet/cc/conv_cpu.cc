// Compiled once for each instruction set: SEGFRAME_ISA is Base, Avx2 or Avx512. All but the last function is in
// an anonymous namespace, and no template of the standard library is used: the linker would take one compilation
// of it for all instruction sets.
#include "conv.h"

#include "conv_transforms.h"

// One body wherever it is called from: compiled into two places, the same sums might be rounded otherwise in each.
#if defined(__clang__)
#define SEGFRAME_ONE_BODY __attribute__((noinline))
#else
#define SEGFRAME_ONE_BODY __attribute__((noinline, noclone))
#endif
#define SEGFRAME_JOIN(a, b) a##b
#define SEGFRAME_NAME(a, b) SEGFRAME_JOIN(a, b)
#define SEGFRAME_TEXT(a) #a
#define SEGFRAME_QUOTED(a) SEGFRAME_TEXT(a)

namespace segframe {
namespace {

constexpr int64_t kColumns = 64;         // filters whose products are in scratch at a time
constexpr int64_t kStreamed = 16 << 20;  // bytes of a result that are more than a cache holds

// c[row, column] = sum over k of a[row, k] b[k, column], k from the first to the last whatever the rows are.
template <int kCount, int kVecs>
inline void Multiply(const float* a, int64_t a_row, const float* b, int64_t depth, float* c, int64_t c_row) {
  Vec sums[kCount][kVecs];
  for (int i = 0; i < kCount; ++i)
    for (int j = 0; j < kVecs; ++j) sums[i][j] = Vec{};
  for (int64_t k = 0; k < depth; ++k) {
    Vec right[kVecs];
    for (int j = 0; j < kVecs; ++j) right[j] = Load(b + (k * kVecs + j) * kLanes);
    for (int i = 0; i < kCount; ++i) {
      const float left = a[i * a_row + k];
      for (int j = 0; j < kVecs; ++j) sums[i][j] = Fused(sums[i][j], left, right[j]);
    }
  }
  for (int i = 0; i < kCount; ++i)
    for (int j = 0; j < kVecs; ++j) Store(c + i * c_row + j * kLanes, sums[i][j]);
}

template <int kVecs>
void Panel(const float* a, int64_t a_row, int64_t rows, const float* b, int64_t depth, float* c, int64_t c_row) {
  int64_t row = 0;
  for (; row + kRows <= rows; row += kRows)
    Multiply<kRows, kVecs>(a + row * a_row, a_row, b, depth, c + row * c_row, c_row);
  for (; row + 4 <= rows; row += 4) Multiply<4, kVecs>(a + row * a_row, a_row, b, depth, c + row * c_row, c_row);
  for (; row < rows; ++row) Multiply<1, kVecs>(a + row * a_row, a_row, b, depth, c + row * c_row, c_row);
}

// Of a transformed filter. Not a power of two: all filters' numbers of one channel are written at once.
inline int64_t FilterStride(const Conv& conv, int64_t columns) { return conv.in * columns + 16; }

template <typename Scheme>
int64_t InStride(const Conv& conv) {
  return Odd(Scheme::kSlots * conv.in);
}
template <typename Scheme>
constexpr int64_t OutStride() {
  return Scheme::kSlots * kColumns + 16;
}

template <typename Scheme>
ConvPlan Plan(const Conv& conv, int threads) {
  ConvPlan plan;
  plan.tile_rows = UpTo(conv.height, Scheme::kStep);
  plan.tile_columns = UpTo(conv.width, Scheme::kStep);
  plan.tiles = conv.batch * plan.tile_rows * plan.tile_columns;
  plan.block_tiles = UpTo(plan.tiles, UpTo(plan.tiles, Scheme::kTiles));
  const int64_t blocks = UpTo(plan.tiles, plan.block_tiles);
  const int64_t of_tiles = plan.tiles * InStride<Scheme>(conv);
  const int64_t of_filters = Scheme::kFilters * FilterStride(conv, conv.out);
  plan.share_tiles = of_tiles < of_filters;
  plan.block_filters = kColumns;
  while (plan.share_tiles && plan.block_filters > kWide && UpTo(conv.out, plan.block_filters) < threads)
    plan.block_filters -= kWide;
  const int64_t filter_blocks = UpTo(conv.out, plan.block_filters);
  plan.share_tasks = plan.share_tiles ? blocks : conv.in / kConvChannels;
  plan.shared_floats = plan.share_tiles ? of_tiles : of_filters;
  plan.tasks = plan.share_tiles ? filter_blocks : blocks;
  const int64_t own = plan.share_tiles ? Scheme::kFilters * FilterStride(conv, plan.block_filters)
                                       : plan.block_tiles * InStride<Scheme>(conv);
  plan.scratch_floats = conv.in + own + plan.block_tiles * OutStride<Scheme>();
  plan.task_flops = 2 * Scheme::kSlots * conv.in * plan.tiles * conv.out / plan.tasks;
  return plan;
}

// Channels first..last-1 that come in, columns begin..end-1 of those that go out. Transformed: (filter, panel,
// channel, column of the panel); the last panel may be narrower.
template <typename Scheme, bool kFlip, bool kTurned>
SEGFRAME_ONE_BODY void TransformFilters(const Conv& conv, const float* filters, int64_t first, int64_t last,
                                        int64_t begin, int64_t end, float* transformed) {
  const int64_t size = conv.in * conv.out;
  for (int64_t block = first; block < last; block += kConvChannels) {
    for (int64_t column = begin; column < end; column += kLanes) {
      float turned[kTurned ? kConvChannels * 9 * kLanes : 1];
      for (int tap = 0; kTurned && tap < 9; ++tap)
        for (int lane = 0; lane < kLanes; ++lane) {
          const float* from = filters + (kFlip ? 8 - tap : tap) * size + (column + lane) * conv.in + block;
          for (int channel = 0; channel < kConvChannels; ++channel)
            turned[(channel * 9 + tap) * kLanes + lane] = from[channel];
        }
      const int64_t start = (column - begin) / kWide * kWide, width = Min(kWide, end - begin - start);
      for (int channel = 0; channel < kConvChannels; ++channel) {
        Vec w[9];
        for (int tap = 0; tap < 9; ++tap)
          w[tap] = Load(kTurned ? turned + (channel * 9 + tap) * kLanes
                                : filters + tap * size + (block + channel) * conv.out + column);
        float* to = transformed + start * conv.in + (block + channel) * width + column - begin - start;
        Scheme::Filter(w, to, FilterStride(conv, end - begin));
      }
    }
  }
}

struct Tile {
  int64_t image, row, column;
  Tile(const ConvPlan& plan, int64_t number)
      : image(number / (plan.tile_rows * plan.tile_columns)),
        row(number / plan.tile_columns % plan.tile_rows),
        column(number % plan.tile_columns) {}
};

struct Maps {
  const float* data;
  int64_t height, width, channels;
  const float* zeros;  // as many as there are channels
};

// Where the kSize x kSize pixels are that begin at (row, column) of an image; zeros for those outside of it.
template <int kSize>
void FindPixels(const Maps& maps, int64_t image, int64_t row, int64_t column, const float** pixels) {
  for (int i = 0; i < kSize; ++i)
    for (int j = 0; j < kSize; ++j) {
      const int64_t y = row + i, x = column + j;
      const bool inside = y >= 0 && y < maps.height && x >= 0 && x < maps.width;
      pixels[i * kSize + j] =
          inside ? maps.data + ((image * maps.height + y) * maps.width + x) * maps.channels : maps.zeros;
    }
}

// Channels first..last-1 of a tile.
template <typename Scheme>
void TransformTile(const Maps& images, const Tile& tile, int64_t first, int64_t last, float* v) {
  constexpr int kPixels = Scheme::kIn * Scheme::kIn;
  const float* pixels[kPixels];
  FindPixels<Scheme::kIn>(images, tile.image, tile.row * Scheme::kStep + Scheme::kFirst,
                          tile.column * Scheme::kStep + Scheme::kFirst, pixels);
  const int64_t next = Scheme::kStep * images.channels;
  for (int64_t channel = first; channel < last; channel += kLanes) {
    Vec d[kPixels];
    for (int k = 0; k < kPixels; ++k) {
      d[k] = Load(pixels[k] + channel);
      if (k % Scheme::kIn >= Scheme::kIn - Scheme::kStep) __builtin_prefetch(pixels[k] + channel + next);
    }
    Scheme::In(d, v + channel - first, last - first);
  }
}

// The same of the gradient to what a tile makes.
template <typename Scheme>
void TransformUpstream(const Maps& upstream, const Tile& tile, int64_t first, int64_t last, float* m) {
  constexpr int kPixels = Scheme::kOut * Scheme::kOut;
  const float* pixels[kPixels];
  FindPixels<Scheme::kOut>(upstream, tile.image, tile.row * Scheme::kOut, tile.column * Scheme::kOut, pixels);
  for (int64_t channel = first; channel < last; channel += kLanes) {
    Vec y[kPixels];
    for (int k = 0; k < kPixels; ++k) y[k] = Load(pixels[k] + channel);
    Scheme::OutBack(y, m + channel - first, last - first);
  }
}

template <typename Scheme>
void FinishTile(const Conv& conv, const Tile& tile, const float* m, int64_t column, int64_t columns, float* out) {
  constexpr int kOut = Scheme::kOut;
  const int64_t height = conv.height * kOut / Scheme::kStep, width = conv.width * kOut / Scheme::kStep;
  const int64_t top = tile.row * kOut, left = tile.column * kOut;
  const int64_t rows = Min(kOut, height - top), pixels = Min(kOut, width - left);
  // What kSame makes is stored sooner the usual way; what kDouble makes is four times as much for what it reads.
  const bool streamed = kOut == 8 && conv.batch * height * width * conv.out * 4 >= kStreamed;
  float* corner = out + ((tile.image * height + top) * width + left) * conv.out + column;
  for (int64_t lane = 0; lane < columns; lane += kLanes) {
    Vec o[kOut * kOut];
    Scheme::Out(m + lane, kColumns, o);
    for (int i = 0; i < rows; ++i) {
      float* to = corner + i * width * conv.out + lane;
      if (streamed) {
        for (int j = 0; j < pixels; ++j) Stream(to + j * conv.out, o[i * kOut + j]);
      } else {
        for (int j = 0; j < pixels; ++j) Store(to + j * conv.out, o[i * kOut + j]);
      }
    }
  }
}

template <typename Scheme>
SEGFRAME_ONE_BODY void TransformTiles(const ConvPlan& plan, const Maps& images, int64_t first, int64_t last,
                                      float* v) {
  const int64_t stride = Odd(Scheme::kSlots * images.channels);
  for (int64_t tile = first; tile < last; ++tile)
    TransformTile<Scheme>(images, Tile(plan, tile), 0, images.channels, v + (tile - first) * stride);
}

// Transformed tiles first..last-1 by transformed filters of columns begin..end-1, into the output.
template <typename Scheme>
SEGFRAME_ONE_BODY void Convolve(const Conv& conv, const ConvPlan& plan, const float* v, int64_t first, int64_t last,
                                const float* u, int64_t stride, int64_t begin, int64_t end, float* m, float* out) {
  const int64_t in_stride = InStride<Scheme>(conv), out_stride = OutStride<Scheme>();
  for (int slot = 0; slot < Scheme::kSlots; ++slot) {
    const float* matrix = u + Scheme::FilterOf(slot) * stride;
    for (int64_t start = 0; start < end - begin; start += kWide) {
      const auto multiply = end - begin - start >= kWide ? Panel<2> : Panel<1>;
      multiply(v + slot * conv.in, in_stride, last - first, matrix + start * conv.in, conv.in,
               m + slot * kColumns + start, out_stride);
    }
  }
  for (int64_t tile = first; tile < last; ++tile)
    FinishTile<Scheme>(conv, Tile(plan, tile), m + (tile - first) * out_stride, begin, end - begin, out);
}

// What all tasks share: the smaller of tiles and filters, transformed. The other is transformed by the task that needs
// it, and used while it is in the cache.
template <typename Scheme, bool kFlip, bool kTurned>
void Share(const Conv& conv, const ConvPlan& plan, const float* images, const float* filters, float* shared,
           float* scratch, int64_t first, int64_t last) {
  if (!plan.share_tiles) {
    TransformFilters<Scheme, kFlip, kTurned>(conv, filters, first * kConvChannels, last * kConvChannels, 0, conv.out,
                                             shared);
    return;
  }
  for (int64_t channel = 0; channel < conv.in; ++channel) scratch[channel] = 0;
  const Maps maps = {images, conv.height, conv.width, conv.in, scratch};
  const int64_t begin = first * plan.block_tiles, end = Min(plan.tiles, last * plan.block_tiles);
  TransformTiles<Scheme>(plan, maps, begin, end, shared + begin * InStride<Scheme>(conv));
}

template <typename Scheme, bool kFlip, bool kTurned>
void Run(const Conv& conv, const ConvPlan& plan, const float* images, const float* filters, const float* shared,
         float* scratch, float* out, int64_t first, int64_t last) {
  const int64_t in_stride = InStride<Scheme>(conv);
  float *zeros = scratch, *m = zeros + conv.in, *own = m + plan.block_tiles * OutStride<Scheme>();
  for (int64_t channel = 0; channel < conv.in; ++channel) zeros[channel] = 0;
  const Maps maps = {images, conv.height, conv.width, conv.in, zeros};
  for (int64_t task = first; task < last; ++task) {
    if (plan.share_tiles) {
      const int64_t begin = task * plan.block_filters, end = Min(conv.out, begin + plan.block_filters);
      TransformFilters<Scheme, kFlip, kTurned>(conv, filters, 0, conv.in, begin, end, own);
      for (int64_t tile = 0; tile < plan.tiles; tile += plan.block_tiles)
        Convolve<Scheme>(conv, plan, shared + tile * in_stride, tile, Min(plan.tiles, tile + plan.block_tiles), own,
                         FilterStride(conv, end - begin), begin, end, m, out);
    } else {
      const int64_t begin = task * plan.block_tiles, end = Min(plan.tiles, begin + plan.block_tiles);
      TransformTiles<Scheme>(plan, maps, begin, end, own);
      for (int64_t column = 0; column < conv.out; column += kColumns)
        Convolve<Scheme>(conv, plan, own, begin, end, shared + column * conv.in, FilterStride(conv, conv.out), column,
                         Min(conv.out, column + kColumns), m, out);
    }
  }
}

// The gradient to the filters: products over tiles instead of channels, each of a row's number and a column's. Rows
// are the filters' third axis, columns the last.

// sums[row, column] = sum over tiles and slots of a[tile, slot, row] b[tile, slot, column], added to what is there
// unless this is the first of it.
template <int kVecs>
void Accumulate(const float* a, int64_t a_tile, int64_t rows, const float* b, int64_t b_tile, int64_t columns,
                int64_t tiles, Slots slots, bool first, float* sums) {
  constexpr int kCount = kLanes == 16 ? 8 : 4;
  for (int64_t row = 0; row < rows; row += kCount) {
    Vec found[kCount][kVecs];
    float* at = sums + row * columns;
    for (int i = 0; i < kCount; ++i)
      for (int j = 0; j < kVecs; ++j) found[i][j] = first ? Vec{} : Load(at + i * columns + j * kLanes);
    for (int slot = 0; slot < slots.count; ++slot) {
      const float* left = a + (slots.first + slot * slots.step) * rows + row;
      const float* right = b + (slots.first + slot * slots.step) * columns;
      for (int64_t tile = 0; tile < tiles; ++tile, left += a_tile, right += b_tile) {
        Vec values[kVecs];
        for (int j = 0; j < kVecs; ++j) values[j] = Load(right + j * kLanes);
        for (int i = 0; i < kCount; ++i)
          for (int j = 0; j < kVecs; ++j) found[i][j] = Fused(found[i][j], left[i], values[j]);
      }
    }
    for (int i = 0; i < kCount; ++i)
      for (int j = 0; j < kVecs; ++j) Store(at + i * columns + j * kLanes, found[i][j]);
  }
}

constexpr int64_t kRowBlock = 128, kColumnBlock = 64;  // of a task; all its sums stay in its cache
constexpr int64_t kPartBytes = 16 << 20;               // of all parts' sums, if there are several

template <typename Scheme, bool kTurned>
FiltersPlan PlanFilters(const Conv& conv) {
  FiltersPlan plan;
  plan.tiles = Plan<Scheme>(conv, 1);
  plan.rows = kTurned ? conv.out : conv.in;
  plan.columns = kTurned ? conv.in : conv.out;
  plan.row_blocks = UpTo(plan.rows, kRowBlock);
  plan.column_blocks = UpTo(plan.columns, kColumnBlock);
  // Sums over tiles are cut into parts that depend on sizes alone: another number of threads gives the same bits.
  plan.block_floats = Scheme::kFilters * (Min(plan.rows, kRowBlock) * Min(plan.columns, kColumnBlock) + 16);
  const int64_t part_blocks = plan.row_blocks * plan.column_blocks, bytes = part_blocks * plan.block_floats * 4;
  const int64_t blocks = UpTo(plan.tiles.tiles, Scheme::kFilterTiles);
  plan.parts = Min(Min(blocks, 16), kPartBytes / bytes);
  if (plan.parts < 1) plan.parts = 1;
  plan.part_tiles = UpTo(blocks, plan.parts) * Scheme::kFilterTiles;
  plan.parts = UpTo(plan.tiles.tiles, plan.part_tiles);
  plan.tasks = plan.parts * part_blocks;
  const int64_t both = Scheme::kSlots * (kRowBlock + kColumnBlock) + 32;
  plan.scratch_floats = (conv.in > conv.out ? conv.in : conv.out) + 16 + Scheme::kFilterTiles * both;
  plan.task_flops =
      2 * plan.part_tiles * Scheme::kSlots * Min(plan.rows, kRowBlock) * Min(plan.columns, kColumnBlock);
  return plan;
}

// In sums: (part, block of rows, block of columns, filter, row, column), as many for each block; a filter's end in 16
// more, so that all filters' numbers of a row and column do not meet in the same places of a cache.
template <typename Scheme, bool kTurned>
void SumFilters(const Conv& conv, const FiltersPlan& plan, const float* images, const float* upstream, float* sums,
                float* scratch, int64_t first, int64_t last) {
  float* zeros = scratch;
  const int64_t most = conv.in > conv.out ? conv.in : conv.out;
  for (int64_t channel = 0; channel < most; ++channel) zeros[channel] = 0;
  constexpr int64_t kOut = Scheme::kOut, kStep = Scheme::kStep;
  const Maps ins = {images, conv.height, conv.width, conv.in, zeros};
  const Maps outs = {upstream, conv.height * kOut / kStep, conv.width * kOut / kStep, conv.out, zeros};
  for (int64_t task = first; task < last; ++task) {
    const int64_t part = task / (plan.row_blocks * plan.column_blocks);
    const int64_t row = task / plan.column_blocks % plan.row_blocks * kRowBlock;
    const int64_t column = task % plan.column_blocks * kColumnBlock;
    const int64_t rows = Min(kRowBlock, plan.rows - row), columns = Min(kColumnBlock, plan.columns - column);
    const int64_t row_stride = Odd(Scheme::kSlots * rows), column_stride = Odd(Scheme::kSlots * columns);
    float *of_rows = scratch + UpTo(most, 16) * 16, *of_columns = of_rows + Scheme::kFilterTiles * row_stride;
    float* block = sums + task * plan.block_floats;
    const int64_t end = Min(plan.tiles.tiles, (part + 1) * plan.part_tiles);
    for (int64_t start = part * plan.part_tiles; start < end; start += Scheme::kFilterTiles) {
      const int64_t count = Min(Scheme::kFilterTiles, end - start);
      for (int64_t t = 0; t < count; ++t) {
        const Tile tile(plan.tiles, start + t);
        float *in = kTurned ? of_columns + t * column_stride : of_rows + t * row_stride;
        float *out = kTurned ? of_rows + t * row_stride : of_columns + t * column_stride;
        const int64_t in_first = kTurned ? column : row, out_first = kTurned ? row : column;
        TransformTile<Scheme>(ins, tile, in_first, in_first + (kTurned ? columns : rows), in);
        TransformUpstream<Scheme>(outs, tile, out_first, out_first + (kTurned ? rows : columns), out);
      }
      for (int filter = 0; filter < Scheme::kFilters; ++filter) {
        for (int64_t k = 0; k < columns; k += kWide) {
          const auto accumulate = columns - k >= kWide ? Accumulate<2> : Accumulate<1>;
          accumulate(of_rows, row_stride, rows, of_columns + k, column_stride, columns, count,
                     Scheme::SlotsOf(filter), start == part * plan.part_tiles,
                     block + filter * (rows * columns + 16) + k);
        }
      }
    }
  }
}

// Rows first..last-1 of the filters, from all parts' sums, which it uses up.
template <typename Scheme>
void FinishFilters(const FiltersPlan& plan, float* sums, float* filters, int64_t first, int64_t last) {
  for (int64_t row = first; row < last; ++row) {
    const int64_t row_block = row / kRowBlock, rows = Min(kRowBlock, plan.rows - row_block * kRowBlock);
    for (int64_t column = 0; column < plan.columns; column += kLanes) {
      const int64_t column_block = column / kColumnBlock, left = column_block * kColumnBlock;
      const int64_t columns = Min(kColumnBlock, plan.columns - left), stride = rows * columns + 16;
      float* u = sums + (row_block * plan.column_blocks + column_block) * plan.block_floats +
                 (row - row_block * kRowBlock) * columns + column - left;
      const int64_t part_floats = plan.row_blocks * plan.column_blocks * plan.block_floats;
      for (int filter = 0; filter < Scheme::kFilters; ++filter) {
        float* at = u + filter * stride;
        Vec sum = Load(at);
        for (int64_t part = 1; part < plan.parts; ++part) sum += Load(at + part * part_floats);
        Store(at, sum);
      }
      Vec w[9];
      Scheme::FilterBack(u, stride, w);
      for (int tap = 0; tap < 9; ++tap) Store(filters + (tap * plan.rows + row) * plan.columns + column, w[tap]);
    }
  }
}

FiltersPlan PlanFiltersOf(const Conv& conv) {
  return conv.kind == ConvKind::kSame ? PlanFilters<Same, false>(conv) : PlanFilters<Double, true>(conv);
}

void SumFiltersOf(const Conv& conv, const FiltersPlan& plan, const float* images, const float* upstream, float* sums,
                  float* scratch, int64_t first, int64_t last) {
  const auto sum = conv.kind == ConvKind::kSame ? SumFilters<Same, false> : SumFilters<Double, true>;
  sum(conv, plan, images, upstream, sums, scratch, first, last);
}

void FinishFiltersOf(const Conv& conv, const FiltersPlan& plan, float* sums, float* filters, int64_t first,
                     int64_t last) {
  const auto finish = conv.kind == ConvKind::kSame ? FinishFilters<Same> : FinishFilters<Double>;
  finish(plan, sums, filters, first, last);
}

ConvPlan PlanOf(const Conv& conv, int threads) {
  switch (conv.kind) {
    case ConvKind::kDouble: return Plan<Double>(conv, threads);
    case ConvKind::kDoubleBack: return Plan<DoubleBack>(conv, threads);
    default: return Plan<Same>(conv, threads);
  }
}

void ShareOf(const Conv& conv, const ConvPlan& plan, const float* images, const float* filters, float* shared,
             float* scratch, int64_t first, int64_t last) {
  const auto share = conv.kind == ConvKind::kSame       ? Share<Same, false, false>
                     : conv.kind == ConvKind::kSameBack ? Share<Same, true, true>
                     : conv.kind == ConvKind::kDouble   ? Share<Double, false, true>
                                                        : Share<DoubleBack, false, false>;
  share(conv, plan, images, filters, shared, scratch, first, last);
}

void RunOf(const Conv& conv, const ConvPlan& plan, const float* images, const float* filters, const float* shared,
           float* scratch, float* out, int64_t first, int64_t last) {
  const auto run = conv.kind == ConvKind::kSame       ? Run<Same, false, false>
                   : conv.kind == ConvKind::kSameBack ? Run<Same, true, true>
                   : conv.kind == ConvKind::kDouble   ? Run<Double, false, true>
                                                      : Run<DoubleBack, false, false>;
  run(conv, plan, images, filters, shared, scratch, out, first, last);
}

constexpr ConvCode kCode = {SEGFRAME_QUOTED(SEGFRAME_ISA),
                            PlanOf, ShareOf, RunOf, PlanFiltersOf, SumFiltersOf, FinishFiltersOf};

}  // namespace

const ConvCode* SEGFRAME_NAME(Conv, SEGFRAME_ISA)() { return &kCode; }

}  // namespace segframe
