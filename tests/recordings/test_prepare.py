"""`prepare`: from folders of EDF pairs or of prepared nights to prepared nights and their table."""

import os
import subprocess
import sys

import edfio
import numpy as np
import pandas as pd
import pytest
from edf_files import CHANNEL, NOISE, RECORDED, write_pair, write_psg

from sleepkit.bench.prepare import run as bench
from sleepkit.epochs import STAGES, EpochSet
from sleepkit.recordings import nights_of, prepare
from sleepkit.recordings.preparation import keep, open_channel
from sleepkit.recordings.sleep_edf import PUBLISHED


def load(path):
    with np.load(path, allow_pickle=False) as night:
        return {name: night[name] for name in night.files}


def state(folder):
    return {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in sorted(folder.iterdir())}


# the way of one night


def test_cut_label_drop_and_trim(tmp_path):
    write_pair(tmp_path / "edf", spare=["Temp rectal"])
    table = prepare(tmp_path / "edf", tmp_path / "out", wake_margin_minutes=1)
    row = table.iloc[0].to_dict()
    expected = dict(
        night="SC4001E0", subject=0, W=4, N1=1, N2=2, N3=2, REM=1, n_epochs=10, movement=1, unscored=2, trimmed=5
    )
    assert row == expected | {"status": "written", "problem": ""}
    assert pd.read_csv(tmp_path / "out" / "nights.csv", keep_default_na=False).equals(table)

    night = load(tmp_path / "out" / "SC4001E0.npz")
    kept = [1, 2, 3, 5, 6, 7, 8, 11, 12, 13]
    physical = (np.resize(NOISE, 18 * 3000).reshape(18, 3000)[kept] + 2048.0) * (384 / 4095) - 192
    assert night["x"].dtype == np.float32 and night["y"].dtype == np.int32 and night["x"].shape == (10, 3000, 1)
    np.testing.assert_allclose(night["x"][:, :, 0], physical, rtol=1e-6, atol=1e-5)
    assert night["y"].tolist() == [0, 0, 1, 2, 2, 3, 3, 4, 0, 0]
    assert (float(night["fs"]), str(night["ch_label"])) == (100.0, CHANNEL)
    assert EpochSet.load(tmp_path / "out").counts().tolist() == [4, 1, 2, 2, 1]


def test_drops_before_it_trims():
    labels = np.array([0, 0, 0, -2, 1, 0, -1, 0, 0])
    kept, trimmed = keep(labels, margin=2)
    assert kept.tolist() == [1, 2, 4, 5, 7] and trimmed == 2  # the dropped epochs take no place in the margin
    assert keep(np.array([0, 0, -1]), 1)[0].tolist() == []


def test_gap_in_the_hypnogram_is_unscored_and_incomplete_epoch_is_left_out(tmp_path):
    psg, hypnogram = write_pair(tmp_path)
    edf = edfio.read_edf(hypnogram, lazy_load_data=False)
    edf.drop_annotations("Sleep stage ?")
    edf.write(hypnogram)
    records = edfio.read_edf(psg, lazy_load_data=False)
    noise = records.signals[0].digital[: 17 * 3000 + 1000].copy()  # the 18th epoch lasts 10 s
    kinds = dict(label=CHANNEL, physical_dimension="uV", physical_range=(-192, 192), digital_range=(-2048, 2047))
    signal = edfio.EdfSignal.from_digital(noise, 100, **kinds)
    edfio.Edf([signal], data_record_duration=10, **RECORDED).write(psg)
    row = prepare(tmp_path, tmp_path / "out").iloc[0]
    assert (row.status, row.unscored, row.n_epochs, row.W) == ("written", 2, 14, 8)


@pytest.mark.parametrize("unit, factor", [("uV", 1), ("mV", 1e3), ("V", 1e6)])
def test_units(tmp_path, unit, factor):
    """The same numbers in another unit are another amplitude: 100 mV are no EEG, and nothing is written."""
    psg, _ = write_pair(tmp_path, unit=unit)
    assert open_channel(psg, CHANNEL)[2] == factor
    row = prepare(tmp_path, tmp_path / "out").iloc[0]
    assert row.status == ("written" if factor == 1 else "failed") and ("amplitude" in row.problem) == (factor > 1)
    assert (tmp_path / "out" / "SC4001E0.npz").exists() == (factor == 1)


# real input


def published_counts():
    table = pd.read_csv(PUBLISHED)
    return table[table.dataset == "edf20"].set_index("recording").n_epochs


