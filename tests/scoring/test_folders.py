"""Folders as users have them: which hypnogram belongs to which recording, what is no recording, names and terminals."""

import os
import shutil
import subprocess
import sys

import mne
import numpy as np
import pytest
from recording_files import brain, reheaded, save_tiny, write_annotations, write_recording

from sleepkit.__main__ import main
from sleepkit.execution.paths import ROOT
from sleepkit.recordings.dataset import hypnogram_of, recordings_in
from sleepkit.scoring import load_model
from sleepkit.scoring.report import ENDINGS, score_files

NAME = "EEG Fpz-Cz"


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    return save_tiny(tmp_path_factory.mktemp("model") / "tiny")


def write_night(path, seconds=60):
    return write_recording(path, {NAME: brain(seconds, 100)}, 100)


def write_expert(path):
    return write_annotations(path, [(0, 3600, "Sleep stage 2")])


# pairs


@pytest.mark.parametrize(
    "recording, hypnogram",
    [
        ("SC4001E0-PSG.edf", "SC4001EC-Hypnogram.edf"),
        ("sc4001e0-psg.edf", "SC4001EC-Hypnogram.edf"),
        ("night1.edf", "night1-Hypnogram.edf"),
        ("night1.edf", "Night1_hypnogram.tsv"),
        ("night1.edf", "night1.xml"),
        ("night1.bdf", "night1.edf"),
        ("SN001.edf", "SN001_sleepscoring.edf"),
        ("shhs1-200001.edf", "shhs1-200001-nsrr.xml"),
        ("shhs1-200001.edf", "shhs1-200001-profusion.xml"),
        ("sub-01_task-sleep_eeg.edf", "sub-01_task-sleep_events.tsv"),
        ("S1 night.rec", "S1 night_sleep_stages.txt"),
        ("a_raw.fif", "a_scores.csv"),
        ("mm.edf", "mm.eannot"),
    ],
)
def test_a_hypnogram_bears_its_recordings_name(tmp_path, recording, hypnogram):
    path, expert = tmp_path / recording, tmp_path / hypnogram
    write_expert(expert)
    for name in ("night10-Hypnogram.edf", "SC4002EC-Hypnogram.edf", "SN0011_sleepscoring.edf", "m.eannot"):
        write_expert(tmp_path / name)
    write_night(path)
    assert hypnogram_of(path, tmp_path) == expert


@pytest.mark.parametrize(
    "recording, other",
    [
        ("night1.edf", "night10-Hypnogram.edf"),
        ("night10.edf", "night1-Hypnogram.edf"),
        ("night1.edf", "night1.hypnogram.edf"),  # what scoring writes
        ("night1.edf", "night1_channels.tsv"),
        ("night1.edf", "my night1-Hypnogram.edf"),
        ("SC4001E0-PSG.edf", "SC4002EC-Hypnogram.edf"),
    ],
)
def test_other_names_are_others(tmp_path, recording, other):
    write_expert(tmp_path / other)
    assert hypnogram_of(write_night(tmp_path / recording), tmp_path) is None


def test_two_scorers_are_not_chosen_from(tmp_path):
    path = write_night(tmp_path / "SC4001E0-PSG.edf")
    for scorer in "CP":
        write_expert(tmp_path / f"SC4001E{scorer}-Hypnogram.edf")
    with pytest.raises(ValueError, match="2 hypnograms in .* have its name .*keep one"):
        hypnogram_of(path, tmp_path)


def test_of_several_kinds_the_hypnogram_counts(tmp_path):
    path = write_night(tmp_path / "sub-01_eeg.edf")
    expert = write_expert(tmp_path / "sub-01_hypnogram.edf")
    for name in ("sub-01_events.tsv", "sub-01.txt", "sub-01_stages.csv"):
        (tmp_path / name).write_text("onset\tduration\ttrial_type\n0\t1\tspindle\n")
    assert hypnogram_of(path, tmp_path) == expert


# what is a recording


