"""Scoring: right results against a direct computation, every kind of recording, clear errors, whole files."""

import datetime
import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
import warnings

import edfio
import mne
import numpy as np
import pandas as pd
import pytest
import torch
from edf_files import write_hypnogram
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.image import imread
from recording_files import CONTEXT, brain, save_tiny, write_recording

from sleepkit import recordings
from sleepkit.__main__ import main
from sleepkit.epochs import STAGES
from sleepkit.evaluation.context import Context, smooth
from sleepkit.execution.paths import ROOT
from sleepkit.network.saved import load_network
from sleepkit.recordings.channel import find_channel, read_channel
from sleepkit.recordings.quality import bad_seconds, features, humming, signal_facts, unlike
from sleepkit.scoring import load_model, report, score
from sleepkit.scoring import model as models
from sleepkit.scoring.report import ENDINGS, HEADER, score_files
from sleepkit.scoring.staging import STRANGE

NAME = "EEG Fpz-Cz"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return load_model(save_tiny(tmp_path_factory.mktemp("model") / "tiny"))


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    return save_tiny(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    from sleepkit.recordings.simulation import simulate

    return simulate(tmp_path_factory.mktemp("edf"), subjects=[0], hours=0.5)[0]


def write_night(path, length=300, rate=100, x=None, **how):
    return write_recording(path, {NAME: brain(length, rate) if x is None else x}, rate, **how)


# right results


def by_hand(psg, saved):
    """Probabilities of a recording by edfio and PyTorch alone, each window by itself: (epochs, 5)."""
    signal = next(s for s in edfio.read_edf(psg, lazy_load_data=False).signals if s.label == NAME)
    x = signal.data[: len(signal.data) // 3000 * 3000].reshape(-1, 500)
    net, facts = load_network(saved)
    scale = facts["normalisation"]
    x = np.clip((x - scale["mean"]) / scale["sd"], -3, 3) / 3
    with torch.no_grad():
        windows = [torch.softmax(net(torch.tensor(w[None, None], dtype=torch.float32)), 1)[0].numpy() for w in x]
    return np.array(windows).reshape(-1, 6, 5).mean(axis=1)


def test_a_night_scores_as_by_hand(simulated, saved):
    psg, _ = simulated
    expected = by_hand(psg, saved)
    alone = score(psg, model=saved, context=False).epochs
    assert list(alone) == HEADER.split(",")
    np.testing.assert_allclose(alone[list(STAGES)], expected, atol=2e-5)
    assert alone["stage"].tolist() == [STAGES[i] for i in expected.argmax(1)]
    assert alone["onset"].tolist() == [30 * i for i in range(60)]
    context = Context(np.array(CONTEXT["transition"]), np.array(CONTEXT["prior"]), CONTEXT["weight"])
    both = score(str(psg), model=str(saved) + ".safetensors").epochs
    np.testing.assert_allclose(both[list(STAGES)], smooth(expected, context), atol=1e-4)
    assert both["stage"].tolist() != alone["stage"].tolist()


@pytest.mark.parametrize("rarity", [1.0, 0.5, 0.0])
def test_what_is_not_scored_leaves_the_decision_to_its_neighbours(tmp_path, rarity):
    """As if no network had said anything of those epochs: a forward and backward pass written out."""
    model = load_model(save_tiny(tmp_path / "rare", context=CONTEXT | {"rarity": rarity}))
    x = brain(600, 100)
    x[9000:18_000] = 7  # epochs 3 to 5 are flat
    found = score(write_night(tmp_path / "a.edf", x=x), model)
    alone, context = found.network[list(STAGES)].to_numpy(), model.context
    evidence = np.ones((20, 5))
    there = np.isfinite(alone[:, 0])
    assert np.flatnonzero(~there).tolist() == [3, 4, 5]
    evidence[there] = (alone[there] / context.prior**rarity) ** context.weight
    before, after = np.empty((20, 5)), np.ones((20, 5))
    before[0] = context.prior * evidence[0]
    for n in range(1, 20):
        before[n] = before[n - 1] @ context.transition * evidence[n]
    for n in range(18, -1, -1):
        after[n] = context.transition @ (evidence[n + 1] * after[n + 1])
    expected = before * after / (before * after).sum(1, keepdims=True)
    np.testing.assert_allclose(found.epochs.loc[there, list(STAGES)], expected[there], atol=1e-4)


def test_a_model_of_whole_epochs(tmp_path):
    model = load_model(save_tiny(tmp_path / "whole", samples=3000))
    night = write_night(tmp_path / "night.edf")
    net, _ = load_network(tmp_path / "whole")
    x = torch.tensor(np.clip(read_channel(night).x.reshape(10, 1, 3000) / 20, -3, 3) / 3)
    with torch.no_grad():
        expected = torch.softmax(net(x), 1).numpy()
    np.testing.assert_allclose(score(night, model, context=False).epochs[list(STAGES)], expected, atol=1e-5)


def test_a_derivation_is_the_difference(tmp_path, model):
    a, b = brain(300, 100), brain(300, 100, seed=1)
    whole = write_recording(tmp_path / "a.edf", {NAME: a - b}, 100)
    parts = write_recording(tmp_path / "b.edf", {"EEG Fpz": a, "EEG Cz": b, "ECG": a}, 100)
    expected = score(whole, model).epochs
    for channel in (None, "Fpz - Cz", "EEG Fpz-EEG Cz", "fpz-cz"):
        found = score(parts, model, channel)
        np.testing.assert_allclose(found.epochs[list(STAGES)], expected[list(STAGES)], atol=5e-3)
        assert found.night.channel == "EEG Fpz - EEG Cz"


@pytest.mark.parametrize("rate", [64, 128, 199.5, 200, 256, 500, 512])
def test_any_sampling_rate_gives_the_same_stages(tmp_path, model, rate):
    """The waves lie below 20 Hz, so that every rate holds them whole."""
    expected = score(write_night(tmp_path / "a.edf", 600), model, context=False).epochs
    other = write_night(tmp_path / "b.edf", 600, rate, x=brain(600, rate), seconds=2)
    found = score(other, model, context=False)
    np.testing.assert_allclose(found.epochs[list(STAGES)][:-1], expected[list(STAGES)][:-1], atol=0.02)
    assert any("resampled" in note for note in found.notes)
    assert any("nothing above 32 Hz" in note for note in found.notes) == (rate == 64)


def test_bdf_is_edf_with_more_bits(tmp_path, model):
    edf, bdf = (write_night(tmp_path / f"a.{kind.lower()}", kind=kind) for kind in ("EDF", "BDF"))
    np.testing.assert_allclose(read_channel(edf).x, read_channel(bdf).x, atol=0.02)
    np.testing.assert_allclose(read_channel(bdf).x, brain(300, 100), atol=1e-3)
    assert score(edf, model).epochs["stage"].tolist() == score(bdf, model).epochs["stage"].tolist()


def test_what_else_mne_reads(tmp_path, model):
    info = mne.create_info(["EOG", "Fpz", "Cz"], 100.0, ["eog", "eeg", "eeg"])
    x = np.array([brain(310, 100, seed) for seed in range(3)]) * 1e-6
    mne.io.RawArray(x, info, verbose="ERROR").save(tmp_path / "night_raw.fif", verbose="ERROR")
    found = score(tmp_path / "night_raw.fif", model)
    edf = write_recording(tmp_path / "a.edf", {NAME: (x[1] - x[2]) * 1e6}, 100)
    assert found.epochs["stage"].tolist() == score(edf, model).epochs["stage"].tolist()
    assert "the last 10 s are no whole epoch and were left out" in found.notes


@pytest.mark.parametrize("unit, factor", [("mV", 1e-3), ("V", 1e-6), ("µV", 1), ("", 1), ("", 1e-3), ("", 1e-6)])
def test_units(tmp_path, model, unit, factor):
    night = write_night(tmp_path / "a.edf", x=brain(300, 100) * factor, unit=unit, physical=1000 * factor)
    found = score(night, model)
    assert found.epochs["stage"].tolist() == score(write_night(tmp_path / "b.edf"), model).epochs["stage"].tolist()
    assert any("no unit" in note for note in found.notes) == (unit == "")


def test_direct_current_is_taken_out(tmp_path, model):
    plain = score(write_night(tmp_path / "a.bdf", 600, kind="BDF"), model, context=False)
    shifted = write_night(tmp_path / "b.bdf", x=brain(600, 100) + 12_000, kind="BDF", physical=20_000)
    found = score(shifted, model, context=False)
    assert any("12000 µV from zero" in note for note in found.notes)
    assert (found.epochs["stage"] == plain.epochs["stage"]).mean() > 0.8


def test_flat_clipped_and_missing_stretches_are_not_scored(tmp_path, model):
    x = brain(600, 100)
    x[3000:6000] = 7  # epoch 1: flat
    x[9000:10_400] = 7  # epoch 3: flat for 14 s, the rest counts
    x[12_000:15_000] = np.clip(50 * x[12_000:15_000], -999, 999)  # epoch 4: clipped
    onsets = np.arange(600.0)
    onsets[300:] += 45  # 45 s are missing: epoch 10 and half of 11
    found = score(write_night(tmp_path / "a.edf", x=x, onsets=onsets), model)
    assert np.flatnonzero(found.epochs["stage"] == "?").tolist() == [1, 4, 10]
    assert found.epochs.loc[[1, 4, 10], list(STAGES)].isna().all(axis=None)
    assert found.epochs.loc[found.epochs["stage"] != "?", list(STAGES)].notna().all(axis=None)
    assert len(found.epochs) == 21 and "the last 15 s are no whole epoch and were left out" in found.notes
    assert "45 s lie in interruptions of the recording and are not scored" in found.notes
    assert "3 of 21 epochs are flat, clipped or not recorded: stage ?" in found.notes
    # windows that are flat have no vote: the other three of epoch 3 decide
    net = model.probabilities(found.night.x[3])
    np.testing.assert_allclose(found.network.loc[3, list(STAGES)].tolist(), net[3:].mean(axis=0), atol=1e-6)


def test_prepared_nights(tmp_path, model):
    x = np.float32(brain(600, 100)).reshape(20, 3000)
    y = np.arange(20, dtype=np.int32) % 5
    np.savez(tmp_path / "SC4001E0.npz", x=x[:, :500, None], y=y, fs=100.0, ch_label=NAME)
    np.savez(tmp_path / "SC4011E0.npz", x=x, y=y, fs=100.0, ch_label=NAME)
    first = score(tmp_path / "SC4001E0.npz", model, context=False)
    np.testing.assert_allclose(first.epochs[list(STAGES)], model.probabilities(x[:, :500]), atol=1e-6)
    assert first.labels.tolist() == y.tolist()
    whole = score(tmp_path / "SC4011E0.npz", model, context=False).epochs
    expected = score(write_night(tmp_path / "a.edf", x=x.ravel()), model, context=False).epochs
    np.testing.assert_allclose(whole[list(STAGES)], expected[list(STAGES)], atol=5e-3)
    np.savez(tmp_path / "SC4021E0.npz", x=np.float32(brain(600, 128)).reshape(20, 3840), y=y, fs=128.0, ch_label=NAME)
    other = score(tmp_path / "SC4021E0.npz", model, context=False)
    assert "resampled from 128 to 100 Hz" in other.notes and other.night.x.shape == (20, 6, 500)
    np.testing.assert_allclose(other.epochs[list(STAGES)][:-1], expected[list(STAGES)][:-1], atol=0.02)
    with pytest.raises(ValueError, match="SC4001E0.npz: its epochs have 500 samples at 100 Hz, .* takes 3000"):
        score(tmp_path / "SC4001E0.npz", load_model(save_tiny(tmp_path / "whole", samples=3000)))


def test_real_wake(shared, model, tmp_path):
    found = score(shared / "data/edf/SC4001E0-PSG.first300s.edf", model)
    assert len(found.epochs) == 10 and (found.epochs["stage"] != "?").all()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        raw = mne.io.read_raw_edf(shared / "data/edf/SC4001E0-PSG.first300s.edf", verbose="ERROR")
    np.testing.assert_allclose(found.night.x.ravel(), raw.get_data(picks=[NAME])[0] * 1e6, atol=1e-4)


# properties


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    rate=st.sampled_from([33, 64, 100, 125, 173.61, 200, 250, 256, 500]),
    label=st.text(st.characters(codec="latin-1", categories=["L", "N", "P", "S"]), min_size=1, max_size=16),
    seconds=st.integers(30, 200),
    record=st.sampled_from([1, 2, 10]),
    gaps=st.lists(st.tuples(st.integers(0, 150), st.integers(1, 90)), max_size=3),
    scale=st.sampled_from([("uV", 1), ("mV", 1e-3), ("V", 1e-6)]),
    kind=st.sampled_from(["EDF", "BDF"]),
    seed=st.integers(0, 9),
)
def test_any_recording(model, tmp_path_factory, rate, label, seconds, record, gaps, scale, kind, seed):
    """Whatever the rate, the name, the length, the gaps, the unit: all of the signal is found, gaps are not scored."""
    unit, factor = scale
    samples = round(rate * record)
    onsets = np.arange(seconds // record) * float(record)
    for at, length in gaps:
        onsets[onsets >= at] += length
    x = brain(seconds + record, samples / record, seed)[: len(onsets) * samples]
    path = tmp_path_factory.mktemp("any") / "night.edf"
    write_recording(
        path,
        {label: x * factor},
        samples / record,
        kind,
        record,
        unit,
        500 * factor,
        onsets - onsets[0] if gaps else None,
    )
    if len(label.strip(" ")) and "Annotations" in label:
        return
    found = read_channel(path, label)
    kept = np.zeros(len(found.x), bool)
    regular = np.arange(len(onsets)) * samples
    shifts = np.rint((onsets - onsets[0]) * samples / record).astype(int) - regular
    places = regular + np.maximum.accumulate(shifts)  # at half a sample, rounding must not let records overlap
    for i, place in enumerate(places):
        kept[place : place + samples] = True
        np.testing.assert_allclose(found.x[place : place + samples], x[i * samples : (i + 1) * samples], atol=0.05)
    total = onsets[-1] - onsets[0] + record
    if total < 30:
        with pytest.raises(ValueError, match="less than one epoch"):
            score(path, model, label)
        return
    frame = score(path, model, label).epochs
    n = int(total / 30 + 1e-6)
    assert list(frame) == HEADER.split(",") and len(frame) == n
    covered = np.zeros(n * 30 + record)
    for onset in onsets - onsets[0]:
        covered[int(onset) : int(onset) + record] = 1
    share = covered[: n * 30].reshape(n, 6, 5).mean(2)
    assert (frame["stage"] != "?").tolist() == ((share >= 0.5).mean(1) >= 0.5).tolist()
    scored = frame[frame["stage"] != "?"]
    np.testing.assert_allclose(scored[list(STAGES)].sum(axis=1), 1)
    assert scored["stage"].tolist() == scored[list(STAGES)].idxmax(axis=1).tolist()


# channels


LABELS = ["EEG Fpz-Cz", "EEG Pz-Oz", "EOG horizontal", "EMG submental", "EEG C3-Ref", "EEG A2-Ref", "EEG Pz-Oz"]


@pytest.mark.parametrize(
    "wanted, found",
    [
        (None, (0,)),
        ("EEG Pz-Oz", (1,)),
        ("pz-oz", (1,)),
        ("Fpz - Cz", (0,)),
        ("*horiz*", (2,)),
        ("c3", (4,)),
        ("C3-A2", (4, 5)),
        ("EEG Pz-Oz - EOG horizontal", (1, 2)),
        ("EMG*", (3,)),
    ],
)
def test_channels(wanted, found):
    assert find_channel(LABELS, wanted) == found


@pytest.mark.parametrize("wanted", ["Fz", "C3-C4", "x*", "", "-", "[", "C3-C3"])
def test_a_channel_that_is_not_there(wanted):
    with pytest.raises(ValueError, match="no channel .*there are: EEG Fpz-Cz, EEG Pz-Oz, EOG.*Name one of these"):
        find_channel(LABELS, wanted)


def test_a_pattern_of_several():
    with pytest.raises(ValueError, match="4 channels fit 'eeg.*z': |5 channels fit"):
        find_channel(LABELS, "eeg*-*")


def test_the_only_channel_is_meant():
    assert find_channel(["whatever"]) == (0,)
    with pytest.raises(ValueError, match="there are: a, b"):
        find_channel(["a", "b"])


# doubts


def test_clipping_is_seen_at_the_rail():
    x = 150 * np.sin(np.arange(6000) / 7)
    assert not bad_seconds(x, 100).any()
    assert bad_seconds(np.clip(x, -100, 100), 100).all()
    assert bad_seconds(np.where(np.arange(6000) < 1000, x, np.clip(x, -149, 149)), 100).sum() == 0
    assert bad_seconds(np.full(300, np.nan), 100).all() and len(bad_seconds(np.zeros(50), 100)) == 0


def test_signals_unlike_the_training_data():
    random = np.random.default_rng(0)
    training = np.cumsum(random.standard_normal((400, 500)), axis=1)
    training -= training.mean(axis=1, keepdims=True)
    facts = json.loads(json.dumps(signal_facts(training)))
    assert unlike(features(training), facts).mean() <= 0.03
    assert unlike(features(training * 30), facts).mean() > 0.9
    hum = training + 60 * np.sin(np.arange(500) * np.pi * 0.8)
    assert unlike(features(hum), facts).mean() > 0.9
    assert unlike(features(random.standard_normal((50, 500)) * training.std()), facts).all()


def test_a_strange_signal_is_said_to_be_strange(tmp_path):
    facts = signal_facts(np.float32(brain(3000, 100)).reshape(-1, 500))
    model = load_model(save_tiny(tmp_path / "m", training_signal=facts))
    night = write_night(tmp_path / "a.edf")
    assert not any("unlike" in note for note in score(night, model).notes)
    noise = np.random.default_rng(0).normal(0, 20, 30_000)
    assert any("100 % of the windows are unlike" in n for n in score(write_night(night, x=noise), model).notes)


def test_a_night_that_hums_is_said_to_hum_even_if_the_training_data_did(tmp_path):
    """Half of it: at 100 samples a second, the mains' 50 Hz are one sample up and one down."""
    x = brain(300, 100)
    x[15_000:] += 40 * (1 - 2 * (np.arange(15_000) % 2))
    facts = signal_facts(np.float32(x).reshape(-1, 500))
    for name, known in (("met", {"training_signal": facts}), ("not", {})):
        notes = score(write_night(tmp_path / "a.edf", x=x), load_model(save_tiny(tmp_path / name, **known))).notes
        assert any("50 % of the windows have most of their power above 25 Hz" in note for note in notes)
        quiet = score(write_night(tmp_path / "b.edf"), load_model(tmp_path / name)).notes
        assert not any("25 Hz" in note for note in quiet)


def test_no_real_night_of_eeg_is_strange_to_the_others(shared):
    data = np.load(shared / "data/sleepedf20_first5s.npz", allow_pickle=False)

    def signal(night):
        gain, offset = data[f"{night}_ab"]
        return data[f"{night}_x"] * np.float32(gain) + np.float32(offset)

    facts = signal_facts(np.concatenate([signal(f"SC40{subject}1E0") for subject in range(6)]))
    for night in ("SC4071E0", "SC4102E0", "SC4121E0", "SC4171E0"):
        assert unlike(features(signal(night)), facts).mean() < STRANGE / 2
    assert unlike(features(signal("SC4001E0") * 0.1), facts).mean() > STRANGE


def test_one_night_of_sleep_edf_hums(shared):
    data = np.load(shared / "data/sleepedf20_first5s.npz", allow_pickle=False)
    nights = [name.removesuffix("_x") for name in data.files if name.endswith("_x")]
    share = {night: humming(features(data[f"{night}_x"].astype(np.float32))).mean() for night in nights}
    assert len(nights) == 39 and [night for night in nights if share[night] > STRANGE] == ["SC4111E0"]
    assert sorted(share.values())[-2] < STRANGE / 10


# models


def test_models_that_cannot_score(tmp_path, saved):
    cases = {
        "no such model": tmp_path / "nowhere",
        "not a saved network": tmp_path / "broken",
        "single mean and sd": save_tiny(tmp_path / "epochwise", normalisation=None),
        "samples 700": save_tiny(tmp_path / "odd", samples=700),
        "5 x 5 transitions": save_tiny(tmp_path / "context", context={"transition": [[1]], "prior": [1]}),
        "context: weight 2": save_tiny(tmp_path / "weight", context=CONTEXT | {"weight": 2}),
        "rarity -1": save_tiny(tmp_path / "rarity", context=CONTEXT | {"rarity": -1}),
        "no such model; write one": tmp_path / "nowhere.onnx",
    }
    (tmp_path / "broken.safetensors").write_bytes(b"\xff" * 100)
    (tmp_path / "broken.json").write_text("{}")
    for words, path in cases.items():
        with pytest.raises(ValueError, match=words) as error:
            load_model(path)
        assert path.stem in str(error.value)


def test_a_model_file_cannot_run_code(tmp_path, saved):
    class Payload:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "ran"),)

    for ending in (".safetensors", ".json", ".onnx"):
        for name in (".safetensors", ".json"):
            (tmp_path / f"evil{name}").write_bytes(saved.with_name(saved.name + name).read_bytes())
        torch.save({"x": Payload()}, tmp_path / f"evil{ending}")
        with pytest.raises(ValueError, match="evil"):
            load_model(tmp_path / f"evil{'.onnx' if ending == '.onnx' else ''}")
        (tmp_path / f"evil{ending}").write_bytes(pickle.dumps(Payload()))
        with pytest.raises(ValueError, match="evil"):
            load_model(tmp_path / f"evil{'.onnx' if ending == '.onnx' else ''}")
    assert not (tmp_path / "ran").exists()