def test_official_hypnograms_give_the_authors_counts(shared, tmp_path):
    counts, right = published_counts(), 0
    for hypnogram in sorted((shared / "data" / "edf").glob("*-Hypnogram.edf")):
        folder = tmp_path / hypnogram.name[:6]
        folder.mkdir()
        scored = [a for a in edfio.read_edf(hypnogram).annotations if a.text != "Sleep stage ?"]
        n_epochs = int(scored[-1].onset + scored[-1].duration) // 30
        psg = write_psg(folder / f"{hypnogram.name[:6]}E0-PSG.edf", n_epochs)
        header = bytearray(psg.read_bytes())
        header[168:184] = hypnogram.read_bytes()[168:184]  # each night begins when its own hypnogram does
        psg.write_bytes(header)
        (folder / hypnogram.name).write_bytes(hypnogram.read_bytes())
        row = prepare(folder, folder / "out", seconds=1, jobs=1).iloc[0]
        assert (row.status, row.problem) == ("written", "")
        assert row.n_epochs == counts[row.night], row.night
        assert row.n_epochs + row.movement + row.unscored + row.trimmed == n_epochs
        right += 1
        psg.unlink()
    assert right == 20


def test_all_real_nights(shared, tmp_path):
    unpack = [sys.executable, str(shared / "data" / "unpack.py"), str(tmp_path / "peers")]
    subprocess.run(unpack, check=True, capture_output=True)
    table = prepare(tmp_path / "peers", tmp_path / "out", seconds=5).set_index("night")
    assert table.index.tolist() == list(nights_of("edf20")) and (table.status == "written").all()
    assert table.n_epochs.to_dict() == published_counts().to_dict()
    assert table[list(STAGES)].sum().tolist() == [8285, 2804, 17799, 5703, 7717]
    assert table.n_epochs.sum() == 42308
    one = load(tmp_path / "peers" / "SC4092E0.npz"), load(tmp_path / "out" / "SC4092E0.npz")
    assert np.array_equal(one[0]["x"], one[1]["x"]) and np.array_equal(one[0]["y"], one[1]["y"])


# the two ways to shorter epochs


def test_seconds_from_edf_and_from_prepared_nights_agree(tmp_path):
    write_pair(tmp_path / "edf")
    prepare(tmp_path / "edf", tmp_path / "direct", seconds=5)
    prepare(tmp_path / "edf", tmp_path / "whole")
    again = prepare(tmp_path / "whole", tmp_path / "cut", seconds=5)
    direct, cut = (load(tmp_path / way / "SC4001E0.npz") for way in ("direct", "cut"))
    assert direct["x"].shape == (15, 500, 1)
    assert np.array_equal(direct["x"], cut["x"]) and np.array_equal(direct["y"], cut["y"])
    assert again[["movement", "unscored", "trimmed"]].to_numpy().tolist() == [[0, 0, 0]]


def peer(folder, name="SC4001E0", **changes):
    folder.mkdir(exist_ok=True)
    x = 20 * np.random.default_rng(0).standard_normal((6, 500, 1)).astype(np.float32)
    night = dict(x=x, y=np.array([0, 1, 2, 3, 4, 0], np.int32), fs=100.0, ch_label=CHANNEL) | changes
    np.savez(folder / f"{name}.npz", **{key: value for key, value in night.items() if value is not None})
    return folder / f"{name}.npz"


NAN = np.full((6, 500), np.nan, np.float32)
BAD_NIGHTS = {
    "too short": (dict(), 30, "pass seconds=5"),
    "NaN": (dict(x=NAN), 5, "NaN or infinite"),
    "flat": (dict(x=np.ones((6, 500))), 5, "flat"),
    "labels": (dict(y=np.array([0, 1, 2, 3, 4, 5])), 5, "labels 0 to 5"),
    "fractions": (dict(y=np.array([0.0, 1, 2, 3, 4, 0])), 5, "y float64"),
    "lengths": (dict(y=np.array([0, 1])), 5, "expected"),
    "rate": (dict(fs=125.0), 5, "expected 100 Hz"),
    "channel": (dict(ch_label="EEG Pz-Oz"), 5, "there is: EEG Pz-Oz"),
    "awake": (dict(y=np.zeros(6, int)), 5, "without sleep"),
    "no labels": (dict(y=None), 5, "not a prepared night"),
}


@pytest.mark.parametrize("changes, seconds, problem", BAD_NIGHTS.values(), ids=BAD_NIGHTS.keys())
def test_bad_prepared_nights(tmp_path, changes, seconds, problem):
    path = peer(tmp_path / "in", **changes)
    row = prepare(tmp_path / "in", tmp_path / "out", seconds=seconds).iloc[0]
    assert row.status == "failed" and row.n_epochs == 0
    assert problem in row.problem and str(path) in row.problem
    assert not (tmp_path / "out" / "SC4001E0.npz").exists()


