// The transforms of tiles, filters and products, and which of them make which convolution; for conv_cpu.cc.
#ifndef SEGFRAME_CONV_TRANSFORMS_H_
#define SEGFRAME_CONV_TRANSFORMS_H_

#include "conv_vectors.h"

namespace segframe {
namespace {

// F(4, 3): four outputs of a filter of three from six inputs, at the points 0, 1, -1, 2, -2 and infinity.
inline void In3(const Vec* d, int step, Vec* o) {
  const Vec a = d[4 * step] - 4.f * d[2 * step], b = d[3 * step] - 4.f * d[step];
  const Vec c = d[4 * step] - d[2 * step], e = 2.f * (d[3 * step] - d[step]);
  o[0] = 4.f * d[0] - 5.f * d[2 * step] + d[4 * step];
  o[1] = a + b;
  o[2] = a - b;
  o[3] = c + e;
  o[4] = c - e;
  o[5] = 4.f * d[step] - 5.f * d[3 * step] + d[5 * step];
}
inline void Filter3(Vec w0, Vec w1, Vec w2, Vec* o) {
  const Vec even = w0 + w2, wide = w0 + 4.f * w2;
  o[0] = .25f * w0;
  o[1] = (-1.f / 6) * (even + w1);
  o[2] = (-1.f / 6) * (even - w1);
  o[3] = (1.f / 24) * (wide + 2.f * w1);
  o[4] = (1.f / 24) * (wide - 2.f * w1);
  o[5] = w2;
}
inline void Out3(const Vec* m, Vec* o) {
  const Vec a = m[1] + m[2], b = m[1] - m[2], c = m[3] + m[4], d = m[3] - m[4];
  o[0] = m[0] + a + c;
  o[1] = b + 2.f * d;
  o[2] = a + 4.f * c;
  o[3] = b + 8.f * d + m[5];
}
// Their transposes.
inline void Filter3Back(const Vec* o, Vec* w) {
  const Vec a = (1.f / 6) * (o[1] + o[2]), b = (1.f / 6) * (o[2] - o[1]);
  const Vec c = (1.f / 24) * (o[3] + o[4]), d = (1.f / 24) * (o[3] - o[4]);
  w[0] = .25f * o[0] - a + c;
  w[1] = b + 2.f * d;
  w[2] = 4.f * c - a + o[5];
}
inline void Out3Back(const Vec* y, int step, Vec* m) {
  const Vec even = y[0] + y[2 * step], odd = y[step] + y[3 * step];
  const Vec wide_even = y[0] + 4.f * y[2 * step], wide_odd = 2.f * y[step] + 8.f * y[3 * step];
  m[0] = y[0];
  m[1] = even + odd;
  m[2] = even - odd;
  m[3] = wide_even + wide_odd;
  m[4] = wide_even - wide_odd;
  m[5] = y[3 * step];
}

// F(4, 2): four outputs of a filter of two from five inputs, at the points 0, 1, -1, 2 and infinity.
inline void In2(const Vec* d, int step, Vec* o) {
  const Vec d1 = d[step], d2 = d[2 * step], d3 = d[3 * step];
  o[0] = 2.f * (d[0] - d2) + d3 - d1;
  o[1] = d3 - d2 - 2.f * d1;
  o[2] = d3 - 3.f * d2 + 2.f * d1;
  o[3] = d3 - d1;
  o[4] = d[4 * step] - d2 + 2.f * (d1 - d3);
}
inline void Filter2(Vec w0, Vec w1, Vec* o) {
  o[0] = .5f * w0;
  o[1] = -.5f * (w0 + w1);
  o[2] = (1.f / 6) * (w1 - w0);
  o[3] = (1.f / 6) * (w0 + 2.f * w1);
  o[4] = w1;
}
inline void Out2(const Vec* m, Vec* o) {
  const Vec a = m[1] + m[2], b = m[1] - m[2];
  o[0] = m[0] + a + m[3];
  o[1] = b + 2.f * m[3];
  o[2] = a + 4.f * m[3];
  o[3] = b + 8.f * m[3] + m[4];
}

inline void Filter2Back(const Vec* o, Vec* w) {
  w[0] = .5f * (o[0] - o[1]) + (1.f / 6) * (o[3] - o[2]);
  w[1] = o[4] - .5f * o[1] + (1.f / 6) * (o[2] + 2.f * o[3]);
}
inline void Out2Back(const Vec* y, int step, Vec* m) {
  const Vec even = y[0] + y[2 * step], odd = y[step] + y[3 * step];
  m[0] = y[0];
  m[1] = even + odd;
  m[2] = even - odd;
  m[3] = y[0] + 2.f * y[step] + 4.f * y[2 * step] + 8.f * y[3 * step];
  m[4] = y[3 * step];
}

// A scheme has: kIn, rows and columns of pixels that a tile looks at; kStep, how far they are from those of the
// next tile, and kFirst, where the first tile's begin; kOut, rows and columns that it makes; kSlots, kFilters, and
// which filter a slot takes. In transforms d[kIn * kIn] to v[slot * stride]; Filter w[9] to u[filter * stride];
// Out m[slot * stride] to o[kOut * kOut]. FilterBack and OutBack are their transposes. kTiles: what a thread
// takes at a time, little enough for its cache; kFilterTiles: for the gradient to the filters.

struct Slots {
  int first, count, step;
};

struct Same {
  static constexpr int kIn = 6, kStep = 4, kFirst = -1, kOut = 4, kSlots = 36, kFilters = 36;
  static constexpr int kTiles = 36, kFilterTiles = 32;
  static constexpr bool kSubpixel = false;
  static int FilterOf(int slot) { return slot; }
  static Slots SlotsOf(int filter) { return {filter, 1, 0}; }
  static void In(const Vec* d, float* v, int64_t stride) {
    Vec columns[36], row[6];
    for (int j = 0; j < 6; ++j) {
      In3(d + j, 6, row);
      for (int i = 0; i < 6; ++i) columns[i * 6 + j] = row[i];
    }
    for (int i = 0; i < 6; ++i) {
      In3(columns + i * 6, 1, row);
      for (int j = 0; j < 6; ++j) Store(v + (i * 6 + j) * stride, row[j]);
    }
  }
  static void Filter(const Vec* w, float* u, int64_t stride) {
    Vec columns[18], row[6];
    for (int j = 0; j < 3; ++j) {
      Filter3(w[j], w[3 + j], w[6 + j], row);
      for (int i = 0; i < 6; ++i) columns[i * 3 + j] = row[i];
    }
    for (int i = 0; i < 6; ++i) {
      Filter3(columns[i * 3], columns[i * 3 + 1], columns[i * 3 + 2], row);
      for (int j = 0; j < 6; ++j) Store(u + (i * 6 + j) * stride, row[j]);
    }
  }
  static void Out(const float* m, int64_t stride, Vec* o) {
    Vec columns[24], column[6], four[4];
    for (int j = 0; j < 6; ++j) {
      for (int i = 0; i < 6; ++i) column[i] = Load(m + (i * 6 + j) * stride);
      Out3(column, four);
      for (int i = 0; i < 4; ++i) columns[i * 6 + j] = four[i];
    }
    for (int i = 0; i < 4; ++i) Out3(columns + i * 6, o + i * 4);
  }
  static void FilterBack(const float* u, int64_t stride, Vec* w) {
    Vec columns[18], column[6], three[3];
    for (int j = 0; j < 6; ++j) {
      for (int i = 0; i < 6; ++i) column[i] = Load(u + (i * 6 + j) * stride);
      Filter3Back(column, three);
      for (int i = 0; i < 3; ++i) columns[i * 6 + j] = three[i];
    }
    for (int i = 0; i < 3; ++i) Filter3Back(columns + i * 6, w + i * 3);
  }
  static void OutBack(const Vec* y, float* m, int64_t stride) {
    Vec columns[24], row[6];
    for (int j = 0; j < 4; ++j) {
      Out3Back(y + j, 4, row);
      for (int i = 0; i < 6; ++i) columns[i * 4 + j] = row[i];
    }
    for (int i = 0; i < 6; ++i) {
      Out3Back(columns + i * 4, 1, row);
      for (int j = 0; j < 6; ++j) Store(m + (i * 6 + j) * stride, row[j]);
    }
  }
};

// Four pixels of each. A filter without its first tap has nothing at the point 0, the first slot of an axis.
struct Subpixel : Same {
  static constexpr bool kSubpixel = true;
  static bool IsZero(int slot, int64_t pixel) { return (pixel >= 2 && slot < 6) || (pixel % 2 && slot % 6 == 0); }
};

// Stride 2 falls apart into pixels of even and of odd number, in each axis: one output of a filter's middle, and
// four of its two ends by F(4, 2). Slots, and filters: even, right, below, odd.
struct Phases {
  static constexpr int kSlots = 81, kFilters = 36, kTiles = 12, kFilterTiles = 16;
  static constexpr int kRight = 16, kBelow = 36, kOdd = 56;  // slots before them
  static constexpr bool kSubpixel = false;
  static int FilterOf(int slot) {
    if (slot < kRight) return 0;
    if (slot < kBelow) return 1 + (slot - kRight) % 5;
    if (slot < kOdd) return 6 + (slot - kBelow) / 4;
    return 11 + slot - kOdd;
  }
  static Slots SlotsOf(int filter) {
    if (filter == 0) return {0, kRight, 1};
    if (filter < 6) return {kRight + filter - 1, 4, 5};
    if (filter < 11) return {kBelow + (filter - 6) * 4, 4, 1};
    return {kOdd + filter - 11, 1, 0};
  }
  // The filter's ends, the one that meets the earlier pixel first: 2 and 0 for kDouble, 0 and 2 on the way back.
  template <int kEarly>
  static void Ends(const Vec* w, float* u, int64_t stride) {
    constexpr int kLate = 2 - kEarly;
    Vec row[5], ends[2][5];
    Store(u, w[4]);
    Filter2(w[3 + kEarly], w[3 + kLate], row);
    for (int q = 0; q < 5; ++q) Store(u + (1 + q) * stride, row[q]);
    Filter2(w[kEarly * 3 + 1], w[kLate * 3 + 1], row);
    for (int p = 0; p < 5; ++p) Store(u + (6 + p) * stride, row[p]);
    Filter2(w[kEarly * 3 + kEarly], w[kEarly * 3 + kLate], ends[0]);
    Filter2(w[kLate * 3 + kEarly], w[kLate * 3 + kLate], ends[1]);
    for (int q = 0; q < 5; ++q) {
      Filter2(ends[0][q], ends[1][q], row);
      for (int p = 0; p < 5; ++p) Store(u + (11 + p * 5 + q) * stride, row[p]);
    }
  }
  // Even pixels e[i * es + j], those to the right r[i * rs + q], below b[p * bs + j], and o[p * os + q].
  static void Spread(const Vec* e, int e_row, int e_step, const Vec* r, int r_row, int r_step, const Vec* b, int b_row,
                    int b_step, const Vec* o, int o_row, int o_step, float* v, int64_t stride) {
    Vec five[5], columns[25];
    for (int i = 0; i < 4; ++i)
      for (int j = 0; j < 4; ++j) Store(v + (i * 4 + j) * stride, e[i * e_row + j * e_step]);
    for (int i = 0; i < 4; ++i) {
      In2(r + i * r_row, r_step, five);
      for (int q = 0; q < 5; ++q) Store(v + (kRight + i * 5 + q) * stride, five[q]);
    }
    for (int j = 0; j < 4; ++j) {
      In2(b + j * b_step, b_row, five);
      for (int p = 0; p < 5; ++p) Store(v + (kBelow + p * 4 + j) * stride, five[p]);
    }
    for (int q = 0; q < 5; ++q) {
      In2(o + q * o_step, o_row, five);
      for (int p = 0; p < 5; ++p) columns[p * 5 + q] = five[p];
    }
    for (int p = 0; p < 5; ++p) {
      In2(columns + p * 5, 1, five);
      for (int q = 0; q < 5; ++q) Store(v + (kOdd + p * 5 + q) * stride, five[q]);
    }
  }
  // The 4x4 of each phase.
  static void Products(const float* m, int64_t stride, Vec* even, Vec* right, Vec* below, Vec* odd) {
    Vec five[5], four[4], columns[20];
    for (int k = 0; k < 16; ++k) even[k] = Load(m + k * stride);
    for (int i = 0; i < 4; ++i) {
      for (int q = 0; q < 5; ++q) five[q] = Load(m + (kRight + i * 5 + q) * stride);
      Out2(five, right + i * 4);
    }
    for (int j = 0; j < 4; ++j) {
      for (int p = 0; p < 5; ++p) five[p] = Load(m + (kBelow + p * 4 + j) * stride);
      Out2(five, four);
      for (int i = 0; i < 4; ++i) below[i * 4 + j] = four[i];
    }
    for (int q = 0; q < 5; ++q) {
      for (int p = 0; p < 5; ++p) five[p] = Load(m + (kOdd + p * 5 + q) * stride);
      Out2(five, four);
      for (int i = 0; i < 4; ++i) columns[i * 5 + q] = four[i];
    }
    for (int i = 0; i < 4; ++i) Out2(columns + i * 5, odd + i * 4);
  }
};

struct Double : Phases {
  static constexpr int kIn = 5, kStep = 4, kFirst = 0, kOut = 8;
  static void In(const Vec* d, float* v, int64_t stride) {
    Spread(d, 5, 1, d, 5, 1, d, 5, 1, d, 5, 1, v, stride);
  }
  static void Filter(const Vec* w, float* u, int64_t stride) { Ends<2>(w, u, stride); }
  static void Out(const float* m, int64_t stride, Vec* o) {
    Vec even[16], right[16], below[16], odd[16];
    Products(m, stride, even, right, below, odd);
    for (int i = 0; i < 4; ++i)
      for (int j = 0; j < 4; ++j) {
        Vec* corner = o + i * 16 + j * 2;
        corner[0] = even[i * 4 + j];
        corner[1] = right[i * 4 + j];
        corner[8] = below[i * 4 + j];
        corner[9] = odd[i * 4 + j];
      }
  }
  static void FilterBack(const float* u, int64_t stride, Vec* w) {
    Vec column[5], two[2], ends[2][5];
    w[4] = Load(u);
    for (int q = 0; q < 5; ++q) column[q] = Load(u + (1 + q) * stride);
    Filter2Back(column, two);
    w[5] = two[0], w[3] = two[1];
    for (int p = 0; p < 5; ++p) column[p] = Load(u + (6 + p) * stride);
    Filter2Back(column, two);
    w[7] = two[0], w[1] = two[1];
    for (int q = 0; q < 5; ++q) {
      for (int p = 0; p < 5; ++p) column[p] = Load(u + (11 + p * 5 + q) * stride);
      Filter2Back(column, two);
      ends[0][q] = two[0], ends[1][q] = two[1];
    }
    Filter2Back(ends[0], two);
    w[8] = two[0], w[6] = two[1];
    Filter2Back(ends[1], two);
    w[2] = two[0], w[0] = two[1];
  }
  static void OutBack(const Vec* y, float* m, int64_t stride) {
    Vec five[5], columns[20];
    for (int i = 0; i < 4; ++i)
      for (int j = 0; j < 4; ++j) Store(m + (i * 4 + j) * stride, y[i * 16 + j * 2]);
    for (int i = 0; i < 4; ++i) {
      Out2Back(y + i * 16 + 1, 2, five);
      for (int q = 0; q < 5; ++q) Store(m + (kRight + i * 5 + q) * stride, five[q]);
    }
    for (int j = 0; j < 4; ++j) {
      Out2Back(y + 8 + j * 2, 16, five);
      for (int p = 0; p < 5; ++p) Store(m + (kBelow + p * 4 + j) * stride, five[p]);
    }
    for (int j = 0; j < 4; ++j) {
      Out2Back(y + 9 + j * 2, 16, five);
      for (int p = 0; p < 5; ++p) columns[p * 4 + j] = five[p];
    }
    for (int p = 0; p < 5; ++p) {
      Out2Back(columns + p * 4, 1, five);
      for (int q = 0; q < 5; ++q) Store(m + (kOdd + p * 5 + q) * stride, five[q]);
    }
  }
};

struct DoubleBack : Phases {
  static constexpr int kIn = 9, kStep = 8, kFirst = -1, kOut = 4;
  static void In(const Vec* d, float* v, int64_t stride) {
    Spread(d + 10, 18, 2, d + 9, 18, 2, d + 1, 18, 2, d, 18, 2, v, stride);
  }
  static void Filter(const Vec* w, float* u, int64_t stride) { Ends<0>(w, u, stride); }
  static void Out(const float* m, int64_t stride, Vec* o) {
    Vec even[16], right[16], below[16], odd[16];
    Products(m, stride, even, right, below, odd);
    for (int k = 0; k < 16; ++k) o[k] = (even[k] + right[k]) + (below[k] + odd[k]);
  }
};

}  // namespace
}  // namespace segframe

#endif  // SEGFRAME_CONV_TRANSFORMS_H_
