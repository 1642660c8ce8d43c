// Compiled once for each instruction set: SEGFRAME_ISA is Base, Avx2 or Avx512. All but the last function is in
// an anonymous namespace, and no template of the standard library is used: the linker would take one compilation
// of it for all instruction sets.
#include "conv.h"

#include "conv_composition.h"
#include "conv_filters.h"
#include "conv_product.h"
#include "conv_tiles.h"
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
  ConvPlan plan = TilesOf<Scheme>(conv);
  const int64_t even_share = UpTo(plan.tiles, UpTo(plan.tiles, Scheme::kTiles));
  plan.block_tiles = Min(plan.tiles, UpTo(even_share, kRows) * kRows);
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

// What of a tile goes out: columns begin..begin + columns - 1 of the products m; a register is of one pixel of four.
template <typename Scheme>
void FinishTile(const Conv& conv, const ConvFinish& finish, const Tile& tile, const float* m, int64_t begin,
                int64_t columns, float* out) {
  constexpr int kOut = Scheme::kOut;
  constexpr int64_t kTimes = Scheme::kSubpixel ? 2 : 1;
  const int64_t height = conv.height * kOut / Scheme::kStep, width = conv.width * kOut / Scheme::kStep;
  const int64_t top = tile.row * kOut, left = tile.column * kOut;
  const int64_t rows = Min(kOut, height - top), pixels = Min(kOut, width - left);
  const int64_t channels = Scheme::kSubpixel ? conv.out / 4 : conv.out;
  const int64_t next_pixel = kTimes * channels, next_row = kTimes * width * next_pixel;
  // What kSame makes is stored sooner the usual way; what kDouble makes is four times as much for what it reads.
  const bool streamed = kOut == 8 && conv.batch * height * width * conv.out * 4 >= kStreamed;
  float* corner = out + (tile.image * height + top) * next_row + left * next_pixel;
  for (int64_t lane = 0; lane < columns; lane += kLanes) {
    int64_t channel = begin + lane;
    float* to = corner;
    if (Scheme::kSubpixel) {
      const int64_t pixel = channel / channels;
      channel -= pixel * channels;
      to += pixel / 2 * (next_row / 2) + pixel % 2 * channels;
    }
    Vec o[kOut * kOut];
    Scheme::Out(m + lane, kColumns, o);
    if (finish.multiply) {
      const Vec subtract = Load(finish.subtract + channel), multiply = Load(finish.multiply + channel);
      const Vec add = Load(finish.add + channel);
      for (Vec& each : o) each = Fused(add, each - subtract, multiply);
    } else if (finish.add) {
      const Vec add = Load(finish.add + channel);
      for (Vec& each : o) each += add;
    }
    if (finish.relu)
      for (Vec& each : o) each = each < 0 ? Vec{} : each;  // NaN stays
    for (int i = 0; i < rows; ++i) {
      float* at = to + i * next_row + channel;
      if (streamed) {
        for (int j = 0; j < pixels; ++j) Stream(at + j * next_pixel, o[i * kOut + j]);
      } else {
        for (int j = 0; j < pixels; ++j) Store(at + j * next_pixel, o[i * kOut + j]);
      }
    }
  }
}

template <typename Scheme>
SEGFRAME_ONE_BODY void TransformTiles(const ConvPlan& plan, const Conv& conv, const ConvImages& images,
                                      const float* zeros, int64_t first, int64_t last, float* v) {
  const int64_t stride = InStride<Scheme>(conv);
  for (int64_t tile = first; tile < last; ++tile) {
    int64_t before = 0;
    for (int part = 0; part < images.parts; ++part) {
      const Maps maps = {images.data[part], conv.height, conv.width, images.channels[part], zeros};
      TransformTile<Scheme>(maps, Tile(plan, tile), 0, maps.channels, v + (tile - first) * stride + before, conv.in);
      before += maps.channels;
    }
  }
}

// Transformed tiles first..last-1 by transformed filters of columns begin..end-1, into the output.
template <typename Scheme>
SEGFRAME_ONE_BODY void Convolve(const Conv& conv, const ConvPlan& plan, const ConvFinish& finish, const float* v,
                                int64_t first, int64_t last, const float* u, int64_t stride, int64_t begin,
                                int64_t end, float* m, float* out) {
  const int64_t in_stride = InStride<Scheme>(conv), out_stride = OutStride<Scheme>();
  for (int slot = 0; slot < Scheme::kSlots; ++slot) {
    const float* matrix = u + Scheme::FilterOf(slot) * stride;
    for (int64_t start = 0; start < end - begin; start += kWide) {
      const int64_t columns = Min(kWide, end - begin - start);
      float* product = m + slot * kColumns + start;
      if constexpr (Scheme::kSubpixel) {
        const int64_t one = (begin + start) / (conv.out / 4), other = (begin + start + columns - 1) / (conv.out / 4);
        if (Scheme::IsZero(slot, one) && Scheme::IsZero(slot, other)) {
          for (int64_t tile = 0; tile < last - first; ++tile)
            for (int64_t lane = 0; lane < columns; lane += kLanes) Store(product + tile * out_stride + lane, Vec{});
          continue;
        }
      }
      const auto multiply = columns == kWide ? Panel<2> : Panel<1>;
      multiply(v + slot * conv.in, in_stride, last - first, matrix + start * conv.in, conv.in, product, out_stride);
    }
  }
  for (int64_t tile = first; tile < last; ++tile)
    FinishTile<Scheme>(conv, finish, Tile(plan, tile), m + (tile - first) * out_stride, begin, end - begin, out);
}

