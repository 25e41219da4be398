"""Hypnograms: every kind, every wording, every clock; the right stage in every epoch, and what was done is said."""

import datetime
import warnings

import mne
import numpy as np
import pytest
from hypnogram_files import BEGIN, NAMES, WRITERS, bouts, edf, written
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from recording_files import write_annotations

from sleepkit.epochs import STAGES
from sleepkit.recordings.hypnogram import MOVEMENT, UNSCORED, read_hypnogram
from sleepkit.recordings.stage_names import NO_STAGE, labels_of, names_of, plain

LABELS = dict(zip(("W", "N1", "N2", "N3", "R"), range(5), strict=True)) | {"?": UNSCORED}
NIGHT = ["W"] * 3 + ["N1", "N2", "?", "N2", "N3", "N3", "N2", "W", "R", "R", "R", "W"]


def labels(stages):
    return [LABELS[name] for name in stages]


def read(path, n, start=BEGIN, stages=None):
    found = read_hypnogram(path, stages)
    got, notes = found.epochs(n, start)
    return got.tolist(), [*found.notes, *notes]


# kinds


@pytest.mark.parametrize("kind", WRITERS)
def test_every_kind(tmp_path, kind):
    """Under an ending that says nothing."""
    got, _ = read(WRITERS[kind](tmp_path / "night.dat", NIGHT), len(NIGHT))
    assert got == labels(NIGHT)


@settings(
    max_examples=150, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    kind=st.sampled_from(list(WRITERS)),
    stages=st.lists(st.sampled_from([*NAMES, "?"]), min_size=2, max_size=60).filter(lambda s: set(s) - {"?"}),
    cut=st.integers(0, 5),
)
def test_any_night_of_any_kind(tmp_path, kind, stages, cut):
    """Also where the recording begins later than the hypnogram, as far as the kind says when it begins."""
    if kind == "numbers":  # without REM, 4 would be a question
        stages = [*stages, "R"]
    path = WRITERS[kind](tmp_path / "night", stages)
    assert read(path, len(stages))[0] == labels(stages)
    found = read_hypnogram(path)
    late = BEGIN + datetime.timedelta(seconds=30 * cut)
    late = late if isinstance(found.start, datetime.datetime) or found.start is None else late.time()
    skipped = cut if found.start else 0
    assert found.epochs(len(stages), late)[0].tolist() == (labels(stages) + [UNSCORED] * skipped)[skipped:]


@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.sampled_from(NAMES), st.integers(1, 40)), min_size=1, max_size=30))
def test_edf_as_mne_reads_it(tmp_path, runs):
    path = edf(tmp_path / "night.edf", [name for name, n in runs for _ in range(n)])
    theirs = mne.read_annotations(path)
    found = read_hypnogram(path)
    assert found.onsets.tolist() == theirs.onset.tolist() and found.durations.tolist() == theirs.duration.tolist()
    assert found.stages.tolist() == labels([text.removeprefix("Sleep stage ") for text in theirs.description])


@pytest.mark.parametrize("ending", ["-annot.fif", ".csv", ".txt"])
@pytest.mark.parametrize("start", [None, BEGIN])
def test_what_mne_writes(tmp_path, ending, start):
    onsets, durations, texts = map(list, zip(*bouts(NIGHT), strict=True))
    zero = start and start.replace(tzinfo=datetime.UTC)
    annotations = mne.Annotations(onsets, durations, [f"Sleep stage {text}" for text in texts], orig_time=zero)
    with warnings.catch_warnings(action="ignore"):  # about names of files
        annotations.save(tmp_path / f"a{ending}", overwrite=True, verbose="ERROR")
    (tmp_path / f"a{ending}").rename(tmp_path / "a.bin")
    for source in (tmp_path / "a.bin", annotations):
        found = read_hypnogram(source)
        assert found.start == start and found.epochs(len(NIGHT), start)[0].tolist() == labels(NIGHT)
    later = BEGIN + datetime.timedelta(seconds=60)
    expected = labels(NIGHT)[2:] + [UNSCORED] * 2 if start else labels(NIGHT)
    assert read(tmp_path / "a.bin", len(NIGHT), later)[0] == expected


