"""The bilevel search at toy size: what a step changes, what a round removes, and that nothing disturbs a seeded run."""

import math
import os
import re
import subprocess
import sys
from dataclasses import asdict, replace

import numpy as np
import pandas as pd
import pytest
import torch
from torch.nn import functional as F

from sleepkit.epochs import STAGES, EpochSet
from sleepkit.execution import outlook
from sleepkit.execution.checkpoint import Deadline, TimeOver
from sleepkit.execution.paths import ROOT
from sleepkit.genotype import OPERATION_NAMES, edges
from sleepkit.pruning.data import class_limits
from sleepkit.pruning.operations import discretise
from sleepkit.search import bilevel as search
from sleepkit.search.bilevel import KINDS, run_search, split_halves
from sleepkit.search.settings import SearchSettings
from sleepkit.search.supernet import SuperNet

# Pruning rounds after epochs 2 and 4; alpha moves fast, so that operations fall within four epochs.
TOY = SearchSettings(
    channels=2, cells=3, nodes=4, epochs=4, batch=16, alpha_lr=0.3, prune_every=2, prune_until=4, data_fraction=0.1
)
BRIEF = replace(TOY, epochs=3, batch=32)  # one step of each kind an epoch, one round after the second


def toy_epochs(n=61, samples=64, seed=0):
    """Noise with a stage-dependent rhythm; ids are neither sorted by row nor dense, as after loading some nights."""
    random = np.random.default_rng(seed)
    y = np.arange(n) % 5
    x = 20 * random.normal(size=(n, samples)) + 40 * np.sin(0.3 * np.arange(samples) * (1 + y[:, None]))
    subject = np.arange(n) // 10
    ids = (subject * 10 + 1) * 10_000 + np.arange(n) % 10
    night = np.array([f"SC4{k:02d}1E0" for k in subject])
    return EpochSet(x.astype(np.float32), y.astype(np.int64), subject, night, ids, 100.0)


def same(one, other):
    """Two results are the same to the last bit, but for the seconds."""
    assert one.genotype == other.genotype
    pd.testing.assert_frame_equal(
        one.history.drop(columns="seconds"), other.history.drop(columns="seconds"), check_exact=True
    )
    for name in ("removed_samples", "removed_operations", "voe"):
        pd.testing.assert_frame_equal(getattr(one, name), getattr(other, name), check_exact=True)
    for name in ("weights", "kept"):
        for key, array in getattr(one, name).items():
            np.testing.assert_array_equal(array, getattr(other, name)[key])
            assert array.dtype == getattr(other, name)[key].dtype


@pytest.fixture(scope="module")
def folder_of_whole(tmp_path_factory):
    return tmp_path_factory.mktemp("whole")


@pytest.fixture(scope="module")
def whole(folder_of_whole):
    """A run that nothing interrupted."""
    return run_search(toy_epochs(), TOY, folder_of_whole)


@pytest.fixture(scope="module")
def brief(tmp_path_factory):
    """A shorter one, for all that interrupts a run or repeats it."""
    return run_search(toy_epochs(), BRIEF, tmp_path_factory.mktemp("brief"))


# What a run is


def test_every_setting_of_a_search_is_part_of_its_name():
    """Otherwise a search would be taken for one with other settings that is finished already."""
    epochs, names = toy_epochs(), {search.search_key(toy_epochs(), TOY)}
    for name, value in asdict(TOY).items():
        other = "bfloat16" if name == "precision" else not value if isinstance(value, bool) else value + 1
        names.add(search.search_key(epochs, replace(TOY, **{name: other})))
    assert len(names) == len(asdict(TOY)) + 1


def test_the_defaults_are_the_papers():
    paper = {"channels": 16, "cells": 6, "nodes": 7, "epochs": 25, "batch": 32, "lr": 0.025, "alpha_lr": 3e-4}
    paper |= {
        "entropy_weight": 0.001,
        "prune_every": 5,
        "prune_until": 22,
        "data_fraction": 0.05,
        "split_seed": 47,
        "seed": 42,
    }
    paper |= {"data_pruning": True, "operation_pruning": True, "precision": "float32"}
    assert asdict(SearchSettings()) == paper


