"""The mixed operations on all edges that leave one source of a search cell, computed together.

The plain way computes every operation of every edge, normalises it and adds it with its weight. Here
- the source is rectified once and pooled once, whatever number of edges leave it;
- a depthwise and its pointwise convolution are one dense kernel, as nothing non-linear stands between them;
- statistics of all convolutions of the source come from one covariance (see window_statistics), so BatchNorm is a scale
  and a shift of their kernels, and the weighted sum of an edge's linear operations is one convolution.
Only the second halves of the separable convolutions are computed and normalised one by one.
"""

from functools import cache

import torch
from torch import nn
from torch.nn import functional as F

from sleepkit.genotype import OPERATION_NAMES
from sleepkit.network.batch_norm import batch_norm
from sleepkit.network.convolution import convolve
from sleepkit.network.pooling import max_pool
from sleepkit.search.window_statistics import WindowStatistics

# Offsets in samples of the kernel's columns.
TAPS = {
    "skip_connect": range(0, 2),  # at stride 2: a factorized reduction
    "sep_conv_1x3": range(-1, 2),
    "sep_conv_1x5": range(-2, 3),
    "dil_conv_1x3": range(-2, 3, 2),
    "dil_conv_1x5": range(-4, 5, 2),
    "conv_1x1": range(0, 1),
    "conv_3x3": range(-1, 2),
}
LINEAR = ("skip_connect", "dil_conv_1x3", "dil_conv_1x5", "conv_1x1", "conv_3x3")
SEPARABLE = ("sep_conv_1x3", "sep_conv_1x5")
EPS, MOMENTUM = 1e-5, 0.1  # of BatchNorm, PyTorch's defaults


class Convolutions(nn.Module):
    """The same operation on several edges: convolution, then BatchNorm; an edge is a row of each parameter.

    depthwise (edges, channels, taps) and pointwise (edges, channels, channels), or dense (edges, channels, channels,
    taps); gain, shift, running_mean and running_var (edges, channels)
    """

    def __init__(self, name, edges, channels):
        super().__init__()
        self.taps = TAPS[name]
        if name in ("conv_1x1", "conv_3x3"):
            self.dense = _uniform(channels * len(self.taps), edges, channels, channels, len(self.taps))
        elif name == "skip_connect":
            # The first half of the filters reads the samples at even positions, the second half those after them.
            self.dense = _uniform(channels, edges, channels, channels, 1)
            later = torch.arange(channels) >= channels // 2
            self.register_buffer("halves", torch.stack([~later, later], 1).float()[:, None, :], persistent=False)
        else:
            self.depthwise = _uniform(len(self.taps), edges, channels, len(self.taps))
            self.pointwise = _uniform(channels, edges, channels, channels)
        self.gain = nn.Parameter(torch.ones(edges, channels))
        self.shift = nn.Parameter(torch.zeros(edges, channels))
        self.register_buffer("running_mean", torch.zeros(edges, channels))
        self.register_buffer("running_var", torch.ones(edges, channels))

    def kernels(self, rows):
        """Dense kernels of some edges: (rows, channels, channels, taps)."""
        if hasattr(self, "pointwise"):
            return _of(self.pointwise, rows).unsqueeze(-1) * _of(self.depthwise, rows).unsqueeze(1)
        dense = _of(self.dense, rows)
        return dense * self.halves if hasattr(self, "halves") else dense

    def normalised(self, rows, statistics):
        """Kernels (rows, channels, channels, taps) and biases (rows, channels) that include BatchNorm.

        statistics : WindowStatistics of the source in training, which also updates the running ones; None in evaluation
        """
        kernels = self.kernels(rows)
        if statistics is None:
            mean, variance = _of(self.running_mean, rows), _of(self.running_var, rows)
        else:
            mean, variance = statistics.of_outputs(kernels, self.taps)
            with torch.no_grad():
                unbiased = variance * (statistics.count / max(statistics.count - 1, 1))
                for running, now in ((self.running_mean, mean), (self.running_var, unbiased)):
                    running[rows] = torch.lerp(running[rows], now, MOMENTUM)
        scale = _of(self.gain, rows) * torch.rsqrt(variance + EPS)
        return kernels * scale[..., None, None], _of(self.shift, rows) - mean * scale

    def normalise(self, outputs, rows, weight):
        """BatchNorm of what the kernels made, (batch, rows * channels, 1, samples), times the weight of each row."""
        running = [buffer[rows].flatten() for buffer in (self.running_mean, self.running_var)]
        gain, shift = ((_of(part, rows) * weight).flatten() for part in (self.gain, self.shift))
        outputs = batch_norm(outputs, *running, gain, shift, self.training, MOMENTUM, EPS)
        for buffer, now in zip((self.running_mean, self.running_var), running, strict=True):
            buffer[rows] = now.view(len(rows), -1)
        return outputs


