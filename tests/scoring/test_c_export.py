"""Networks as C: the same logits as PyTorch for every genotype, width and length, the same integers as numpy, the same
stages as a stream, in a planned arena, on this computer and on an emulated microcontroller."""

import ctypes
import io
import re
import shutil
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st
from recording_files import CONTEXT, brain, save_tiny, write_recording
from torch import nn

from sleepkit.__main__ import main
from sleepkit.epochs import STAGES
from sleepkit.evaluation.context import Context
from sleepkit.evaluation.protocols import Normalisation
from sleepkit.evaluation.training import predict_logits
from sleepkit.execution.paths import ROOT
from sleepkit.genotype import random_genotype
from sleepkit.network.sleepnet import SleepNet
from sleepkit.paper.published import published_genotype
from sleepkit.pruning.filters import prune_filters
from sleepkit.scoring import c_plan
from sleepkit.scoring.c_export import compile_host, host_logits, run_rows
from sleepkit.scoring.c_integers import HIGH, LOW, SHIFT, calibrate, in_integers, quantise_weights, scales
from sleepkit.scoring.c_source import write_c
from sleepkit.scoring.model import load_model
from sleepkit.scoring.onnx_export import calibration_and_test, export_onnx, load_exportable
from sleepkit.scoring.onnx_graph import network_graph
from sleepkit.scoring.onnx_session import open_session, run_session
from sleepkit.scoring.stream import score_stream

pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler, cc")
SCALE = Normalisation(-0.2, 21.0)
HOW = {"deadline": None, "suppress_health_check": list(HealthCheck), "derandomize": True}
HOW["phases"] = (Phase.explicit, Phase.generate)  # to find the smallest case takes minutes of compiling
WEIGHTS = ROOT / "sleepkit" / "weights"


def lively(genotype, channels, cells, ratio=0.0, seed=0):
    """A network with running statistics as after training, from which a share of the filters is removed."""
    torch.manual_seed(seed)
    net = SleepNet(genotype, channels, cells)
    with torch.no_grad():
        for layer in net.modules():
            if isinstance(layer, nn.BatchNorm1d):
                for tensor, low, high in ((layer.running_var, 0.5, 1.5), (layer.weight, 0.5, 1.5)):
                    tensor.uniform_(low, high)
                for tensor in (layer.running_mean, layer.bias):
                    tensor.normal_(0, 0.3)
    net.eval()
    return prune_filters(net, ratio) if ratio else net


def windows(n, samples, seed=0):
    return np.random.default_rng(seed).normal(0, 25, (n, samples)).astype(np.float32)


def written(net, folder, samples, integers=False, seconds=30):
    """Path of a network as C, and its Plan; an epoch is one window of so many seconds."""
    fs = samples / seconds
    return folder / "net", write_c(
        net, folder / "net", samples, SCALE, fs, None, windows(16, samples, 7) if integers else None
    )


@example(115, 1, 1, 1, 0)  # an input on the border of two integers: constants must be rounded once
@settings(max_examples=4, **HOW)
@given(st.integers(0, 10**6), st.integers(2, 4), st.integers(2, 5), st.integers(2, 4), st.sampled_from((0, 0.5, 0.8)))
def test_c_equals_pytorch_and_numpy_for_any_network(tmp_path_factory, seed, nodes, channels, cells, ratio):
    same_as_pytorch_and_numpy(tmp_path_factory.mktemp("net"), seed, nodes, channels, cells, ratio)


@pytest.mark.slow
@settings(max_examples=80, **HOW)
@given(st.integers(0, 10**6), st.integers(1, 6), st.integers(1, 9), st.integers(1, 7), st.sampled_from((0, 0.5, 0.9)))
def test_c_equals_pytorch_and_numpy_for_many_networks(tmp_path_factory, seed, nodes, channels, cells, ratio):
    same_as_pytorch_and_numpy(tmp_path_factory.mktemp("net"), seed, nodes, channels, cells, ratio)


