"""Signals as images one sample high, (batch, channels, 1, samples), the channels of a sample side by side in memory.

In this layout PyTorch's convolutions take a third of the time on a CPU (8 channels, one core). The gradients of
PyTorch's own slices, means and concatenations have another layout, in which the operations that read them take two to
ten times as long. The functions here return gradients in this layout, too.
"""

import torch
from torch.autograd.function import once_differentiable


def as_image(x):
    """(batch, channels, samples) -> (batch, channels, 1, samples)."""
    return side_by_side(x.unsqueeze(2))


def side_by_side(x):
    """The images themselves where they have this layout, or else a copy."""
    return x.contiguous(memory_format=torch.channels_last)


def every(stride, x):
    """Every `stride`-th sample of images, from the first on."""
    return x if stride == 1 else side_by_side(x.permute(0, 2, 3, 1)[:, :, ::stride].permute(0, 3, 1, 2))


def mean_over_time(x, dtype):
    """Images -> (batch, channels) in this type."""
    return x.permute(0, 2, 3, 1).flatten(1, 2).mean(1, dtype=dtype)


def split(x, channels):
    """List of images of so many channels each, as copies: adding slices takes up to six times as long in bfloat16."""
    return [side_by_side(part) for part in x.split(channels, 1)]


def concatenate(images):
    """The channels of all, in order, as one image."""
    return _Concatenate.apply(*images)


def weighted_sums(weights, chosen, images):
    """A weighted sum of images for every row of `weights`, of those that its row of `chosen` says: a list of images.

    weights : (sums, images) tensor;  chosen : nested list of bool of that shape; a sum of nothing is zeros
    """
    return list(_WeightedSums.apply(weights, chosen, *images))


class _Concatenate(torch.autograd.Function):
    @staticmethod
    def forward(ctx, *images):
        ctx.channels = [image.shape[1] for image in images]
        return torch.cat(images, dim=1)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        return tuple(split(gradient, ctx.channels))


class _WeightedSums(torch.autograd.Function):
    @staticmethod
    def forward(ctx, weights, chosen, *images):
        ctx.chosen = chosen
        ctx.save_for_backward(weights, *images)
        return tuple(_sum(row, some, images) for row, some in zip(weights, chosen, strict=True))

    @staticmethod
    @once_differentiable
    def backward(ctx, *gradients):
        (weights, *images), of_weights = ctx.saved_tensors, None
        if ctx.needs_input_grad[0]:
            sums, parts = (torch.stack([one.permute(0, 2, 3, 1).flatten() for one in of]) for of in (gradients, images))
            of_weights = (sums @ parts.T) * torch.tensor(ctx.chosen, device=sums.device)
        transposed = zip(weights.T, zip(*ctx.chosen, strict=True), strict=True)
        return of_weights, None, *(_sum(row, some, gradients) for row, some in transposed)


def _sum(weights, chosen, images):
    total = None
    for weight, some, image in zip(weights, chosen, images, strict=True):
        if some:
            total = image * weight if total is None else total.addcmul_(image, weight)
    return torch.zeros_like(images[0]) if total is None else total