class MixedOperations(nn.Module):
    """The mixed operations on all edges that leave one source, an edge for every node after it.

    (batch, channels, 1, samples), weights (edges, 10), alive (edges, 10) nested list of bool
    -> list of edges tensors (batch, channels, 1, samples / stride rounded up); a pruned operation is not computed
    """

    def __init__(self, channels, edges, stride):
        super().__init__()
        self.stride, self.edges = stride, edges
        parts = LINEAR if stride == 2 else LINEAR[1:], SEPARABLE, SEPARABLE
        parts = (nn.ModuleDict({name: Convolutions(name, edges, channels) for name in names}) for names in parts)
        self.linear, self.first, self.second = parts

    def forward(self, x, weights, alive):
        alive = dict(zip(OPERATION_NAMES, zip(*alive, strict=True), strict=True))
        rows = {name: [edge for edge in range(self.edges) if alive[name][edge]] for name in OPERATION_NAMES}
        weights = dict(zip(OPERATION_NAMES, weights.unbind(1), strict=True))
        rectified, statistics = F.relu(x), None
        if self.training:
            read = [max(map(abs, TAPS[name])) for name in (*self.linear, *self.first) if rows[name]]
            statistics = WindowStatistics.of(rectified, max(read), self.stride) if read else None
        terms = self._pooled(x, rows, weights)
        self._add_linear(terms, rectified, rows, weights, statistics)
        self._add_separable(terms, rectified, rows, weights, statistics)
        return terms

    def _pooled(self, x, rows, weights):
        """Pools and the identity, computed once, and their weighted sum on every edge."""
        outputs = {}
        if rows["avg_pool_3x3"]:
            outputs["avg_pool_3x3"] = F.avg_pool2d(x, (1, 3), (1, self.stride), (0, 1), count_include_pad=False)
        if rows["max_pool_3x3"]:
            outputs["max_pool_3x3"] = max_pool(x, self.stride)
        if rows["skip_connect"] and self.stride == 1:
            outputs["skip_connect"] = x
        shape = (self.edges, len(x), -(-x.shape[3] // self.stride), x.shape[1])
        if not outputs:
            return list(x.new_zeros(shape).permute(0, 1, 3, 2).unsqueeze(3))
        # The weight of a pruned operation is 0. As a product of matrices, nothing is read or written twice.
        stacked = torch.stack([output.squeeze(2).transpose(1, 2) for output in outputs.values()])
        mixed = torch.stack([weights[name] for name in outputs], 1).to(x.dtype) @ stacked.flatten(1)
        # Taken apart before the channels come first: so gradients have the layout of images as well.
        return [edge.transpose(1, 2).unsqueeze(2) for edge in mixed.reshape(shape).unbind()]

    def _add_linear(self, terms, rectified, rows, weights, statistics):
        """Everything that is linear in the rectified source: one convolution per edge, whatever it is made of."""
        used = [name for name in self.linear if rows[name]]
        if not used:
            return
        widest = max(max(TAPS[name]) for name in used)
        kernels = biases = 0
        for name in used:
            kernel, bias = self.linear[name].normalised(rows[name], statistics)
            weight = _of(weights[name], rows[name])
            kernel = _spread(kernel * weight[:, None, None, None], TAPS[name], widest)
            kernels = kernels + self._scattered(kernel, rows[name])
            biases = biases + self._scattered(bias * weight[:, None], rows[name])
        chosen = [edge for edge in range(self.edges) if any(edge in rows[name] for name in used)]
        kernels, biases = (_of(part, chosen).flatten(0, 1) for part in (kernels, biases))
        self._add(terms, chosen, convolve(rectified, kernels, biases, self.stride, widest))

    def _scattered(self, values, rows):
        """Values of some edges, zeros on the others: (rows, ...) -> (edges, ...)."""
        if len(rows) == self.edges:
            return values
        zeros = values.new_zeros(self.edges, *values.shape[1:])
        return zeros.index_copy(0, torch.tensor(rows, device=values.device), values)

    def _add_separable(self, terms, rectified, rows, weights, statistics):
        for name, first in self.first.items():
            if not rows[name]:
                continue
            second, chosen = self.second[name], rows[name]
            weight = _of(weights[name], chosen).unsqueeze(1)
            kernels, biases = (part.flatten(0, 1) for part in first.normalised(chosen, statistics))
            middle = F.relu_(convolve(rectified, kernels, biases, self.stride, kernels.shape[2] // 2))
            kernels = second.kernels(chosen).flatten(0, 1)
            output = convolve(middle, kernels, padding=kernels.shape[2] // 2, groups=len(chosen))
            output = second.normalise(output, chosen, weight)
            self._add(terms, chosen, output)

    def _add(self, terms, chosen, values):
        """Add values of some edges, side by side as channels, to their terms."""
        for edge, part in zip(chosen, values.split(values.shape[1] // len(chosen), 1), strict=True):
            terms[edge] = terms[edge] + part


def _of(values, rows):
    """The rows of a tensor, which is itself where they are all of them: indexing copies, and its gradient is slow."""
    return values if len(values) == len(rows) else values[rows]


def _spread(kernel, taps, reach):
    """Kernels with a column for every offset from -reach to reach: (..., taps) -> (..., 2 * reach + 1)."""
    if len(taps) == 2 * reach + 1:
        return kernel
    return kernel @ _places(taps, reach, kernel.dtype, kernel.device)


@cache
def _places(taps, reach, dtype, device):
    places = torch.zeros(len(taps), 2 * reach + 1, dtype=dtype, device=device)
    places[range(len(taps)), [tap + reach for tap in taps]] = 1
    return places


def _uniform(inputs, *shape):
    """The initial weights of PyTorch's convolutions: uniform, to one over the root of the inputs of a filter."""
    return nn.Parameter(torch.empty(shape).uniform_(-(inputs**-0.5), inputs**-0.5))
