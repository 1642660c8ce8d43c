// The gradient to the filters, for conv_cpu.cc: products over tiles instead of channels, each of a row's number and a
// column's. Rows are the filters' third axis, columns the last.
#ifndef SEGFRAME_CONV_FILTERS_H_
#define SEGFRAME_CONV_FILTERS_H_

#include "conv_product.h"
#include "conv_tiles.h"

namespace segframe {
namespace {

constexpr int64_t kRowBlock = 128, kColumnBlock = 64;  // of a task; all its sums stay in its cache
constexpr int64_t kPartBytes = 16 << 20;               // of all parts' sums, if there are several

template <typename Scheme, bool kTurned>
FiltersPlan PlanFilters(const Conv& conv) {
  FiltersPlan plan;
  plan.tiles = TilesOf<Scheme>(conv);
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
        const int64_t in_count = kTurned ? columns : rows;
        TransformTile<Scheme>(ins, tile, in_first, in_first + in_count, in, in_count);
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

}  // namespace
}  // namespace segframe

#endif  // SEGFRAME_CONV_FILTERS_H_