// What all tasks share: the smaller of tiles and filters, transformed. The other is transformed by the task that needs
// it, and used while it is in the cache.
template <typename Scheme, bool kFlip, bool kTurned>
void Share(const Conv& conv, const ConvPlan& plan, const ConvImages& images, const float* filters, float* shared,
           float* scratch, int64_t first, int64_t last) {
  if (!plan.share_tiles) {
    TransformFilters<Scheme, kFlip, kTurned>(conv, filters, first * kConvChannels, last * kConvChannels, 0, conv.out,
                                             shared);
    return;
  }
  for (int64_t channel = 0; channel < conv.in; ++channel) scratch[channel] = 0;
  const int64_t begin = first * plan.block_tiles, end = Min(plan.tiles, last * plan.block_tiles);
  TransformTiles<Scheme>(plan, conv, images, scratch, begin, end, shared + begin * InStride<Scheme>(conv));
}

template <typename Scheme, bool kFlip, bool kTurned>
void Run(const Conv& conv, const ConvPlan& plan, const ConvImages& images, const float* filters, const float* shared,
         const ConvFinish& finish, float* scratch, float* out, int64_t first, int64_t last) {
  const int64_t in_stride = InStride<Scheme>(conv);
  float *zeros = scratch, *m = zeros + conv.in, *own = m + plan.block_tiles * OutStride<Scheme>();
  for (int64_t channel = 0; channel < conv.in; ++channel) zeros[channel] = 0;
  for (int64_t task = first; task < last; ++task) {
    if (plan.share_tiles) {
      const int64_t begin = task * plan.block_filters, end = Min(conv.out, begin + plan.block_filters);
      TransformFilters<Scheme, kFlip, kTurned>(conv, filters, 0, conv.in, begin, end, own);
      for (int64_t tile = 0; tile < plan.tiles; tile += plan.block_tiles)
        Convolve<Scheme>(conv, plan, finish, shared + tile * in_stride, tile, Min(plan.tiles, tile + plan.block_tiles),
                         own, FilterStride(conv, end - begin), begin, end, m, out);
    } else {
      const int64_t begin = task * plan.block_tiles, end = Min(plan.tiles, begin + plan.block_tiles);
      TransformTiles<Scheme>(plan, conv, images, zeros, begin, end, own);
      for (int64_t column = 0; column < conv.out; column += kColumns)
        Convolve<Scheme>(conv, plan, finish, own, begin, end, shared + column * conv.in, FilterStride(conv, conv.out),
                         column, Min(conv.out, column + kColumns), m, out);
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
    case ConvKind::kSubpixel: return Plan<Subpixel>(conv, threads);
    default: return Plan<Same>(conv, threads);
  }
}

void ShareOf(const Conv& conv, const ConvPlan& plan, const ConvImages& images, const float* filters, float* shared,
             float* scratch, int64_t first, int64_t last) {
  const auto share = conv.kind == ConvKind::kSame       ? Share<Same, false, false>
                     : conv.kind == ConvKind::kSameBack ? Share<Same, true, true>
                     : conv.kind == ConvKind::kDouble   ? Share<Double, false, true>
                     : conv.kind == ConvKind::kSubpixel ? Share<Subpixel, false, false>
                                                        : Share<DoubleBack, false, false>;
  share(conv, plan, images, filters, shared, scratch, first, last);
}

void RunOf(const Conv& conv, const ConvPlan& plan, const ConvImages& images, const float* filters, const float* shared,
           const ConvFinish& finish, float* scratch, float* out, int64_t first, int64_t last) {
  const auto run = conv.kind == ConvKind::kSame       ? Run<Same, false, false>
                   : conv.kind == ConvKind::kSameBack ? Run<Same, true, true>
                   : conv.kind == ConvKind::kDouble   ? Run<Double, false, true>
                   : conv.kind == ConvKind::kSubpixel ? Run<Subpixel, false, false>
                                                      : Run<DoubleBack, false, false>;
  run(conv, plan, images, filters, shared, finish, scratch, out, first, last);
}

constexpr ConvCode kCode = {SEGFRAME_QUOTED(SEGFRAME_ISA),
                            PlanOf, ShareOf, RunOf, Compose, PlanFiltersOf, SumFiltersOf, FinishFiltersOf};

}  // namespace

const ConvCode* SEGFRAME_NAME(Conv, SEGFRAME_ISA)() { return &kCode; }

}  // namespace segframe