@pytest.mark.parametrize(
    "lines",
    [
        [",0", "0,W", "1,N1", "2,R"],  # a series, as pandas writes it
        [",stage", "0,W", "1,N1", "2,R"],
        ["0 W", "30 N1", "60 R"],
        ["1;W", "2;N1", "3;R"],
        ["Zeit\tStadium", "16:13:00\tW", "16:13:30\tN1", "16:14:00\tR"],
        ["0.0,30.0,W", "30.0,30.0,N1", "60.0,30.0,R"],
        ["W 0 30", "N1 30 60", "R 60 90"],
        ["sleep_wake", "sleep_N1", "sleep_REM"],
        ["W,N1,R,?,?,?,?"],
        ["onset,duration,scorer1,remark", "0,30,W,quiet", "30,30,N1,", "60,30,R,spindles"],
        ["epoch,stage", "0,W", "1,N1", "2,R"],
        ["Time,Stage", "1989-04-24T16:13:00Z,W", "1989-04-24T16:13:30Z,N1", "1989-04-24T16:14:00Z,R"],
        ["start,stop,stage", "04:13:00 PM,04:13:30 PM,W", "04:13:30 PM,04:14:00 PM,N1", "04:14:00 PM,04:14:30 PM,R"],
        ["Start;Stage", "24.04.1989 16:13:00;W", "24.04.1989 16:13:30;N1", "24.04.1989 16:14:00;R"],
        ["onset,stage", "00:00:00,W", "00:00:30,N1", "00:01:00,R"],
    ],
    ids=lambda lines: lines[0],
)
def test_tables_as_people_have_them(tmp_path, lines):
    assert read(written(tmp_path / "a", lines), 3)[0] == [0, 1, 4]


def test_utf16_and_latin1(tmp_path):
    for coding in ("utf-16", "utf-8-sig", "latin-1"):
        lines = ["onset,duration,stage", "0,30,W", "5,1,Lumière éteinte", "30,30,N2"]
        got, notes = read(written(tmp_path / "a", lines, coding), 2)
        assert got == [0, 2] and "no stages of sleep, and passed over: 1 'Lumière éteinte'" in notes


# words


WORDS = {
    0: "W|Wake|wake|Stage W|Sleep stage W|sleep stage w|Sleep stage W |SLEEP-S0|Wake|0|WK|Awake|Stage - W|0.0",
    1: "N1|S1|NREM1|NREM 1|1|Stage 1|Sleep stage 1|Sleep stage N1|SLEEP-S1|NonREM1|Stage 1 sleep|Stage - N1|n1",
    2: "N2|S2|NREM2|2|stage 2|SLEEP-S2|Non-REM 2|N 2|2.000000000000000000e+00",
    3: "N3|S3|S4|NREM3|NREM4|3|4|Sleep stage 4|SLEEP-S4|N4|SWS|Stage_3",
    4: "R|REM|rem|5|Sleep stage R|Stage R|SLEEP-REM|REM sleep|Sleep stage 5| R ",
    MOVEMENT: "Movement time|MT|SLEEP-MT|Sleep stage M",
    UNSCORED: "?|Sleep stage ?|SLEEP-UNSCORED|Not scored|NotScored|Stage - No Stage|-1|-2|Uns|n/a|9",
    NO_STAGE: "Lights off@@EEG F4-A1|Arousal|Movement|Artefact|N2 arousal|Stage|sleep|-3|12|R?|W2|Stage shift|",
}


@pytest.mark.parametrize("text, label", [(text, label) for label, texts in WORDS.items() for text in texts.split("|")])
def test_words(text, label):
    assert labels_of([text], *names_of())[0].tolist() == [label]
    assert labels_of([text.upper()], *names_of())[0].tolist() == [label]


def test_nsrr_words_hold_their_number():
    assert plain("Stage 4 sleep|4") == "4" and plain("REM sleep|5") == "rem" and plain("Unscored|9") == "unscored"


