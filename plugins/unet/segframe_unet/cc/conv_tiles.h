// Where a tile's pixels are, and how they are transformed; for conv_cpu.cc.
#ifndef SEGFRAME_CONV_TILES_H_
#define SEGFRAME_CONV_TILES_H_

#include "conv.h"
#include "conv_transforms.h"

namespace segframe {
namespace {

template <typename Scheme>
ConvPlan TilesOf(const Conv& conv) {
  ConvPlan plan;
  plan.tile_rows = UpTo(conv.height, Scheme::kStep);
  plan.tile_columns = UpTo(conv.width, Scheme::kStep);
  plan.tiles = conv.batch * plan.tile_rows * plan.tile_columns;
  return plan;
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

// Channels first..last-1 of a tile; slots are `stride` apart.
template <typename Scheme>
void TransformTile(const Maps& images, const Tile& tile, int64_t first, int64_t last, float* v, int64_t stride) {
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
    Scheme::In(d, v + channel - first, stride);
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

}  // namespace
}  // namespace segframe

#endif  // SEGFRAME_CONV_TILES_H_