def same_as_pytorch_and_numpy(folder, seed, nodes, channels, cells, ratio):
    net, samples = lively(random_genotype(nodes, seed), channels, cells, ratio, seed), 33 + seed % 200
    x = windows(3, samples, seed)
    path, _ = written(net, folder, samples)
    np.testing.assert_allclose(host_logits(path, x), predict_logits(net, SCALE(x)), rtol=1e-4, atol=1e-4)
    try:
        path, plan = written(net, folder, samples, integers=True)
    except ArithmeticError:  # refused: a value with hundreds of times the range of its sum, as few random networks have
        return
    scale = scales(plan, calibrate(network_graph(net, samples, SCALE, block=1), windows(16, samples, 7)))
    expected = [integer_logits(plan, scale, row) for row in x]
    np.testing.assert_allclose(host_logits(path, x), expected, rtol=1e-5, atol=1e-5)


def integer_logits(plan, scale, window):
    """A plan in 8-bit integers by numpy, one operation after the other, every value in memory of its own."""
    values, step = {}, plan.normalisation
    x = np.clip(window * np.float32(step[0]) + np.float32(step[1]), -1, 1)
    values["input"] = rounded(np.floor(x / np.float32(scale["input"].step) + np.float32(0.5)), scale["input"].zero)[
        None
    ]
    for op in plan.operations:
        known, zero = [values[name].astype(np.int64) for name in op.inputs], scale[op.output].zero
        x, length, half = known[0], plan.shapes[op.output][1], 1 << (SHIFT - 1)
        if op.kind == "concat":
            made = np.concatenate(known)
        elif op.kind == "relu":
            made = np.maximum(x, scale[op.inputs[0]].zero)
        elif op.kind.endswith("pool"):
            padded = np.pad(x.astype(float), ((0, 0), (1, 1)), constant_values=np.nan)
            around = np.lib.stride_tricks.sliding_window_view(padded, 3, axis=1)[:, :: op.stride]
            made = np.nanmax(around, 2) if op.kind == "max_pool" else np.floor(np.nanmean(around, 2) + 0.5 + 1e-9)
        else:
            whole = in_integers(op, scale)
            if op.kind == "add":
                total = (x - scale[op.inputs[0]].zero) * whole.factors_of_values[0]
            else:
                total = convolved(op, whole, x, scale[op.inputs[0]].zero, length) * np.array(whole.factors)[:, None]
            if len(known) == 2:
                total = total + (known[1] - scale[op.inputs[1]].zero) * whole.factors_of_values[1]
            made = rounded((total + half) >> SHIFT, zero)
        values[op.output] = made
    last = values[plan.last] - scale[plan.last].zero
    weight, _, steps = quantise_weights(plan.classifier[0], np.zeros(5), scale[plan.last])
    return plan.classifier[1] + steps / last.shape[1] * (weight.astype(np.int64) @ last.sum(1))


def rounded(q, zero):
    return np.clip(q + zero, LOW, HIGH).astype(np.int64)


def convolved(op, whole, x, zero, length):
    inputs, taps = op.weight.shape[1:]
    right = (length - 1) * op.stride + (taps - 1) * op.dilation + 1
    padded = np.pad(x, ((0, 0), (op.padding, right)), constant_values=zero)
    made = np.repeat(whole.bias.astype(np.int64)[:, None], length, axis=1)
    for o in range(len(made)):
        group = o // (len(made) // op.groups) * inputs
        for i in range(inputs):
            for k in range(taps):
                start = k * op.dilation
                made[o] += whole.weight[o, i, k] * padded[group + i, start : start + length * op.stride : op.stride]
    return made