@pytest.mark.parametrize(
    "numbers, fours",
    [
        ("0 1 2 3 4 5", 3),  # Rechtschaffen and Kales
        ("0 1 2 3 4 3 2 0", 3),  # without REM
        ("0 1 2 3 2 4 4 1", 4),  # YASA
        ("-2 0 2 4", 4),
        ("4", 3),
    ],
)
def test_whether_four_is_rem(tmp_path, numbers, fours):
    got, notes = read(written(tmp_path / "a", numbers.split()), len(numbers.split()))
    assert {label for label, number in zip(got, numbers.split(), strict=True) if number == "4"} == {fours}
    assert any("4 was read as" in note for note in notes) == ("5" not in numbers)
    (tmp_path / "map.yaml").write_text("4: N2\n")
    got, notes = read(tmp_path / "a", len(numbers.split()), stages=tmp_path / "map.yaml")
    assert not any("4 was" in note for note in notes) and got[numbers.split().index("4")] == 2


def test_ones_own_names(tmp_path):
    path = written(tmp_path / "a", ["Schlaf I", "schlaf i", "Traum", "W", "Bewegung"])
    own = tmp_path / "map.yaml"
    own.write_text("Schlaf I: N1\nTraum: rem\nBewegung: movement time\n")
    assert read(path, 5, stages=own)[0] == [1, 1, 4, 0, MOVEMENT]
    assert read(path, 5, stages={"Schlaf I": "N1"})[0] == [1, 1, UNSCORED, 0, UNSCORED]
    for text in ("Traum: deep\n", "- a\n", "a: [", "\xff"):
        own.write_bytes(text.encode("latin-1"))
        with pytest.raises(ValueError, match="map.yaml: (expected lines|no yaml)"):
            read(path, 5, stages=own)


# events among the stages, durations, grids


def test_events_that_are_no_stages(tmp_path):
    rows = [(0, 90, "W"), (12.5, 3, "Arousal"), (14, 3, "Arousal"), (90, None, "Lights off@@EEG F4-A1"), (90, 60, "N2")]
    rows += [(100, 20, "Movement"), (0, 0, "Lumi\xe8re \xe9teinte".encode("latin-1"))]
    got, notes = read(write_annotations(tmp_path / "a.edf", rows), 5)
    assert got == [0, 0, 0, 2, 2]
    (said,) = (note for note in notes if "passed over" in note)
    assert "2 'Arousal'" in said and "1 'Lights off@@EEG F4-A1'" in said and "1 'Movement'" in said and "Lumi" in said


@pytest.mark.parametrize("keepers", [True, False])
@pytest.mark.parametrize("one_record", [True, False])
def test_no_stage_is_lost_as_a_time_keeper(tmp_path, keepers, one_record):
    """EDF+ asks for an annotation without text that keeps the time; without it the first stage is none."""
    rows = [(30 * i, 30, f"Sleep stage {name}") for i, name in enumerate(NIGHT)]
    path = write_annotations(tmp_path / "a.edf", rows, one_record, keepers)
    assert read(path, len(NIGHT)) == (labels(NIGHT), [])


def test_movement_time_lies_beneath_the_stages(tmp_path):
    rows = [(0, 60, "Sleep stage 2"), (60, 30, "Movement time"), (90, 30, "Sleep stage W"), (30, 10, "Movement time")]
    assert read(write_annotations(tmp_path / "a.edf", rows), 5)[0] == [2, 2, MOVEMENT, 0, UNSCORED]


def test_stages_without_a_duration(tmp_path):
    """They last until the next; in a list of epochs, an epoch that is not in it is not scored."""
    changes = [(0, None, "W"), (95, 0, "N1"), (130, None, "arousal"), (150, None, "N2"), (600, None, "R")]
    got, notes = read(write_annotations(tmp_path / "a.edf", changes), 22)
    assert got == [0, 0, 0, 1, 1, *[2] * 15, 4, UNSCORED]
    assert "stages without a duration were taken to last until the next one" in notes
    every = [(30 * i, None, name) for i, name in enumerate(["W", "W", "N1", "N2", "N2", "N2"]) if i != 3]
    assert read(write_annotations(tmp_path / "a.edf", every), 7)[0] == [0, 0, 1, UNSCORED, 2, 2, UNSCORED]
    pages = [(20 * i, None, name) for i, name in enumerate(["W", "W", "N1", "N1", "N2", "N2"])]
    assert read(write_annotations(tmp_path / "a.edf", pages), 4)[0] == [0, 1, 1, 2]


