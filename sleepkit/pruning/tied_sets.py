"""Taking channels out of a network: the weights of a smaller SleepNet, cut from those of a larger one."""

from dataclasses import dataclass

import numpy as np
import torch

from sleepkit.network.operations import FactorizedReduce
from sleepkit.network.sleepnet import CellWidths, SleepNet, Widths


@dataclass(frozen=True)
class Kept:
    """Positions of the channels that stay, as sorted int arrays.

    stem : of the stem;  states[cell][state] : of every state of every cell;  inner[cell] : {position in the genotype:
    array}
    """

    stem: np.ndarray
    states: tuple
    inner: tuple

    @classmethod
    def of(cls, net, chosen):
        """From the (tied set, importance, kept positions) of sleepkit.pruning.filters.kept_channels."""
        stem = None
        states = [[None] * len(widths.states) for widths in net.widths.cells]
        inner = [{} for _ in net.widths.cells]
        for tied, _, kept in chosen:
            if tied.place[0] == "stem":
                stem = kept
            elif tied.place[0] == "inner":
                inner[tied.place[1]][tied.place[2]] = kept
            else:
                for state in tied.place[2]:
                    states[tied.place[1]][state] = kept
        return cls(stem, tuple(map(tuple, states)), tuple(inner))


def remove_channels(net, kept):
    """A SleepNet with only the `kept` channels of `net`, weights and BatchNorm statistics copied."""
    widths = tuple(_cell_widths(*parts) for parts in zip(net.cells, kept.states, kept.inner))
    classes = net.classifier.out_features
    small = SleepNet(net.genotype, net.channels, len(net.cells), classes, Widths(len(kept.stem), widths))
    small.to(net.classifier.weight.device, net.classifier.weight.dtype).train(net.training)
    _copy(small.stem[0], net.stem[0], kept.stem, np.arange(1))
    _copy(small.stem[1], net.stem[1], kept.stem)
    before_last = last = kept.stem
    for index, cell in enumerate(net.cells):
        _copy_cell(small.cells[index], cell, (before_last, last), kept.states[index], kept.inner[index])
        offsets = np.cumsum((0, *net.widths.cells[index].states[2:]))
        output = np.concatenate([offset + state for offset, state in zip(offsets, kept.states[index][2:])])
        before_last, last = last, output
    with torch.no_grad():
        small.classifier.weight.copy_(net.classifier.weight[:, torch.from_numpy(last)])
        small.classifier.bias.copy_(net.classifier.bias)
    return small


def _cell_widths(cell, states, inner):
    widths = []
    for position, operation in enumerate(cell.operations):
        if isinstance(operation, FactorizedReduce):
            widths.append(int((states[2 + position // 2] < _first_half(operation)).sum()))
        else:
            widths.append(len(inner[position]) if position in inner else None)
    return CellWidths(tuple(len(state) for state in states), tuple(widths))


def _copy_cell(small, full, inputs, states, inner):
    for side, preprocess in enumerate(("preprocess0", "preprocess1")):
        new, old = getattr(small, preprocess), getattr(full, preprocess)
        _copy(new[1], old[1], states[side], inputs[side])
        _copy(new[2], old[2], states[side])
    for position, (new, old) in enumerate(zip(small.operations, full.operations)):
        source, target = states[full.sources[position]], states[2 + position // 2]
        if isinstance(old, FactorizedReduce):
            first = _first_half(old)
            for conv, channels in (("conv_1", target[target < first]), ("conv_2", target[target >= first] - first)):
                if len(channels):
                    _copy(getattr(new, conv), getattr(old, conv), channels, source)
            _copy(new.bn, old.bn, target)
        elif hasattr(old, "depthwise"):
            _copy_pair(new, old, source, target)
        elif position in inner:
            _copy_pair(new[0], old[0], source, inner[position])
            _copy_pair(new[1], old[1], inner[position], target)
        elif len(list(old.parameters())):
            _copy(new[1], old[1], target, source)
            _copy(new[2], old[2], target)


def _copy_pair(new, old, source, target):
    _copy(new.depthwise, old.depthwise, source, np.arange(1))
    _copy(new.pointwise, old.pointwise, target, source)
    _copy(new.bn, old.bn, target)


def _copy(new, old, outputs, inputs=None):
    """Copy the rows `outputs` (and columns `inputs`) of every tensor of a conv or BatchNorm layer."""
    rows = torch.from_numpy(outputs)
    state = {}
    for name, tensor in old.state_dict().items():
        if tensor.ndim:
            tensor = tensor[rows.to(tensor.device)]
        state[name] = tensor if inputs is None else tensor[:, torch.from_numpy(inputs).to(tensor.device)]
    new.load_state_dict(state)


def _first_half(operation):
    return operation.conv_1.out_channels if operation.conv_1 is not None else 0
