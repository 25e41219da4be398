"""Bad input to `prepare`: an error that names file and cure, and one bad night does not stop the others."""

import datetime

import edfio
import numpy as np
import pytest
from edf_files import RECORDED, write_hypnogram, write_pair, write_psg

from sleepkit.recordings import prepare

# bad input: the folder


def test_folders_without_nights(tmp_path):
    with pytest.raises(ValueError, match="no such folder.*fetch"):
        prepare(tmp_path / "nowhere", tmp_path / "out")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="empty: neither EDF files nor prepared.*fetch"):
        prepare(tmp_path / "empty", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "wrong", [{"seconds": 0}, {"seconds": 31}, {"seconds": 0.001}, {"wake_margin_minutes": -1}, {"jobs": 0}]
)
def test_impossible_settings(tmp_path, wrong):
    write_pair(tmp_path)
    with pytest.raises(ValueError, match=next(iter(wrong))):
        prepare(tmp_path, tmp_path / "out", **wrong)


# bad input: one night, which does not stop the other


def patched(path, at, text):
    content = bytearray(path.read_bytes())
    content[at : at + len(text)] = text
    path.write_bytes(content)


def cut(path, n_bytes):
    path.write_bytes(path.read_bytes()[:-n_bytes])


def renamed(path, name):
    path.rename(path.with_name(name))


# field of the one signal header of a PSG: 256 + offset of the field
UNIT, LOW, HIGH, DIGITAL_LOW = 256 + 96, 256 + 104, 256 + 112, 256 + 120
FLAT = np.full(18 * 3000, 7, np.int16)
BAD_PSGS = {
    "no such channel": (
        dict(label="EEG Pz-Oz", spare=["Temp rectal"]),
        ["there are: EEG Pz-Oz, Temp rectal", "as channel"],
    ),
    "rate": (dict(rate=128), ["128 Hz, expected 100 Hz", "resample"]),
    "unit": (dict(unit="DegC"), ["'DegC'", "correct the unit"]),
    "flat": (dict(digital=FLAT), ["is flat", "another channel"]),
    "start": (dict(start=datetime.time(16, 14)), ["1989-04-24 16:14:00", "1989-04-24 16:13:00", "download both"]),
    "beyond the end": (dict(n_epochs=17), ["scored up to second 540", "ends at second 510", "download both"]),
    "awake": (dict(bouts=[("W", 12), ("?", 6)]), ["without sleep", "take it out"]),
}
SPOILED = {
    "truncated": (lambda psg, hyp: cut(psg, 100), "psg", ["truncated", "download"]),
    "whole records missing": (lambda psg, hyp: cut(psg, 6000), "psg", ["truncated", "download"]),
    "too long": (lambda psg, hyp: psg.write_bytes(psg.read_bytes() + b"more"), "psg", ["longer than its header says"]),
    "never closed": (lambda psg, hyp: patched(psg, 236, b"-1      "), "psg", ["not closed", "download"]),
    "zero bytes": (lambda psg, hyp: psg.write_bytes(b""), "psg", ["empty file", "download"]),
    "no EDF": (lambda psg, hyp: psg.write_bytes(b"<html>404</html>" * 100), "psg", ["not a readable EDF", "download"]),
    "short and no EDF": (lambda psg, hyp: psg.write_bytes(b"0       "), "psg", ["not a readable EDF", "download"]),
    "interrupted": (lambda psg, hyp: patched(psg, 192, b"EDF+D"), "psg", ["EDF+D", "does not say when it begins"]),
    "NaN": (lambda psg, hyp: patched(psg, HIGH, b"nan     "), "psg", ["'nan' is no number", "correct the header"]),
    "no number": (lambda psg, hyp: patched(psg, HIGH, b"high    "), "psg", ["is no number", "correct the header"]),
    "flat header": (lambda psg, hyp: patched(psg, LOW, b"192     "), "psg", ["no scale", "another channel"]),
    "flat digital": (lambda psg, hyp: patched(psg, DIGITAL_LOW, b"2047    "), "psg", ["no scale"]),
    "no hypnogram": (lambda psg, hyp: hyp.unlink(), "psg", ["no hypnogram", "SC4011..-Hypnogram.edf"]),
    "no PSG": (lambda psg, hyp: psg.unlink(), "hyp", ["no PSG", "SC4011..-PSG.edf"]),
    "two hypnograms": (
        lambda psg, hyp: write_hypnogram(hyp.with_name("SC4011EP-Hypnogram.edf")),
        "hyp",
        ["EP", "keep one"],
    ),
    "two PSGs": (lambda psg, hyp: write_psg(psg.with_name("SC4011F0-PSG.edf"), 18), "psg", ["F0", "keep one"]),
    "hypnogram cut": (lambda psg, hyp: cut(hyp, 10), "hyp", ["truncated", "download"]),
    "hypnogram is a PSG": (lambda psg, hyp: hyp.write_bytes(psg.read_bytes()), "hyp", ["no annotations", "download"]),
    "overlap": (lambda psg, hyp: retimed(hyp, 3, (60, 60)), "hyp", ["two stages are scored at second 60", "correct"]),
}