def test_what_is_no_recording_is_passed_over(tmp_path, saved):
    """HMC as it is downloaded, split and other FIF files, arrays, notes, pictures, and what scoring itself leaves."""
    folder = tmp_path / "nights"
    folder.mkdir()
    for name in ("SN001.edf", "SN010.edf"):
        write_night(folder / name)
    write_expert(folder / "SN001_sleepscoring.edf")
    info = mne.create_info(["Fpz-Cz"], 100.0, "eeg")
    raw = mne.io.RawArray(brain(60, 100)[None] * 1e-6, info, verbose="ERROR")
    raw.save(folder / "whole_raw.fif", verbose="ERROR")
    for name in ("whole_raw-1.fif", "whole_raw-2.fif", "night-epo.fif", "night_ica.fif", "x_split-02_eeg.fif"):
        (folder / name).write_bytes(b"part")
    np.savez(folder / "features.npz", spindles=np.zeros(3))
    for name in ("notes.txt", "SN001.txt.bak", "photo.png", "x.hypnogram.edf", "Thumbs.db", "._SN001.edf"):
        (folder / name).write_bytes(b"what a folder gathers")
    (folder / "SN010.txt").write_text("restless; woke twice")
    assert [path.name for path in recordings_in(folder)] == ["SN001.edf", "SN010.edf", "whole_raw.fif"]
    told = []
    (folder / "SN010.txt").unlink()
    score_files(folder, None, saved, hypnogram=folder, show=told.append)
    assert "agreement with the expert over 2 epochs" in told[0]
    assert all("has the name of this recording: it was not compared" in text for text in told[1:])
    assert len(told) == 3 and [path.name for path in recordings_in(folder)] == [
        "SN001.edf",
        "SN010.edf",
        "whole_raw.fif",
    ]
    assert hypnogram_of(folder / "SN010.edf", folder) is None, "what scoring left is nobody's hypnogram"


# names, terminals, models


def run(arguments, **how):
    """The command line, as a shell calls it."""
    environment = os.environ | how.pop("env", {})
    return subprocess.run([sys.executable, "-m", "sleepkit", *arguments], cwd=ROOT, env=environment, **how)


def test_a_terminal_and_a_name_that_cannot_be_encoded(tmp_path, saved):
    """LC_ALL=C has no µ, and a Latin-1 name is no UTF-8."""
    name = os.fsdecode(b"nuit_\xe9t\xe9.edf")
    try:
        night = write_night(tmp_path / name)
    except OSError:
        pytest.skip("this file system takes UTF-8 names alone")
    path = reheaded(night, unit=b"\xb5V")
    env = {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    command = ["score", str(path), "--output", str(tmp_path / "out"), "--model", str(saved)]
    done = run(command, env=env, capture_output=True)
    assert done.returncode == 0 and b"Traceback" not in done.stderr, done.stderr
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == sorted(night.stem + ending for ending in ENDINGS)
    assert "2 epochs of 30 s" in (tmp_path / "out" / f"{night.stem}.txt").read_text(encoding="utf-8")
    shutil.copy(path, tmp_path / "SC4001E0-PSG.edf")
    done = run(["prepare", str(tmp_path), str(tmp_path / "prepared")], env=env, capture_output=True)
    assert done.returncode == 1 and b"Traceback" not in done.stderr and b"nuit_" in done.stderr


def test_a_closed_standard_input(saved):
    done = run(["score", "--stream", "--model", str(saved)], stderr=subprocess.PIPE, preexec_fn=lambda: os.close(0))
    assert done.returncode == 2 and done.stderr == b"error: standard input is closed: pipe the samples into it\n"


@pytest.mark.parametrize("ending", ["", ".safetensors", ".json"])
def test_export_takes_a_network_with_its_ending(tmp_path, saved, capsys, ending):
    pytest.importorskip("onnx")
    assert main(["export", f"{saved}{ending}", "--output", str(tmp_path)]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["tiny.md", "tiny.onnx"]


def test_two_files_of_different_networks_are_refused_in_one_line(tmp_path, saved):
    from recording_files import TINY

    from sleepkit.network.saved import save_network
    from sleepkit.network.sleepnet import SleepNet

    save_network(SleepNet(TINY, channels=4, cells=3), tmp_path / "other", {})
    for ending, origin in ((".safetensors", tmp_path / "other"), (".json", saved)):
        shutil.copy(f"{origin}{ending}", tmp_path / f"mixed{ending}")
    with pytest.raises(
        ValueError, match="the weights are not those of the network that the description tells"
    ) as error:
        load_model(tmp_path / "mixed")
    assert "\n" not in str(error.value) and len(str(error.value)) < 500