@pytest.mark.parametrize("dataset, cells", [("edf20", 7), ("edf78", 11)])
def test_c_of_the_published_cells(dataset, cells, tmp_path):
    net = lively(published_genotype(dataset), 8, cells, 0.5)
    path, plan = written(net, tmp_path, 500)
    assert plan.bound <= plan.arena <= 1.2 * plan.bound
    export_onnx(net, tmp_path / "net.onnx", 500, SCALE)
    x = windows(3, 500)
    np.testing.assert_allclose(host_logits(path, x), run_session(open_session(tmp_path / "net.onnx"), x), atol=1e-4)


@pytest.mark.parametrize("seed", range(2))
def test_c_no_value_lies_where_another_is_alive(seed):
    """Whatever an operation makes, it leaves the other values that are still read as they are."""
    plan = c_plan.plan_network(network_graph(lively(random_genotype(5, seed), 4, 5), 125, SCALE, block=1), 125)
    spans = c_plan.lifetimes(plan)
    assert set(spans) == set(plan.places) == set(plan.shapes)
    for time, op in enumerate(plan.operations):
        if op.kind == "concat":
            assert [plan.places[name] for name in op.inputs] == sorted(plan.places[name] for name in op.inputs)
            continue
        assert all(spans[name][0] < time for name in op.inputs)
        own = set(range(plan.places[op.output], plan.places[op.output] + plan.size(op.output)))
        for name in (name for name, (first, end) in spans.items() if first < time < end):
            assert own.isdisjoint(range(plan.places[name], plan.places[name] + plan.size(name)))
        for name in set(op.inputs) - set(op.element_wise):
            assert own.isdisjoint(range(plan.places[name], plan.places[name] + plan.size(name)))


@pytest.mark.parametrize("integers", [False, True])
def test_c_with_sanitizers(integers, tmp_path):
    path, _ = written(lively(random_genotype(4, 5), 3, 4), tmp_path, 129, integers)
    program = """
    #include <stdio.h>
    #include "net.h"
    int main(void) {
        static float x[SLEEPKIT_SAMPLES]; float logits[5];
        while (fread(x, sizeof x, 1, stdin) == 1) {
            sleepkit_logits(x, logits);
            for (int k = 0; k < 5; k++) printf("%.9g ", logits[k]);
        }
        return 0;
    }"""
    (tmp_path / "main.c").write_text(program)
    flags = ["-std=c99", "-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-static-libasan"]
    command = ["cc", *flags, "main.c", "net.c", "-lm", "-o", "main"]
    subprocess.run(command, cwd=tmp_path, check=True)
    x = windows(2, 129) * np.array([[1], [100]], np.float32)
    x[1, :3] = np.nan, np.inf, -np.inf
    done = subprocess.run([tmp_path / "main"], input=x.tobytes(), capture_output=True, check=False)
    assert done.returncode == 0 and not done.stderr, done.stderr.decode()
    found = np.array(done.stdout.split(), float).reshape(2, 5)
    np.testing.assert_allclose(found, host_logits(path, x), rtol=1e-5, atol=1e-5)


def night(seconds=300, seed=0):
    """Ten epochs: as they should be, flat, clipped, with what was not recorded, partly flat, in another unit."""
    scale = np.float32([[1, 1, 0.1, 1, 3, 1, 0.2, 5, 0.03, 100]]).T
    x = np.float32(brain(seconds, 100, seed)).reshape(-1, 3000) * scale
    x[1] = 0
    x[3] = np.clip(x[3], -8, 8)
    x[4, :1400] = np.nan
    x[5, :1600] = np.inf
    x[6, 500:1300] = x[6, 500]
    return x


