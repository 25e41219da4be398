"""Channels that leave a network together, and the smaller network that is left (method section 3, step 5)."""

from dataclasses import dataclass

import numpy as np
import torch

from sleepkit.network.operations import copy_layer
from sleepkit.network.sleepnet import CellWidths, SleepNet, Widths


@dataclass(frozen=True)
class TiedSet:
    """Channels that can only be removed together."""

    places: tuple  # "stem"; (cell, "state", k) of its inputs and nodes; (cell, "inner", k), inside operation k
    width: int  # number of channels
    producers: tuple  # (conv layer, first): filter j makes channel first + j
    readers: tuple  # (depthwise conv layer, first): filter j reads channel first + j


def tied_sets(net):
    """The tied sets of a network, in the order stem, then cell by cell the states and what is inside operations."""
    sets = [TiedSet(("stem",), net.widths.stem, (("stem.0", 0),), ())]
    for index, cell in enumerate(net.cells):
        sets += _cell_sets(index, cell)
    return sets


def joined_states(cell):
    """Label of every state of a cell; states at the two ends of a pool or an identity share one: (2 + nodes,) int."""
    label = list(range(len(cell.widths.states)))
    for position, (operation, source) in enumerate(cell.edges):
        if operation.keeps_channels:
            one, other = label[source], label[2 + position // 2]
            label = [min(one, other) if value in (one, other) else value for value in label]
    return label


def _cell_sets(index, cell):
    label, inside = joined_states(cell), []
    producers, readers = ({state: () for state in sorted(set(label))} for _ in range(2))
    for side, preprocess in enumerate((cell.preprocess0, cell.preprocess1)):
        producers[label[side]] += _named(f"cells.{index}.preprocess{side}", preprocess.producers)
    for position, (operation, source) in enumerate(cell.edges):
        path, target = f"cells.{index}.operations.{position}", label[2 + position // 2]
        producers[target] += _named(path, operation.producers)
        readers[label[source]] += _named(path, operation.readers)
        if operation.inner_producers:
            layers = (_named(path, some) for some in (operation.inner_producers, operation.inner_readers))
            inside.append(TiedSet(((index, "inner", position),), operation.inner_width, *layers))
    widths, places = cell.widths.states, {state: () for state in producers}
    for k, state in enumerate(label):
        places[state] += ((index, "state", k),)
    return [TiedSet(places[state], widths[state], producers[state], readers[state]) for state in producers] + inside


def _named(path, layers):
    return tuple((f"{path}.{layer}", first) for layer, first in layers)


def remove_channels(net, kept):
    """A SleepNet with only the `kept` channels of `net`, weights and BatchNorm statistics copied.

    kept : place (see TiedSet) -> sorted positions of the channels that stay, (k,) int
    """
    states, inner, widths = [], [], []
    for index, cell in enumerate(net.cells):
        states.append([kept[index, "state", k] for k in range(len(cell.widths.states))])
        inner.append([kept.get((index, "inner", k)) for k in range(len(cell.operations))])
        left = (each.inner_left(states[-1][2 + k // 2], inner[-1][k]) for k, each in enumerate(cell.operations))
        widths.append(CellWidths(tuple(map(len, states[-1])), tuple(left)))
    sizes = net.channels, len(net.cells), net.classifier.out_features
    small = SleepNet(net.genotype, *sizes, Widths(len(kept["stem"]), tuple(widths)))
    small.to(net.classifier.weight.device, net.classifier.weight.dtype).train(net.training)
    for new, old in zip(small.stem[:2], net.stem[:2], strict=True):
        copy_layer(new, old, kept["stem"])
    before_last = last = kept["stem"]
    for parts in zip(small.cells, net.cells, states, inner, strict=True):
        before_last, last = last, _copy_cell(*parts, before_last, last)
    with torch.no_grad():
        small.classifier.weight.copy_(net.classifier.weight[:, torch.from_numpy(last)])
        small.classifier.bias.copy_(net.classifier.bias)
    return small


def _copy_cell(small, full, states, inner, before_last, last):
    """Copy what is left of a cell; returns the kept positions among the channels of its output."""
    small.preprocess0.copy_from(full.preprocess0, before_last, states[0])
    small.preprocess1.copy_from(full.preprocess1, last, states[1])
    for k, (operation, source) in enumerate(full.edges):
        small.operations[k].copy_from(operation, states[source], states[2 + k // 2], inner[k])
    starts = np.cumsum((0, *full.widths.states[2:-1]))
    return np.concatenate([start + state for start, state in zip(starts, states[2:], strict=True)])