def test_without_default_weights_the_command_says_so(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(models, "DEFAULT", tmp_path / "none")
    monkeypatch.setattr(models, "PACKAGED", tmp_path / "none.onnx")
    assert main(["score", str(write_night(tmp_path / "a.edf"))]) == 2
    assert "no default weights yet; name with --model" in capsys.readouterr().err


def test_the_model_is_described(tmp_path, model):
    lines = models.describe(model)
    assert lines[0].endswith("trained on: nothing at all") and "not on record" in lines[1]
    checked = {"data": "d", "protocol": "p", "folds": 10, "n": 42308, "acc": 0.731, "mf1": 0.66, "kappa": 0.63}
    path = save_tiny(tmp_path / "m", cross_validation=checked | {"context": {"acc": 0.8, "mf1": 0.7, "kappa": 0.75}})
    text = "\n".join(models.describe(load_model(path)))
    assert "on d, p, 10 folds, 42,308 epochs: accuracy 73.1 %, macro-F1 66.0 %, kappa 0.630" in text
    assert "with context: accuracy 80.0 %" in text


def test_no_context_is_said(tmp_path):
    model = load_model(save_tiny(tmp_path / "m", context=None))
    found = score(write_night(tmp_path / "a.edf"), model)
    assert "the model holds no context: stages are the network's alone" in found.notes
    pd.testing.assert_frame_equal(found.epochs, found.network)


def test_an_exported_model_scores_without_torch(tmp_path, saved, simulated):
    export = pytest.importorskip("sleepkit.scoring.onnx_export")
    net, facts = load_network(saved)
    export.export_onnx(net, tmp_path / "tiny.onnx", 500, facts["normalisation"], facts)
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from sleepkit.scoring import score\n"
        "score(*sys.argv[1:3]).epochs.to_csv(sys.argv[3], index=False)"
    )
    arguments = [str(simulated[0]), str(tmp_path / "tiny.onnx"), str(tmp_path / "out.csv")]
    subprocess.run([sys.executable, "-c", code, *arguments], cwd=ROOT, check=True)
    found = pd.read_csv(tmp_path / "out.csv")
    np.testing.assert_allclose(found[list(STAGES)], score(simulated[0], saved).epochs[list(STAGES)], atol=1e-4)