def test_one_epoch_between_rounds_has_no_variance():
    with pytest.raises(ValueError, match="prune_every=1"):
        SearchSettings(prune_every=1)


@pytest.mark.parametrize("name", ["epochs", "batch"])
def test_a_search_without_epochs_or_samples_in_a_batch_is_refused(name):
    assert asdict(SearchSettings(**{name: 1}))[name] == 1
    with pytest.raises(ValueError, match=f"{name}=0: a search needs at least 1"):
        SearchSettings(**{name: 0})


def test_halves_are_stratified_disjoint_complete_and_seeded():
    y = np.repeat(np.arange(5), (41, 14, 88, 28, 38))
    halves = split_halves(y, 47)
    assert sorted(np.concatenate(list(halves.values()))) == list(range(len(y)))
    counts = [np.bincount(y[rows]) for rows in halves.values()]
    assert np.abs(counts[0] - counts[1]).max() <= 1
    assert np.array_equal(halves["train"], split_halves(y, 47)["train"])
    assert not np.array_equal(halves["train"], split_halves(y, 48)["train"])


def test_two_epochs_equal_a_plain_bilevel_loop(tmp_path):
    """Order of the two steps, optimisers, cosine, annealing and entropy as method section 1 words them."""
    epochs, settings = (
        toy_epochs(n=57),
        replace(TOY, epochs=2, data_pruning=False, operation_pruning=False, entropy_weight=0.3),
    )
    found = run_search(epochs, settings, tmp_path)
    torch.manual_seed(42)
    net = SuperNet(2, 3, 4)
    weights = [p for name, p in net.named_parameters() if not name.startswith("alpha")]
    sgd = torch.optim.SGD(weights, 0.025, momentum=0.9, weight_decay=3e-4)
    adam = torch.optim.Adam(list(net.alpha.values()), 0.3, betas=(0.5, 0.999), weight_decay=1e-3)
    x, y = torch.from_numpy(epochs.x)[:, None], torch.from_numpy(epochs.y)
    halves = split_halves(epochs.y, 47)
    for epoch in range(2):
        net.temperature = 1.5 * 0.95**epoch
        sgd.param_groups[0]["lr"] = 0.025 * (1 + math.cos(math.pi * epoch / 2)) / 2
        random, batches = np.random.default_rng((42, epoch)), {}
        for half in ("train", "valid"):
            batches[half] = torch.from_numpy(random.permutation(halves[half])).split(16)
        net.train()
        losses, correct = [], 0
        for step in range(2):
            rows = batches["valid"][step]
            entropy = 0
            for kind in KINDS:
                w = torch.softmax(net.alpha[kind] / net.temperature, 1)
                entropy = entropy - (w * w.log()).sum()
            net.zero_grad()
            (F.cross_entropy(net(x[rows]), y[rows]) + 0.3 * entropy).backward()
            adam.step()
            rows = batches["train"][step]
            logits = net(x[rows])
            loss = F.cross_entropy(logits, y[rows])
            net.zero_grad()
            loss.backward()
            sgd.step()
            losses.append(float(loss.detach()) * len(rows))
            correct += int((logits.argmax(1) == y[rows]).sum())
        row = found.history.iloc[epoch]
        assert row["temperature"] == net.temperature
        assert row["train_loss"] == pytest.approx(sum(losses) / len(halves["train"]), rel=1e-4)
        assert row["train_acc"] == pytest.approx(correct / len(halves["train"]))
        with torch.no_grad():
            logits = net.eval()(x[halves["valid"]])
        assert row["valid_loss"] == pytest.approx(float(F.cross_entropy(logits, y[halves["valid"]])), rel=1e-4)
        for kind in KINDS:
            plain = torch.softmax(net.alpha[kind] / net.temperature, 1).detach().numpy()
            np.testing.assert_allclose(found.weights[kind][epoch], plain, rtol=1e-3)