def test_prepared_nights_of_either_shape(tmp_path):
    peer(tmp_path / "in", x=np.arange(6 * 700).reshape(6, 700) / 7, ch_label=None)
    peer(tmp_path / "in", "day")
    table = prepare(tmp_path / "in", tmp_path / "out", seconds=5).set_index("night")
    assert load(tmp_path / "out" / "SC4001E0.npz")["x"].shape == (6, 500, 1)
    assert "rename" in table.problem["day"] and table.subject["day"] == -1


# what is there already


def test_second_run_skips_what_is_done_and_unchanged(tmp_path):
    folder, out = tmp_path / "edf", tmp_path / "out"
    psg, _ = write_pair(folder)
    write_pair(folder, "SC4011")
    first = prepare(folder, out)
    assert first.status.tolist() == ["written", "written"]
    nights = {name: times for name, times in state(out).items() if name.endswith(".npz")}
    second = prepare(folder, out)
    assert second.status.tolist() == ["unchanged", "unchanged"]
    assert second.drop(columns="status").equals(first.drop(columns="status"))
    assert {name: times for name, times in state(out).items() if name.endswith(".npz")} == nights

    os.utime(psg, ns=(1, 1))  # a source that changed
    assert prepare(folder, out).status.tolist() == ["written", "unchanged"]
    assert prepare(folder, out, wake_margin_minutes=1).status.tolist() == ["written", "written"]  # and other settings
    (out / "SC4011E0.npz").unlink()
    assert prepare(folder, out, wake_margin_minutes=1).status.tolist() == ["unchanged", "written"]


def test_leaves_files_of_others(tmp_path):
    folder, out = tmp_path / "edf", tmp_path / "out"
    write_pair(folder)
    write_pair(folder, "SC4011")
    theirs = peer(out)
    (out / "notes.txt").write_text("mine")
    before = theirs.read_bytes()
    table = prepare(folder, out)
    assert table.status.tolist() == ["failed", "written"]
    assert str(theirs) in table.problem[0] and "move it away" in table.problem[0]
    theirs.write_bytes(b"no archive at all")
    assert prepare(folder, out).status.tolist() == ["failed", "unchanged"]
    assert theirs.read_bytes() == b"no archive at all" != before
    assert sorted(path.name for path in out.iterdir()) == ["SC4001E0.npz", "SC4011E0.npz", "nights.csv", "notes.txt"]

    (out / "nights.csv").write_text("night,mood\nSC4001E0,good\n")
    with pytest.raises(ValueError, match="nights.csv: was not written here"):
        prepare(folder, out)
    assert (out / "nights.csv").read_text() == "night,mood\nSC4001E0,good\n"


def test_output_beside_the_recordings(tmp_path):
    pair = write_pair(tmp_path)
    before = [path.read_bytes() for path in pair]
    assert prepare(tmp_path, tmp_path).status.tolist() == ["written"]
    assert prepare(tmp_path, tmp_path).status.tolist() == ["unchanged"]
    assert [path.read_bytes() for path in pair] == before
    peer(tmp_path, "SC4011E0")
    with pytest.raises(ValueError, match="holds EDF files and prepared nights"):
        prepare(tmp_path, tmp_path / "out")


def test_prepared_nights_are_not_written_into_their_own_folder(tmp_path):
    path = peer(tmp_path)
    before = path.read_bytes()
    with pytest.raises(ValueError, match="name another folder"):
        prepare(tmp_path, tmp_path, seconds=2)
    assert path.read_bytes() == before and len(list(tmp_path.iterdir())) == 1


def test_jobs_do_not_change_the_result(tmp_path):
    for subject in range(6):
        write_pair(tmp_path / "edf", f"SC40{subject}1", digital=np.roll(np.resize(NOISE, 18 * 3000), subject))
    tables = [prepare(tmp_path / "edf", tmp_path / f"out{jobs}", jobs=jobs) for jobs in (1, 4)]
    assert tables[0].equals(tables[1]) and len(tables[0]) == 6
    for name in tables[0].night:
        assert (tmp_path / "out1" / f"{name}.npz").read_bytes() == (tmp_path / "out4" / f"{name}.npz").read_bytes()


def test_bench_compares_the_same_samples_and_labels(capsys):
    table = bench(hours=1.5, repeats=1)  # asserts that the two ways agree
    assert "samples and labels identical" in capsys.readouterr().out
    assert (
        table.seconds["sleepkit"] < table.seconds["customary"]
        and table.peak_mb["sleepkit"] < table.peak_mb["customary"]
    )
