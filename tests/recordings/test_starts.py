"""Where a recording begins, in every format: with its first sample. And clocks that do not run as they should."""

import datetime

import mne
import numpy as np
import pytest
from recording_files import brain, reheaded, save_tiny, write_annotations, write_recording

from sleepkit.recordings import prepare
from sleepkit.recordings.channel import read_channel
from sleepkit.recordings.edf import open_edf
from sleepkit.recordings.start import edf_start, shown
from sleepkit.scoring import load_model, score
from sleepkit.scoring.report import summary

DATED = "Startdate 24-APR-1989 X X X"
X = "Startdate X X X X"
KNOWN = datetime.datetime(1989, 4, 24, 16, 13)
CLOCK = datetime.time(16, 13)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return load_model(save_tiny(tmp_path_factory.mktemp("model") / "tiny"))


@pytest.mark.parametrize(
    "date, clock, recording, later, start",
    [
        ("24.04.89", "16.13.00", DATED, 0, KNOWN),
        ("24.04.89", "16.13.00", "", 0, KNOWN),
        ("24/04/89", "16:13:00", "Startdate", 0, KNOWN),
        ("24.04.89", "16.13.00", X, 0, CLOCK),
        ("01.01.85", "16.13.00", X, 0, CLOCK),
        ("01.01.85", "16.13.00", "", 0, CLOCK),
        ("01.01.85", "16.13.00", "Startdate 01-JAN-1985 X X X", 0, CLOCK),
        ("01.01.85", "16.13.00", DATED, 0, KNOWN),
        ("00.00.00", "16.13.00", "", 0, CLOCK),
        ("31.02.99", "16.13.00", "Startdate 24-APR-1989 a", 0, KNOWN),
        ("24.04.yy", "16.13.00", "Startdate 24-APR-2089 X X X", 0, KNOWN.replace(year=2089)),
        ("01.01.85", "00.00.00", X, 0, None),
        ("00.00.00", "00.00.00", "", 0, None),
        ("01.01.00", "00.00.00", "Startdate 01-JAN-2000 X X X", 0, None),  # as MNE's anonymize leaves it
        ("24.04.89", "00.00.00", DATED, 0, datetime.datetime(1989, 4, 24)),  # a midnight like any other
        ("24.04.89", "99.99.99", DATED, 0, None),
        ("24.04.89", "", "", 0, None),
        ("24.04.89", "16.13.00", DATED, 600.25, KNOWN + datetime.timedelta(seconds=600.25)),
        ("24.04.89", "16.13.00", X, 600, datetime.time(16, 23)),
        ("01.01.85", "23.53.00", "", 600, datetime.time(0, 3)),
        ("24.04.89", "16.13.00", DATED, 1e12, None),
        ("24.04.89", "16.13.00", "Startdate 24-XXX-1989", 0, KNOWN),
        ("01.01.85", "16.13.00", "Startdate 24-MAI-1989", 0, CLOCK),
    ],
)
def test_what_an_edf_header_says(date, clock, recording, later, start):
    assert edf_start(date, clock, recording, later) == start


def test_starts_as_text():
    assert [shown(start) for start in (KNOWN, CLOCK)] == ["1989-04-24 16:13:00", "16:13:00"]
    assert shown(None) == "at a time that is not known"


@pytest.mark.parametrize("plus", ["EDF+D", "EDF+C"])
@pytest.mark.parametrize("first", [600, 0.5, -30])
def test_the_first_record_begins_later(tmp_path, model, plus, first):
    """As Luna writes a recording of which some epochs were taken; EDF+C with an onset is no other."""
    x = brain(300, 100)
    path = write_recording(tmp_path / "a.edf", {"Fpz": x}, 100, onsets=first + np.arange(300.0))
    edf = open_edf(reheaded(path, recording=DATED, plus=plus))
    assert edf.start == KNOWN + datetime.timedelta(seconds=first)
    np.testing.assert_allclose(read_channel(path).x, x, atol=0.1)
    rows = [(600, 90, "Sleep stage W"), (690, 3600, "Sleep stage 2")]
    labels = score(path, model, hypnogram=write_annotations(tmp_path / "h.edf", rows)).labels.tolist()
    shift = round((600 - first) / 30)
    assert labels == ([-1] * shift + [0, 0, 0] + [2] * 10)[:10]


def test_a_cropped_fif_begins_where_it_was_cropped(tmp_path, model):
    info = mne.create_info(["Fpz-Cz"], 100.0, "eeg")
    raw = mne.io.RawArray(brain(240, 100)[None] * 1e-6, info, verbose="ERROR")
    rows = [(0, 60, "Sleep stage W"), (60, 60, "Sleep stage 1"), (120, 3600, "Sleep stage 2")]
    expert = write_annotations(tmp_path / "h.edf", rows)
    raw.set_meas_date(KNOWN.replace(tzinfo=datetime.UTC))
    raw.copy().crop(tmin=90.0).save(tmp_path / "cropped_raw.fif", verbose="ERROR")
    found = score(tmp_path / "cropped_raw.fif", model, hypnogram=expert)
    assert found.night.start == KNOWN + datetime.timedelta(seconds=90)
    assert found.labels.tolist() == [1, 2, 2, 2, 2]
    assert "begun 1989-04-24 16:14:30" in summary(found)
    anonymous = raw.copy().anonymize(verbose="ERROR")
    anonymous.save(tmp_path / "anonymous_raw.fif", verbose="ERROR")
    found = score(tmp_path / "anonymous_raw.fif", model, hypnogram=expert)
    assert found.night.start is None and found.labels.tolist() == [0, 0, 1, 1, 2, 2, 2, 2]
    assert any("the recording does not say when it starts" in note for note in found.notes)
    raw.set_meas_date(None).crop(tmin=90.0).save(tmp_path / "none_raw.fif", verbose="ERROR")
    assert any("90 s after a start that is not known" in note for note in score(tmp_path / "none_raw.fif", model).notes)


