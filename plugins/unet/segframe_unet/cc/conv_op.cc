// The TensorFlow side of conv.h: one operation for its kinds and what they take in. Nothing is computed here.
#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "conv.h"
#include "conv_composed.h"
#include "conv_threads.h"
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

// What the operation computes: one kind, or kDouble and then kSame.
struct Wanted {
  ConvKind kind;
  bool then_same = false;
};

Wanted WantedOf(const std::string& name) {
  if (name == "same") return {ConvKind::kSame};
  if (name == "same_back") return {ConvKind::kSameBack};
  if (name == "double_back") return {ConvKind::kDoubleBack};
  return {ConvKind::kDouble, name == "double_same"};
}

// Whether the filters' last axis is that of the channels that go out.
bool OutIsLast(ConvKind kind) { return kind == ConvKind::kSame || kind == ConvKind::kDoubleBack; }

absl::Status ConvShape(InferenceContext* c) {
  std::string name;
  TF_RETURN_IF_ERROR(c->GetAttr("kind", &name));
  const Wanted wanted = WantedOf(name);
  std::vector<ShapeHandle> images, filters;
  TF_RETURN_IF_ERROR(c->input("images", &images));
  TF_RETURN_IF_ERROR(c->input("filters", &filters));
  DimensionHandle channels = c->MakeDim(0), unused;
  ShapeHandle whole = c->UnknownShapeOfRank(4);
  for (ShapeHandle each : images) {
    if (!c->WithRank(each, 4, &each).ok())
      return InvalidArgument("segframe conv: expected images of rank 4, got ", c->DebugString(each));
    TF_RETURN_IF_ERROR(c->Add(channels, c->Dim(each, 3), &channels));
    ShapeHandle others;
    TF_RETURN_IF_ERROR(c->ReplaceDim(each, 3, c->UnknownDim(), &others));
    if (!c->Merge(whole, others, &whole).ok())
      return InvalidArgument("segframe conv: expected images that differ in channels alone, got ",
                             c->DebugString(images[0]), " and ", c->DebugString(each));
  }
  DimensionHandle sides[2] = {c->Dim(whole, 1), c->Dim(whole, 2)};
  for (size_t f = 0; f < filters.size(); ++f) {
    const ConvKind kind = f ? ConvKind::kSame : wanted.kind;
    ShapeHandle each;
    if (!c->WithRank(filters[f], 4, &each).ok())
      return InvalidArgument("segframe conv: expected filters of rank 4, got ", c->DebugString(filters[f]));
    for (int i = 0; i < 2; ++i) {
      TF_RETURN_IF_ERROR(c->WithValue(c->Dim(each, i), 3, &unused));
      if (kind == ConvKind::kDouble) TF_RETURN_IF_ERROR(c->Multiply(sides[i], 2, &sides[i]));
      if (kind == ConvKind::kDoubleBack) TF_RETURN_IF_ERROR(c->Divide(sides[i], 2, true, &sides[i]));
    }
    if (!c->Merge(channels, c->Dim(each, OutIsLast(kind) ? 2 : 3), &unused).ok())
      return InvalidArgument("segframe conv: expected filters for the images' channels, got ",
                             c->DebugString(f ? filters[0] : images[0]), " and ", c->DebugString(each));
    channels = c->Dim(each, OutIsLast(kind) ? 3 : 2);
  }
  c->set_output(0, c->MakeShape({c->Dim(whole, 0), sides[0], sides[1], channels}));
  return absl::OkStatus();
}

REGISTER_OP("SegframeConv")
    .Input("images: parts * float")
    .Input("filters: layers * float")
    .Input("finish: steps * float")
    .Output("out: float")
    .Attr("kind: {'same', 'same_back', 'double', 'double_back', 'double_same'}")
    .Attr("relu: bool = false")
    .Attr("parts: int >= 1")
    .Attr("layers: int >= 1")
    .Attr("steps: int >= 0")
    .SetShapeFn(ConvShape)
    .Doc("3x3 convolution in NHWC of the images' concatenation, channels in multiples of 16, by minimal filtering. "
         "same: stride 1, filters (3, 3, channels, filters). double: transposed, stride 2, padding and output_padding "
         "1, filters (3, 3, filters, channels). Each _back is the gradient to the images, with the same filters. "
         "double_same: one after the other. finish: nothing, an addend, or what is subtracted, multiplied and added, "
         "each by channel.");

