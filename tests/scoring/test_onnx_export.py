"""Exported networks: the same logits as PyTorch whatever the genotype, width and length; integers; a night without
PyTorch."""

import json
import re
import subprocess
import sys

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn
from toy import save_nights

from sleepkit.__main__ import main
from sleepkit.epochs import STAGES, EpochSet
from sleepkit.evaluation.protocols import Normalisation
from sleepkit.evaluation.training import TrainSettings, fit, predict_logits
from sleepkit.execution.paths import ROOT
from sleepkit.genotype import Genotype, random_genotype
from sleepkit.network.saved import load_network, save_network
from sleepkit.network.sleepnet import SleepNet
from sleepkit.paper.published import published_genotype
from sleepkit.pruning.filters import prune_filters
from sleepkit.scoring import onnx_export as module
from sleepkit.scoring.onnx_export import INTEGER_BLOCK, TOLERANCE, export, export_onnx, logit_difference, quantise
from sleepkit.scoring.onnx_graph import network_graph
from sleepkit.scoring.onnx_session import open_session, run_session

SCALE = Normalisation(-0.2, 21.0)
# Separable convolutions of both lengths on one state, two dilated ones of one state in one node, every other operation,
# factorized reductions.
MIXED = Genotype(
    (
        *(("sep_conv_1x3", 0), ("sep_conv_1x5", 0), ("dil_conv_1x5", 1), ("dil_conv_1x5", 1)),
        *(("skip_connect", 2), ("conv_1x1", 0), ("conv_3x3", 3), ("avg_pool_3x3", 1), ("dil_conv_1x3", 1)),
        ("dil_conv_1x5", 1),
    ),
    (
        ("skip_connect", 0),
        ("skip_connect", 1),
        ("sep_conv_1x5", 1),
        ("sep_conv_1x3", 1),
        ("max_pool_3x3", 0),
        ("conv_3x3", 2),
    ),
)
# Nodes that share blocks, and pools of them: twice the same, of one block with and without another, an identity.
POOLS = Genotype(
    (
        *(("conv_1x1", 0), ("sep_conv_1x5", 1), ("sep_conv_1x3", 0), ("conv_3x3", 1), ("max_pool_3x3", 2)),
        *(("max_pool_3x3", 2), ("max_pool_3x3", 3), ("max_pool_3x3", 3), ("skip_connect", 2), ("sep_conv_1x3", 3)),
        *(("avg_pool_3x3", 4), ("max_pool_3x3", 2), ("dil_conv_1x3", 5), ("conv_1x1", 0)),
    ),
    (
        *(("conv_1x1", 0), ("skip_connect", 1), ("dil_conv_1x5", 0), ("dil_conv_1x5", 1), ("max_pool_3x3", 3)),
        *(("conv_3x3", 2), ("max_pool_3x3", 0), ("avg_pool_3x3", 2)),
    ),
)
# Two nodes that must not share a block, as what one pools would count in the other: they pool in different ways, or
# different values, or one of them pools twice.
SEPARATE = {
    "kinds": (("max_pool_3x3", 2), ("conv_1x1", 4), ("avg_pool_3x3", 3), ("conv_1x1", 4)),
    "sources": (("max_pool_3x3", 2), ("conv_1x1", 5), ("max_pool_3x3", 5), ("conv_1x1", 5)),
    "numbers": (("max_pool_3x3", 2), ("max_pool_3x3", 2), ("max_pool_3x3", 3), ("conv_1x1", 4)),
}
BEFORE = (
    *(("conv_1x1", 0), ("conv_3x3", 1), ("conv_3x3", 0), ("conv_1x1", 1)),
    *(("conv_1x1", 2), ("conv_3x3", 1), ("conv_3x3", 2), ("conv_1x1", 1)),
)


def lively(net, seed=0):
    """The network with running statistics and BatchNorm weights as after training, which a fresh one does not have."""
    generator = torch.Generator().manual_seed(seed)
    for layer in net.modules():
        if isinstance(layer, nn.BatchNorm1d):
            n = layer.num_features
            layer.running_mean.copy_(0.3 * torch.randn(n, generator=generator))
            layer.running_var.copy_(0.5 + torch.rand(n, generator=generator))
            layer.weight.data.copy_(0.5 + torch.rand(n, generator=generator))
            layer.bias.data.copy_(0.3 * torch.randn(n, generator=generator))
    return net.eval()


