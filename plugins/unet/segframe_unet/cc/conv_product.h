// The matrix products that convolutions become; for conv_cpu.cc.
#ifndef SEGFRAME_CONV_PRODUCT_H_
#define SEGFRAME_CONV_PRODUCT_H_

#include "conv_transforms.h"

namespace segframe {
namespace {

constexpr int64_t kAhead = 32;  // rows of the second matrix that are fetched before their turn

// c[row, column] = sum over k of a[row, k] b[k, column], k from the first to the last whatever the rows are.
template <int kCount, int kVecs>
inline void Multiply(const float* a, int64_t a_row, const float* b, int64_t depth, float* c, int64_t c_row) {
  Vec sums[kCount][kVecs];
  for (int i = 0; i < kCount; ++i)
    for (int j = 0; j < kVecs; ++j) sums[i][j] = Vec{};
  for (int64_t k = 0; k < depth; ++k) {
    Vec right[kVecs];
    for (int j = 0; j < kVecs; ++j) right[j] = Load(b + (k * kVecs + j) * kLanes);
    for (int j = 0; j < kVecs; ++j) __builtin_prefetch(b + ((k + kAhead) * kVecs + j) * kLanes);
    for (int i = 0; i < kCount; ++i) {
      const float left = a[i * a_row + k];
      for (int j = 0; j < kVecs; ++j) sums[i][j] = Fused(sums[i][j], left, right[j]);
    }
  }
  for (int i = 0; i < kCount; ++i)
    for (int j = 0; j < kVecs; ++j) Store(c + i * c_row + j * kLanes, sums[i][j]);
}

template <int kValue>
struct Count {
  static constexpr int value = kValue;
};

template <int kVecs>
void Panel(const float* a, int64_t a_row, int64_t rows, const float* b, int64_t depth, float* c, int64_t c_row) {
  int64_t row = 0;
  for (; row + kRows <= rows; row += kRows)
    Multiply<kRows, kVecs>(a + row * a_row, a_row, b, depth, c + row * c_row, c_row);
  const auto rest = [&](auto count) {
    for (; row + count.value <= rows; row += count.value)
      Multiply<count.value, kVecs>(a + row * a_row, a_row, b, depth, c + row * c_row, c_row);
  };
  rest(Count<8>());
  rest(Count<4>());
  rest(Count<2>());
  rest(Count<1>());
}

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

}  // namespace
}  // namespace segframe

#endif  // SEGFRAME_CONV_PRODUCT_H_