def test_the_packaged_model_is_taken_as_exported(tmp_path, saved, monkeypatch):
    export = pytest.importorskip("sleepkit.scoring.onnx_export")
    net, facts = load_network(saved)
    monkeypatch.setattr(models, "DEFAULT", saved)
    monkeypatch.setattr(models, "PACKAGED", saved.with_name("tiny.onnx"))
    night = write_night(tmp_path / "a.edf")
    slow = score(night)
    export.export_onnx(net, saved.with_name("tiny.onnx"), 500, facts["normalisation"], facts)
    fast = score(night)
    assert (slow.model.name, fast.model.name) == ("tiny", "tiny.onnx")
    np.testing.assert_allclose(fast.epochs[list(STAGES)], slow.epochs[list(STAGES)], atol=1e-4)
    monkeypatch.setattr(models, "find_spec", lambda name: None)  # onnxruntime is an extra
    assert load_model().name == "tiny"


# what is written


def test_files_of_a_night(tmp_path, saved, simulated, capsys):
    psg, hypnogram = simulated
    out = tmp_path / "out"
    assert main(["score", str(psg), "--output", str(out), "--model", str(saved), "--hypnogram", str(hypnogram)]) == 0
    assert sorted(path.name for path in out.iterdir()) == sorted(f"{psg.stem}{ending}" for ending in ENDINGS)
    night = pd.read_csv(out / f"{psg.stem}.csv")
    expected = score(psg, saved, hypnogram=hypnogram)
    assert night["stage"].tolist() == expected.epochs["stage"].tolist()
    network = pd.read_csv(out / f"{psg.stem}.network.csv")
    np.testing.assert_allclose(network[list(STAGES)], expected.network[list(STAGES)], atol=1e-4)
    annotations = mne.read_annotations(out / f"{psg.stem}.hypnogram.edf")
    told = [
        label.removeprefix("Sleep stage ").replace("R", "REM")
        for label, seconds in zip(annotations.description, annotations.duration, strict=True)
        for _ in range(round(seconds / 30))
    ]
    assert told == night["stage"].tolist()
    assert edfio.read_edf(out / f"{psg.stem}.hypnogram.edf").starttime == edfio.read_edf(psg).starttime
    assert imread(out / f"{psg.stem}.png").shape[1] > 1000
    text = (out / f"{psg.stem}.txt").read_text()
    assert text in capsys.readouterr().out
    both = (expected.labels >= 0) & (expected.stages >= 0)
    accuracy = 100 * np.mean(expected.labels[both] == expected.stages[both])
    assert f"over {both.sum()} epochs: accuracy {accuracy:.1f} %, kappa" in text
    assert "trained on: nothing at all" in text and "sleep efficiency" in text