def windows(n, samples, seed=0):
    return np.random.default_rng(seed).normal(0, 25, (n, samples)).astype(np.float32)


NETWORKS = {
    "edf20": lambda: SleepNet(published_genotype("edf20"), 8, 7),
    "edf20 pruned": lambda: prune_filters(lively(SleepNet(published_genotype("edf20"), 8, 7))),
    "edf78 of odd width": lambda: SleepNet(published_genotype("edf78"), 9, 7),
    "edf78 pruned": lambda: prune_filters(lively(SleepNet(published_genotype("edf78"), 9, 9))),
    "mixed": lambda: SleepNet(MIXED, 5, 4),
    "mixed, one channel left": lambda: prune_filters(lively(SleepNet(MIXED, 4, 3)), 0.9),
    "pools in shared blocks": lambda: SleepNet(POOLS, 4, 5),
    "widths that do not divide a block": lambda: SleepNet(MIXED, 3, 5),
    **{
        f"pools of other {what}": lambda ends=ends: SleepNet(Genotype(BEFORE + ends, BEFORE + ends), 4, 5)
        for what, ends in SEPARATE.items()
    },
    **{f"random {seed}": lambda seed=seed: SleepNet(random_genotype(4, seed), 3 + 2 * seed, 5) for seed in range(5)},
    **{f"random, half a block {seed}": lambda seed=seed: SleepNet(random_genotype(5, seed), 4, 3) for seed in range(6)},
}


@pytest.mark.parametrize("block", [8, 16])
@pytest.mark.parametrize("name", NETWORKS)
def test_logits_equal_pytorch_at_every_length(name, block, tmp_path):
    torch.manual_seed(1)
    net = lively(NETWORKS[name]())
    export_onnx(net, tmp_path / "net.onnx", 500, SCALE, block=block)
    session = open_session(tmp_path / "net.onnx")
    for n, samples in ((1, 500), (3, 501), (2, 127), (1, 3000), (70, 66)):
        x = windows(n, samples)
        found, expected = run_session(session, x), predict_logits(net, SCALE(x))
        assert np.abs(found - expected).max() <= TOLERANCE * max(1, np.abs(expected).max())
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_without_normalisation_and_with_one_for_every_position(tmp_path):
    net, x = lively(SleepNet(MIXED, 4, 3)), windows(4, 120)
    export_onnx(net, tmp_path / "plain.onnx", 120)
    assert logit_difference(net, open_session(tmp_path / "plain.onnx"), x / 50) <= TOLERANCE
    by_position = {"mean": np.linspace(-5, 5, 120), "sd": np.linspace(10, 30, 120)}
    export_onnx(net, tmp_path / "positions.onnx", 120, by_position)
    session = open_session(tmp_path / "positions.onnx")
    assert logit_difference(net, session, x, Normalisation(**by_position)) <= TOLERANCE
    assert session.get_inputs()[0].shape == ["batch", 1, 120]


def test_the_file_says_what_it_is(tmp_path):
    export_onnx(SleepNet(MIXED, 4, 3), tmp_path / "net.onnx", 500, {"mean": 0, "sd": 20}, {"fs": 100.0, "samples": 1})
    session = open_session(tmp_path / "net.onnx")
    (taken,), (given,) = session.get_inputs(), session.get_outputs()
    assert (taken.name, taken.type, taken.shape) == ("eeg", "tensor(float)", ["batch", 1, "samples"])
    assert (given.name, given.type, given.shape) == ("logits", "tensor(float)", ["batch", 5])
    facts = json.loads(session.get_modelmeta().custom_metadata_map["facts"])
    assert facts == {"fs": 100.0, "stages": list(STAGES), "samples": 500, "input": "µV"}


def convolutions(net, block):
    """How many filters each convolution of the network's graph has."""
    graph = network_graph(net, 500, block=block).graph
    weights = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    assert not any(node.op_type == "BatchNormalization" for node in graph.node)
    return [len(weights[node.input[1]]) for node in graph.node if node.op_type == "Conv"]


