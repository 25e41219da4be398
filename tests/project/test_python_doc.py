"""docs/python.md: its code runs."""

import re

import matplotlib.pyplot as plt
import numpy as np
import pytest
from hypnogram_files import WRITERS
from recording_files import brain, write_recording
from torch.utils.data import DataLoader

from sleepkit.epochs import EpochSet
from sleepkit.execution.paths import ROOT

BLOCKS = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "python.md").read_text(encoding="utf-8"), re.DOTALL)


def write_nights(folder):
    folder.mkdir()
    random = np.random.default_rng(0)
    for subject in range(3):
        x, y = random.normal(0, 20, (10, 500)).astype(np.float32), np.arange(10) % 5
        np.savez(folder / f"SC40{subject}1E0.npz", x=x, y=y, fs=100.0, ch_label="EEG Fpz-Cz")


def test_a_night_from_python(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_recording(tmp_path / "night.edf", {"EEG Fpz-Cz": brain(300, 100)}, 100)
    WRITERS["nsrr"](tmp_path / "expert.xml", ["W"] * 5 + ["N2"] * 5)
    names = {}
    for block in BLOCKS[:2]:
        exec(block, names)
    assert len(names["night"].epochs) == 10 and (tmp_path / "night_events.tsv").exists()
    assert set(names["raw"].annotations.description) <= {f"Sleep stage {s}" for s in ("W", "N1", "N2", "N3", "R", "?")}
    plt.close("all")


def test_an_epoch_set_is_a_data_set(tmp_path):
    write_nights(tmp_path / "prepared")
    epochs = EpochSet.load(tmp_path / "prepared")
    batches = list(DataLoader(epochs, batch_size=20))
    assert [tuple(x.shape) for x, _ in batches] == [(20, 1, 500), (10, 1, 500)]
    assert np.concatenate([y for _, y in batches]).tolist() == epochs.y.tolist()
    np.testing.assert_array_equal(batches[0][0][7, 0], epochs.x[7])


def test_prepared_nights_in_skorch(tmp_path, monkeypatch):
    pytest.importorskip("skorch", reason="the recipe for skorch is run where it is installed")
    monkeypatch.chdir(tmp_path)
    write_nights(tmp_path / "prepared")
    names = {}
    exec(BLOCKS[2], names)
    assert names["net"].predict(names["valid"]).shape == (10,)
    assert len(names["net"].history) == 2 and np.isfinite(names["net"].history[:, "valid_loss"]).all()
