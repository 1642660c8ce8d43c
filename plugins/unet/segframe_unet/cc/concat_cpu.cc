#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#include <algorithm>
#include <cstring>

#include "concat.h"

namespace segframe {
namespace {

// Bytes of the whole that are more than a cache holds. Stores past it spare what a store in it does first: to read
// the memory's line, though all of it is overwritten.
constexpr int64_t kStreamed = 16 << 20;

inline void Move(char* to, const char* from, int64_t bytes, bool streamed) {
#if defined(__SSE2__)
  if (streamed) {
    for (int64_t at = 0; at < bytes; at += 16)
      _mm_stream_si128(reinterpret_cast<__m128i*>(to + at),
                       _mm_loadu_si128(reinterpret_cast<const __m128i*>(from + at)));
    return;
  }
#endif
  std::memcpy(to, from, bytes);
}

// One row after the other, each part in turn: the whole is passed over once, from its begin to its end. Sizes
// known to the compiler are copied without a call.
template <int kBytes, bool kSplit, bool kStream>
void CopyRows(const Layout& layout, char* const* parts, char* whole, int64_t first, int64_t rows) {
  char* at[kMaxParts];
  for (int part = 0; part < layout.parts; ++part) at[part] = parts[part] + first * layout.row_bytes[part];
  whole += first * layout.offset[layout.parts];
  for (int64_t row = 0; row < rows; ++row) {
    for (int part = 0; part < layout.parts; ++part) {
      const int64_t bytes = kBytes ? kBytes : layout.row_bytes[part];
      Move(kSplit ? at[part] : whole, kSplit ? whole : at[part], bytes, kStream);
      whole += bytes;
      at[part] += bytes;
    }
  }
#if defined(__SSE2__)
  if (kStream) _mm_sfence();
#endif
}

template <bool kSplit, bool kStream>
void CopyRows(const Layout& layout, char* const* parts, char* whole, int64_t first, int64_t rows) {
  const int64_t bytes = layout.row_bytes[0];
  bool even = true;
  for (int part = 1; part < layout.parts; ++part) even = even && layout.row_bytes[part] == bytes;
  switch (even ? bytes : 0) {
    case 16: return CopyRows<16, kSplit, kStream>(layout, parts, whole, first, rows);
    case 32: return CopyRows<32, kSplit, kStream>(layout, parts, whole, first, rows);
    case 64: return CopyRows<64, kSplit, kStream>(layout, parts, whole, first, rows);
    case 128: return CopyRows<128, kSplit, kStream>(layout, parts, whole, first, rows);
    case 256: return CopyRows<256, kSplit, kStream>(layout, parts, whole, first, rows);
    default: return CopyRows<0, kSplit, kStream>(layout, parts, whole, first, rows);
  }
}

// Stores of 16 bytes at multiples of 16 alone may go past the cache.
bool IsStreamed(const Layout& layout, char* const* parts, const char* whole) {
  const auto multiple = [](int64_t value) { return value % 16 == 0; };
  bool may = layout.whole_bytes() >= kStreamed && multiple(reinterpret_cast<intptr_t>(whole));
  for (int part = 0; part < layout.parts; ++part)
    may = may && multiple(layout.row_bytes[part]) && multiple(reinterpret_cast<intptr_t>(parts[part]));
  return may;
}

// The bytes first..last-1 of the whole: rows that are cut by them, and whole rows between.
template <bool kSplit>
void Copy(const Layout& layout, char* const* parts, char* whole, int64_t first, int64_t last) {
  const int64_t width = layout.offset[layout.parts];
  const auto copy_rows = IsStreamed(layout, parts, whole) ? CopyRows<kSplit, true> : CopyRows<kSplit, false>;
  while (width > 0 && first < last) {
    const int64_t row = first / width, column = first % width;
    if (column == 0 && last - first >= width) {
      const int64_t rows = (last - first) / width;
      copy_rows(layout, parts, whole, row, rows);
      first += rows * width;
      continue;
    }
    const int64_t end = std::min(width, column + last - first);
    for (int part = 0; part < layout.parts; ++part) {
      const int64_t from = std::max(column, layout.offset[part]);
      const int64_t to = std::min(end, layout.offset[part + 1]);
      if (from >= to) continue;
      char* in_part = parts[part] + row * layout.row_bytes[part] + from - layout.offset[part];
      char* in_whole = whole + row * width + from;
      std::memcpy(kSplit ? in_part : in_whole, kSplit ? in_whole : in_part, to - from);
    }
    first += end - column;
  }
}

}  // namespace

void ConcatCpu(const Layout& layout, const char* const* parts, char* whole, int64_t first, int64_t last) {
  Copy<false>(layout, const_cast<char* const*>(parts), whole, first, last);
}

void SplitCpu(const Layout& layout, const char* whole, char* const* parts, int64_t first, int64_t last) {
  Copy<true>(layout, parts, const_cast<char*>(whole), first, last);
}

}  // namespace segframe
