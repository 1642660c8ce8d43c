// 3x3 convolutions of float32 maps in NHWC by minimal filtering: fewer multiplications than a convolution has.
//
// An image is cut into tiles of 4x4 pixels. A tile's surroundings, and each filter, are transformed so that the
// convolution becomes a product of each number of the one with the same number of the other, which over channels
// are matrix products, one for each place ("slot"). What comes out is transformed back.
// Source: Lavin and Gray, Fast algorithms for convolutional neural networks, 2016, arxiv.org/abs/1509.09308.
// Nothing here knows TensorFlow.
#ifndef SEGFRAME_CONV_H_
#define SEGFRAME_CONV_H_

#include <cstdint>

namespace segframe {

enum class ConvKind {
  kSame,        // stride 1, a zero around; filters (3, 3, channels, filters)
  kSameBack,    // its gradient to the images: gets maps of `filters` channels, gives `channels`
  kDouble,      // transposed, stride 2: out[2i - 1 + k] += in[i] * w[k]; filters (3, 3, filters, channels)
  kDoubleBack,  // its gradient to the images: a convolution of stride 2 with a zero before the first pixel
  kSubpixel,    // kSame with filters for the four pixels that each pixel becomes, in the order of rows: (3, 3,
                // channels, 4 * filters). Those of odd rows and columns have zeros as their first taps, and do
                // without them.
};

constexpr int kMaxConvParts = 8;

// Images that are taken for their concatenation along the channels.
struct ConvImages {
  int parts;
  const float* data[kMaxConvParts];
  int64_t channels[kMaxConvParts];  // multiples of kConvChannels
};

// What becomes of a result: (it - subtract) * multiply + add, each by channel, then ReLU. Null is without.
struct ConvFinish {
  const float *subtract, *multiply, *add;  // subtract and multiply are there both or neither
  bool relu;
};

// What is computed. The output's height and width are the images', twice those, or half of them.
struct Conv {
  ConvKind kind;
  int64_t batch, height, width;  // of the images that come in; even for kDoubleBack
  int64_t in, out;               // channels of images and of filters, multiples of kConvChannels; of kSubpixel's
                                 // filters, 4 times that
};

// kDouble and then kSame make the same as one kSubpixel, with other filters, but for the first row and column: there
// kSame meets zeros around what kDouble made.
struct Composition {
  int64_t in, middle, out;  // channels
};

constexpr int64_t kConvChannels = 16;

// How the work is cut up; the bits of the result do not depend on it.
struct ConvPlan {
  int64_t tile_rows, tile_columns, tiles;        // tiles: of all images
  int64_t block_tiles, block_filters;            // of a task
  bool share_tiles;                              // all tasks share transformed tiles, or transformed filters
  int64_t share_tasks, shared_floats;
  int64_t tasks, task_flops;
  int64_t scratch_floats;                        // of a thread
};

// The same for the gradient to the filters of kSame and kDouble, whose bits do not depend on it either.
struct FiltersPlan {
  ConvPlan tiles;
  int64_t rows, columns;              // the filters' last two axes
  int64_t row_blocks, column_blocks;
  int64_t parts, part_tiles;          // what tiles are summed together
  int64_t block_floats;               // of a task's sums
  int64_t tasks, scratch_floats, task_flops;
};

// The same functions compiled for one instruction set.
struct ConvCode {
  const char* name;
  ConvPlan (*plan)(const Conv& conv, int threads);
  // Tasks first..last-1 of share_tasks, all of them before those of `run`. Scratch is a thread's own; it and `shared`
  // begin at multiples of 64 bytes.
  void (*share)(const Conv& conv, const ConvPlan& plan, const ConvImages& images, const float* filters, float* shared,
                float* scratch, int64_t first, int64_t last);
  void (*run)(const Conv& conv, const ConvPlan& plan, const ConvImages& images, const float* filters,
              const float* shared, const ConvFinish& finish, float* scratch, float* out, int64_t first, int64_t last);
  // Filters of kDouble, (3, 3, middle, in), and of kSame, (3, 3, middle, out), to those of kSubpixel: channels
  // first * kConvChannels to last * kConvChannels - 1 of `in`.
  void (*compose)(const Composition& sizes, const float* doubling, const float* filters, float* composed,
                  int64_t first, int64_t last);
  FiltersPlan (*plan_filters)(const Conv& conv);
  // Tasks first..last-1 of the plan; sums: tasks * block_floats.
  void (*sum_filters)(const Conv& conv, const FiltersPlan& plan, const float* images, const float* upstream,
                      float* sums, float* scratch, int64_t first, int64_t last);
  // Rows first..last-1 of the filters, when all are summed. It writes on the sums.
  void (*finish_filters)(const Conv& conv, const FiltersPlan& plan, float* sums, float* filters, int64_t first,
                         int64_t last);
};

const ConvCode* ConvBase();
const ConvCode* ConvAvx2();
const ConvCode* ConvAvx512();

}  // namespace segframe

#endif  // SEGFRAME_CONV_H_
