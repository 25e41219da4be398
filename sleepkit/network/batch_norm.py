"""BatchNorm over batch and time (Ioffe and Szegedy 2015), also where few channels keep a processor's vectors empty."""

import math

import torch
from torch import nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

# PyTorch 2.13's own BatchNorm runs along the channels of an image. On one core, at 500 samples and batch 128, it and
# the wide one take 3.7 and 0.7 ms at 4 channels, 1.6 and 0.9 at 8; from 16 on it is about as fast.
NARROW = 8  # channels; twice as many in bfloat16, where 16 take 1.3 and 0.9 ms
TIMES = 64  # samples side by side: from 8 to 64 the time is the same


class BatchNorm(nn.BatchNorm1d):
    """BatchNorm over batch and time, of (batch, channels, samples) or of such an image."""

    def forward(self, x):
        if x.dim() not in (3, 4):
            raise ValueError(f"expected (batch, channels, samples) or an image, got a tensor of shape {tuple(x.shape)}")
        if self.training:
            self.num_batches_tracked.add_(1)
        statistics = self.running_mean, self.running_var
        return batch_norm(x, *statistics, self.weight, self.bias, self.training, self.momentum, self.eps)


def batch_norm(x, running_mean, running_var, weight, bias, training, momentum, eps):
    """torch.nn.functional.batch_norm; in training on a CPU, an image of few channels is read many samples at a time.

    x : (batch, channels, samples) or (batch, channels, 1, samples);  all others (channels,)
    """
    widest = NARROW if x.dtype != torch.bfloat16 else 2 * NARROW
    narrow = training and x.dim() == 4 and x.shape[1] <= widest and x.device.type == "cpu"
    n = x.numel() // x.shape[1]
    times = math.gcd(n, TIMES)
    if not narrow or times == 1 or not x.is_contiguous(memory_format=torch.channels_last):
        return F.batch_norm(x, running_mean, running_var, weight, bias, training, momentum, eps)
    y, mean, variance = _Wide.apply(x, weight, bias, times, eps)
    running_mean.lerp_(mean, momentum)
    running_var.lerp_(variance * (n / (n - 1)), momentum)
    return y


class _Wide(torch.autograd.Function):
    """BatchNorm of an image in which `times` samples are read as if they were channels, side by side in memory."""

    @staticmethod
    def forward(ctx, x, weight, bias, times, eps):
        rows = _rows(x, times)
        unused = weight.new_ones(2, rows.shape[1])  # running statistics, in whose type the others come
        means, variances = torch.ops.aten.batch_norm_update_stats(rows, *unused, 0.0)
        # Of groups of equal size: the variance is the mean of theirs and the variance of their means.
        between, mean = torch.var_mean(means.view(times, -1), 0, correction=0)
        variance = variances.view(times, -1).mean(0).add_(between)
        inverse = torch.rsqrt(variance + eps)
        scale = weight * inverse
        shift = torch.addcmul(bias, mean, scale, value=-1)
        wide_scale, wide_shift, *statistics = torch.stack((scale, shift, mean, variance)).repeat(1, times)
        ctx.save_for_backward(x, mean, inverse, scale, wide_scale, *statistics)
        ctx.times, ctx.eps = times, eps
        ctx.mark_non_differentiable(mean, variance)
        return _affine(x, times, wide_scale, wide_shift), mean, variance

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient, *_):
        x, mean, inverse, scale, wide_scale, *statistics = ctx.saved_tensors
        times, n = ctx.times, x.numel() // len(mean)
        rows, of_output = _rows(x, times), _rows(gradient, times)
        # In evaluation its gradients of weight and bias are the two sums that training needs as well.
        backward, wanted = torch.ops.aten.native_batch_norm_backward, [False, True, True]
        _, products, sums = backward(of_output, rows, None, *statistics, None, None, False, ctx.eps, wanted)
        products, sums = torch.stack((products, sums)).view(2, times, -1).sum(1)
        # Ioffe and Szegedy 2015, section 3: d/dx = scale * (g - mean(g) - x^ * mean(g * x^)), x^ the normalised signal.
        slope = scale * inverse * products / -n
        offset = torch.addcmul(scale * sums / -n, slope, mean, value=-1)
        wide_slope, wide_offset = torch.stack((slope, offset)).repeat(1, times)
        of_input = _affine(x, times, wide_slope, wide_offset)
        _rows(of_input, times).addcmul_(of_output, wide_scale.to(x.dtype))
        return of_input, products, sums, None, None


def _affine(x, times, scale, shift):
    """An image times `scale` and plus `shift`, each (times * channels,), in the type of the image."""
    y = torch.empty_like(x)
    if x.dtype == scale.dtype:
        torch.addcmul(shift, _rows(x, times), scale, out=_rows(y, times))
    else:  # in evaluation PyTorch's BatchNorm is this, in one pass, with a scale that is not rounded to bfloat16
        neutral, out = (torch.zeros_like(scale), torch.ones_like(scale)), (_rows(y, times), *scale.new_empty(2, 0))
        torch.native_batch_norm(_rows(x, times), scale, shift, *neutral, False, 0.0, 0.0, out=out)
    return y


def _rows(image, times):
    """(batch, channels, 1, samples) -> (rows, times * channels), without a copy where channels are last in memory."""
    return image.permute(0, 2, 3, 1).reshape(-1, times * image.shape[1])