def test_a_recording_that_is_flat_throughout_is_written_with_no_stage(tmp_path, saved):
    said = []
    x = np.float32(brain(600, 100)).reshape(20, 3000)
    np.savez(tmp_path / "SC4001E0.npz", x=np.zeros_like(x), y=np.zeros(20, dtype=np.int32), fs=100)
    np.savez(tmp_path / "SC4002E0.npz", x=x, y=np.full(20, 7, dtype=np.int32), fs=100)  # no stage that is known
    for name, missing in (("SC4001E0", "no epoch can be scored"), ("SC4002E0", "")):
        score_files(tmp_path / f"{name}.npz", tmp_path / name, saved, show=said.append)
        assert sorted(path.name for path in (tmp_path / name).iterdir()) == sorted(name + ending for ending in ENDINGS)
        night = pd.read_csv(tmp_path / name / f"{name}.csv")
        assert (night["stage"] == "?").all() == bool(missing) and missing in (
            tmp_path / name / f"{name}.txt"
        ).read_text()


def test_our_hypnogram_compares_with_itself(tmp_path, saved, simulated):
    psg, _ = simulated
    score_files(psg, tmp_path, saved, show=lambda text: None)
    found = score(psg, saved, hypnogram=tmp_path / f"{psg.stem}.hypnogram.edf")
    assert (found.labels == found.stages).all()


