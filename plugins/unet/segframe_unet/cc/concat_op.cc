// The TensorFlow side of concat.h: two operations, each the other's gradient. Nothing is computed here.
#include <cstring>
#include <string>
#include <vector>

#include "concat.h"
#include "tensorflow/core/framework/common_shape_fns.h"
#include "tensorflow/core/framework/op.h"
#include "tensorflow/core/framework/op_kernel.h"
#include "tensorflow/core/framework/shape_inference.h"
#include "tensorflow/core/util/work_sharder.h"
#ifdef SEGFRAME_CUDA
#include "xla/stream_executor/stream.h"
#endif

namespace segframe {
namespace {

using tensorflow::DEVICE_CPU;
using tensorflow::DEVICE_GPU;
using tensorflow::OpKernelConstruction;
using tensorflow::OpKernelContext;
using tensorflow::Tensor;
using tensorflow::TensorShape;
using tensorflow::errors::InvalidArgument;
using tensorflow::shape_inference::DimensionHandle;
using tensorflow::shape_inference::InferenceContext;
using tensorflow::shape_inference::ShapeHandle;

int ChannelAxis(const std::string& data_format) { return data_format == "NHWC" ? 3 : 1; }

absl::Status CheckNumber(int parts) {
  if (parts <= kMaxParts) return absl::OkStatus();
  return InvalidArgument("segframe concat: expected 2 to ", kMaxParts, " parts, got ", parts);
}

absl::Status ConcatShape(InferenceContext* c) {
  std::string data_format;
  TF_RETURN_IF_ERROR(c->GetAttr("data_format", &data_format));
  TF_RETURN_IF_ERROR(CheckNumber(c->num_inputs()));
  const int axis = ChannelAxis(data_format);
  ShapeHandle merged = c->UnknownShapeOfRank(4);
  DimensionHandle channels = c->MakeDim(0);
  for (int i = 0; i < c->num_inputs(); ++i) {
    ShapeHandle shape, others;
    if (!c->WithRank(c->input(i), 4, &shape).ok())
      return InvalidArgument("segframe concat: expected parts of rank 4 (", data_format, "), got ",
                             c->DebugString(c->input(i)), " for part ", i);
    TF_RETURN_IF_ERROR(c->Add(channels, c->Dim(shape, axis), &channels));
    TF_RETURN_IF_ERROR(c->ReplaceDim(shape, axis, c->UnknownDim(), &others));
    if (!c->Merge(merged, others, &merged).ok())
      return InvalidArgument("segframe concat: expected parts that differ in channels alone (", data_format,
                             "), got ", c->DebugString(c->input(0)), " and ", c->DebugString(shape),
                             " for part ", i);
  }
  TF_RETURN_IF_ERROR(c->ReplaceDim(merged, axis, channels, &merged));
  c->set_output(0, merged);
  return absl::OkStatus();
}

absl::Status SplitShape(InferenceContext* c) {
  std::string data_format;
  TF_RETURN_IF_ERROR(c->GetAttr("data_format", &data_format));
  TF_RETURN_IF_ERROR(CheckNumber(c->num_outputs()));
  const int axis = ChannelAxis(data_format);
  ShapeHandle whole, sizes;
  if (!c->WithRank(c->input(0), 4, &whole).ok())
    return InvalidArgument("segframe split: expected rank 4 (", data_format, "), got ",
                           c->DebugString(c->input(0)));
  TF_RETURN_IF_ERROR(c->WithRank(c->input(1), 1, &sizes));
  const Tensor* known = c->input_tensor(1);
  if (known && known->NumElements() != c->num_outputs())
    return InvalidArgument("segframe split: expected a size for each of ", c->num_outputs(), " parts, got ",
                           known->NumElements());
  for (int i = 0; i < c->num_outputs(); ++i) {
    ShapeHandle part;
    const int64_t size = known ? known->flat<int32_t>()(i) : -1;
    if (known && size < 0) return InvalidArgument("segframe split: expected sizes >= 0, got ", size);
    TF_RETURN_IF_ERROR(c->ReplaceDim(whole, axis, known ? c->MakeDim(size) : c->UnknownDim(), &part));
    c->set_output(i, part);
  }
  return absl::OkStatus();
}

REGISTER_OP("SegframeConcat")
    .Input("parts: N * T")
    .Output("whole: T")
    .Attr("N: int >= 2")
    .Attr("T: {float, double, half, bfloat16}")
    .Attr("data_format: {'NHWC', 'NCHW'} = 'NHWC'")
    .Attr("compiled_gradient: bool = true")
    .SetShapeFn(ConcatShape)
    .Doc("tf.concat of two to eight feature maps along their channel axis. compiled_gradient: SegframeSplit is "
         "its gradient, instead of tf.split.");

REGISTER_OP("SegframeSplit")
    .Input("whole: T")
    .Input("sizes: int32")  // as shapes are: on a GPU they stay in the host's memory
    .Output("parts: N * T")
    .Attr("N: int >= 2")
    .Attr("T: {float, double, half, bfloat16}")
    .Attr("data_format: {'NHWC', 'NCHW'} = 'NHWC'")
    .SetShapeFn(SplitShape)
    .Doc("tf.split of a feature map along its channel axis into parts of these sizes.");

// Rows of the whole and of each part, given the whole's shape and the parts' channels.
Layout MakeLayout(const TensorShape& shape, int axis, const std::vector<int64_t>& channels,
                  int element_bytes) {
  Layout layout;
  layout.parts = static_cast<int>(channels.size());
  layout.rows = 1;
  int64_t inner = element_bytes;
  for (int i = 0; i < axis; ++i) layout.rows *= shape.dim_size(i);
  for (int i = axis + 1; i < 4; ++i) inner *= shape.dim_size(i);
  for (int i = 0; i < layout.parts; ++i) layout.row_bytes[i] = channels[i] * inner;
  SetOffsets(&layout);
  return layout;
}

const char* Bytes(const Tensor& tensor) { return static_cast<const char*>(tensor.data()); }
char* Bytes(Tensor* tensor) { return static_cast<char*>(tensor->data()); }

// Work is dealt out in blocks of bytes: one image in NCHW is one row.
template <typename Copy>
void OnThreadPool(OpKernelContext* context, int64_t bytes, const Copy& copy) {
  constexpr int64_t kBlock = 4096, kCyclesPerBlock = 1024;
  const auto* workers = context->device()->tensorflow_cpu_worker_threads();
  tensorflow::Shard(workers->num_threads, workers->workers, (bytes + kBlock - 1) / kBlock, kCyclesPerBlock,
                    [&](int64_t first, int64_t last) {
                      copy(first * kBlock, std::min(last * kBlock, bytes));
                    });
}

void ReportCuda(OpKernelContext* context, const char* problem) {
  OP_REQUIRES(context, problem == nullptr, tensorflow::errors::Internal("segframe concat on CUDA: ", problem));
}

#ifdef SEGFRAME_CUDA
void* CudaStream(OpKernelContext* context) {
  return context->op_device_context()->stream()->platform_specific_handle().stream;
}
#endif

template <bool kCuda>
class ConcatOp : public tensorflow::OpKernel {
 public:
  explicit ConcatOp(OpKernelConstruction* context) : OpKernel(context) {
    OP_REQUIRES_OK(context, context->GetAttr("data_format", &data_format_));
    OP_REQUIRES_OK(context, CheckNumber(context->num_inputs()));
  }