@pytest.mark.parametrize("block", [8, 16])
def test_narrow_nodes_share_their_convolutions_and_wide_ones_do_not(block):
    net = lively(SleepNet(published_genotype("edf20"), 4, 7))
    separate = sum(isinstance(layer, nn.Conv1d) for layer in net.modules())
    assert len(convolutions(net, block)) < separate
    wide = lively(SleepNet(published_genotype("edf20"), 16, 7))
    assert len(convolutions(wide, block)) == separate


@pytest.mark.parametrize("block", [8, 16])
@pytest.mark.parametrize("ratio", [0.25, 0.5, 0.75, 0.9])
def test_every_convolution_fills_whole_blocks(ratio, block):
    net = prune_filters(lively(SleepNet(published_genotype("edf20"), 8, 7)), ratio)
    assert not any(n % block for n in convolutions(net, block))


@pytest.mark.parametrize("block, layers", [(8, [4, 4, 5, 6, 5, 6, 6]), (16, [3, 3, 5, 4, 5, 6, 6])])
def test_narrow_nodes_share_blocks(block, layers):
    """Normal cells have six nodes, reduction cells (the third and the fifth) five; the first two have 4 channels."""
    net = prune_filters(lively(SleepNet(published_genotype("edf20"), 8, 7)))
    graph = network_graph(net, 500, block=block).graph
    assert [len(node.input) for node in graph.node if node.op_type == "Concat"] == layers


@pytest.mark.parametrize("block", [8, 16])
@pytest.mark.parametrize("genotype", [MIXED, POOLS])
def test_what_several_operations_need_is_computed_once(genotype, block):
    nodes = network_graph(lively(SleepNet(genotype, 4, 5)), 500, block=block).graph.node
    for kind in ("Relu", "MaxPool", "AveragePool"):
        done = [(node.input[0], str(node.attribute)) for node in nodes if node.op_type == kind]
        assert done and len(done) == len(set(done))


def test_a_file_is_laid_out_for_the_processor_that_writes_it_or_for_another(tmp_path, monkeypatch):
    net = lively(SleepNet(published_genotype("edf20"), 4, 3))
    graphs = {block: network_graph(net, 500, block=block).graph for block in (8, 16)}
    assert len(graphs[8].node) != len(graphs[16].node)
    for capability, block in (("AVX2", 8), ("AVX512", 16), ("DEFAULT", 8)):
        monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda capability=capability: capability)
        export_onnx(net, tmp_path / "net.onnx", 500)
        assert onnx.load(tmp_path / "net.onnx").graph == graphs[block]
        export_onnx(net, tmp_path / "net.onnx", 500, block=24 - block)
        assert onnx.load(tmp_path / "net.onnx").graph == graphs[24 - block]


@pytest.mark.parametrize("block", [8, 16])
@pytest.mark.parametrize("genotype", [MIXED, POOLS])
def test_the_shapes_that_a_graph_tells_are_those_of_its_values(genotype, block):
    """onnxruntime believes them, and adds two values while it convolves where both are said to be equally long."""
    model = network_graph(lively(SleepNet(genotype, 4, 5)), 500, block=block)
    told = {value.name: value for value in model.graph.value_info}
    assert {node.output[0] for node in model.graph.node if node.op_type in ("Conv", "Add", "Concat")} <= set(told)
    del model.graph.value_info[:]
    model.graph.output.extend(told.values())
    for value in model.graph.output[1:]:
        value.type.tensor_type.ClearField("shape")
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    lengths = {"samples": 501, "samples/2": 251, "samples/2/2": 126}
    shapes = {
        name: [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim] for name, value in told.items()
    }
    for name, found in zip(told, session.run(list(told), {"eeg": windows(2, 501)[:, None]}), strict=True):
        assert found.shape == tuple(2 if d == "batch" else lengths.get(d, d) for d in shapes[name])


def test_export_leaves_the_network_alone(tmp_path):
    net = lively(SleepNet(MIXED, 4, 3)).train()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    export_onnx(net, tmp_path / "net.onnx", 100)
    assert net.training
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())


def test_a_file_that_differs_is_not_written(tmp_path, monkeypatch):
    other = network_graph(lively(SleepNet(MIXED, 4, 3), seed=1), 100)
    monkeypatch.setattr(module, "network_graph", lambda *arguments: other)
    with pytest.raises(ArithmeticError, match=r"net.onnx: not written; its logits would differ"):
        export_onnx(lively(SleepNet(MIXED, 4, 3)), tmp_path / "net.onnx", 100)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("content", [None, b"", b"no network at all"])