def test_each_step_changes_its_own_parameters_only(tmp_path, monkeypatch):
    runs, changed = [], {"sgd": [], "adam": []}
    start, descend = search._start, search._descend
    monkeypatch.setattr(search, "_start", lambda *arguments: runs.append(start(*arguments)) or runs[-1])

    def watched(objective, optimiser):
        net = runs[0].net
        groups = {"weights": net.weight_parameters(), "alpha": net.arch_parameters()}
        before = {name: [p.detach().clone() for p in group] for name, group in groups.items()}
        descend(objective, optimiser)
        moved = {
            name: any(not torch.equal(p, old) for p, old in zip(group, before[name], strict=False))
            for name, group in groups.items()
        }
        changed["sgd" if optimiser is runs[0].sgd else "adam"].append(moved)

    monkeypatch.setattr(search, "_descend", watched)
    run_search(toy_epochs(), replace(TOY, epochs=1), tmp_path)
    assert changed["sgd"] == [{"weights": True, "alpha": False}] * 2
    assert changed["adam"] == [{"weights": False, "alpha": True}] * 2


def test_the_shorter_half_starts_again_and_the_last_error_counts(tmp_path, monkeypatch):
    """40 samples left on one side, 20 on the other: the short side's first batch comes twice."""
    seen, start = [], search._start

    def uneven(*arguments):
        run = start(*arguments)
        run.kept = {"train": np.arange(40), "valid": np.arange(40, 60)}
        seen.append(run)
        return run

    monkeypatch.setattr(search, "_start", uneven)
    calls, errors = [], search.prediction_errors

    def watched(logits, y):
        calls.append((len(y), errors(logits, y)))
        return calls[-1][1]

    monkeypatch.setattr(search, "prediction_errors", watched)
    run_search(toy_epochs(), replace(TOY, epochs=1), tmp_path)
    assert [n for n, _ in calls] == [16, 16, 4, 16, 16, 8]  # alpha step, weight step, three times
    last = np.concatenate([calls[2][1].numpy(), calls[4][1].numpy()])
    np.testing.assert_array_equal(np.sort(seen[0].errors[40:60, 0]), np.sort(last))
    assert not np.isnan(seen[0].errors[:60]).any()


# What a round removes


def test_history_tells_what_happened(whole):
    history = whole.history
    assert history["epoch"].tolist() == [1, 2, 3, 4]
    np.testing.assert_allclose(history["temperature"], [1.5 * 0.95**t for t in range(4)])
    assert history["removed_train"].tolist() == [0, 3, 0, 2]  # int(0.1 * 30), int(0.1 * 27)
    assert history["removed_valid"].tolist() == [0, 3, 0, 2]  # int(0.1 * 31), int(0.1 * 28)
    assert history["n_train"].tolist() == [30, 30, 27, 27]
    assert history["n_valid"].tolist() == [31, 31, 28, 28]
    assert history["operations"].iloc[:2].tolist() == [280, 280]
    lost = history["operations"].iloc[1] - history["operations"].iloc[2]
    assert history["removed_operations"].tolist()[:3] == [0, lost, 0]
    assert lost > 0
    assert len(whole.removed_operations) == history["removed_operations"].sum()
    assert history.drop(columns="seconds").notna().all(axis=None)


def test_removed_samples_add_up_and_never_come_back(whole):
    epochs = toy_epochs()
    halves, stage_of = split_halves(epochs.y, 47), dict(zip(epochs.id.tolist(), epochs.y.tolist(), strict=False))
    table = whole.removed_samples
    assert len(table) == 2 * 2 * 5
    for half, rows in halves.items():
        limits, present = class_limits(np.bincount(epochs.y[rows]), 2), set(epochs.id[rows].tolist())
        gone = np.zeros(5, int)
        for epoch in (2, 4):  # noqa: B007  the queries read it
            round_ = whole.voe.query("half == @half and epoch == @epoch")
            assert set(round_["id"]) == present  # whoever was removed before is not even ranked again
            removed = round_[round_["removed"]]
            stayed = round_[~round_["removed"]]
            free = [limits[k] - gone[k] > 0 for k in range(5)]
            allowed = stayed[[free[stage_of[i]] for i in stayed["id"]]]
            if half == "train":
                assert removed["voe"].max() <= allowed["voe"].min()
            else:
                assert removed["voe"].min() >= allowed["voe"].max()
            present -= set(removed["id"])
            lost = np.bincount([stage_of[i] for i in removed["id"]], minlength=5)
            gone += lost
            rows_ = table.query("half == @half and epoch == @epoch").set_index("stage").loc[list(STAGES)]
            assert rows_["removed"].tolist() == lost.tolist()
            assert rows_["left"].tolist() == np.bincount([stage_of[i] for i in present], minlength=5).tolist()
        assert set(whole.kept[half].tolist()) == present
        assert (gone <= limits).all()