@pytest.mark.parametrize("page", [10, 20])
def test_pages_of_another_length(tmp_path, page):
    """By hand: what each epoch has most of, of equal shares the first."""
    random = np.random.default_rng(page)
    pages = random.integers(0, 5, 240)
    rows = [(page * i, page, NAMES[label]) for i, label in enumerate(pages)]
    n = 240 * page // 30
    seconds = np.repeat(pages, page).reshape(n, 30)
    expected = [
        max(row, key=lambda label, row=row: ((row == label).sum(), -np.argmax(row == label))) for row in seconds
    ]
    got, notes = read(write_annotations(tmp_path / "a.edf", rows), n)
    assert got == expected and any("stage of most of its time" in note for note in notes)


@pytest.mark.parametrize("late", [0.004, 7, 14.9, 15, 15.1, 28])
def test_off_the_grid(tmp_path, late):
    stages = ["W", "W", "N1", "N2", "N2", "R"]
    rows = [(30 * i + late, 30, name) for i, name in enumerate(stages)]
    expected = [0, *labels(stages)][: len(stages)] if late >= 15 else labels(stages)
    expected[0] = UNSCORED if late > 15 else 0
    got, notes = read(write_annotations(tmp_path / "a.edf", rows), len(stages))
    assert got == expected and any("most of its time" in note for note in notes) == (late > 1)


def test_overlaps(tmp_path):
    rows = [(0, 30.4, "W"), (30, 30, "N1"), (60, 60, "N2"), (60, 30, "N2"), (90, 30, "N2")]
    assert read(write_annotations(tmp_path / "a.edf", rows), 5)[0] == [0, 1, 2, 2, UNSCORED]
    with pytest.raises(ValueError, match="a.edf: two stages are scored at second 60; correct"):
        read_hypnogram(write_annotations(tmp_path / "a.edf", [*rows, (60, 30, "R")]))


def test_the_official_hypnogram(shared):
    found = read_hypnogram(shared / "data" / "edf" / "SC4001EC-Hypnogram.edf")
    assert (found.start, found.end, found.notes) == (datetime.datetime(1989, 4, 24, 16, 13), 79_500, ())
    got, notes = found.epochs(2650, found.start)
    assert np.bincount(got).tolist() == [1997, 58, 250, 220, 125] and notes == []


# clocks


def stamped(path, stages=NIGHT, start="24.04.89", clock="16.13.00", recording="Startdate X X X X"):
    rows = list(bouts(stages))
    return write_annotations(path, rows, start=start, clock=clock, recording=recording)


@pytest.mark.parametrize(
    "recording, start, clock, shift, said",
    [
        (BEGIN, "24.04.89", "16.13.00", 0, ""),
        (BEGIN, "24.04.89", "16.12.00", -2, ""),
        (BEGIN, "01.01.85", "16.14.30", 3, "their clocks were compared"),
        (BEGIN.time(), "24.04.89", "16.14.30", 3, "their clocks were compared"),
        (BEGIN, "01.01.85", "00.00.00", 0, "hypnogram does not say when it starts"),
        (None, "24.04.89", "16.12.00", 0, "recording does not say when it starts"),
        (datetime.datetime(1989, 1, 2, 23, 58), "01.01.85", "00.00.30", 5, "clocks"),  # over midnight
        (datetime.time(0, 1), "01.01.85", "23.59.30", -3, "clocks"),
    ],
)
def test_where_a_hypnogram_begins(tmp_path, recording, start, clock, shift, said):
    got, notes = read(stamped(tmp_path / "a.edf", start=start, clock=clock, recording=""), 20, recording)
    row = [UNSCORED] * 5 + labels(NIGHT) + [UNSCORED] * 30
    assert got == row[5 - shift :][:20]
    assert [said in note for note in notes if said][:1] == [True] * bool(said)


