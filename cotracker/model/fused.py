"""Faster forms of what encoder.py and transformer.py define: equal by test, chosen by runtime.py.

A convolution needs its input again in the backward pass, and so does a norm.  Kept apart, both
would be held; here only the norm's input is, and what the convolution read is made again from it,
which costs one cheap pass.  Statistics are float32 whatever the dtype of the maps, and maps may lie
channels last.  Weights are held as they are, float32, and cast to the dtype of the maps on either
pass, so that their gradients are summed over frames and iterations in float32.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from cotracker.model import runtime, winograd

EPS = 1e-5  # of instance norm


def norm_relu(x: Tensor) -> Tensor:
    return _NormRelu.apply(x)


def norm_relu_conv(x: Tensor, conv: nn.Conv2d) -> Tensor:
    """The convolution's input is not kept."""
    return _NormReluConv.apply(x, conv.weight, conv.bias, conv.stride[0], conv.padding[0])


def add_residual(x: Tensor, y: Tensor, shortcut: Tensor | None) -> Tensor:
    return _Residual.apply(x if shortcut is None else shortcut, y, shortcut is not None)


def fuse_levels(levels: list[Tensor], size: tuple[int, int], conv: nn.Conv2d) -> Tensor:
    """Only the levels are kept."""
    return _Fuse.apply(size, conv.padding[0], conv.weight, conv.bias, *levels)


def attend_by_products(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None) -> Tensor:
    logits = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
    return (logits if bias is None else logits + bias).softmax(dim=-1).to(v.dtype) @ v


def mlp_for_gradients(x: Tensor, expand: nn.Linear, contract: nn.Linear) -> Tensor:
    """What the second layer read is not kept."""
    return _GeluLinear.apply(expand(x), contract.weight, contract.bias)


def mlp_by_onednn(x: Tensor, expand: nn.Linear, contract: nn.Linear) -> Tensor:
    """The nonlinearity in the first product's epilogue, as torch.compile has it on a CPU."""
    pointwise = torch.ops.mkldnn._linear_pointwise.default
    return contract(pointwise(x, expand.weight, expand.bias, "gelu", [], "tanh"))


def mlp_by_sigmoid(x: Tensor, expand: nn.Linear, contract: nn.Linear) -> Tensor:
    """GELU by its tanh formula is y sigmoid(a y + b y^3); in place, as much as a cache holds."""
    hidden = expand(x)
    a = math.sqrt(8 / math.pi)
    for y in hidden.view(-1).split(runtime.CACHED_NUMBERS // 4):
        slope = torch.addcmul(y.new_full((), a), y, y, value=0.044715 * a)
        y.mul_(slope.mul_(y).sigmoid_())
    return contract(hidden)


def norm_relu_conv_by_tiles(x: Tensor, conv: nn.Conv2d) -> Tensor:
    return winograd.convolve(_normalised(x)[0].relu_(), conv)


def fuse_levels_by_tiles(levels: list[Tensor], size: tuple[int, int], conv: nn.Conv2d) -> Tensor:
    return winograd.convolve(_joined(levels, size), conv)


def _as_batches(x: Tensor) -> tuple[Tensor, ...]:
    """Views in which instance norm is a batch norm of one item: frames, or frames as channels."""
    if x.is_contiguous():
        return (x.view(1, -1, *x.shape[2:]),)
    return x.split(1)


def _ones(x: Tensor) -> Tensor:
    """Weights of a norm; that they are float32 makes its statistics float32 where x is bfloat16."""
    return torch.ones(
        x.shape[1], device=x.device, dtype=torch.promote_types(x.dtype, torch.float32)
    )


def _normalised(x: Tensor) -> tuple[Tensor, list[Tensor]]:
    """The instance norm of x, laid out as x, and its float32 mean and 1 / deviation, by view."""
    out = torch.empty_like(x)
    statistics = []
    for source, target in zip(_as_batches(x), _as_batches(out)):
        one = _ones(source)
        made = torch.native_batch_norm(
            source, one, torch.zeros_like(one), None, None, True, 0.0, EPS
        )
        target.copy_(made[0])
        statistics += made[1:]
    return out, statistics


def _normalised_backward(gradient: Tensor, x: Tensor, statistics: list[Tensor]) -> Tensor:
    if gradient.stride() != x.stride():
        gradient = torch.empty_like(x).copy_(gradient)
    out = torch.empty_like(x)
    views = zip(
        _as_batches(gradient), _as_batches(x), _as_batches(out), statistics[::2], statistics[1::2]
    )
    for g, source, target, mean, rest in views:
        one = _ones(source)
        mask = [True, False, False]
        made = torch.ops.aten.native_batch_norm_backward(
            g, source, one, None, None, mean, rest, True, EPS, mask
        )
        target.copy_(made[0])
    return out


class _NormRelu(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        y, statistics = _normalised(x)
        y.relu_()
        ctx.save_for_backward(x, y, *statistics)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor) -> Tensor:
        x, y, *statistics = ctx.saved_tensors
        return _normalised_backward(
            torch.ops.aten.threshold_backward(gradient, y, 0), x, statistics
        )


class _NormReluConv(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, bias: Tensor, stride: int, padding: int) -> Tensor:
        y, statistics = _normalised(x)
        ctx.save_for_backward(x, weight, *statistics)
        ctx.steps = stride, padding
        return F.conv2d(y.relu_(), weight.to(x.dtype), bias.to(x.dtype), stride, padding)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, *statistics = ctx.saved_tensors
        y = _normalised(x)[0].relu_()
        g, of_weight, of_bias = _conv_backward(gradient, y, weight, *ctx.steps)
        g = torch.ops.aten.threshold_backward(g, y, 0)
        return _normalised_backward(g, x, statistics), of_weight, of_bias, None, None


class _Residual(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, y: Tensor, normalise_x: bool) -> Tensor:
        out, statistics = _normalised(y)
        out.relu_()
        of_x = []
        if normalise_x:
            shortcut, of_x = _normalised(x)
            out += shortcut
        else:
            out += x
        out.relu_()
        ctx.count = len(statistics)
        ctx.save_for_backward(y, out, *([x] if normalise_x else []), *statistics, *of_x)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor) -> tuple[Tensor | None, ...]:
        y, out, *rest = ctx.saved_tensors
        of_x = torch.ops.aten.threshold_backward(gradient, out, 0)
        x = rest.pop(0) if len(rest) > ctx.count else None
        statistics = rest[: ctx.count]
        of_y = torch.ops.aten.threshold_backward(of_x, _normalised(y)[0], 0)
        if x is not None:
            of_x = _normalised_backward(of_x, x, rest[ctx.count :])
        return of_x, _normalised_backward(of_y, y, statistics), None