@pytest.mark.parametrize("context", [True, False])
def test_c_stages_as_a_stream_does(context, tmp_path):
    """Epoch by epoch, scored or not: what is known of the night so far is the same, too."""
    model, x = load_model(save_tiny(tmp_path / "tiny")), night()
    net, about, _ = load_exportable(tmp_path / "tiny")
    kept = Context(np.array(CONTEXT["transition"]), np.array(CONTEXT["prior"])) if context else None
    write_c(net, tmp_path / "c", 500, Normalisation(**about["normalisation"]), 100.0, kept)
    sink = io.StringIO()
    score_stream(io.BytesIO(x.tobytes()), sink, model, context=context)
    expected = pd.read_csv(io.StringIO(sink.getvalue()))
    library, state, stages = compile_host(tmp_path / "c", tmp_path), (ctypes.c_float * 6)(), []
    found = run_rows(lambda *given: stages.append(library.sleepkit_epoch(state, *given)), x)
    assert ["?" if stage < 0 else STAGES[stage] for stage in stages] == expected.stage.tolist()
    assert 4 <= (expected.stage == "?").sum() <= 6 and expected.stage.nunique() > 2
    np.testing.assert_allclose(found, expected[list(STAGES)].fillna(0), atol=1e-4)


def test_c_the_compiler_checks_the_size_of_the_arena(tmp_path):
    path, plan = written(lively(random_genotype(2, 1), 2, 2), tmp_path, 60)
    text = (tmp_path / "net.c").read_text()
    assert f"#define ARENA {plan.arena}\n" in text
    (tmp_path / "net.c").write_text(text.replace(f"#define ARENA {plan.arena}\n", f"#define ARENA {plan.arena - 1}\n"))
    with pytest.raises(ArithmeticError, match="arena_is_as_planned"):
        host_logits(path, windows(1, 60))


def test_c_only_windows_of_whole_seconds(tmp_path):
    net = lively(random_genotype(2, 1), 2, 2)
    for samples, fs in ((400, 100.0), (50, 100.0), (3001, 100.0), (40000, 40000 / 30)):
        with pytest.raises(ValueError, match="takes windows of whole seconds that fill 30 s"):
            write_c(net, tmp_path / "net", samples, SCALE, fs)
    assert not list(tmp_path.iterdir())