def test_of_two_days_that_with_most_in_common(tmp_path):
    """A day-long recording from 08:00; the hypnogram of its night begins 15 h after that, not 9 h before."""
    path = stamped(tmp_path / "a.edf", start="01.01.85", clock="23.00.00", recording="")
    got, notes = read(path, 2880, datetime.time(8))
    assert got[1800:1815] == labels(NIGHT) and set(got[:1800]) == {UNSCORED}
    assert any("starts 15.0 h after the recording" in note for note in notes)


def test_nights_that_do_not_fit_are_doubted(tmp_path):
    path = stamped(tmp_path / "a.edf", recording="")
    with pytest.raises(ValueError, match=r"a\.edf: starts .* not of one night: if a date was altered, set both"):
        read(path, 15, BEGIN + datetime.timedelta(days=2))
    assert not any("less than half" in note for note in read(path, 8)[1])
    got, notes = read(path, 7)
    assert len(got) == 7 and any("less than half of what the expert scored" in note for note in notes)
    assert any("240 of 420 s that the expert scored lie outside of the recording" in note for note in notes)
    _, notes = read(path, 1000, BEGIN + datetime.timedelta(hours=-2))
    assert any("starts 2.0 h after the recording: are they of one night" in note for note in notes)


# bad input


BAD = {
    "empty": (b"", "empty"),
    "blank": (b" \n\n", "empty"),
    "binary": (b"\x89PNG\r\n\0\0\0\0", "no text"),
    "prose": (b"This is a letter.\nIt has no stages,\nnone.\n", "no sleep stage in it, but 1 'It has"),
    "a recording's table": (b"time,Fpz\n0,1.5\n1,2.5\n", "no column of sleep stages"),
    "a header alone": (b"onset,duration,stage\n", "no line of data"),
    "no stage": (
        b"onset,duration,stage\n0,30,spindle\n",
        "no column of sleep stages|no sleep stage in it, but 1 'spindle'",
    ),
    "onset": (b"onset,stage\n0,W\nsoon,N1\n", "stage 'N1' at 'soon'; expected seconds"),
    "mixed": (b"onset,stage\n0,W\n23:10:00,N1\n", "of one kind throughout"),
    "xml": (b"<CMPStudyConfig><SleepStages>", "damaged XML"),
    "doctype": (b'<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>', "DOCTYPE"),
    "other xml": (b"<html><body/></html>", "no sleep stage in it, but nothing"),
    "length": (b"<a><EpochLength>x</EpochLength><SleepStage>1</SleepStage></a>", "'x' is no number"),
    "a long line": (b"[" + b"1," * 9 + b'"' + b"x" * 200_000 + b'"]', "field larger than|neither a table"),
    "no finite time": (b"<a><b><Class>W</Class><Start>0</Start><Duration>inf</Duration></b></a>", "no finite time"),
    "fif": (b"\0\0\0\x64\0\0\0\x1f" + bytes(100), "no annotations that MNE-Python can read"),
}


@pytest.mark.parametrize("content, words", BAD.values(), ids=BAD)
def test_what_is_no_hypnogram(tmp_path, content, words):
    (tmp_path / "a.txt").write_bytes(content)
    with pytest.raises(ValueError, match=words) as error:
        read_hypnogram(tmp_path / "a.txt")
    assert str(tmp_path / "a.txt") in str(error.value) and "\n" not in str(error.value)


def test_entities_do_not_grow(tmp_path):
    """In an encoding, too, in which a search of the bytes would not find them."""
    text = '<?xml version="1.0" encoding="UTF-16"?><!DOCTYPE a [<!ENTITY b "cccc">]><a>&b;</a>'
    (tmp_path / "a.xml").write_bytes(text.encode("utf-16"))
    with pytest.raises(ValueError, match="DOCTYPE"):
        read_hypnogram(tmp_path / "a.xml")


def test_our_own_stages_are_in_their_order():
    assert [LABELS[name] for name in NAMES] == list(range(len(STAGES)))