def test_a_prepared_night_is_compared_with_its_own_stages_alone(tmp_path, model, simulated):
    """It has lost the epochs that were dropped, so a hypnogram of the whole night would be compared askew."""
    psg, hypnogram = simulated
    recordings.prepare(psg.parent, tmp_path, seconds=5, jobs=1)
    (night,) = tmp_path.glob("*.npz")
    assert (score(night, model).labels >= 0).all()
    with pytest.raises(ValueError, match=r"SC4001E0\.npz: a prepared night holds .* leave it out"):
        score(night, model, hypnogram=hypnogram)


def test_a_hypnogram_that_begins_later(tmp_path, model):
    night = write_night(tmp_path / "a.edf", 600)
    path = write_hypnogram(tmp_path / "h.edf", (("W", 3), ("2", 30)), start=datetime.time(16, 14))
    assert score(night, model, hypnogram=path).labels.tolist() == [-1, -1, 0, 0, 0, *[2] * 15]
    path = write_hypnogram(tmp_path / "h.edf", (("W", 3),), start=datetime.time(16, 14, 10))
    found = score(night, model, hypnogram=path)
    assert found.labels.tolist() == [-1, -1, 0, 0, 0, *[-1] * 15]
    assert any("stage of most of its time" in note for note in found.notes)


