// Copies between one tensor and the parts that it is made of along one axis.
//
// Both sides are seen as rows: for NHWC and the channel axis a row is a pixel, for NCHW an image. A row of the
// whole is the parts' rows, one behind the other. Nothing here knows TensorFlow or what a byte means.
#ifndef SEGFRAME_CONCAT_H_
#define SEGFRAME_CONCAT_H_

#include <cstdint>

namespace segframe {

constexpr int kMaxParts = 8;

struct Layout {
  int parts;                         // 2 to kMaxParts
  int64_t rows;
  int64_t row_bytes[kMaxParts];      // of each part
  int64_t offset[kMaxParts + 1];     // in bytes: where each part begins in a row of the whole; its end last
  int64_t whole_bytes() const { return rows * offset[parts]; }
};

// Fills row_bytes' sums into offset.
inline void SetOffsets(Layout* layout) {
  layout->offset[0] = 0;
  for (int i = 0; i < layout->parts; ++i) layout->offset[i + 1] = layout->offset[i] + layout->row_bytes[i];
}

// The bytes first..last-1 of the whole, from the parts or into them. Ranges that do not overlap may be copied
// by several threads at once.
void ConcatCpu(const Layout& layout, const char* const* parts, char* whole, int64_t first, int64_t last);
void SplitCpu(const Layout& layout, const char* whole, char* const* parts, int64_t first, int64_t last);

// All of it in one launch on a CUDA stream; pointers are the device's, they and the rows multiples of 2 bytes.
// Returns nullptr, or what went wrong.
const char* ConcatCuda(const Layout& layout, const char* const* parts, char* whole, void* stream);
const char* SplitCuda(const Layout& layout, const char* whole, char* const* parts, void* stream);

}  // namespace segframe

#endif  // SEGFRAME_CONCAT_H_