def test_a_class_may_lose_its_limit_over_all_rounds_together(tmp_path, monkeypatch):
    def no_training(run, *_):
        drawn = np.random.default_rng(run.errors.shape[1]).random((len(run.y), 1))
        run.errors = np.column_stack([run.errors, drawn.astype(np.float32)])
        return 0.0, 0.0

    monkeypatch.setattr(search, "_bilevel_pass", no_training)
    monkeypatch.setattr(search, "class_limits", lambda counts, rounds: np.array([1, 0, 2, 0, 1]))
    found = run_search(toy_epochs(), replace(TOY, operation_pruning=False), tmp_path)
    for half in ("train", "valid"):
        lost = found.removed_samples.query("half == @half").groupby("stage")["removed"].sum()
        assert [lost[stage] for stage in STAGES] == [1, 0, 2, 0, 1]
        assert found.history[f"removed_{half}"].tolist() == [0, 3, 0, 1]


def test_errors_are_kept_under_the_sample_however_batches_are_shuffled(tmp_path, monkeypatch):
    """The error of an epoch's sample depends on its label alone here, so each must stand in its own row."""
    runs, start = [], search._start
    monkeypatch.setattr(search, "_start", lambda *arguments: runs.append(start(*arguments)) or runs[-1])
    monkeypatch.setattr(search, "prediction_errors", lambda logits, y: y.float() + 0.5)
    run_search(toy_epochs(), replace(TOY, epochs=2), tmp_path)
    np.testing.assert_array_equal(runs[0].errors, np.repeat(toy_epochs().y[:, None] + 0.5, 2, axis=1))


def test_removed_operations_are_gone_from_the_weights(whole):
    table = whole.removed_operations
    assert set(table["kind"]) == set(KINDS)
    assert (table["weight"] < 0.05).all()
    assert not table.duplicated(["kind", "edge", "operation"]).any()
    for row in table.itertuples():
        assert edges(4)[row.edge] == (row.node, row.source)
        column = OPERATION_NAMES.index(row.operation)
        assert whole.weights[row.kind][row.epoch - 1, row.edge, column] == pytest.approx(row.weight)
        assert (whole.weights[row.kind][row.epoch :, row.edge, column] == 0).all()
    for kind in KINDS:
        assert whole.weights[kind].shape == (4, 14, 10)
        np.testing.assert_allclose(whole.weights[kind].sum(2), 1, rtol=1e-5)


def test_both_levels_of_pruning_can_be_switched_off(tmp_path):
    settings = replace(BRIEF, epochs=2, alpha_lr=0.6)
    data_off = run_search(toy_epochs(), replace(settings, data_pruning=False), tmp_path / "data")
    operations_off = run_search(toy_epochs(), replace(settings, operation_pruning=False), tmp_path / "operations")
    assert len(data_off.removed_samples) == len(data_off.voe) == 0
    assert len(data_off.kept["train"]) + len(data_off.kept["valid"]) == 61
    assert len(data_off.removed_operations) > 0
    assert len(operations_off.removed_operations) == 0
    assert (operations_off.weights["normal"] > 0).all()
    assert operations_off.genotype == discretise(*(operations_off.weights[kind][-1] for kind in KINDS))
    assert operations_off.history["removed_train"].tolist() == [0, 3]


# Same again, in pieces, or not at all

SCRIPT = """
import sys
from tests.search.test_bilevel import BRIEF, outcome, run_search, toy_epochs
print(outcome(run_search(toy_epochs(), BRIEF, sys.argv[1])))
"""


def outcome(found):
    history = found.history.drop(columns="seconds").to_json(double_precision=15)
    return f"{found.genotype.to_json()} {history} {found.kept['train'].tolist()} {found.kept['valid'].tolist()}"