def state(folder):
    return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.rglob("*") if path.is_file()}


def test_a_folder_with_bad_nights(tmp_path, saved, capsys):
    nights = tmp_path / "nights"
    nights.mkdir()
    write_night(nights / "good.edf")
    write_night(nights / "better.bdf", kind="BDF")
    write_night(nights / "twice.edf")
    write_night(nights / "twice.bdf", kind="BDF")
    (nights / "bad.edf").write_bytes(b"0       nonsense" * 99)
    (nights / "empty.edf").touch()
    (nights / "lies_raw.fif").write_bytes(b"nothing")
    (nights / "x.hypnogram.edf").touch()
    (nights / "notes.doc").write_text("?")
    before = state(nights)
    assert main(["score", str(nights), "--output", str(tmp_path / "out"), "--model", str(saved)]) == 1
    error = capsys.readouterr().err
    assert "5 of 7 nights" in error and "Traceback" not in error and "please report" not in error
    for name in ("bad.edf: not a readable", "empty.edf: empty", "lies_raw.fif: neither", "twice.edf: twice.bdf would"):
        assert name in error
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == sorted(f"{night}{ending}" for night in ("good", "better") for ending in ENDINGS)
    assert state(nights) == before, "no file outside the output folder is touched"


def test_a_folder_may_hold_its_own_results(tmp_path, saved, simulated):
    for path in simulated:
        shutil.copy(path, tmp_path)
    texts = []
    score_files(tmp_path, None, saved, hypnogram=tmp_path, show=texts.append)
    once = state(tmp_path)
    score_files(tmp_path, None, saved, hypnogram=tmp_path, show=texts.append)
    assert "agreement with the expert" in texts[0] and texts[0] == texts[1]
    assert {k: v[1] for k, v in state(tmp_path).items()} == {k: v[1] for k, v in once.items()}


