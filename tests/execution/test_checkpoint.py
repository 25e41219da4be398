"""Checkpoints: whole, bound to a configuration, and never loaded half."""

import os
import pickle

import numpy as np
import pytest
import torch

from sleepkit.execution import checkpoint
from sleepkit.execution.checkpoint import Deadline, TimeOver, fingerprint, load_checkpoint, save_checkpoint
from sleepkit.execution.paths import written

STATE = {"weights": torch.arange(6.0), "history": [{"epoch": 1, "loss": 0.5}], "best": None}


def test_state_comes_back(tmp_path):
    save_checkpoint(tmp_path / "deep" / "run.pt", "abc", STATE)
    state = load_checkpoint(tmp_path / "deep" / "run.pt", "abc")
    assert torch.equal(state.pop("weights"), STATE["weights"])
    assert state == {"history": STATE["history"], "best": None}
    assert os.listdir(tmp_path / "deep") == ["run.pt"]


def test_no_checkpoint_is_none(tmp_path):
    assert load_checkpoint(tmp_path / "run.pt", "abc") is None


def test_another_configuration_is_refused_and_left_alone(tmp_path):
    save_checkpoint(tmp_path / "run.pt", "abc", STATE)
    with pytest.raises(ValueError, match=r"run\.pt.*another configuration \(abc, expected def\)"):
        load_checkpoint(tmp_path / "run.pt", "def")
    assert load_checkpoint(tmp_path / "run.pt", "abc") is not None


@pytest.mark.parametrize("damage", ["empty", "half", "text", "alien"])
def test_a_damaged_file_is_named_and_set_aside(tmp_path, capsys, damage):
    path = tmp_path / "run.pt"
    save_checkpoint(path, "abc", STATE)
    whole = path.read_bytes()
    if damage == "alien":
        torch.save([1, 2], path)
    else:
        path.write_bytes({"empty": b"", "half": whole[: len(whole) // 2], "text": b"not a checkpoint"}[damage])
    assert load_checkpoint(path, "abc") is None
    assert "run.pt: damaged checkpoint" in capsys.readouterr().out
    assert os.listdir(tmp_path) == ["run.pt.damaged"]


class Malicious:
    def __reduce__(self):
        return os.mkdir, ("ran",)


def test_a_checkpoint_cannot_run_code(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"key": "abc", "state": Malicious()}, "run.pt")
    assert load_checkpoint(tmp_path / "run.pt", "abc") is None
    (tmp_path / "run.pt").write_bytes(pickle.dumps({"key": "abc", "state": Malicious()}))
    assert load_checkpoint(tmp_path / "run.pt", "abc") is None
    assert not (tmp_path / "ran").exists()


def test_a_write_that_is_cut_short_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "run.pt"
    save_checkpoint(path, "abc", STATE)

    def cut(_, temporary):
        temporary.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint.torch, "save", cut)
    with pytest.raises(KeyboardInterrupt):
        save_checkpoint(path, "abc", {})
    assert os.listdir(tmp_path) == ["run.pt"]
    assert torch.equal(load_checkpoint(path, "abc")["weights"], STATE["weights"])


def test_written_moves_only_whole_files(tmp_path):
    with pytest.raises(RuntimeError), written(tmp_path / "a.txt") as path:
        path.write_text("half")
        raise RuntimeError
    assert not os.listdir(tmp_path)
    with written(tmp_path / "a.txt") as path:
        path.write_text("whole")
        assert path.parent == tmp_path
        assert path.name.startswith(".") and path.suffix == ".txt"
    assert (tmp_path / "a.txt").read_text() == "whole"


def test_fingerprint_tells_settings_and_data_apart():
    x = np.arange(6.0)
    parts = {
        fingerprint({"a": 1, "b": 2}, x),
        fingerprint({"b": 2, "a": 1}, x),
        fingerprint({"a": 1, "b": 2}, x.copy()),
    }
    assert len(parts) == 1
    changed = {fingerprint({"a": 1, "b": 3}, x), fingerprint({"a": 1, "b": 2}, x + 1e-9), fingerprint({"a": 1, "b": 2})}
    assert len(changed | parts) == 4
    assert all(len(key) == 12 for key in changed)
    cut = {fingerprint(x[:n], x[n:]) for n in range(7)} | {fingerprint(x.reshape(shape)) for shape in ((2, 3), (3, 2))}
    assert len(cut) == 9, "the same numbers, divided otherwise"


def test_deadline(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(checkpoint.time, "time", lambda: now[0])
    never, soon, at_once = Deadline(), Deadline.after(2), Deadline.after(0)
    now[0] += 119
    for deadline in (never, soon, Deadline.after(None)):
        deadline.check()
    now[0] += 1
    for deadline in (soon, at_once):
        with pytest.raises(TimeOver, match="the minutes are over .*; what is done is kept"):
            deadline.check()
    never.check()
