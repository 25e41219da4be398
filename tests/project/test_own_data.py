"""The guide to one's own data: its commands, as they stand there, in their order, on simulated recordings."""

import json
import os
import shutil
import subprocess
import sys
import time

import pandas as pd
import pytest
from own_files import bids, drawn, table, write_own, write_scoring
from test_readme import commands

from sleepkit.epochs import own_identity
from sleepkit.execution.paths import ROOT

GUIDE = (ROOT / "docs" / "own_data.md").read_text(encoding="utf-8")
HOURS = 0.6


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    """A copy of the repository with a BIDS folder, a folder of recordings, one with a table, and a night to score."""
    copy = tmp_path_factory.mktemp("own") / "sleepkit"
    for name in ("sleepkit", "notebooks"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints"))
    shutil.copy(ROOT / "pyproject.toml", copy)
    work = copy / "simulated"
    bids(copy / "bids", 6, HOURS, work)
    table(copy / "studies", 6, HOURS, work)
    (copy / "studies" / "nights.csv").rename(copy / "nights.csv")
    for i in range(4):
        x, labels = drawn(work, i, HOURS)
        write_own(copy / "recordings" / f"S{i:02d}_night.edf", x, 200, ("C4", "M1"))
        write_scoring(copy / "recordings" / f"S{i:02d}_night_score.txt", labels, "lines")
    write_own(copy / "night.edf", drawn(work, 7, HOURS)[0], 512, ("EEG C4-Ref", "EEG M1-Ref"), "mV")
    return copy


def carry_out(desk, script, **environment):
    environment = {key: value for key, value in os.environ.items() if not key.startswith("SLEEPKIT_")} | environment
    environment["PATH"] = os.pathsep.join([os.path.dirname(sys.executable), environment["PATH"]])
    done = subprocess.run(["sh", "-ec", script], cwd=desk, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{script}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    assert "Traceback" not in done.stderr
    return done.stdout


def test_preparing_as_the_guide_has_it(desk):
    """Each of the three ways: BIDS, patterns, a table."""
    lines = [command for command in commands(GUIDE) if " sleepkit prepare " in command]
    assert len(lines) == 3
    said = [carry_out(desk, line) for line in lines]
    assert all("written, 0 nights unchanged, 0 nights failed" in text for text in said)
    assert "C4 - M1, 256 Hz, mV, scored in *_events.tsv (3 nights" in said[0] and "C3-M2, 200 Hz, uV" in said[0]
    assert "C4 - M1, 200 Hz, uV, scored in *_score.txt (4 nights" in said[1]
    assert "EEG F3 - EEG A2, 125 Hz, uV, scored in *.txt (6 nights" in said[2]
    assert own_identity(desk / "nights2" / "00_S00_night.npz") == ("own", "00", "S00_night")
    assert own_identity(desk / "nights3" / "P5_1.npz") == ("own", "P5", "1")


@pytest.mark.slow
def test_the_guide_from_recordings_to_a_night_scored(desk):
    """From the BIDS folder to a pruned network that scores a night it has not seen, and the same from the table."""
    start, script = time.time(), "\n".join(commands(GUIDE))
    said = carry_out(desk, script)
    assert time.time() - start < 900
    runs, results = desk / "runs" / "own", desk / "results" / "own"
    assert all((runs / f"{name}.ipynb").exists() for name in ("prepare", "stage1_edf20", "stage2_prune"))
    executed = [json.loads((runs / f"{name}.ipynb").read_text()) for name in ("stage1_edf20", "stage2_prune")]
    shown = "".join(str(cell.get("outputs")) for notebook in executed for cell in notebook["cells"])
    assert "Published: 42,308" not in shown and "accuracy on new people, %" in shown
    small, full = (json.loads((desk / "mine" / f"own_first5s_L3{way}.json").read_text()) for way in ("_pruned", ""))
    assert small["parameters"] < full["parameters"] and small["cross_validation"]["data"].startswith(
        "data set own, 6 nights"
    )
    folds = json.loads((results / "stage1_own" / "folds.json").read_text())
    assert sorted(who for side in folds.values() for who in side["test"]) == [f"sub-{i:02d}" for i in range(1, 7)]
    differences = pd.read_csv(results / "stage2_prune_own" / "differences.csv")
    assert set(differences.subjects) == {6} and "pruned - full" in set(differences.comparison)
    for folder in ("scored", "scored2"):
        night = pd.read_csv(desk / folder / "night.csv")
        assert len(night) == round(HOURS * 120) and night.stage.nunique() > 1
    assert "people, each staged by networks that have not met them" in said
    again = [command for command in commands(GUIDE)[3:9] if "score" not in command]
    again = "\n".join(again).replace("/nights", "/nights3").replace("--profile own", "--profile own -p profile lab")
    again = again.replace("release own", "release lab").replace("mine", "mine3")
    score = "python -m sleepkit score studies/psg/r97.edf --model mine3/own_first5s_L3_pruned --output scored3"
    carry_out(desk, f"{again}\n{score} --channel 'F3 - A2' --hypnogram studies/scored/hyp0.txt")
    assert pd.read_csv(desk / "results" / "lab" / "nights.csv").subject.tolist() == [f"P{i}" for i in range(6)]
    assert "agreement with the expert over" in (desk / "scored3" / "r97.txt").read_text(encoding="utf-8")
