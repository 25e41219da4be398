"""The mixed operations on all edges that leave one source of a search cell, computed together.

The plain way computes every operation of every edge, normalises it and adds it with its weight. Here
- the source is rectified once and pooled once, whatever number of edges leave it;
- a depthwise and its pointwise convolution are one dense kernel, as nothing non-linear stands between them;
- statistics of all convolutions of the source come from one covariance (see window_statistics), so BatchNorm is a scale
  and a shift of their kernels, and the weighted sum of an edge's linear operations is one kernel;
- edges are channels: one convolution computes the linear operations of all edges that have a dil_conv_1x5, which reads
  four samples to either side, one those of the other edges, one the first halves of a separable convolution, one in
  groups the second halves.
"""

from functools import cache

import torch
from torch import nn
from torch.nn import functional as F

from sleepkit.genotype import OPERATION_NAMES
from sleepkit.network.batch_norm import batch_norm
from sleepkit.network.convolution import convolve
from sleepkit.network.images import split, weighted_sums
from sleepkit.network.pooling import average_pool, max_pool
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
NEAR, FAR, ALL = range(-2, 3), range(-4, 5, 2), range(-4, 5)  # offsets in samples that kernels are laid out on
LINEAR = ("skip_connect", "dil_conv_1x3", "dil_conv_1x5", "conv_1x1", "conv_3x3")
SEPARABLE = ("sep_conv_1x3", "sep_conv_1x5")
RUNNING = "running_mean", "running_var"
EPS, MOMENTUM = 1e-5, 0.1  # of BatchNorm, PyTorch's defaults


class Convolutions(nn.Module):
    """The same operation on several edges: convolution, then BatchNorm; an edge is a row of each parameter.

    depthwise (edges, channels, taps) and pointwise (edges, channels, channels), or dense (edges, channels, channels,
    taps); gain, shift, running_mean and running_var (edges, channels)
    """

    def __init__(self, name, edges, channels):
        super().__init__()
        self.taps, self.columns = TAPS[name], FAR if name == "dil_conv_1x5" else NEAR
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

    def kernels(self, columns):
        """Dense kernels of all edges, a column for every offset in `columns`: (edges, channels, channels, columns)."""
        if hasattr(self, "pointwise"):
            return self.pointwise.unsqueeze(-1) * _spread(self.depthwise, self.taps, columns).unsqueeze(1)
        return _spread(self.dense * self.halves if hasattr(self, "halves") else self.dense, self.taps, columns)

    def normalise(self, outputs, rows, weight):
        """BatchNorm of what the kernels made, (batch, rows * channels, 1, samples), times the weight of each row."""
        running = [getattr(self, name)[rows].flatten() for name in RUNNING]
        gain, shift = ((_of(part, rows) * weight).flatten() for part in (self.gain, self.shift))
        outputs = batch_norm(outputs, *running, gain, shift, self.training, MOMENTUM, EPS)
        for name, now in zip(RUNNING, running, strict=True):
            self.keep(name, rows, now)
        return outputs

    def keep(self, name, rows, now):
        """Store running statistics of some edges; name : of RUNNING;  now : (rows * channels,) or (rows, channels)"""
        getattr(self, name)[rows] = now.view(len(rows), -1)


