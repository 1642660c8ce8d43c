// A transposed convolution and a convolution after it in one, for conv_op.cc.
#ifndef SEGFRAME_CONV_COMPOSED_H_
#define SEGFRAME_CONV_COMPOSED_H_

#include <algorithm>
#include <map>
#include <memory>
#include <vector>

#include "conv_threads.h"
#include "tensorflow/core/platform/hash.h"
#include "tensorflow/core/platform/mutex.h"

namespace segframe {
namespace {

using tensorflow::OpKernelContext;
using tensorflow::Tensor;
using tensorflow::TensorShape;

// What kDouble and then kSame are given.
struct Both {
  int64_t batch, height, width;
  Composition sizes;
  const float *images, *doubling, *filters;
  ConvFinish finish;
};

// One after the other, what is between them in memory of its own.
void OneAfterTheOther(OpKernelContext* context, const ConvCode& code, const Both& of, float* out) {
  const Composition& sizes = of.sizes;
  Tensor between;
  const TensorShape shape({of.batch, 2 * of.height, 2 * of.width, sizes.middle});
  OP_REQUIRES_OK(context, context->allocate_temp(tensorflow::DT_FLOAT, shape, &between));
  float* middle = between.flat<float>().data();
  Convolve(context, code, {ConvKind::kDouble, of.batch, of.height, of.width, sizes.in, sizes.middle},
           {1, {of.images}, {sizes.in}}, of.doubling, {}, middle);
  if (!context->status().ok()) return;
  Convolve(context, code, {ConvKind::kSame, of.batch, 2 * of.height, 2 * of.width, sizes.middle, sizes.out},
           {1, {middle}, {sizes.middle}}, of.filters, of.finish, out);
}

// The first row or column of what goes out, for which two of the images are enough.
void Edge(OpKernelContext* context, const ConvCode& code, const Both& of, bool rows, float* out) {
  Both strip = of;
  (rows ? strip.height : strip.width) = 2;
  const int64_t in = of.sizes.in, channels = of.sizes.out;
  Tensor of_images, of_out;
  const TensorShape shape({of.batch, strip.height, strip.width, in});
  const TensorShape out_shape({of.batch, 2 * strip.height, 2 * strip.width, channels});
  OP_REQUIRES_OK(context, context->allocate_temp(tensorflow::DT_FLOAT, shape, &of_images));
  OP_REQUIRES_OK(context, context->allocate_temp(tensorflow::DT_FLOAT, out_shape, &of_out));
  float *images = of_images.flat<float>().data(), *found = of_out.flat<float>().data();
  // Of each line the first `count` numbers; lines begin from_line and to_line numbers apart.
  const auto copy = [](const float* from, int64_t from_line, float* to, int64_t to_line, int64_t lines,
                       int64_t count) {
    for (int64_t line = 0; line < lines; ++line)
      std::copy_n(from + line * from_line, count, to + line * to_line);
  };
  const int64_t lines = rows ? of.batch : of.batch * of.height;
  const int64_t line = (rows ? of.height * of.width : of.width) * in, part = (rows ? 2 * of.width : 2) * in;
  copy(of.images, line, images, part, lines, part);
  strip.images = images;
  OneAfterTheOther(context, code, strip, found);
  if (!context->status().ok()) return;
  const int64_t out_lines = rows ? of.batch : 2 * of.batch * of.height;
  const int64_t taken = (rows ? 2 * of.width : 1) * channels;
  copy(found, (rows ? 8 * of.width : 4) * channels, out, (rows ? 4 * of.height * of.width : 2 * of.width) * channels,
       out_lines, taken);
}

// Multiplications that are left of both, in the tiles of 4x4 that make 8x8: one after the other, and composed with both
// edges one after the other, for which all filters are transformed again. Composing the filters counts a sixteenth:
// with the same ones more images are computed. The batch does not count: an image has the same bits in every one.
bool ComposedIsLess(const Both& of) {
  const double rows = (of.height + 3) / 4, columns = (of.width + 3) / 4, tiles = rows * columns;
  const double in = of.sizes.in, middle = of.sizes.middle, out = of.sizes.out;
  const double apart = tiles * middle * (81 * in + 4 * 36 * out);
  const double edges = (rows + columns) * middle * (81 * in + 2 * 36 * out) + 2 * 36 * middle * (in + out);
  const double composed = tiles * 121 * in * out + edges + 81. / 16 * in * middle * out;
  return of.height >= 2 && of.width >= 2 && composed * 1.1 < apart;
}

// The composed filters of an operation, kept until it is given others. Those of several operations with the same
// filters, as graphs for images of several sizes have them, are the same memory.
class ComposedFilters {
 public:
  std::shared_ptr<const Tensor> Get(OpKernelContext* context, const ConvCode& code, const Both& of) {
    const uint64_t digest = Digest(context, of);
    {
      tensorflow::mutex_lock lock(mutex_);
      if (kept_ && digest == digest_) return kept_;
      kept_.reset();  // before there are others
    }
    std::shared_ptr<const Tensor> found = Everyones(digest, nullptr);
    if (!found) {
      auto made = std::make_shared<Tensor>();
      const Composition& sizes = of.sizes;
      const absl::Status status =
          context->allocate_temp(tensorflow::DT_FLOAT, TensorShape({9 * sizes.in * 4 * sizes.out}), made.get());
      context->SetStatus(status);
      if (!status.ok()) return nullptr;
      float* filters = made->flat<float>().data();
      const auto* pool = context->device()->tensorflow_cpu_worker_threads();
      tensorflow::Shard(pool->num_threads, pool->workers, sizes.in / kConvChannels,
                        81 * kConvChannels * sizes.middle * sizes.out / 16, [&](int64_t first, int64_t last) {
                          code.compose(sizes, of.doubling, of.filters, filters, first, last);
                        });
      found = Everyones(digest, made);
    }
    tensorflow::mutex_lock lock(mutex_);
    digest_ = digest;
    return kept_ = found;
  }