absl::Status FiltersShape(InferenceContext* c) {
  std::string name;
  TF_RETURN_IF_ERROR(c->GetAttr("kind", &name));
  ShapeHandle images, upstream;
  if (!c->WithRank(c->input(0), 4, &images).ok() || !c->WithRank(c->input(1), 4, &upstream).ok())
    return InvalidArgument("segframe conv: expected images and a gradient of rank 4, got ",
                           c->DebugString(c->input(0)), " and ", c->DebugString(c->input(1)));
  DimensionHandle in = c->Dim(images, 3), out = c->Dim(upstream, 3);
  if (name == "double") std::swap(in, out);
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

class ConvOp : public tensorflow::OpKernel {
 public:
  explicit ConvOp(OpKernelConstruction* context) : OpKernel(context), code_(BestCode()) {
    std::string name;
    OP_REQUIRES_OK(context, context->GetAttr("kind", &name));
    OP_REQUIRES_OK(context, context->GetAttr("relu", &relu_));
    wanted_ = WantedOf(name);
  }

  void Compute(OpKernelContext* context) override {
    tensorflow::OpInputList images, filters, finish;
    OP_REQUIRES_OK(context, context->input_list("images", &images));
    OP_REQUIRES_OK(context, context->input_list("filters", &filters));
    OP_REQUIRES_OK(context, context->input_list("finish", &finish));
    OP_REQUIRES(context, images.size() <= kMaxConvParts && filters.size() == (wanted_.then_same ? 2 : 1) &&
                             (images.size() == 1 || wanted_.kind == ConvKind::kSame),
                InvalidArgument("segframe conv: expected one image, up to ", kMaxConvParts,
                                " for \"same\", and filters for each layer, got ", images.size(), " and ",
                                filters.size()));
    ConvImages parts = {};
    int64_t channels = 0;
    for (const Tensor& part : images) {
      OP_REQUIRES(context, part.dims() == 4,
                  InvalidArgument("segframe conv: expected images of rank 4, got ", part.shape().DebugString()));
      for (int i = 0; i < 3; ++i)
        OP_REQUIRES(context, part.dim_size(i) == images[0].dim_size(i),
                    InvalidArgument("segframe conv: expected images that differ in channels alone, got ",
                                    images[0].shape().DebugString(), " and ", part.shape().DebugString()));
      OP_REQUIRES(context, part.dim_size(3) > 0 && part.dim_size(3) % kConvChannels == 0, Channels(part, filters[0]));
      parts.data[parts.parts] = part.flat<float>().data();
      parts.channels[parts.parts++] = part.dim_size(3);
      channels += part.dim_size(3);
    }
    Conv conv = {wanted_.kind, images[0].dim_size(0), images[0].dim_size(1), images[0].dim_size(2), channels, 0};
    OP_REQUIRES(context, Fits(filters[0], wanted_.kind, channels, &conv.out), Channels(images[0], filters[0]));
    int64_t out_channels = conv.out;
    if (wanted_.then_same)
      OP_REQUIRES(context, Fits(filters[1], ConvKind::kSame, conv.out, &out_channels),
                  Channels(filters[0], filters[1]));
    const bool halves = wanted_.kind == ConvKind::kDoubleBack;
    OP_REQUIRES(context, !halves || (conv.height % 2 == 0 && conv.width % 2 == 0),
                InvalidArgument("segframe conv: expected an even height and width, got ",
                                images[0].shape().DebugString()));
    OP_REQUIRES(context, finish.size() == 0 || finish.size() == 1 || finish.size() == 3,
                InvalidArgument("segframe conv: expected 0, 1 or 3 tensors to finish with, got ", finish.size()));
    const float* steps[3] = {};
    for (int i = 0; i < finish.size(); ++i) {
      OP_REQUIRES(context, finish[i].dims() == 1 && finish[i].dim_size(0) == out_channels,
                  InvalidArgument("segframe conv: expected a number for each of ", out_channels,
                                  " channels to finish with, got ", finish[i].shape().DebugString()));
      steps[3 - finish.size() + i] = finish[i].flat<float>().data();
    }
    const ConvFinish finished = {steps[0], steps[1], steps[2], relu_};
    const int64_t times = wanted_.kind == ConvKind::kDouble ? 2 : 1, divisor = halves ? 2 : 1;
    TensorShape shape;
    for (int64_t size : {conv.batch, conv.height * times / divisor, conv.width * times / divisor, out_channels})
      OP_REQUIRES_OK(context, shape.AddDimWithStatus(size));
    Tensor* out = nullptr;
    OP_REQUIRES_OK(context, context->allocate_output(0, shape, &out));
    if (out->NumElements() == 0) return;
    float* result = out->flat<float>().data();
    const float* of_filters = filters[0].flat<float>().data();
    if (!wanted_.then_same) return Convolve(context, code_, conv, parts, of_filters, finished, result);
    const Both both = {conv.batch, conv.height, conv.width, {channels, conv.out, out_channels},
                       parts.data[0], of_filters, filters[1].flat<float>().data(), finished};
    if (ComposedIsLess(both)) Composed(context, code_, both, &composed_, result);
    else OneAfterTheOther(context, code_, both, result);
  }

 private:
  static bool Fits(const Tensor& filters, ConvKind kind, int64_t channels, int64_t* out) {
    if (filters.dims() != 4) return false;
    const int last = OutIsLast(kind) ? 3 : 2;
    *out = filters.dim_size(last);
    return filters.dim_size(0) == 3 && filters.dim_size(1) == 3 && filters.dim_size(5 - last) == channels &&
           channels > 0 && *out % kConvChannels == 0;
  }
  static absl::Status Channels(const Tensor& images, const Tensor& filters) {
    return InvalidArgument("segframe conv: expected 3x3 filters for the images' channels, all in multiples of ",
                           kConvChannels, ", got ", images.shape().DebugString(), " and ",
                           filters.shape().DebugString());
  }

  const ConvCode& code_;
  Wanted wanted_;
  bool relu_;
  ComposedFilters composed_;
};

class ConvFiltersOp : public tensorflow::OpKernel {
 public:
  explicit ConvFiltersOp(OpKernelConstruction* context) : OpKernel(context), code_(BestCode()) {
    std::string name;
    OP_REQUIRES_OK(context, context->GetAttr("kind", &name));
    kind_ = WantedOf(name).kind;
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