  void Compute(OpKernelContext* context) override {
    const int axis = ChannelAxis(data_format_);
    TensorShape shape = context->input(0).shape();
    std::vector<int64_t> channels;
    std::vector<const char*> parts;
    int64_t sum = 0;
    for (int i = 0; i < context->num_inputs(); ++i) {
      const Tensor& part = context->input(i);
      OP_REQUIRES(context, part.dims() == 4,
                  InvalidArgument("segframe concat: expected parts of rank 4 (", data_format_, "), got ",
                                  part.shape().DebugString(), " for part ", i));
      for (int dim = 0; dim < 4; ++dim)
        OP_REQUIRES(context, dim == axis || part.dim_size(dim) == shape.dim_size(dim),
                    InvalidArgument("segframe concat: expected parts that differ in channels alone (",
                                    data_format_, "), got ", shape.DebugString(), " and ",
                                    part.shape().DebugString(), " for part ", i));
      channels.push_back(part.dim_size(axis));
      parts.push_back(Bytes(part));
      sum += channels.back();
    }
    OP_REQUIRES_OK(context, shape.SetDimWithStatus(axis, sum));
    Tensor* whole = nullptr;
    OP_REQUIRES_OK(context, context->allocate_output(0, shape, &whole));
    if (whole->NumElements() == 0) return;
    const Layout layout = MakeLayout(shape, axis, channels, DataTypeSize(whole->dtype()));
    if constexpr (kCuda) {
#ifdef SEGFRAME_CUDA
      ReportCuda(context, ConcatCuda(layout, parts.data(), Bytes(whole), CudaStream(context)));
#endif
    } else {
      OnThreadPool(context, layout.whole_bytes(), [&](int64_t first, int64_t last) {
        ConcatCpu(layout, parts.data(), Bytes(whole), first, last);
      });
    }
  }

