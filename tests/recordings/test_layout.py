"""Data sets of one's own: which files are a night of whom, and what is prepared of them."""

import numpy as np
import pandas as pd
import pytest
from own_files import write_scoring
from recording_files import brain, write_recording

from sleepkit.__main__ import main
from sleepkit.epochs import STAGES, EpochSet, own_identity, read_prepared
from sleepkit.recordings import Layout, prepare, prepared_of
from sleepkit.recordings.layout import own_nights
from sleepkit.scoring.staging import read_night

LABELS = np.array([0, 0, 1, 2, 2, 3, 4, 4, -2, 0])
C4 = "C4-M1, C3-M2"


def record(path, rate=128, labels=("C4", "M1"), epochs=10, unit="uV", seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    x, factor = np.roll(brain(30 * epochs, rate), 977 * seed), {"uV": 1, "mV": 1e-3}[unit]
    parts = dict(zip(labels, ([1.5 * x, 0.5 * x] if len(labels) > 1 else [x]), strict=True))
    return write_recording(
        path, {name: part * factor for name, part in parts.items()}, rate, unit=unit, physical=1000 * factor
    )


def bids(folder):
    """Two people: one of two sessions in mV, one with another channel and rate and no scoring of the second."""
    for stem, how in {
        "sub-A/ses-1/eeg/sub-A_ses-1_task-sleep": dict(unit="mV", seed=1),
        "sub-A/ses-2/eeg/sub-A_ses-2_task-sleep": dict(rate=100, seed=2),
        "sub-B/eeg/sub-B_task-sleep": dict(rate=200, labels=("C3-M2",), seed=3),
        "sub-C/eeg/sub-C_task-sleep": dict(seed=4),
    }.items():
        path = record(folder / f"{stem}_eeg.edf", **how)
        if "sub-C" not in stem:
            write_scoring(path.with_name(path.name.replace("_eeg.edf", "_events.tsv")), LABELS, "events")
    (folder / "derivatives").mkdir()
    return folder


# which files belong together


def test_a_bids_folder_says_who_is_who(tmp_path):
    found = {night.night: night for night in own_nights(bids(tmp_path), Layout())}
    assert list(found) == ["sub-A_ses-1_task-sleep", "sub-A_ses-2_task-sleep", "sub-B_task-sleep", "sub-C_task-sleep"]
    assert [night.subject for night in found.values()] == ["sub-A", "sub-A", "sub-B", "sub-C"]
    assert [path.name for path in found["sub-B_task-sleep"].files] == [
        "sub-B_task-sleep_eeg.edf",
        "sub-B_task-sleep_events.tsv",
    ]
    assert "no hypnogram" in found["sub-C_task-sleep"].problem
    some = own_nights(tmp_path, Layout(recordings="*ses-2*"))
    assert [night.number for night in some] == ["sub-A_ses-2_task-sleep"]
    with pytest.raises(ValueError, match="in BIDS layout, but without a recording"):
        own_nights(tmp_path, Layout(recordings="*acq-headband*"))


def test_patterns(tmp_path):
    for name in ("S1_n1", "S1_n10", "S12_n1"):
        record(tmp_path / f"{name}.edf", epochs=1)
        write_scoring(tmp_path / f"{name}_score.txt", LABELS, "lines")
    (tmp_path / "S1_n10_score.txt").unlink()
    layout = Layout(recordings="*.edf", hypnograms="{stem}_score.txt", subject=r"S(\d+)")
    found = {night.night: night for night in own_nights(tmp_path, layout)}
    assert {name: night.subject for name, night in found.items()} == {
        "1_S1_n1": "1",
        "1_S1_n10": "1",
        "12_S12_n1": "12",
    }
    assert found["1_S1_n1"].files[1].name == "S1_n1_score.txt"
    assert "S1_n10.edf: no hypnogram S1_n10_score.txt" in found["1_S1_n10"].problem
    whole = own_nights(tmp_path, Layout(subject=r"S\d+"))  # hypnograms by their names
    assert {night.night: len(night.files) for night in whole} == {"S1_n1": 2, "S1_n10": 1, "S12_n1": 2}


def test_a_table(tmp_path):
    for i in range(3):
        record(tmp_path / "psg" / f"{i}.edf", epochs=1)
    scored = write_scoring(tmp_path / "a.txt", LABELS, "lines")
    rows = ["Subject;recording;hypnogram;night", "x;psg/0.edf;a.txt;1", "x;psg/1.edf;a.txt;2", "y;psg/2.edf;b.txt;"]
    (tmp_path / "t.csv").write_text("\n".join(rows).replace("Subject", "subject"), encoding="utf-8-sig")
    found = own_nights(tmp_path, Layout(table=tmp_path / "t.csv", dataset="lab"))
    assert [(night.night, night.subject, night.dataset) for night in found] == [
        ("x_1", "x", "lab"),
        ("x_2", "x", "lab"),
        ("y_2", "y", "lab"),
    ]
    assert found[0].files == (tmp_path / "psg" / "0.edf", scored)
    assert f"{tmp_path / 'b.txt'}: no such file" in found[2].problem
    for text, words in {
        "recording,subject\na,b": "no column hypnogram",
        "recording,hypnogram,subject\na,b,\n": "row 2 has an empty field",
        "recording,hypnogram,subject\n": "it has no row",
        "": "not a table",
    }.items():
        (tmp_path / "t.csv").write_text(text)
        with pytest.raises(ValueError, match=f"t.csv: .*{words}"):
            own_nights(tmp_path, Layout(table=tmp_path / "t.csv"))


def test_two_recordings_of_one_night_are_told(tmp_path):
    for folder in "ab":
        record(tmp_path / folder / "S1.edf", epochs=1)
    found = own_nights(tmp_path, Layout(recordings="*/*.edf", subject=r"S\d"))
    assert all("2 recordings are night S1 of S1" in night.problem for night in found)


@pytest.mark.parametrize(
    "layout, words",
    [
        (dict(subject="("), "no regular expression"),
        (dict(subject="S9"), "finds nobody in 'S1.edf'"),
        (dict(), "who is who"),
        (dict(subject="S", recordings="*.bdf"), "no recording fits"),
        (dict(hypnograms="{name}.txt"), "{stem} is all"),
        (dict(dataset="edf20"), "Sleep-EDF's"),
        (dict(dataset="my-lab"), "letters, digits and _"),
        (dict(rate=5), "32 to 10,000 Hz"),
    ],
)
def test_what_a_layout_cannot_be(tmp_path, layout, words):
    record(tmp_path / "S1.edf", epochs=1)
    with pytest.raises(ValueError) as refused:
        own_nights(tmp_path, Layout(**layout))
    assert words in str(refused.value)


# what is prepared


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("own")
    bids(folder / "bids")
    return folder, prepare(folder / "bids", folder / "out", channel=C4, wake_margin_minutes=1, jobs=1)


def test_a_night_is_what_scoring_reads(prepared):
    """The same samples as `score` takes, and the stage of each; movement is dropped."""
    folder, table = prepared
    assert table.status.tolist() == ["written"] * 3 + ["failed"] and table.subject.tolist()[:2] == ["sub-A"] * 2
    assert table.iloc[0][list(STAGES)].tolist() == [3, 1, 2, 1, 2] and table.movement[0] == 1
    for name, recording in {
        "sub-A_ses-1_task-sleep": "sub-A/ses-1/eeg/sub-A_ses-1_task-sleep_eeg.edf",
        "sub-B_task-sleep": "sub-B/eeg/sub-B_task-sleep_eeg.edf",
    }.items():
        night, kept = read_prepared(folder / "out" / f"{name}.npz"), np.flatnonzero(LABELS >= 0)
        scored = read_night(folder / "bids" / recording, 100, 3000, C4)
        np.testing.assert_array_equal(night.x, scored.x[kept, 0])
        np.testing.assert_array_equal(night.y, LABELS[kept])
        assert (night.fs, night.own) == (100.0, ("own", name.split("_")[0], name))
    assert table[["channel", "hz", "unit"]].iloc[:3].to_numpy().tolist() == [
        ["C4 - M1", 128, "mV"],
        ["C4 - M1", 100, "uV"],
        ["C3-M2", 200, "uV"],
    ]


def test_the_summary_says_what_each_night_had(prepared):
    lines = prepared_of(prepared[1])
    assert "C4 - M1, 128 Hz, mV, scored in *_events.tsv (1 nights: sub-A_ses-1_task-sleep)" in lines
    assert any(line.startswith("note: resampled from 200 to 100 Hz (1 nights: sub-B") for line in lines)


def test_an_epoch_set_knows_whose_they_are(prepared):
    folder, _ = prepared
    epochs = EpochSet.load(folder / "out")
    assert sorted(set(epochs.subject)) == ["sub-A", "sub-B"] and len(set(epochs.night)) == 3
    assert len(set(epochs.id.tolist())) == len(epochs) and (epochs.id >= 0).all()
    one = EpochSet.load(folder / "out", ["sub-B_task-sleep"])
    np.testing.assert_array_equal(one.id, epochs.id[epochs.night == "sub-B_task-sleep"])


def test_prepared_once_and_cut_again(prepared, tmp_path):
    folder, first = prepared
    again = prepare(folder / "bids", folder / "out", channel=C4, wake_margin_minutes=1, jobs=1)
    assert again.status.tolist() == ["unchanged"] * 3 + ["failed"]
    assert again.drop(columns="status").equals(first.drop(columns="status"))
    table = prepare(folder / "out", tmp_path, seconds=5)  # the channel is that of the preparation
    assert table.status.tolist() == ["written"] * 3 and set(table.dataset) == {"own"}
    assert own_identity(tmp_path / "sub-B_task-sleep.npz") == own_identity(folder / "out" / "sub-B_task-sleep.npz")
    assert EpochSet.load(tmp_path).x.shape[1] == 500 and table.channel.tolist() == first.channel.tolist()[:3]


def test_another_rate_and_names_of_stages(tmp_path):
    record(tmp_path / "in" / "S1.edf", rate=100)
    names = np.array(["wach", "N1", "N2", "N3", "REM"])[np.maximum(LABELS, 0)]
    (tmp_path / "in" / "S1.txt").write_text("\n".join(names))
    (tmp_path / "map.yaml").write_text("wach: W\n")
    layout = Layout(subject="S.", rate=64, stages=tmp_path / "map.yaml", dataset="lab")
    row = prepare(tmp_path / "in", tmp_path / "out", "C4-M1", layout=layout).iloc[0]
    assert row.status == "written" and row.W == 4 and row.n_epochs == 10, row.problem
    assert read_prepared(tmp_path / "out" / "S1.npz").x.shape == (10, 64 * 30)


def test_epochs_that_are_flat_are_left_out(tmp_path):
    x = brain(300, 128)
    x[60 * 128 : 90 * 128] = 0
    write_recording(tmp_path / "S1.edf", {"C4": x}, 128)
    write_scoring(tmp_path / "S1.txt", LABELS, "lines")
    row = prepare(tmp_path, tmp_path / "out", "C4", layout=Layout(subject="S.")).iloc[0]
    assert (row.bad, row.n_epochs, row.N1) == (1, 8, 0)


def test_nights_of_two_data_sets_do_not_mix(prepared, tmp_path):
    folder, _ = prepared
    for dataset in ("one", "two"):
        layout = Layout(dataset=dataset, recordings="*sub-B*" if dataset == "one" else "*ses-2*")
        prepare(folder / "bids", tmp_path, channel=C4, layout=layout, jobs=1)
    with pytest.raises(ValueError, match="nights of two and one"):
        EpochSet.load(tmp_path)


def test_from_the_command_line(prepared, tmp_path, capsys):
    folder, _ = prepared
    arguments = ["prepare", str(folder / "bids"), str(tmp_path / "out"), "--channel", C4, "--dataset", "lab"]
    assert main([*arguments, "--rate", "64", "--recordings", "*ses-1*"]) == 0
    printed = capsys.readouterr().out
    assert "1 nights written" in printed and "C4 - M1, 128 Hz, mV" in printed
    assert pd.read_csv(tmp_path / "out" / "nights.csv").dataset.tolist() == ["lab"]
    assert main(["prepare", str(folder / "bids" / "sub-A"), str(tmp_path), "--recordings", "*"]) == 2
    assert "who is who" in capsys.readouterr().err
