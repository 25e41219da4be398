"""Scoring from Python: recordings and hypnograms in memory, what a scored night gives back, time in bed."""

import datetime

import matplotlib.pyplot as plt
import mne
import numpy as np
import pandas as pd
import pytest
from hypnogram_files import WRITERS, bouts
from recording_files import brain, save_tiny, write_recording

from sleepkit.__main__ import main
from sleepkit.recordings.hypnogram import read_hypnogram
from sleepkit.scoring import load_model, plot_hypnodensity, plot_hypnogram, score
from sleepkit.scoring.sleep_statistics import sleep_statistics, time_in_bed

NAME = "EEG Fpz-Cz"
BEGIN = datetime.datetime(1989, 4, 24, 16, 13)
EXPERT = ["W"] * 4 + ["N1", "N2", "N2", "N3", "R", "R"]
LABELS = [0] * 4 + [1, 2, 2, 3, 4, 4]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return load_model(save_tiny(tmp_path_factory.mktemp("model") / "tiny"))


@pytest.fixture(scope="module")
def night(tmp_path_factory):
    return write_recording(tmp_path_factory.mktemp("night") / "night.edf", {NAME: brain(300, 100)}, 100)


@pytest.fixture
def raw(night):
    return mne.io.read_raw_edf(night, preload=True, verbose="ERROR")


def same(found, expected):
    pd.testing.assert_frame_equal(found.epochs, expected.epochs, atol=1e-3)


def test_raw_and_array_score_as_the_file(night, raw, model):
    expected = score(night, model)
    same(score(raw, model), expected)
    assert score(raw, model).night.start == BEGIN and score(raw, model).path.name == "night.edf"
    found = score((raw.get_data()[0] * 1e6, 100), model)
    same(found, expected)
    same(score((raw.get_data().T * 1e6, np.array([100.0])), model), expected)
    assert found.night.start is None and found.path.name == "array"


def test_a_cropped_raw_begins_later(raw, model, tmp_path):
    cropped = raw.copy().crop(tmin=60)
    found = score(cropped, model, hypnogram=WRITERS["edf"](tmp_path / "h.edf", EXPERT))
    assert found.night.start == BEGIN + datetime.timedelta(seconds=60)
    assert found.labels.tolist() == LABELS[2:]
    whole = score(raw, model, context=False).epochs[2:].reset_index(drop=True)
    assert score(cropped, model, context=False).epochs["stage"].tolist() == whole["stage"].tolist()


def test_bad_stretches_are_not_scored(raw, model):
    raw.set_annotations(mne.Annotations([35, 62, 200, 250], [20, 3, 40, 9], ["BAD_move", "bad", "BAD", "spindle"]))
    found = score(raw, model)
    assert np.flatnonzero(found.epochs["stage"] == "?").tolist() == [1, 7]
    assert "63 s are marked as BAD and are not scored" in found.notes
    assert np.flatnonzero(score(raw.copy().crop(tmin=30), model).epochs["stage"] == "?").tolist() == [0, 6]


@pytest.mark.parametrize(
    "wrong, words",
    [
        (np.zeros((2, 900)), r"x has shape \(2, 900\)"),
        (np.zeros(0), "x has shape"),
        (np.array(["a"] * 9000), "of <U1"),
        (brain(60, 100) * 1e-6, "V"),
    ],
)
def test_arrays_that_are_no_channel(model, wrong, words):
    with pytest.raises(ValueError, match=f"array: .*{words}"):
        score((wrong, 100), model)
    for pair in ((brain(60, 100), "fast"), (brain(60, 100), np.nan), (brain(60, 100), 0), (brain(60, 100),)):
        with pytest.raises(ValueError, match=r"array: (fs is|expected \(x, fs\))"):
            score(pair, model)


def test_stages_go_back_into_raw(raw, model):
    """Cropped or not, with and without a date: each sample has the stage of its epoch."""
    for other in (raw, raw.copy().crop(tmin=60), raw.copy().set_meas_date(None).crop(tmin=60)):
        found = score(other, model)
        other.set_annotations(found.to_annotations())
        spans = (other.annotations.onset, other.annotations.duration, other.annotations.description)
        told = [text for _, seconds, text in zip(*spans, strict=True) for _ in range(round(seconds / 30))]
        expected = ["Sleep stage " + stage.replace("REM", "R") for stage in found.epochs["stage"]]
        assert told == expected
        zero = other.first_time if other.info["meas_date"] else other.annotations.onset[0]
        assert other.annotations.onset[0] == pytest.approx(zero)
        again = read_hypnogram(other).epochs(len(expected), found.night.start)[0]
        assert again.tolist() == found.stages.tolist()