def test_a_file_that_is_no_network_is_one_error(content, tmp_path):
    path = tmp_path / "net.onnx"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=r"net.onnx: not an ONNX file that onnxruntime .* can run"):
        open_session(path)


# A network that has learnt something, on simulated epochs: the stages are sines of different frequency in noise.


@pytest.fixture(scope="module")
def nights():
    draw, parts = np.random.default_rng(0), []
    time = np.arange(500) / 100
    for subject in range(4):
        y = draw.integers(0, 5, 80)
        phase = draw.uniform(0, 6.28, (80, 1))
        x = 30 * np.sin(2 * np.pi * (2 + 4 * y[:, None]) * time + phase) + draw.normal(0, 15, (80, 500))
        number = 10 * subject + 1
        ids = number * 10_000 + np.arange(80)
        night = np.full(80, f"SC4{subject:02d}1E0")
        parts.append(EpochSet(x.astype(np.float32), y, np.full(80, subject), night, ids, 100.0))
    return parts


@pytest.fixture(scope="module")
def saved(nights, tmp_path_factory):
    """Path of a network trained on three of four subjects, and the folder of the four prepared nights."""
    folder = tmp_path_factory.mktemp("saved")
    for night in nights:
        save_nights(night, folder / "nights")
    x, y = np.concatenate([n.x for n in nights[:2]]), np.concatenate([n.y for n in nights[:2]])
    scale = Normalisation(float(x.mean()), float(x.std()))
    torch.manual_seed(0)
    net = SleepNet(MIXED, 4, 3)
    valid = scale(nights[2].x), nights[2].y
    fit(net, (scale(x), y), valid, TrainSettings(epochs=6, lr=0.01, batch=8), folder, "key")
    facts = {"fs": 100.0, "samples": 500, "protocol": "subjectwise", "training": {"train": [0, 1], "valid": [2]}}
    save_network(net, folder / "net", facts | {"normalisation": {"mean": scale.mean, "sd": scale.sd}})
    return folder / "net", folder / "nights"


@pytest.fixture(scope="module")
def exported(saved, tmp_path_factory):
    model, nights = saved
    folder = tmp_path_factory.mktemp("exported")
    return folder, export(model, folder, nights)


def test_export_writes_two_networks_and_a_card(exported):
    folder, checks = exported
    assert sorted(path.name for path in folder.iterdir()) == ["net.int8.onnx", "net.md", "net.onnx"]
    assert checks.holds.all() and len(checks) == 2
    assert "80 epochs of subjects 3, held out" in checks.claim[1]
    assert float(re.search(r"float ([\d.]+) %", checks.claim[1])[1]) > 60, "the network has not learnt anything"
    card = (folder / "net.md").read_text(encoding="utf-8")
    assert all(claim in card for claim in checks.claim)
    for path in ("net.onnx", "net.int8.onnx"):
        assert f"`{path}`" in card and f"{(folder / path).stat().st_size:,}" in card


def test_integers_are_integers_and_stage_alike(exported, nights):
    folder, _ = exported
    types = {tensor.data_type for tensor in onnx.load(folder / "net.int8.onnx").graph.initializer}
    assert onnx.TensorProto.INT8 in types
    sessions = [open_session(folder / name) for name in ("net.onnx", "net.int8.onnx")]
    floats, integers = (run_session(session, nights[3].x) for session in sessions)
    assert 0 < np.abs(floats - integers).max() < 0.1 * np.abs(floats).max()
    one, other = (json.loads(session.get_modelmeta().custom_metadata_map["facts"]) for session in sessions)
    assert one == other and one["input"] == "µV" and one["training"] == {"train": [0, 1], "valid": [2]}


def test_integers_make_a_network_of_the_papers_size_smaller(tmp_path):
    net = lively(SleepNet(published_genotype("edf20"), 8, 7))
    export_onnx(net, tmp_path / "net.onnx", 500)
    quantise(net, tmp_path / "int8.onnx", 500, windows(8, 500) / 50)
    assert (tmp_path / "int8.onnx").stat().st_size < 0.5 * (tmp_path / "net.onnx").stat().st_size
    kinds = [node.op_type for node in onnx.load(tmp_path / "int8.onnx").graph.node]
    assert kinds.count("Conv") == len(convolutions(net, INTEGER_BLOCK)) < len(convolutions(net, 8))


