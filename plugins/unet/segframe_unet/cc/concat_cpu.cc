#include <algorithm>
#include <cstring>

#include "concat.h"

namespace segframe {
namespace {

// Rows of a size known to the compiler are copied without a call.
template <int kBytes>
void CopyFixed(char* to, int64_t to_step, const char* from, int64_t from_step, int64_t rows) {
  for (int64_t row = 0; row < rows; ++row, to += to_step, from += from_step) std::memcpy(to, from, kBytes);
}

void CopyRows(char* to, int64_t to_step, const char* from, int64_t from_step, int64_t bytes, int64_t rows) {
  switch (bytes) {
    case 0: return;
    case 16: return CopyFixed<16>(to, to_step, from, from_step, rows);
    case 32: return CopyFixed<32>(to, to_step, from, from_step, rows);
    case 64: return CopyFixed<64>(to, to_step, from, from_step, rows);
    case 128: return CopyFixed<128>(to, to_step, from, from_step, rows);
    case 256: return CopyFixed<256>(to, to_step, from, from_step, rows);
  }
  for (int64_t row = 0; row < rows; ++row, to += to_step, from += from_step) std::memcpy(to, from, bytes);
}

// Calls copy(part, byte in the part, byte in the whole, bytes a row, rows) for all that lies in first..last-1.
// Whole rows go in tiles that stay in a core's cache while part after part is copied.
template <typename Copy>
void Walk(const Layout& layout, int64_t first, int64_t last, const Copy& copy) {
  const int64_t width = layout.offset[layout.parts];
  if (width == 0) return;
  const int64_t tile = std::max<int64_t>(1, 32768 / width);
  while (first < last) {
    const int64_t row = first / width, column = first % width;
    const bool whole_rows = column == 0 && last - first >= width;
    const int64_t rows = whole_rows ? std::min(tile, (last - first) / width) : 1;
    const int64_t end = whole_rows ? width : std::min(width, column + last - first);
    for (int part = 0; part < layout.parts; ++part) {
      const int64_t from = std::max(column, layout.offset[part]);
      const int64_t to = std::min(end, layout.offset[part + 1]);
      if (from < to)
        copy(part, row * layout.row_bytes[part] + from - layout.offset[part], row * width + from, to - from,
             rows);
    }
    first += whole_rows ? rows * width : end - column;
  }
}

}  // namespace

void ConcatCpu(const Layout& layout, const char* const* parts, char* whole, int64_t first, int64_t last) {
  const int64_t width = layout.offset[layout.parts];
  Walk(layout, first, last, [&](int part, int64_t in_part, int64_t in_whole, int64_t bytes, int64_t rows) {
    CopyRows(whole + in_whole, width, parts[part] + in_part, layout.row_bytes[part], bytes, rows);
  });
}

void SplitCpu(const Layout& layout, const char* whole, char* const* parts, int64_t first, int64_t last) {
  const int64_t width = layout.offset[layout.parts];
  Walk(layout, first, last, [&](int part, int64_t in_part, int64_t in_whole, int64_t bytes, int64_t rows) {
    CopyRows(parts[part] + in_part, layout.row_bytes[part], whole + in_whole, width, bytes, rows);
  });
}

}  // namespace segframe
