// The TensorFlow side of conv.h: one operation for its four kinds. Nothing is computed here.
#include <algorithm>
#include <atomic>
#include <memory>
#include <new>
#include <string>
#include <utility>

#include "conv.h"
#include "tensorflow/core/framework/common_shape_fns.h"
#include "tensorflow/core/framework/op.h"
#include "tensorflow/core/framework/op_kernel.h"
#include "tensorflow/core/framework/shape_inference.h"
#include "tensorflow/core/util/work_sharder.h"

namespace segframe {
namespace {

using tensorflow::DEVICE_CPU;
using tensorflow::OpKernelConstruction;
using tensorflow::OpKernelContext;
using tensorflow::Tensor;
using tensorflow::TensorShape;
using tensorflow::errors::InvalidArgument;
using tensorflow::shape_inference::DimensionHandle;
using tensorflow::shape_inference::InferenceContext;
using tensorflow::shape_inference::ShapeHandle;

ConvKind KindOf(const std::string& name) {
  if (name == "same") return ConvKind::kSame;
  if (name == "same_back") return ConvKind::kSameBack;
  return name == "double" ? ConvKind::kDouble : ConvKind::kDoubleBack;
}

// Whether the filters' last axis is that of the channels that go out.
bool OutIsLast(ConvKind kind) { return kind == ConvKind::kSame || kind == ConvKind::kDoubleBack; }

absl::Status ConvShape(InferenceContext* c) {
  std::string name;
  TF_RETURN_IF_ERROR(c->GetAttr("kind", &name));
  const ConvKind kind = KindOf(name);
  ShapeHandle images, filters;
  if (!c->WithRank(c->input(0), 4, &images).ok() || !c->WithRank(c->input(1), 4, &filters).ok())
    return InvalidArgument("segframe conv: expected images and filters of rank 4, got ", c->DebugString(c->input(0)),
                           " and ", c->DebugString(c->input(1)));
  DimensionHandle sides[2], unused;
  for (int i = 0; i < 2; ++i) {
    TF_RETURN_IF_ERROR(c->WithValue(c->Dim(filters, i), 3, &unused));
    sides[i] = c->Dim(images, 1 + i);
    if (kind == ConvKind::kDouble) TF_RETURN_IF_ERROR(c->Multiply(sides[i], 2, &sides[i]));
    if (kind == ConvKind::kDoubleBack) TF_RETURN_IF_ERROR(c->Divide(sides[i], 2, true, &sides[i]));
  }
  if (!c->Merge(c->Dim(images, 3), c->Dim(filters, OutIsLast(kind) ? 2 : 3), &unused).ok())
    return InvalidArgument("segframe conv: expected filters for the images' channels, got ", c->DebugString(images),
                           " and ", c->DebugString(filters));
  c->set_output(0, c->MakeShape({c->Dim(images, 0), sides[0], sides[1], c->Dim(filters, OutIsLast(kind) ? 3 : 2)}));
  return absl::OkStatus();
}

REGISTER_OP("SegframeConv")
    .Input("images: float")
    .Input("filters: float")
    .Output("out: float")
    .Attr("kind: {'same', 'same_back', 'double', 'double_back'}")
    .SetShapeFn(ConvShape)
    .Doc("3x3 convolution in NHWC, channels in multiples of 16, by minimal filtering. same: stride 1, filters (3, 3, "
         "channels, filters). double: transposed, stride 2, padding and output_padding 1, filters (3, 3, filters, "
         "channels). Each _back is the gradient to the images, with the same filters.");

absl::Status FiltersShape(InferenceContext* c) {
  std::string name;
  TF_RETURN_IF_ERROR(c->GetAttr("kind", &name));
  ShapeHandle images, upstream;
  if (!c->WithRank(c->input(0), 4, &images).ok() || !c->WithRank(c->input(1), 4, &upstream).ok())
    return InvalidArgument("segframe conv: expected images and a gradient of rank 4, got ",
                           c->DebugString(c->input(0)), " and ", c->DebugString(c->input(1)));
  DimensionHandle in = c->Dim(images, 3), out = c->Dim(upstream, 3);
  if (KindOf(name) == ConvKind::kDouble) std::swap(in, out);
  c->set_output(0, c->MakeShape({c->MakeDim(3), c->MakeDim(3), in, out}));
  return absl::OkStatus();
}

REGISTER_OP("SegframeConvFilters")
    .Input("images: float")
    .Input("upstream: float")
    .Output("filters: float")
    .Attr("kind: {'same', 'double'}")
    .SetShapeFn(FiltersShape)
    .Doc("The gradient of SegframeConv to its filters, from its images and the gradient to its output.");

const ConvCode& BestCode() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl")) return *ConvAvx512();
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return *ConvAvx2();
#endif
  return *ConvBase();
}

// A thread's own memory, kept: mapping it anew costs about as much as what is computed in it.
float* Scratch(int64_t floats) {
  static thread_local std::unique_ptr<float[]> memory;
  static thread_local int64_t size = 0;
  constexpr int64_t kLine = 16;
  if (size < floats + kLine) {
    memory.reset();
    size = 0;
    memory.reset(new (std::nothrow) float[floats + kLine]);
    if (memory == nullptr) return nullptr;
    size = floats + kLine;
  }
  return reinterpret_cast<float*>((reinterpret_cast<uintptr_t>(memory.get()) + 63) / 64 * 64);
}

// Deals out the tasks, each thread with scratch of its own.
template <typename Work>
void OnThreads(OpKernelContext* context, int64_t tasks, int64_t task_flops, int64_t scratch_floats, const Work& work) {
  constexpr int64_t kFlopsPerCycle = 32;
  const auto* pool = context->device()->tensorflow_cpu_worker_threads();
  std::atomic<bool> no_memory = false;
  tensorflow::Shard(pool->num_threads, pool->workers, tasks, task_flops / kFlopsPerCycle,
                    [&](int64_t first, int64_t last) {
                      float* scratch = Scratch(scratch_floats);
                      if (scratch) work(scratch, first, last);
                      else no_memory = true;
                    });
  OP_REQUIRES(context, !no_memory,
              tensorflow::errors::ResourceExhausted("segframe conv: no memory for ", scratch_floats * 4,
                                                    " bytes a thread"));
}

class ConvOp : public tensorflow::OpKernel {
 public:
  explicit ConvOp(OpKernelConstruction* context) : OpKernel(context), code_(BestCode()) {
    std::string name;
    OP_REQUIRES_OK(context, context->GetAttr("kind", &name));
    kind_ = KindOf(name);
  }