@pytest.mark.parametrize(
    "recorded, scored, first, said",
    [
        (("01.01.85", "00.30.00", X), ("01.01.85", "00.00.00", X), 0, "the hypnogram does not say when it starts"),
        (("01.01.85", "16.13.00", X), ("01.01.85", "16.15.00", X), 4, "their clocks were compared"),
        (("01.01.85", "23.59.00", X), ("01.01.85", "00.01.00", X), 4, "their clocks were compared"),
        (("24.04.89", "23.59.00", DATED), ("01.01.85", "00.01.00", X), 4, "their clocks were compared"),
        (("24.04.89", "16.13.00", DATED), ("24.04.89", "16.15.00", DATED), 4, ""),
        (("01.01.85", "00.00.00", X), ("24.04.89", "16.13.00", DATED), 0, "the recording does not say when it starts"),
    ],
)
def test_placeholders_are_no_dates(tmp_path, model, recorded, scored, first, said):
    names = ("start", "clock", "recording")
    path = write_recording(tmp_path / "a.edf", {"Fpz": brain(300, 100)}, 100)
    reheaded(path, **dict(zip(names, recorded, strict=True)))
    rows = [(0, 30, "Sleep stage R"), (30, 3600, "Sleep stage 2")]
    expert = write_annotations(tmp_path / "h.edf", rows, **dict(zip(names, scored, strict=True)))
    found = score(path, model, hypnogram=expert)
    assert found.labels.tolist() == ([-1] * first + [4] + [2] * 10)[:10]
    assert any(said in note for note in found.notes)


def test_a_start_that_is_not_known_and_a_late_first_record(tmp_path):
    path = write_recording(tmp_path / "a.edf", {"Fpz": brain(60, 100)}, 100, onsets=600 + np.arange(60.0))
    edf = open_edf(reheaded(path, start="01.01.85", clock="00.00.00"))
    assert edf.start is None and "the first sample lies 600 s after the start in the header" in edf.notes[0]


def test_the_hypnogram_that_is_written_begins_with_the_first_sample(tmp_path, model):
    from sleepkit.scoring.report import write

    for first, plus in ((600.25, "EDF+D"), (0, "EDF+C")):
        path = write_recording(tmp_path / "a.edf", {"Fpz": brain(60, 100)}, 100, onsets=first + np.arange(60.0))
        write(score(reheaded(path, recording=DATED, plus=plus), model), tmp_path / plus, "sleepkit")
        written = open_edf(tmp_path / plus / "a.hypnogram.edf")
        assert written.start == KNOWN + datetime.timedelta(seconds=first) and written.annotations()[0][0] == 0


# clocks


def placed(tmp_path, onsets, seconds=1.0):
    x = brain(len(onsets) * seconds, 100)
    path = write_recording(tmp_path / "a.edf", {"Fpz": x}, 100, seconds=seconds, onsets=onsets)
    edf = open_edf(path)
    return edf, edf.read(edf.signals[0]), x


@pytest.mark.parametrize("early", [0.001, 0.004, 0.09])
def test_records_that_overlap_by_milliseconds_lie_end_to_end(tmp_path, early):
    onsets = np.arange(40.0)
    onsets[7] -= early
    edf, found, x = placed(tmp_path, onsets)
    np.testing.assert_allclose(found, x, atol=0.1)
    assert "begin before the last has ended" in edf.notes[0] and f"{1000 * early:.3g} ms" in edf.notes[0]


def test_a_clock_that_runs_fast_hides_no_gap(tmp_path):
    """Each record a millisecond early, for long; then 20 s are missing."""
    onsets = np.arange(400) * 0.999
    onsets[300:] += 20
    edf, found, x = placed(tmp_path, onsets)
    gaps = np.flatnonzero(np.isnan(found))
    assert abs(len(gaps) - 2000) <= 25 and (np.diff(gaps) == 1).all() and abs(gaps[0] - 30_000) <= 25
    np.testing.assert_allclose(found[~np.isnan(found)], x, atol=0.1)


def test_a_clock_that_jitters_does_not_drift(tmp_path):
    onsets = np.arange(400.0)
    onsets[1::2] += 0.03
    _, found, x = placed(tmp_path, onsets)
    assert len(found) - len(x) <= 6


def test_a_clock_that_was_set_back_goes_on(tmp_path, model):
    onsets = np.arange(120.0)
    onsets[70:] -= 3600
    onsets[100:] += 10
    edf, found, x = placed(tmp_path, onsets)
    assert np.flatnonzero(np.isnan(found)).tolist() == list(range(10_000, 11_000))
    np.testing.assert_allclose(found[~np.isnan(found)], x, atol=0.1)
    assert "the clock goes back by 3600 s before data record 70" in edf.notes[0]
    assert edf.notes[0] in score(edf.path, model).notes


def test_prepare_does_not_lay_labels_askew(tmp_path):
    """A first record that begins later than its header says is another start than the hypnogram's."""
    from edf_files import BOUTS, write_hypnogram

    x = np.random.default_rng(0).normal(0, 20, 18 * 3000)
    path = tmp_path / "SC4001E0-PSG.edf"
    write_recording(path, {"EEG Fpz-Cz": x}, 100, seconds=30, onsets=600 + 30 * np.arange(18))
    reheaded(path, recording=DATED, plus="EDF+C")
    write_hypnogram(tmp_path / "SC4001EC-Hypnogram.edf", BOUTS)
    (problem,) = prepare(tmp_path, tmp_path / "out").problem
    assert "starts 1989-04-24 16:23:00, but" in problem