def test_same_seed_same_result_in_a_process_with_another_hash_seed(brief, tmp_path):
    seed = "1" if os.environ.get("PYTHONHASHSEED") != "1" else "2"
    environment = os.environ | {
        "PYTHONHASHSEED": seed,
        "OMP_NUM_THREADS": str(torch.get_num_threads()),
        "PYTHONPATH": str(ROOT),
    }
    command = [sys.executable, "-c", SCRIPT, str(tmp_path)]
    printed = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert printed.strip() == outcome(brief)


def test_another_seed_gives_another_run(brief, tmp_path):
    other = run_search(toy_epochs(), replace(BRIEF, seed=1, epochs=1), tmp_path)
    assert other.history["train_loss"][0] != brief.history["train_loss"][0]


class Killed(BaseException):
    """As sudden as kill -9 seen from inside: nothing in the search may catch it."""


@pytest.mark.parametrize("step", [3, 6])
def test_killed_in_the_middle_and_started_again(brief, tmp_path, monkeypatch, step):
    """Killed in the second and in the last epoch, after no and after one round; at most that epoch is done again."""
    errors, calls = search.prediction_errors, []

    def counted(*arguments):
        calls.append(1)
        if len(calls) == step:
            raise Killed
        return errors(*arguments)

    monkeypatch.setattr(search, "prediction_errors", counted)
    with pytest.raises(Killed):
        run_search(toy_epochs(), BRIEF, tmp_path)
    done = len(calls)
    same(run_search(toy_epochs(), BRIEF, tmp_path), brief)
    assert len(calls) - done == 6 - 2 * ((step - 1) // 2)  # two error measurements an epoch


def test_a_deadline_stops_between_epochs_and_the_next_call_goes_on(brief, tmp_path, monkeypatch):
    with pytest.raises(TimeOver, match="the minutes are over .*; what is done is kept, run again"):
        run_search(toy_epochs(), BRIEF, tmp_path, Deadline.after(0))
    assert not (tmp_path / "search.pt").exists()
    check = Deadline.check
    for _ in range(2):
        checks = iter((Deadline(), Deadline.after(0)))  # the first epoch may be searched, the next may not
        monkeypatch.setattr(Deadline, "check", lambda self, checks=checks: check(next(checks)))
        with pytest.raises(TimeOver):
            run_search(toy_epochs(), BRIEF, tmp_path, Deadline())
    monkeypatch.undo()
    same(run_search(toy_epochs(), BRIEF, tmp_path), brief)


def test_a_search_that_will_take_long_says_so_once(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(search, "FIRST", 1)
    monkeypatch.setattr(outlook, "LONG", 0)
    run_search(toy_epochs(), replace(TOY, epochs=1), tmp_path)
    said = r"search: 1 epochs of 2 steps on cpu: about 0.\d hours. Stop it at any time: .* --max-minutes 60 .*\n"
    assert re.fullmatch(said, capsys.readouterr().out)


def test_a_finished_search_is_not_repeated(whole, folder_of_whole, monkeypatch):
    monkeypatch.setattr(search, "_search_epoch", lambda *_: pytest.fail("an epoch was searched again"))
    same(run_search(toy_epochs(), TOY, folder_of_whole), whole)


def test_a_checkpoint_of_another_configuration_or_other_data_is_refused(tmp_path):
    run_search(toy_epochs(), replace(BRIEF, epochs=1), tmp_path)
    before = (tmp_path / "search.pt").read_bytes()
    others = [(toy_epochs(), replace(BRIEF, epochs=1, seed=7)), (toy_epochs(seed=1), replace(BRIEF, epochs=1))]
    others += [(toy_epochs(n=60), replace(BRIEF, epochs=1))]
    for epochs, settings in others:
        with pytest.raises(ValueError, match=r"search\.pt: checkpoint of another configuration"):
            run_search(epochs, settings, tmp_path)
    assert (tmp_path / "search.pt").read_bytes() == before


def test_a_damaged_checkpoint_is_named_and_set_aside(tmp_path, capsys):
    settings = replace(BRIEF, epochs=1)
    first = run_search(toy_epochs(), settings, tmp_path)
    path = tmp_path / "search.pt"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    same(run_search(toy_epochs(), settings, tmp_path), first)
    assert "search.pt: damaged checkpoint" in capsys.readouterr().out
    assert (tmp_path / "search.pt.damaged").exists()


def test_nan_in_the_signal_stops_at_once(tmp_path):
    epochs = toy_epochs()
    epochs.x[7, 3] = np.nan
    with pytest.raises(
        FloatingPointError, match=r"search epoch 1, step [12] of 2 \((train|valid) half\): the loss is nan"
    ):
        run_search(epochs, TOY, tmp_path)
    assert not (tmp_path / "search.pt").exists()


def test_a_nan_loss_names_epoch_and_step_and_keeps_what_was_before(brief, tmp_path, monkeypatch):
    anneal = search.temperature
    monkeypatch.setattr(search, "temperature", lambda epoch: math.nan if epoch == 2 else anneal(epoch))
    with pytest.raises(FloatingPointError, match="search epoch 3, step 1 of 1"):
        run_search(toy_epochs(), BRIEF, tmp_path)
    restore, seen = search._restore, []
    monkeypatch.setattr(
        search, "_restore", lambda run, state: restore(run, state) or seen.append(pd.DataFrame(run.history))
    )
    with pytest.raises(TimeOver):
        run_search(toy_epochs(), BRIEF, tmp_path, Deadline.after(0))
    plain = [frame.drop(columns="seconds") for frame in (seen[0], brief.history.iloc[:2])]
    pd.testing.assert_frame_equal(*plain, check_exact=True)


def test_weights_broken_by_an_epochs_last_step_do_not_reach_the_checkpoint(tmp_path, monkeypatch):
    descend, calls = search._descend, []

    def breaking(objective, optimiser):
        descend(objective, optimiser)
        calls.append(1)
        if len(calls) == 4:  # the last step of the second epoch
            with torch.no_grad():
                optimiser.param_groups[0]["params"][0].fill_(math.nan)

    with monkeypatch.context() as patched:
        patched.setattr(search, "_descend", breaking)
        with pytest.raises(FloatingPointError, match="search epoch 2, after its last step"):
            run_search(toy_epochs(), replace(BRIEF, epochs=2), tmp_path)
    assert len(run_search(toy_epochs(), replace(BRIEF, epochs=2), tmp_path).history) == 2


# Size


def test_a_mapped_signal_is_searched_alike(tmp_path, brief):
    epochs = toy_epochs()
    np.save(tmp_path / "x.npy", epochs.x)
    mapped = replace(epochs, x=np.load(tmp_path / "x.npy", mmap_mode="c"))
    same(run_search(mapped, BRIEF, tmp_path / "run"), brief)


FULL_SIZE = """
import sys
import numpy as np, torch
from sleepkit.epochs import EpochSet
from sleepkit.search import bilevel as search
from sleepkit.search.settings import SearchSettings

n, samples = 195_479, 3000
x = np.lib.format.open_memmap(sys.argv[1], "w+", np.float32, (n, samples))  # sparse: zeros take no room on the disk
y = np.arange(n) % 5
epochs = EpochSet(x, y, np.zeros(n, int), np.full(n, "SC4001E0"), np.arange(n), 100.0)
settings = SearchSettings(channels=2, cells=3, nodes=4, batch=32)
search.search_key(epochs, settings)
run = search._start(epochs, settings, "cpu")
rows = torch.randperm(n)
for step in range(200):
    batch = run.x[rows[32 * step : 32 * step + 32]].unsqueeze(1)
    if step % 50 == 0:
        run.net(batch)
for line in open("/proc/self/status"):
    if line.startswith("RssAnon"):
        print(int(line.split()[1]) / 1024)
"""


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="reads what Linux says of a process")
def test_edf78_at_full_size_streams_from_a_memory_map(tmp_path):
    """2.3 GB of signal, mapped: the process owns a fraction of that, and the rest is the disk's cache."""
    command = [sys.executable, "-c", FULL_SIZE, str(tmp_path / "x.npy")]
    shown = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert (tmp_path / "x.npy").stat().st_size > 2.3e9
    assert float(shown) < 800