def retimed(path, text, time):
    """Give the annotation of one stage another onset and duration."""
    edf = edfio.read_edf(path, lazy_load_data=False)
    annotations = [
        edfio.EdfAnnotation(*time, a.text) if a.text == f"Sleep stage {text}" else a for a in edf.annotations
    ]
    edfio.Edf([], annotations=annotations, **RECORDED).write(path)


def check_bad_night(folder, out, name, texts):
    table = prepare(folder, out).set_index("night")
    assert table.loc["SC4001E0", ["status", "n_epochs"]].tolist() == ["written", 15]
    bad = table.drop("SC4001E0")
    assert bad.status.tolist() == ["failed"] and bad.n_epochs.tolist() == [0]
    problem = bad.problem.iloc[0]
    assert str(folder / name) in problem
    for text in texts:
        assert text in problem
    assert sorted(path.name for path in out.iterdir()) == ["SC4001E0.npz", "nights.csv"]


@pytest.mark.parametrize("made, texts", BAD_PSGS.values(), ids=BAD_PSGS.keys())
def test_bad_recordings(tmp_path, made, texts):
    write_pair(tmp_path / "edf")
    psg, hypnogram = write_pair(tmp_path / "edf", "SC4011", **made)
    named = hypnogram if "bouts" in made or "n_epochs" in made else psg
    check_bad_night(tmp_path / "edf", tmp_path / "out", named.name, texts)


@pytest.mark.parametrize("spoil, named, texts", SPOILED.values(), ids=SPOILED.keys())
def test_damaged_recordings(tmp_path, spoil, named, texts):
    write_pair(tmp_path / "edf")
    psg, hypnogram = write_pair(tmp_path / "edf", "SC4011")
    spoil(psg, hypnogram)
    check_bad_night(tmp_path / "edf", tmp_path / "out", {"psg": psg, "hyp": hypnogram}[named].name, texts)


def test_odd_names_are_listed(tmp_path):
    psg, _ = write_pair(tmp_path / "edf")
    (tmp_path / "edf" / "SC4001E0-PSG.first300s.edf").write_bytes(psg.read_bytes())
    table = prepare(tmp_path / "edf", tmp_path / "out").set_index("night")
    assert table.status.to_dict() == {"SC4001E0": "written", "SC4001E0-PSG.first300s": "failed"}
    assert "rename" in table.problem["SC4001E0-PSG.first300s"]


@pytest.mark.parametrize("which", [0, 1], ids=["PSG", "hypnogram"])
def test_no_damaged_byte_stops_the_run(tmp_path, which):
    """Whichever byte of a header or hypnogram is damaged: the night is prepared or listed, with no other error."""
    path = write_pair(tmp_path / "edf")[which]
    whole, random = path.read_bytes(), np.random.default_rng(1)
    for at in random.choice(min(512, len(whole)) if which == 0 else len(whole), 60, replace=False):
        path.write_bytes(whole[:at] + bytes([random.integers(256)]) + whole[at + 1 :])
        row = prepare(tmp_path / "edf", tmp_path / "out", jobs=1).iloc[0]
        assert row.status in ("written", "unchanged", "failed") and "please report" not in row.problem