  void Compute(OpKernelContext* context) override {
    const Tensor &images = context->input(0), &filters = context->input(1);
    OP_REQUIRES(context, images.dims() == 4 && filters.dims() == 4,
                InvalidArgument("segframe conv: expected images and filters of rank 4, got ",
                                images.shape().DebugString(), " and ", filters.shape().DebugString()));
    const int last = OutIsLast(kind_) ? 3 : 2;
    const Conv conv = {kind_, images.dim_size(0), images.dim_size(1), images.dim_size(2), images.dim_size(3),
                       filters.dim_size(last)};
    OP_REQUIRES(context,
                filters.dim_size(0) == 3 && filters.dim_size(1) == 3 && filters.dim_size(5 - last) == conv.in &&
                    conv.in > 0 && conv.in % kConvChannels == 0 && conv.out % kConvChannels == 0,
                InvalidArgument("segframe conv: expected 3x3 filters for the images' channels, all in multiples of ",
                                kConvChannels, ", got ", images.shape().DebugString(), " and ",
                                filters.shape().DebugString()));
    const bool halves = kind_ == ConvKind::kDoubleBack;
    OP_REQUIRES(context, !halves || (conv.height % 2 == 0 && conv.width % 2 == 0),
                InvalidArgument("segframe conv: expected an even height and width, got ",
                                images.shape().DebugString()));
    const int64_t times = kind_ == ConvKind::kDouble ? 2 : 1, divisor = halves ? 2 : 1;
    TensorShape shape;
    for (int64_t size : {conv.batch, conv.height * times / divisor, conv.width * times / divisor, conv.out})
      OP_REQUIRES_OK(context, shape.AddDimWithStatus(size));
    Tensor* out = nullptr;
    OP_REQUIRES_OK(context, context->allocate_output(0, shape, &out));
    if (out->NumElements() == 0) return;

    const ConvPlan plan = code_.plan(conv, context->device()->tensorflow_cpu_worker_threads()->num_threads);
    Tensor memory;
    OP_REQUIRES_OK(context,
                   context->allocate_temp(tensorflow::DT_FLOAT, TensorShape({plan.shared_floats}), &memory));
    const float *of_images = images.flat<float>().data(), *of_filters = filters.flat<float>().data();
    float *shared = memory.flat<float>().data(), *result = out->flat<float>().data();
    OnThreads(context, plan.share_tasks, plan.shared_floats / plan.share_tasks * 16, plan.scratch_floats,
              [&](float* scratch, int64_t first, int64_t last) {
                code_.share(conv, plan, of_images, of_filters, shared, scratch, first, last);
              });
    if (!context->status().ok()) return;
    OnThreads(context, plan.tasks, plan.task_flops, plan.scratch_floats,
              [&](float* scratch, int64_t first, int64_t last) {
                code_.run(conv, plan, of_images, of_filters, shared, scratch, result, first, last);
              });
  }