def normalised(parts, statistics):
    """Pairs of kernels (rows, channels, channels, columns) and biases (rows, channels) that include BatchNorm.

    parts : pairs of Convolutions, all of the same columns, and the rows that are wanted
    statistics : WindowStatistics of the source in training, which also updates the running ones; None in evaluation
    """
    layers, counts, columns = [part for part, _ in parts], [len(rows) for _, rows in parts], parts[0][0].columns
    edges = len(layers[0].gain)
    rows = [place * edges + row for place, (_, rows) in enumerate(parts) for row in rows]
    rows = torch.tensor(rows, device=layers[0].gain.device)
    kernels = _of(torch.cat([layer.kernels(columns) for layer in layers]), rows)
    gain, shift, mean, variance = (
        _of(torch.cat([getattr(layer, name) for layer in layers]), rows) for name in ("gain", "shift", *RUNNING)
    )
    if statistics is not None:
        before, (mean, variance) = (mean, variance), statistics.of_outputs(kernels, columns)
        unbiased = variance.detach() * (statistics.count / max(statistics.count - 1, 1))
        for name, old, values in zip(RUNNING, before, (mean.detach(), unbiased), strict=True):
            for (layer, some), now in zip(parts, torch.lerp(old, values, MOMENTUM).split(counts), strict=True):
                layer.keep(name, some, now)
    scale = gain * torch.rsqrt(variance + EPS)
    return zip((kernels * scale[..., None, None]).split(counts), (shift - mean * scale).split(counts), strict=True)


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
        terms, rectified, sums = self._pooled(x, rows, weights), F.relu(x), {}
        ready = rectified, self._normalised(rectified, rows), rows, weights
        # Outputs on the same edges are added while they are side by side, as channels of one image.
        for edges, output in (*self._linear(*ready), *self._separable(*ready)):
            sums[edges] = sums[edges].add_(output) if edges in sums else output
        for edges, output in sums.items():
            for edge, part in zip(edges, split(output, x.shape[1]), strict=True):
                terms[edge].add_(part)  # in place: nobody else reads it
        return terms

    def _pooled(self, x, rows, weights):
        """Pools and the identity, computed once, and their weighted sum on every edge."""
        names = [name for name in ("avg_pool_3x3", "max_pool_3x3", "skip_connect")[: 4 - self.stride] if rows[name]]
        if not names:
            return [torch.zeros_like(x[..., :: self.stride]) for _ in range(self.edges)]
        chosen = [[edge in rows[name] for name in names] for edge in range(self.edges)]
        weights = torch.stack([weights[name] for name in names], 1).to(x.dtype)
        pools = {"avg_pool_3x3": average_pool, "max_pool_3x3": max_pool, "skip_connect": lambda x, stride: x}
        return weighted_sums(weights, chosen, [pools[name](x, self.stride) for name in names])

    def _normalised(self, rectified, rows):
        """All that reads the source: {name: kernels (rows, channels, channels, columns), biases (rows, channels)}."""
        parts = {name: (part, rows[name]) for name, part in (*self.linear.items(), *self.first.items()) if rows[name]}
        statistics, results = None, {}
        if self.training and parts:
            statistics = WindowStatistics.of(rectified, max(FAR if rows["dil_conv_1x5"] else NEAR), self.stride)
        for columns in (NEAR, FAR):
            if names := [name for name, (part, _) in parts.items() if part.columns == columns]:
                results |= zip(names, normalised([parts[name] for name in names], statistics), strict=True)
        return results

    def _linear(self, rectified, kernels, rows, weights):
        """Yields edges and the sum of their linear operations, (batch, edges * channels, 1, samples): first of those
        with a dil_conv_1x5, then of the others."""
        names, far = [name for name in self.linear if rows[name]], rows["dil_conv_1x5"]
        edges = [*far, *sorted(set().union(*map(rows.get, names)).difference(far))]
        if not edges:
            return
        places = torch.tensor([edges.index(edge) for name in names for edge in rows[name]], device=rectified.device)
        weight = torch.cat([_of(weights[name], rows[name]) for name in names])
        mix = weight.new_zeros(len(edges), len(weight)).index_put(
            (places, torch.arange(len(places)).to(places)), weight
        )
        parts = [_spread(kernels[name][0], self.linear[name].columns, ALL).flatten(1) for name in names]
        whole = (mix @ torch.cat(parts)).view(len(edges), *kernels[names[0]][0].shape[1:3], len(ALL))
        biases = mix @ torch.cat([kernels[name][1] for name in names])
        for some, columns in ((slice(len(far)), ALL), (slice(len(far), None), NEAR)):
            if edges[some]:
                part = whole[some, ..., ALL.index(columns[0]) : ALL.index(columns[-1]) + 1].flatten(0, 1)
                output = convolve(rectified, part, biases[some].flatten(), self.stride, max(columns))
                yield tuple(edges[some]), output

    def _separable(self, rectified, kernels, rows, weights):
        """Yields edges and the outputs of their separable convolutions, the same way, for each size of the kernel."""
        for name, second in self.second.items():
            if edges := rows[name]:
                reach, (first, biases) = max(second.taps), (part.flatten(0, 1) for part in kernels[name])
                first = first[..., NEAR.index(-reach) : NEAR.index(reach) + 1]
                middle = F.relu_(convolve(rectified, first, biases, self.stride, reach))
                # One core, groups against single edges: half the time at 4 channels, 0.7 at 8, the same from 16 on.
                kernel = _of(second.kernels(second.taps), edges).flatten(0, 1)
                output = convolve(middle, kernel, padding=reach, groups=len(edges))
                yield tuple(edges), second.normalise(output, edges, _of(weights[name], edges).unsqueeze(1))


def _of(values, rows):
    """The rows of a tensor, which is itself where they are all of them: indexing copies, and its gradient is slow."""
    return values if len(values) == len(rows) else values[rows]


def _spread(kernel, taps, columns):
    """Kernels with a column for every offset in `columns`: (..., taps) -> (..., columns)."""
    if taps == columns:
        return kernel
    if taps.step == columns.step:
        return F.pad(kernel, (columns.index(taps[0]), len(columns) - 1 - columns.index(taps[-1])))
    return kernel @ _places(taps, columns, kernel.dtype, kernel.device)


@cache
def _places(taps, columns, dtype, device):
    return torch.tensor([[float(tap == column) for column in columns] for tap in taps], dtype=dtype, device=device)


def _uniform(inputs, *shape):
    """The initial weights of PyTorch's convolutions: uniform, to one over the root of the inputs of a filter."""
    return nn.Parameter(torch.empty(shape).uniform_(-(inputs**-0.5), inputs**-0.5))
