"""The discovered network: the published sizes, its wiring, and what is saved of it."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from sleepkit.genotype import Genotype, random_genotype
from sleepkit.network.saved import load_network, save_network
from sleepkit.network.size import count_macs, count_parameters
from sleepkit.network.sleepnet import SleepNet, is_reduction
from sleepkit.paper.published import published_genotype
from sleepkit.pruning.filters import prune_filters

# Method section 2: data set, channels, cells, parameters.
PARAMETERS = [
    ("edf20", 8, 7, 83_789),
    ("edf20", 8, 9, 94_813),
    ("edf20", 8, 11, 132_989),
    ("edf78", 9, 7, 75_902),
    ("edf78", 9, 9, 84_812),
    ("edf78", 9, 11, 117_212),
    ("edf20", 9, 9, 117_851),
    ("edf20", 9, 11, 165_479),
    ("edf20", 12, 9, 201_881),
    ("edf20", 12, 11, 284_105),
]
# The same: millions of multiply-accumulates at 3000 samples.
MACS = [
    *(("edf20", 8, cells, macs) for cells, macs in ((7, 81.34), (9, 100.06), (11, 133.37))),
    *(("edf78", 9, cells, macs) for cells, macs in ((7, 74.41), (9, 89.69), (11, 118.10))),
]
SMALL = {"channels": 2, "cells": 5}


def stir(net, seed=0):
    """Parameters and BatchNorm statistics as after training: nothing at its neutral start."""
    generator = torch.Generator().manual_seed(seed)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm1d):
            for tensor in (module.weight.data, module.bias.data, module.running_mean):
                tensor.copy_(torch.randn(tensor.shape, generator=generator, dtype=tensor.dtype))
            module.running_var.copy_(
                0.5 + torch.rand(module.running_var.shape, generator=generator, dtype=tensor.dtype)
            )
    return net.eval()


@pytest.mark.parametrize(("key", "channels", "cells", "millions"), MACS)
def test_macs_of_the_published_networks(key, channels, cells, millions):
    assert count_macs(SleepNet(published_genotype(key), channels, cells), 3000) == pytest.approx(
        millions * 1e6, rel=1e-3
    )


@pytest.mark.parametrize(("key", "channels", "cells", "parameters"), PARAMETERS)
def test_parameters_are_the_published_ones(key, channels, cells, parameters):
    assert count_parameters(SleepNet(published_genotype(key), channels, cells)) == parameters


@pytest.mark.parametrize("samples", [64, 65, 67, 500])
def test_any_length_goes_through(samples):
    for genotype in (published_genotype("edf20"), published_genotype("edf78"), random_genotype(4, 1)):
        for cells in (3, 5, 7):
            assert SleepNet(genotype, 2, cells).eval()(torch.randn(2, 1, samples)).shape == (2, 5)


def test_reduction_cells_halve_the_length_and_double_the_channels():
    net, shapes = SleepNet(published_genotype("edf20"), 3, 7), []
    for cell in net.cells:
        cell.register_forward_hook(lambda module, _, output: shapes.append(tuple(output.shape[1:])))
    net.eval()(torch.randn(1, 1, 100))
    assert [index for index in range(7) if is_reduction(index, 7)] == [2, 4]
    # six nodes in the normal cell, five in the reduction cell, all concatenated
    layout = [(18, 100), (18, 100), (30, 50), (36, 50), (60, 25), (72, 25), (72, 25)]
    assert shapes == [(channels, 1, samples) for channels, samples in layout]


def test_a_cell_sums_the_two_operations_of_every_node():
    """The forward pass by hand for one small genotype: wiring, strides, concatenation, pooling."""
    genotype = Genotype(
        (("conv_1x1", 0), ("max_pool_3x3", 1), ("skip_connect", 2), ("conv_3x3", 0)),
        (("conv_3x3", 1), ("skip_connect", 0), ("skip_connect", 2), ("avg_pool_3x3", 1)),
    )
    net = stir(SleepNet(genotype, 2, 3).double())
    x = torch.randn(4, 1, 33, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    stem = net.stem(x)
    normal, first, second = net.cells  # cells 1 and 2 of 3 reduce
    assert [cell.preprocess0[1].stride for cell in net.cells] == [(1,), (1,), (2,)]

    def by_hand(cell, entries, before_last, last):
        states = [cell.preprocess0(before_last), cell.preprocess1(last)]
        for node in range(2):
            (_, one), (_, two) = entries[2 * node : 2 * node + 2]
            states.append(cell.operations[2 * node](states[one]) + cell.operations[2 * node + 1](states[two]))
        return torch.cat(states[2:], 1)

    a = by_hand(normal, genotype.normal, stem, stem)
    b = by_hand(first, genotype.reduce, stem, a)
    c = by_hand(second, genotype.reduce, a, b)
    assert (a.shape[2], b.shape[2], c.shape[2]) == (33, 17, 9)
    torch.testing.assert_close(net(x), net.classifier(c.mean(2)), rtol=0, atol=1e-12)


def test_dropout_and_stem_are_as_specified():
    net = SleepNet(published_genotype("edf20"), **SMALL)
    assert net.dropout.p == 0.3
    assert all(map(isinstance, net.stem, (nn.Conv1d, nn.BatchNorm1d, nn.ReLU)))
    assert net.stem[0].weight.shape == (2, 1, 3)
    assert not [
        name for name, module in net.named_modules() if isinstance(module, nn.Conv1d) and module.bias is not None
    ]


def test_full_widths_name_the_inner_width_of_every_operation():
    genotype = Genotype((("sep_conv_1x3", 0), ("skip_connect", 1)), (("skip_connect", 0), ("conv_1x1", 1)))
    widths = SleepNet(genotype, 3, 3).widths
    assert [cell.states for cell in widths.cells] == [(3, 3, 3), (6, 6, 6), (12, 12, 12)]
    assert [cell.inner for cell in widths.cells] == [(3, None), (3, None), (6, None)]


@pytest.mark.parametrize("ratio", [0, 0.5, 0.9])
def test_a_saved_network_comes_back(tmp_path, ratio):
    for seed in (0, 1, 2):
        net = stir(SleepNet(random_genotype(4, seed), **SMALL))
        net = prune_filters(net, ratio) if ratio else net
        save_network(net, tmp_path / "net", {"fs": 100.0, "protocol": "subjectwise"})
        loaded, description = load_network(tmp_path / "net")
        x = torch.randn(3, 1, 40)
        assert not loaded.training
        assert torch.equal(loaded(x), net(x))
        assert loaded.widths == net.widths
        assert description["fs"] == 100.0
        assert description["parameters"] == count_parameters(net) == count_parameters(loaded)
    weights, text = (tmp_path / f"net{ending}" for ending in (".safetensors", ".json"))
    assert weights.stat().st_mode == text.stat().st_mode, "whoever may read the one may read the other"


def test_facts_do_not_replace_what_rebuilds_the_network(tmp_path):
    save_network(
        SleepNet(published_genotype("edf20"), **SMALL), tmp_path / "net", {"genotype": "edf20-published", "cells": 7}
    )
    net, _ = load_network(tmp_path / "net")
    assert net.genotype == published_genotype("edf20")
    assert len(net.cells) == 5


def cut(path):
    path.write_bytes(path.read_bytes()[:-200])


def other_width(path):
    description = json.loads(path.read_text())
    description["widths"]["stem"] += 1
    path.write_text(json.dumps(description))


def no_number(path):
    weights = load_file(path)
    weights["classifier.bias"][0] = float("nan")
    save_file(weights, path)


@pytest.mark.parametrize(
    ("ending", "damage"),
    [
        (".json", cut),
        (".safetensors", no_number),
        (".safetensors", cut),
        (".safetensors", lambda path: path.write_bytes(b"")),
        (".json", lambda path: path.write_text("{}")),
        (".json", other_width),
    ],
)
def test_a_damaged_file_is_named(tmp_path, ending, damage):
    save_network(SleepNet(published_genotype("edf20"), **SMALL), tmp_path / "net", {})
    damage(tmp_path / f"net{ending}")
    with pytest.raises(ValueError, match=r"net\.json and \.safetensors: not a saved network"):
        load_network(tmp_path / "net")


@pytest.mark.parametrize("gone", [(".json",), (".safetensors",), (".json", ".safetensors")])
def test_a_missing_file_is_named_alone(tmp_path, gone):
    save_network(SleepNet(published_genotype("edf20"), **SMALL), tmp_path / "net", {})
    for ending in gone:
        (tmp_path / f"net{ending}").unlink()
    with pytest.raises(ValueError, match=rf"net{' and '.join(gone)}: no such file; name a network".replace(".", r"\.")):
        load_network(tmp_path / "net")