 private:
  const ConvCode& code_;
  ConvKind kind_;
};

class ConvFiltersOp : public tensorflow::OpKernel {
 public:
  explicit ConvFiltersOp(OpKernelConstruction* context) : OpKernel(context), code_(BestCode()) {
    std::string name;
    OP_REQUIRES_OK(context, context->GetAttr("kind", &name));
    kind_ = KindOf(name);
  }

  void Compute(OpKernelContext* context) override {
    const Tensor &images = context->input(0), &upstream = context->input(1);
    OP_REQUIRES(context, images.dims() == 4 && upstream.dims() == 4,
                InvalidArgument("segframe conv: expected images and a gradient of rank 4, got ",
                                images.shape().DebugString(), " and ", upstream.shape().DebugString()));
    const Conv conv = {kind_, images.dim_size(0), images.dim_size(1), images.dim_size(2), images.dim_size(3),
                       upstream.dim_size(3)};
    const int64_t times = kind_ == ConvKind::kDouble ? 2 : 1;
    OP_REQUIRES(context,
                upstream.dim_size(0) == conv.batch && upstream.dim_size(1) == conv.height * times &&
                    upstream.dim_size(2) == conv.width * times && conv.in % kConvChannels == 0 &&
                    conv.out % kConvChannels == 0,
                InvalidArgument("segframe conv: expected a gradient of ", times, " times the images' size, channels in "
                                "multiples of ", kConvChannels, ", got ", images.shape().DebugString(), " and ",
                                upstream.shape().DebugString()));
    Tensor* filters = nullptr;
    const bool turned = kind_ == ConvKind::kDouble;
    const TensorShape shape({3, 3, turned ? conv.out : conv.in, turned ? conv.in : conv.out});
    OP_REQUIRES_OK(context, context->allocate_output(0, shape, &filters));
    if (filters->NumElements() == 0) return;
    float* result = filters->flat<float>().data();
    if (images.NumElements() == 0) {
      std::fill_n(result, filters->NumElements(), 0.f);
      return;
    }

    const FiltersPlan plan = code_.plan_filters(conv);
    Tensor sums;
    OP_REQUIRES_OK(context, context->allocate_temp(tensorflow::DT_FLOAT, TensorShape({plan.tasks * plan.block_floats}),
                                                   &sums));
    float* parts = sums.flat<float>().data();
    const auto* pool = context->device()->tensorflow_cpu_worker_threads();
    OnThreads(context, plan.tasks, plan.task_flops, plan.scratch_floats,
              [&](float* scratch, int64_t first, int64_t last) {
                code_.sum_filters(conv, plan, images.flat<float>().data(), upstream.flat<float>().data(), parts,
                                  scratch, first, last);
              });
    if (!context->status().ok()) return;
    tensorflow::Shard(pool->num_threads, pool->workers, plan.rows, plan.columns * 4 * (plan.parts + 2),
                      [&](int64_t first, int64_t last) {
                        code_.finish_filters(conv, plan, parts, result, first, last);
                      });
  }

 private:
  const ConvCode& code_;
  ConvKind kind_;
};

REGISTER_KERNEL_BUILDER(Name("SegframeConv").Device(DEVICE_CPU), ConvOp);
REGISTER_KERNEL_BUILDER(Name("SegframeConvFilters").Device(DEVICE_CPU), ConvFiltersOp);

}  // namespace
}  // namespace segframe

extern "C" const char* segframe_conv_code() { return segframe::BestCode().name; }