@pytest.mark.parametrize("ending", ENDINGS)
def test_files_of_others_are_left_alone(tmp_path, saved, ending):
    night = write_night(tmp_path / "night.edf")
    (tmp_path / f"night{ending}").write_bytes(b"mine")
    with pytest.raises(ValueError, match=f"night{ending}: was not written here"):
        score_files(night, None, saved)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["night.edf", f"night{ending}"])


def test_one_failure_leaves_no_file(tmp_path, model, monkeypatch):
    found = score(write_night(tmp_path / "night.edf"), model)

    def fails(*arguments):
        raise OSError("disk full")

    monkeypatch.setattr(report, "_write_picture", fails)
    with pytest.raises(OSError, match="disk full"):
        report.write(found, tmp_path / "out", "text")
    assert not any((tmp_path / "out").iterdir())


def whole(folder, epochs):
    """Every file that stands under its own name is complete."""
    for path in folder.glob("night*"):
        if path.suffix == ".csv":
            assert len(pd.read_csv(path)) == epochs
        elif path.suffix == ".png":
            assert imread(path).ndim == 3
        elif path.suffix == ".edf":
            assert mne.read_annotations(path).duration.sum() == 30 * epochs
        elif path.suffix == ".tsv":
            assert pd.read_csv(path, sep="\t").duration.sum() == 30 * epochs
        else:
            assert "not for diagnosis" in path.read_text()


def in_child(work):
    """Run `work` in a forked process; returns its id."""
    child = os.fork()
    if child == 0:
        try:
            work()
            os._exit(0)
        except BaseException:
            os._exit(1)
    return child


def test_a_killed_run_leaves_no_half_file(tmp_path, model):
    found = score(write_night(tmp_path / "night.edf", 3000), model)
    began = time.perf_counter()
    report.write(found, tmp_path / "warm", "sleepkit; not for diagnosis")
    took = time.perf_counter() - began
    for step in range(3):
        out = tmp_path / f"out{step}"

        def endless(out=out):
            while True:
                report.write(found, out, "sleepkit; not for diagnosis")

        child = in_child(endless)
        while not (out / "night.csv").exists():  # the last file of the first round; the kill falls into a later one
            time.sleep(0.002)
        time.sleep(took * step / 2)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        assert len(list(out.glob("night*"))) == len(ENDINGS)
        whole(out, 100)


