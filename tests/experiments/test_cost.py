"""Multiply-accumulates of a network small enough to count by hand (the published six: tests/test_network.py), size,
latency, memory and start-up, as far as they follow from what was measured; how fast is for `bench infer`."""

import pandas as pd
import pytest
import torch
from torch import nn

from sleepkit.bench import infer
from sleepkit.experiments.cost import RUNTIMES, measure_cost
from sleepkit.experiments.startup import measure_startup
from sleepkit.network.saved import save_network
from sleepkit.network.size import count_macs, count_parameters
from sleepkit.network.sleepnet import SleepNet
from sleepkit.paper.published import published_genotype
from sleepkit.pruning.filters import prune_filters
from sleepkit.results import COLUMNS


def test_macs_by_hand_and_the_mode_is_left_alone():
    net = nn.Sequential(
        nn.Conv1d(1, 4, 3, padding=1),
        nn.ReLU(),
        nn.Conv1d(4, 4, 5, stride=2, groups=4),
        nn.Flatten(),
        nn.Linear(4 * 8, 5),
    )
    assert count_macs(net, 20) == 20 * 4 * 3 + 8 * 4 * 5 + 4 * 8 * 5
    assert net.training
    before = [p.clone() for p in net.parameters()]
    count_macs(net.eval(), 20)
    assert not net.training
    assert all(torch.equal(a, b) for a, b in zip(before, net.parameters(), strict=False))


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("networks")
    full = SleepNet(published_genotype("edf20"), 4, 3).eval()
    networks = {"full": full, "pruned": prune_filters(full)}
    for name, net in networks.items():
        save_network(net, folder / name, {"samples": 100})
    return networks, {name: folder / name for name in networks}


@pytest.fixture(scope="module")
def cost(saved):
    """Of the full network alone: each network takes three processes. The golden notebook measures both (test_runs)."""
    torch.set_num_threads(2)
    frame = measure_cost({"full": saved[1]["full"]}, samples=(600, 100), repeats=12)
    assert torch.get_num_threads() == 2
    torch.set_num_threads(1)
    return frame


def test_cost_has_a_row_per_runtime_and_length(cost, saved):
    assert list(cost.columns) == COLUMNS["cost.csv"]
    rows = cost[["network", "samples", "runtime"]].itertuples(index=False, name=None)
    assert list(rows) == [("full", samples, runtime) for samples in (600, 100) for runtime in RUNTIMES]
    assert set(cost.params) == {count_parameters(saved[0]["full"])}
    for samples, same in cost.groupby("samples"):
        assert set(same.macs) == {count_macs(saved[0]["full"], samples)}
    assert not cost.isna().any(axis=None)
    assert 0 < cost.attrs["processor_share"] <= 1.01


def test_cost_is_consistent(cost, saved):
    assert (cost.median_ms > 0).all() and (cost.p95_ms >= cost.median_ms).all()
    assert cost.epochs_per_s.to_numpy() == pytest.approx(1000 / cost.median_ms.to_numpy())
    pair = sum(saved[1]["full"].with_suffix(ending).stat().st_size for ending in (".safetensors", ".json"))
    assert set(cost.file_bytes[cost.runtime == "pytorch"]) == {pair}
    by_runtime = cost.groupby("runtime")[["peak_mb", "startup_s"]].mean()
    # PyTorch is some 200 MB and a second of imports; a process that loads it by mistake shows here.
    assert by_runtime.peak_mb["onnx"] < 0.6 * by_runtime.peak_mb["pytorch"]
    assert by_runtime.startup_s["onnx"] < by_runtime.startup_s["pytorch"]
    peaks = cost.set_index(["runtime", "samples"]).peak_mb.unstack()
    assert (peaks[600] >= peaks[100]).all()


def test_ratios_of_known_latencies():
    latency = {("full", "pytorch"): 12.0, ("full", "onnx"): 5.0, ("pruned", "pytorch"): 3.0, ("pruned", "onnx"): 2.0}
    rows = [
        {"network": network, "runtime": runtime, "samples": samples, "median_ms": ms * samples / 500}
        for (network, runtime), ms in latency.items()
        for samples in (3000, 500)
    ]
    found = infer.ratios(pd.DataFrame(rows))
    assert found.samples.tolist() == [500] * 3 + [3000] * 3
    assert found.measured.tolist() == pytest.approx([0.4, 2.4, 1.5] * 2)
    assert found.met.tolist() == [None, True, False, True, True, False]


def both(cost):
    """What is measured of one network as if it were of two."""
    return pd.concat([cost, cost.assign(network="pruned")], ignore_index=True)


def test_bench_says_when_the_machine_was_busy(cost, monkeypatch, capsys):
    for share, expected in ((0.5, True), (0.99, False)):
        frame = both(cost)
        frame.attrs["processor_share"] = share
        monkeypatch.setattr(infer, "measure_cost", lambda *arguments: frame)  # noqa: B023
        infer.run()
        assert ("had a processor 50 % of the time" in capsys.readouterr().out) == expected


def test_bench_prints_table_9_and_the_ratios(cost, monkeypatch, capsys):
    measured = both(cost)
    measured = measured.assign(samples=measured.samples.map({600: 3000, 100: 500}))  # those that it has targets for
    measured.attrs["processor_share"] = 1.0
    monkeypatch.setattr(infer, "measure_cost", lambda *arguments: measured)
    frame = infer.run()
    printed = capsys.readouterr().out
    assert printed.count("pytorch") == 4 and "parameters" in printed
    assert printed.count("target at least 2") == 4 and printed.count("target at most 0.6") == 1
    share = infer.ratios(frame).measured[3]
    assert f"pruned / full, both ONNX, 3000 samples: {share:.2f} (target at most 0.6)" in printed


def test_a_process_that_fails_says_why(saved, tmp_path):
    with pytest.raises(RuntimeError, match=r"ended with status 1\n(.|\n)*nothing.onnx: not an ONNX file"):
        measure_startup("onnx", tmp_path / "nothing.onnx", [100])
    with pytest.raises(ValueError, match=r"nothing.json and .safetensors: no such file"):
        measure_cost({"full": tmp_path / "nothing"})
