// The filters of a transposed convolution and of a convolution after it become those of one, for conv_cpu.cc.
#ifndef SEGFRAME_CONV_COMPOSITION_H_
#define SEGFRAME_CONV_COMPOSITION_H_

#include "conv.h"
#include "conv_product.h"

namespace segframe {
namespace {

// Along an axis, with w the filter that doubles and f the one after it:
//     out[o] = sum over i of in[i] k[o - 2i + 2],   k[t] = sum over h of f[h] w[t + h - 2]
// Even pixels meet k[4], k[2], k[0] at in[i - 1], in[i], in[i + 1], odd ones k[3], k[1] at in[i] and in[i + 1].
inline int TapOf(bool odd, int tap) { return odd ? 5 - 2 * tap : 4 - 2 * tap; }

void Compose(const Composition& sizes, const float* doubling, const float* filters, float* composed, int64_t first,
             int64_t last) {
  const int64_t columns = 4 * sizes.out;
  for (int64_t channel = first * kConvChannels; channel < last * kConvChannels; channel += kConvChannels) {
    for (int64_t column = 0; column < columns; column += kLanes) {
      // Panels of two registers where both are of the same pixel.
      const int64_t pixel = column / sizes.out, from = column % sizes.out;
      const bool wide = from + kWide <= sizes.out;
      const auto accumulate = wide ? Accumulate<2> : Accumulate<1>;
      const bool odd_row = pixel >= 2, odd_column = pixel % 2;
      for (int tap = 0; tap < 9; ++tap) {
        float* sums = composed + (tap * sizes.in + channel) * columns + column;
        const int row = TapOf(odd_row, tap / 3), side = TapOf(odd_column, tap % 3);
        bool none = true;
        for (int h = 0; h < 9; ++h) {
          const int w_row = row + h / 3 - 2, w_side = side + h % 3 - 2;
          if (row > 4 || side > 4 || w_row < 0 || w_row > 2 || w_side < 0 || w_side > 2) continue;
          accumulate(doubling + (w_row * 3 + w_side) * sizes.middle * sizes.in + channel, sizes.in, kConvChannels,
                     filters + h * sizes.middle * sizes.out + from, sizes.out, columns, sizes.middle, {0, 1, 0}, none,
                     sums);
          none = false;
        }
        if (none)
          for (int64_t k = 0; k < kConvChannels; ++k)
            for (int64_t lane = 0; lane < (wide ? kWide : kLanes); lane += kLanes)
              Store(sums + k * columns + lane, Vec{});
      }
      if (wide) column += kLanes;
    }
  }
}

}  // namespace
}  // namespace segframe

#endif  // SEGFRAME_CONV_COMPOSITION_H_