def test_two_processes_in_one_folder(tmp_path, model):
    found = score(write_night(tmp_path / "night.edf", 3000), model)
    out = tmp_path / "out"

    def writes():
        for _ in range(2):
            report.write(found, out, "sleepkit; not for diagnosis")

    children = [in_child(writes) for _ in range(2)]
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0]
    assert sorted(path.name for path in out.iterdir()) == sorted(f"night{ending}" for ending in ENDINGS)
    whole(out, 100)


# bad input


def patched(path, at, text):
    content = bytearray(path.read_bytes())
    content[at : at + len(text)] = text
    path.write_bytes(content)


SPOILED = {
    "a thousand million records": (lambda p: patched(p, 236, b"99999999"), None),
    "not closed": (lambda p: patched(p, 236, b"-1      "), None),
    "no data": (lambda p: p.write_bytes(p.read_bytes()[:600]), "truncated within its first data record"),
    "empty": (lambda p: p.write_bytes(b""), "empty file"),
    "html": (lambda p: p.write_bytes(b"<html>404</html>" * 100), "not a readable EDF or BDF"),
    "record of no length": (lambda p: patched(p, 244, b"0       "), "last 0 s each"),
    "signals": (lambda p: patched(p, 252, b"9999"), "length of the header"),
    "range": (lambda p: patched(p, 256 + 104, b"nan     "), "'nan' is no number"),
    "no range": (lambda p: patched(p, 256 + 104, b"1000    "), "which is no scale"),
    "digital": (lambda p: patched(p, 256 + 120, b"-99999  "), "which is no scale"),
    "unit": (lambda p: patched(p, 256 + 96, b"DegC"), "is in 'DegC', expected uV"),
}


@pytest.mark.parametrize("spoil, words", SPOILED.values(), ids=SPOILED.keys())
def test_bad_recordings(tmp_path, model, spoil, words):
    night = write_night(tmp_path / "night.edf")
    spoil(night)
    if words is None:
        assert any("data records" in note for note in score(night, model).notes)
        return
    with pytest.raises(ValueError, match=words) as error:
        score(night, model)
    assert str(night) in str(error.value)


def test_more_bad_recordings(tmp_path, model):
    night = tmp_path / "a.edf"
    with pytest.raises(ValueError, match="more than 268,435,456"):
        score(write_night(night, 60, onsets=[*range(59), 1e7]), model)
    with pytest.raises(ValueError, match="29 s of signal, less than one epoch"):
        score(write_night(night, 29), model)
    for rate, seconds in ((10, 1), (0.5, 10)):
        with pytest.raises(ValueError, match=f"{rate} Hz; EEG needs 32"):
            score(write_night(night, 300, rate, seconds=seconds), model)
    with pytest.raises(ValueError, match="no such file"):
        score(tmp_path / "nowhere.edf", model)
    signals = [edfio.EdfSignal(brain(60, rate), rate, label=name) for name, rate in (("Fpz", 100), ("Cz", 200))]
    edfio.Edf(signals).write(tmp_path / "two.edf")
    with pytest.raises(ValueError, match="cannot be subtracted"):
        score(tmp_path / "two.edf", model)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="no recording in it"):
        score_files(tmp_path / "empty", None, save_tiny(tmp_path / "tiny"))


def test_the_command_wants_a_recording_or_a_stream(capsys):
    assert main(["score"]) == 2 and main(["score", "a.edf", "--stream"]) == 2
    assert "name a recording" in capsys.readouterr().err


def test_nothing_large_is_imported_before_it_is_needed(tmp_path):
    faces = "import sleepkit.recordings, sleepkit.scoring; from sleepkit.scoring import load_model, score, score_stream"
    code = f"import sys, sleepkit.scoring.report\n{faces}\nprint(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    large = {"torch", "mne", "matplotlib", "papermill", "scipy", "sklearn", "edfio"}
    assert not large & set(loaded.stdout.split())


# the targets


@pytest.mark.slow
def test_eight_hours_in_eight_seconds(tmp_path):
    """From EDF to csv and picture, start-up included, on one thread: at most 8 s and 600 MB."""
    from sleepkit.recordings.simulation import simulate

    psg, _ = simulate(tmp_path, subjects=[0], hours=8)[0]
    if not models.DEFAULT.with_name(models.DEFAULT.name + ".safetensors").exists():
        pytest.skip("needs the default weights")
    code = (
        "import resource, sys\nfrom sleepkit.__main__ import main\nstatus = main(sys.argv[1:])\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)\nsys.exit(status)"
    )
    times, environment = [], os.environ | {"OMP_NUM_THREADS": "1"}
    for _ in range(3):
        began = time.perf_counter()
        command = [sys.executable, "-c", code, "score", str(psg), "--output", str(tmp_path / "out")]
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
        times.append(time.perf_counter() - began)
    assert min(times) <= 8, times
    assert int(done.stdout.split()[-1]) <= 600