class _Fuse(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx, size: tuple[int, int], padding: int, weight: Tensor, bias: Tensor, *levels: Tensor
    ) -> Tensor:
        ctx.save_for_backward(weight, *levels)
        ctx.size, ctx.padding = size, padding
        joined = _joined(levels, size)
        return F.conv2d(joined, weight.to(joined.dtype), bias.to(joined.dtype), 1, padding)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor) -> tuple[Tensor | None, ...]:
        weight, *levels = ctx.saved_tensors
        g, of_weight, of_bias = _conv_backward(
            gradient, _joined(levels, ctx.size), weight, 1, ctx.padding
        )
        parts = g.split([level.shape[1] for level in levels], dim=1)
        of_levels = [_resized_backward(part, level, ctx.size) for part, level in zip(parts, levels)]
        return None, None, of_weight, of_bias, *of_levels


def _joined(levels: tuple[Tensor, ...], size: tuple[int, int]) -> Tensor:
    maps = [
        F.interpolate(runtime.for_resizing(x), size=size, mode="bilinear", align_corners=True)
        for x in levels
    ]
    return torch.cat([runtime.from_resizing(x) for x in maps], dim=1)


def _resized_backward(gradient: Tensor, level: Tensor, size: tuple[int, int]) -> Tensor:
    if tuple(level.shape[2:]) == tuple(size):
        return gradient
    gradient = runtime.for_resizing(gradient)
    resized = torch.ops.aten.upsample_bilinear2d_backward(gradient, size, level.shape, True)
    return runtime.from_resizing(resized)


def _conv_backward(
    gradient: Tensor, x: Tensor, weight: Tensor, stride: int, padding: int
) -> tuple[Tensor, ...]:
    """Gradients of the input, and of weight and bias in their own dtype."""
    g, of_weight, of_bias = torch.ops.aten.convolution_backward(
        gradient,
        x,
        weight.to(x.dtype),
        [len(weight)],
        [stride] * 2,
        [padding] * 2,
        [1, 1],
        False,
        [0, 0],
        1,
        [True] * 3,
    )
    return (
        g,
        torch.empty_like(weight).copy_(of_weight),
        of_bias.to(weight.dtype),
    )  # strides as the weight's own, for DDP


class _GeluLinear(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return F.linear(F.gelu(x, approximate="tanh"), weight.to(x.dtype), bias.to(x.dtype))

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x, weight = ctx.saved_tensors
        rows = gradient.reshape(
            -1, gradient.shape[-1]
        )  # one matrix: bfloat16 products of a stack are far slower
        y = F.gelu(x, approximate="tanh").view(len(rows), -1)
        of_y = (rows @ weight.to(x.dtype)).view(x.shape)
        of_x = torch.ops.aten.gelu_backward(of_y, x, approximate="tanh")
        return of_x, (rows.T @ y).to(weight.dtype), rows.sum(0, dtype=weight.dtype)