 private:
  std::string data_format_;
};

template <bool kCuda>
class SplitOp : public tensorflow::OpKernel {
 public:
  explicit SplitOp(OpKernelConstruction* context) : OpKernel(context) {
    OP_REQUIRES_OK(context, context->GetAttr("data_format", &data_format_));
    OP_REQUIRES_OK(context, CheckNumber(context->num_outputs()));
  }

  void Compute(OpKernelContext* context) override {
    const int axis = ChannelAxis(data_format_);
    const Tensor& whole = context->input(0);
    const Tensor& sizes = context->input(1);
    OP_REQUIRES(context, whole.dims() == 4,
                InvalidArgument("segframe split: expected rank 4 (", data_format_, "), got ",
                                whole.shape().DebugString()));
    OP_REQUIRES(context, sizes.dims() == 1 && sizes.NumElements() == context->num_outputs(),
                InvalidArgument("segframe split: expected a size for each of ", context->num_outputs(),
                                " parts, got sizes of shape ", sizes.shape().DebugString()));
    std::vector<int64_t> channels;
    std::vector<char*> parts;
    int64_t left = whole.dim_size(axis);
    for (int i = 0; i < context->num_outputs(); ++i) {
      channels.push_back(sizes.flat<int32_t>()(i));
      OP_REQUIRES(context, channels.back() >= 0 && channels.back() <= left,
                  InvalidArgument("segframe split: expected sizes >= 0 whose sum is ", whole.dim_size(axis),
                                  " channels, got ", sizes.DebugString(kMaxParts)));
      left -= channels.back();
      TensorShape shape = whole.shape();
      OP_REQUIRES_OK(context, shape.SetDimWithStatus(axis, channels.back()));
      Tensor* part = nullptr;
      OP_REQUIRES_OK(context, context->allocate_output(i, shape, &part));
      parts.push_back(Bytes(part));
    }
    OP_REQUIRES(context, left == 0,
                InvalidArgument("segframe split: expected sizes >= 0 whose sum is ", whole.dim_size(axis),
                                " channels, got ", sizes.DebugString(kMaxParts)));
    if (whole.NumElements() == 0) return;
    const Layout layout = MakeLayout(whole.shape(), axis, channels, DataTypeSize(whole.dtype()));
    if constexpr (kCuda) {
#ifdef SEGFRAME_CUDA
      ReportCuda(context, SplitCuda(layout, Bytes(whole), parts.data(), CudaStream(context)));
#endif
    } else {
      OnThreadPool(context, layout.whole_bytes(), [&](int64_t first, int64_t last) {
        SplitCpu(layout, Bytes(whole), parts.data(), first, last);
      });
    }
  }

 private:
  std::string data_format_;
};

REGISTER_KERNEL_BUILDER(Name("SegframeConcat").Device(DEVICE_CPU), ConcatOp<false>);
REGISTER_KERNEL_BUILDER(Name("SegframeSplit").Device(DEVICE_CPU), SplitOp<false>);
#ifdef SEGFRAME_CUDA
REGISTER_KERNEL_BUILDER(Name("SegframeConcat").Device(DEVICE_GPU), ConcatOp<true>);
REGISTER_KERNEL_BUILDER(Name("SegframeSplit").Device(DEVICE_GPU).HostMemory("sizes"), SplitOp<true>);
#endif

}  // namespace
}  // namespace segframe
