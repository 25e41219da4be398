"""Mean and covariance of the windows that a convolution sees.

A convolution is linear, so mean and variance of its outputs, all that BatchNorm needs, are k.m and k'Ck for a kernel k,
where m and C are mean and covariance of its input windows. Convolutions of one source share one covariance. But for the
ends of the signal it depends on the lag in time alone, so a few lags suffice.
"""

from dataclasses import dataclass

import torch
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from sleepkit.network.images import side_by_side


@dataclass(frozen=True)
class WindowStatistics:
    """Of windows of a signal with c channels at offsets -reach ... in samples."""

    mean: torch.Tensor  # (offsets, c)
    covariance: torch.Tensor  # (offsets, c, offsets, c), biased
    reach: int
    count: int  # of windows

    @classmethod
    def of(cls, x, reach, stride=1):
        """Of the windows that convolutions of stride 1 or 2 read, zeros beyond the ends; x (batch, c, 1, samples)."""
        c = x.shape[1]
        if stride == 2:
            # Two neighbouring samples become channels: windows two samples apart are neighbours again.
            x = F.pad(x, (0, x.shape[3] % 2)).permute(0, 3, 2, 1)
            x = x.reshape(len(x), -1, 1, 2 * c).permute(0, 3, 2, 1)
            reach = (reach + 1) // 2
        sums, squares = _sums(x, reach)
        count = x.shape[0] * x.shape[3]
        mean, second = sums / count, squares / count
        covariance = second - mean[:, :, None, None] * mean
        offsets = len(mean) * stride
        return cls(mean.reshape(-1, c), covariance.reshape(offsets, c, offsets, c), reach * stride, count)

    def of_outputs(self, kernel, taps):
        """Mean and biased variance of the outputs of convolutions, two tensors (..., outputs).

        kernel : (..., outputs, c, len(taps));  taps : range of the offsets of its columns, in samples
        """
        chosen = slice(taps.start + self.reach, taps.stop + self.reach, taps.step)
        rows = kernel.transpose(-1, -2).flatten(-2)  # (..., outputs, taps * c)
        mean = self.mean[chosen].flatten()
        covariance = self.covariance[chosen, :, chosen].reshape(len(mean), len(mean))
        return rows @ mean, ((rows @ covariance) * rows).sum(-1).clamp_min(0)


def _sums(x, reach):
    """Sums over the windows of x, (offsets, c), and of x x', (offsets, c, offsets, c), offsets -reach ... reach."""
    c, offsets = x.shape[1], 2 * reach + 1
    lags, total, first, last = _Sums.apply(x, reach)
    # squares[a, :, b, :] is the lag b - a: laid out along the diagonals of the square of offsets.
    both = torch.cat([lags[1:].flip(0).transpose(1, 2), lags])
    at = torch.arange(offsets, device=x.device)
    squares = both[at - at[:, None] + 2 * reach].permute(0, 2, 1, 3)
    total = total.expand(offsets, c)
    if not reach:
        return total, squares
    # A window at offset a > 0 never reads the first a samples, one at offset a < 0 never the last a.
    late, early = _missed([last.flatten(1), first.flatten(1)], reach, c)
    late_sum, early_sum = (end.sum(0).cumsum(0) for end in (last, first))
    total = total - torch.cat([late_sum.flip(0), total.new_zeros(1, c), early_sum])
    early = F.pad(early, (0, 0, reach + 1, 0, 0, 0, reach + 1, 0))
    late = F.pad(late.flip(0, 2), (0, 0, 0, reach + 1, 0, 0, 0, reach + 1))
    return total, squares - early - late


def _missed(ends, reach, c):
    """Sums of x x' at both ends of the signal that windows at offsets a and b both miss, (2, reach, c, reach, c)."""
    missed = products = torch.stack([end.T @ end for end in ends]).reshape(2, reach, c, reach, c)
    for shift in range(1, reach):
        missed = missed + F.pad(products[:, :-shift, :, :-shift], (0, 0, shift, 0, 0, 0, shift, 0))
    return missed


class _Sums(torch.autograd.Function):
    """Sums of x (batch, c, 1, samples) over batch and time, and its ends, at least in float32: of x(t) x(t + lag)',
    (2 * reach + 1, c, c), of x(t), (c,), and the first and the last `reach` samples, the last in reverse, (batch,
    reach, c), zeros beyond.

    The lags are the gradient of a convolution's kernel, for which there are fast routines; their own gradient is a
    convolution, in the type of x.
    """

    @staticmethod
    def forward(context, x, reach):
        context.save_for_backward(x)
        context.reach, samples = reach, x.shape[3]
        x = x.to(torch.promote_types(x.dtype, torch.float32))
        beyond = min(2 * reach, samples - 1)
        shape = (x.shape[1], x.shape[1], 1, beyond + 1)
        padded = side_by_side(F.pad(x, (0, beyond)))
        lags = torch.nn.grad.conv2d_weight(padded, shape, x)[:, :, 0].permute(2, 0, 1)
        lags = F.pad(lags, (0, 0, 0, 0, 0, 2 * reach - beyond))
        ends = x[..., :reach], x[..., max(samples - reach, 0) :].flip(3)
        ends = (F.pad(end, (0, max(reach - samples, 0))).squeeze(2).transpose(1, 2) for end in ends)
        return lags, x.sum((0, 2, 3)), *ends

    @staticmethod
    @once_differentiable
    def backward(context, of_lags, of_total, of_first, of_last):
        (x,), reach = context.saved_tensors, min(context.reach, context.saved_tensors[0].shape[3])
        here = of_lags[:1] + of_lags[:1].transpose(1, 2)
        kernel = torch.cat([of_lags[1:].flip(0).transpose(1, 2), here, of_lags[1:]]).permute(1, 2, 0).unsqueeze(2)
        kernel = kernel.to(x.dtype).contiguous(memory_format=torch.channels_last)
        of_x = F.conv2d(x, kernel, of_total.to(x.dtype), padding=(0, len(of_lags) - 1))
        of_first, of_last = (of_end[:, :reach].transpose(1, 2).unsqueeze(2) for of_end in (of_first, of_last))
        of_x[..., :reach] += of_first
        of_x[..., x.shape[3] - reach :] += of_last.flip(3)
        return of_x, None