def test_c_command(tmp_path, capsys):
    save_tiny(tmp_path / "tiny")
    assert main(["export", str(tmp_path / "tiny"), "--c", "--output", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr().out
    assert "tiny.c: arena of " in printed and "C equals PyTorch on noise" in printed
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["tiny.c", "tiny.h"]
    assert "@" not in (tmp_path / "out" / "tiny.h").read_text()


def test_c_is_nothing_that_scoring_loads():
    code = "import sys, sleepkit.scoring.report, sleepkit.scoring.stream\n"
    code += "print([name for name in sys.modules if 'scoring.c_' in name])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.fixture(scope="module")
def prepared(shared, tmp_path_factory):
    folder = tmp_path_factory.mktemp("nights")
    subprocess.run([sys.executable, str(shared / "data" / "unpack.py"), str(folder)], check=True, capture_output=True)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("name", ["fold0_L7", "fold0_L7_pruned", "fold0_L7_distilled"])
def test_c_on_real_windows(name, prepared, tmp_path):
    """Acceptance: floats within 1e-4 of a logit of onnxruntime on 1,000 windows, integers within a point of accuracy on
    the people that fold 0 holds out."""
    net, about, _ = load_exportable(WEIGHTS / name)
    scale = Normalisation(**about["normalisation"])
    known, test = calibration_and_test(prepared, about)
    assert set(test.subject) == {5, 14}
    export_onnx(net, tmp_path / "net.onnx", 500, scale)
    floats = run_session(open_session(tmp_path / "net.onnx"), test.x)
    write_c(net, tmp_path / "net", 500, scale)
    rows = np.linspace(0, len(test) - 1, 1000).astype(int)
    difference = np.abs(host_logits(tmp_path / "net", test.x[rows]) - floats[rows]).max()
    write_c(net, tmp_path / "int8", 500, scale, windows=known)
    integers = host_logits(tmp_path / "int8", test.x)
    accuracy = [100 * (logits.argmax(1) == test.y).mean() for logits in (floats, integers)]
    print(f"{name}: logits differ by {difference:.1e}; float {accuracy[0]:.2f} %, int8 {accuracy[1]:.2f} %")
    assert difference <= 1e-4 and accuracy[0] - accuracy[1] <= 1


@pytest.mark.slow
@pytest.mark.parametrize("core", ["cortex-m4", "cortex-m7"])
@pytest.mark.parametrize("kind", ["float", "int8"])
def test_c_on_an_emulated_microcontroller(core, kind, shared, tmp_path):
    """Acceptance: the real five minutes and ten epochs of a simulated night get the stages of `score --stream`."""
    from sleepkit.bench import wearable
    from sleepkit.scoring.staging import read_night

    if missing := wearable.missing_tools():
        pytest.skip(f"needs {missing}: apt-get install {' '.join(wearable.TOOLS.values())}")
    simulated = wearable.simulated_epochs(tmp_path)
    real = read_night(shared / "data" / "edf" / "SC4001E0-PSG.first300s.edf", 100.0, 3000).x[:, 0]
    model = wearable.NETWORKS["distilled"]
    net, about, _ = load_exportable(model)
    context = load_model(model).context
    known = simulated.reshape(-1, 500)[:512] if kind == "int8" else None
    write_c(net, tmp_path / "net", 500, Normalisation(**about["normalisation"]), 100.0, context, known)
    flash, memory = wearable.build(tmp_path / "net", core)
    for name, x in (("five real minutes", real), ("a simulated night", simulated[::12][:10])):
        found, stack = wearable.emulate(tmp_path / "net", x, core)
        sink = io.StringIO()
        score_stream(io.BytesIO(np.ascontiguousarray(x, "<f4").tobytes()), sink, load_model(model))
        expected = pd.read_csv(io.StringIO(sink.getvalue()))
        stages = ["?" if stage < 0 else STAGES[stage] for stage in found.stage]
        print(f"{core}, {kind}, {name}: {' '.join(stages)}; {found.instructions.max():,} instructions, stack {stack}")
        assert stages == expected.stage.tolist()
        if kind == "float":
            np.testing.assert_allclose(found[list(STAGES)], expected[list(STAGES)].fillna(0), atol=1.1e-4)
    again, _ = wearable.emulate(tmp_path / "net", x[:2], core)
    assert again.equals(found[:2]), "every run counts the same"
    print(f"{core}, {kind}: {flash:,} bytes of flash, {memory + stack:,} of RAM")
    limit = 128 if kind == "int8" else 256
    assert flash <= limit * 1024 and memory + stack <= limit * 1024


@pytest.mark.slow
def test_c_the_five_commands_of_the_page(tmp_path):
    """As a reader types them: the emulated device and the stream print the same stages."""
    from sleepkit.bench import wearable

    if missing := wearable.missing_tools():
        pytest.skip(f"needs {missing}: apt-get install {' '.join(wearable.TOOLS.values())}")
    page = (ROOT / "docs" / "wearable.md").read_text(encoding="utf-8")
    commands = re.search(r"^```sh\n(.*?)^```", page, re.DOTALL | re.MULTILINE)[1].splitlines()
    assert len(commands) == 5
    (tmp_path / "sleepkit").symlink_to(ROOT / "sleepkit")
    write_recording(tmp_path / "night.edf", {"EEG Fpz-Cz": brain(95, 100)}, 100)
    shell = {"cwd": tmp_path, "shell": True, "capture_output": True, "text": True, "check": True}
    python = f'python() {{ "{sys.executable}" "$@"; }}; '
    done = [subprocess.run(python + command, executable="/bin/bash", **shell) for command in commands]
    *device, stack = (done[3].stdout + done[3].stderr).splitlines()  # qemu's text comes by its standard error
    streamed = pd.read_csv(io.StringIO(done[4].stdout))
    assert [STAGES[int(line.split()[0])] for line in device] == streamed.stage.tolist() and len(device) == 3
    assert stack.startswith("stack ")