WITHOUT_TORCH = "import sys\nsys.modules['torch'] = None\n"  # an import of it is an ImportError from here on


def test_onnxruntime_alone_scores_a_night_as_the_card_says(exported, saved, nights, tmp_path):
    """The code in the model card, in a process in which torch cannot be imported: stages as PyTorch's."""
    folder, (model, prepared) = exported[0], saved
    code = re.search(r"```python\n(.*?)```", (folder / "net.md").read_text(encoding="utf-8"), re.DOTALL)[1]
    script = tmp_path / "night.py"
    script.write_text(f"{WITHOUT_TORCH}{code}assert 'sleepkit' not in sys.modules\n", encoding="utf-8")
    command = [sys.executable, script, folder / "net.onnx", prepared / "SC4031E0.npz"]
    printed = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout.split()
    net, about = load_network(model)
    expected = predict_logits(net, Normalisation(**about["normalisation"])(nights[3].x)).argmax(1)
    assert printed == [STAGES[k] for k in expected]
    assert len(set(printed)) > 2


def test_sleepkit_scores_a_night_without_pytorch(exported, saved, nights, tmp_path):
    code = (
        "from sleepkit.scoring import score\nprint(*score(sys.argv[2], model=sys.argv[1], context=False).epochs.stage)"
    )
    arguments = [exported[0] / "net.onnx", saved[1] / "SC4031E0.npz"]
    command = [sys.executable, "-c", WITHOUT_TORCH + code, *arguments]
    printed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    logits = run_session(open_session(arguments[0]), nights[3].x)
    assert printed == [STAGES[k] for k in logits.argmax(1)]


def test_without_nights_there_are_floats_only(saved, tmp_path):
    checks = export(saved[0], tmp_path)
    assert checks.holds.all()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["net.md", "net.onnx"]
    assert "No 8-bit version" in (tmp_path / "net.md").read_text(encoding="utf-8")


def test_long_epochs_are_cut_and_short_ones_refused(saved, nights, tmp_path):
    night = nights[3]
    twice = EpochSet(np.tile(night.x, 2), night.y, night.subject, night.night, night.id, night.fs)
    save_nights(twice, tmp_path / "long")
    assert "not held out" not in export(saved[0], tmp_path / "a", tmp_path / "long").claim[1]
    shorter = EpochSet(night.x[:, :400], night.y, night.subject, night.night, night.id, night.fs)
    save_nights(shorter, tmp_path / "short")
    with pytest.raises(ValueError, match=r"short: nights of 400 samples at 100 Hz; the network takes 500 at 100 Hz"):
        export(saved[0], tmp_path / "b", tmp_path / "short")


def test_a_network_of_another_protocol_is_refused(saved, tmp_path):
    net, _ = load_network(saved[0])
    save_network(net, tmp_path / "net", {"protocol": "epochwise", "samples": 500, "fs": 100.0})
    with pytest.raises(ValueError, match=r"net.json: no normalisation, samples or fs; export takes networks"):
        export(tmp_path / "net", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_command(saved, tmp_path, capsys):
    model, prepared = saved
    assert main(["export", str(model), "--output", str(tmp_path), "--nights", str(prepared)]) == 0
    printed = capsys.readouterr()
    assert "points lost (within 1 point): holds" in printed.out and printed.err == ""
    assert main(["export", str(tmp_path / "missing"), "--output", str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith(f"error: {tmp_path / 'missing'}.json")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["fold0_L7", "fold0_L7_pruned", "fold0_L7_distilled"])
def test_fold_0_on_real_nights(name, shared, tmp_path):
    """Acceptance: floats within 1e-5 of PyTorch, integers within a point of accuracy on subjects 14 and 5."""
    model = ROOT / "sleepkit" / "weights" / name
    if not model.with_suffix(".json").exists():
        pytest.skip(f"{model} is not there yet")
    unpack = [sys.executable, str(shared / "data" / "unpack.py"), str(tmp_path / "nights")]
    subprocess.run(unpack, check=True, capture_output=True)
    checks = export(model, tmp_path / "out", tmp_path / "nights")
    assert "subjects 5, 14, held out" in checks.claim[1]
    assert checks.holds.all(), checks.to_string()