 private:
  // Of both filters and their sizes.
  static uint64_t Digest(OpKernelContext* context, const Both& of) {
    constexpr int64_t kPiece = 1 << 16;  // floats
    const Composition& sizes = of.sizes;
    const int64_t counts[2] = {9 * sizes.middle * sizes.in, 9 * sizes.middle * sizes.out};
    const int64_t pieces[2] = {(counts[0] + kPiece - 1) / kPiece, (counts[1] + kPiece - 1) / kPiece};
    std::vector<uint64_t> digests(pieces[0] + pieces[1]);
    const auto* pool = context->device()->tensorflow_cpu_worker_threads();
    tensorflow::Shard(pool->num_threads, pool->workers, digests.size(), kPiece, [&](int64_t first, int64_t last) {
      for (int64_t piece = first; piece < last; ++piece) {
        const bool second = piece >= pieces[0];
        const int64_t begin = (piece - second * pieces[0]) * kPiece;
        const int64_t count = std::min(kPiece, counts[second] - begin);
        const float* from = (second ? of.filters : of.doubling) + begin;
        digests[piece] = tensorflow::Hash64(reinterpret_cast<const char*>(from), count * sizeof(float), piece);
      }
    });
    const uint64_t all = tensorflow::Hash64(reinterpret_cast<const char*>(digests.data()), digests.size() * 8);
    return tensorflow::Hash64(reinterpret_cast<const char*>(&sizes), sizeof(sizes), all);
  }

  // What any operation of the process keeps by that digest; `made` becomes it if there is none.
  static std::shared_ptr<const Tensor> Everyones(uint64_t digest, std::shared_ptr<const Tensor> made) {
    static tensorflow::mutex mutex(tensorflow::LINKER_INITIALIZED);
    static auto& all = *new std::map<uint64_t, std::weak_ptr<const Tensor>>;
    tensorflow::mutex_lock lock(mutex);
    for (auto each = all.begin(); each != all.end();) each = each->second.expired() ? all.erase(each) : std::next(each);
    const auto found = all.find(digest);
    if (found != all.end())
      if (auto there = found->second.lock()) return there;
    if (made) all[digest] = made;
    return made;
  }

  tensorflow::mutex mutex_;
  uint64_t digest_ = 0;
  std::shared_ptr<const Tensor> kept_;
};

void Composed(OpKernelContext* context, const ConvCode& code, const Both& of, ComposedFilters* composed, float* out) {
  const Composition& sizes = of.sizes;
  const std::shared_ptr<const Tensor> filters = composed->Get(context, code, of);
  if (!filters) return;
  Convolve(context, code, {ConvKind::kSubpixel, of.batch, of.height, of.width, sizes.in, 4 * sizes.out},
           {1, {of.images}, {sizes.in}}, filters->flat<float>().data(), of.finish, out);
  for (bool rows : {true, false})
    if (context->status().ok()) Edge(context, code, of, rows, out);
}

}  // namespace
}  // namespace segframe

#endif  // SEGFRAME_CONV_COMPOSED_H_