def test_events_as_bids_has_them(night, model, tmp_path):
    found = score(night, model)
    found.to_events().to_csv(tmp_path / "events.tsv", sep="\t", index=False)
    assert (tmp_path / "events.tsv").read_text().startswith("onset\tduration\ttrial_type\n0\t")
    assert found.to_events()["duration"].sum() == 300
    assert read_hypnogram(tmp_path / "events.tsv").epochs(10)[0].tolist() == found.stages.tolist()


@pytest.mark.parametrize("kind", ["nsrr", "bids", "annot_clocks", "numbered"])
def test_an_experts_hypnogram_of_another_kind(night, model, tmp_path, kind, capsys):
    path = WRITERS[kind](tmp_path / "expert", EXPERT)
    assert score(night, model, hypnogram=path).labels.tolist() == LABELS
    saved = save_tiny(tmp_path / "tiny")
    command = ["score", str(night), "--output", str(tmp_path / "out"), "--model", str(saved), "--hypnogram", str(path)]
    assert main(command) == 0 and "agreement with the expert over 10 epochs" in capsys.readouterr().out


def test_an_experts_annotations(night, model, tmp_path):
    onsets, durations, texts = map(list, zip(*bouts(EXPERT), strict=True))
    annotations = mne.Annotations(
        onsets, durations, [f"Schlaf {text}" for text in texts], orig_time=BEGIN.isoformat(" ")
    )
    own = {f"Schlaf {text}": text for text in set(texts)}
    assert score(night, model, hypnogram=annotations, stages=own).labels.tolist() == LABELS
    with pytest.raises(ValueError, match="annotations: no sleep stage in it, but 1 'Schlaf .*--stages"):
        score(night, model, hypnogram=annotations)


# pictures


def test_plots_go_into_ones_own_axes(night, model):
    figure, axes = plt.subplots(2, 1)
    assert score(night, model).plot(axes) is axes and all(ax.lines or ax.collections or ax.patches for ax in axes)
    upper, lower = score(night, model).plot()
    assert upper.figure is lower.figure and upper.figure is not figure and lower.get_xlabel() == "time, h"
    assert plot_hypnogram(EXPERT[:8] + ["?", "REM"], axes[0]) is axes[0]
    numbers = plot_hypnogram([0, 1, 2, -1, 4])
    assert numbers.get_xlim() == (0, 5 / 120) and [t.get_text() for t in numbers.get_yticklabels()][0] == "W"
    probabilities = np.full((5, 5), 0.2)
    probabilities[2] = np.nan
    assert plot_hypnodensity(probabilities, axes[1]) is axes[1] and plot_hypnodensity(probabilities).get_ylim() == (
        0,
        1,
    )
    with pytest.raises(ValueError, match=r"shape \(5, 4\); expected \(n, 5\)"):
        plot_hypnodensity(probabilities[:, 1:])
    plt.close("all")


# time in bed


def test_time_in_bed():
    assert time_in_bed(120, BEGIN) is None
    assert time_in_bed(120, BEGIN, "16:23", "17:03:00") == (20, 100)
    assert time_in_bed(120, datetime.time(23, 53), "00:03", None) == (20, 120)
    assert time_in_bed(120, None, 610, "3000") == (20, 100)
    for off, on, words in (
        ("22:30", None, "not within the recording, 3600 s from 1989-04-24 16:13:00 on"),
        (-1, None, "not within"),
        (None, "noon", "expected a clock such as 22:30"),
        ("17:00", "16:30", "no time in bed between"),
        ("16:75", None, "expected a clock"),
        ("nan", None, "not within"),
    ):
        with pytest.raises(ValueError, match=words):
            time_in_bed(120, BEGIN, off, on)
    with pytest.raises(ValueError, match="lights_off=22:30: the recording does not say when it starts; give seconds"):
        time_in_bed(120, None, "22:30")


def test_statistics_count_from_lights_off(night, model, tmp_path, capsys):
    found = score(night, model, lights_off=60, lights_on="16:17")
    assert found.statistics == pytest.approx(sleep_statistics(found.stages[2:8]), nan_ok=True)
    assert found.statistics["recording"] == 3 and len(found.epochs) == 10
    saved = str(save_tiny(tmp_path / "tiny"))
    command = ["score", str(night), "--output", str(tmp_path), "--model", saved]
    assert main([*command, "--lights-off", "16:14", "--lights-on", "240"]) == 0
    out = capsys.readouterr().out
    assert "time in bed" in out and "% of the time in bed" in out and "whole recording counts" not in out
    assert main(command) == 0 and "the whole recording counts as time in bed" in capsys.readouterr().out
