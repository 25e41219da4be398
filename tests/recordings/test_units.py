"""Units, types and sizes: what is no EEG in µV is said to be none, and neither scored nor written."""

import io
import subprocess
import sys

import mne
import numpy as np
import pytest
from edf_files import write_pair
from recording_files import brain, reheaded, save_tiny, write_recording

from sleepkit.epochs import STAGES
from sleepkit.execution.paths import ROOT
from sleepkit.recordings import prepare
from sleepkit.recordings.channel import read_channel
from sleepkit.recordings.edf import open_edf
from sleepkit.recordings.quality import amplitude_problem, bad_seconds
from sleepkit.scoring import load_model, score, score_stream

NAME = "EEG Fpz-Cz"


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    return save_tiny(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture(scope="module")
def model(saved):
    return load_model(saved)


# units of a header


@pytest.mark.parametrize(
    "unit, factor",
    [
        *((letter + b"V", 1) for letter in (b"\xb5", b"\xc2\xb5", b"\xce\xbc", b"\x83\xca", b"\xa6\xcc", b"\xe6")),
        *((word, 1) for word in (b"uV", b"UV", b"uVolts", b"microV", b"\xb5v ", b"\xc2\xb5Volt", b"uV\0\0")),
        *((word, 1e3) for word in (b"mV", b"mVolt", b"milliV")),
        *((word, 1e6) for word in (b"V", b"Volts")),
        (b"nV", 1e-3),
        *((word, None) for word in (b"", b"?V", b"\xef\xbf\xbdV")),  # no letter: by its amplitude
    ],
)
def test_units_as_they_are_written(tmp_path, unit, factor):
    x = brain(60, 100)
    scale = factor or 1
    path = write_recording(tmp_path / "a.edf", {NAME: x / scale}, 100, physical=500 / scale)
    found = read_channel(reheaded(path, unit=unit))
    np.testing.assert_allclose(found.x, x, atol=0.1)
    assert any("no unit in the header" in note for note in found.notes) == (factor is None)


@pytest.mark.parametrize("unit", [b"DegC", b"%", b"\xb5A", b"\xc2\xb5S", b"Vrms2"])
def test_units_of_something_else(tmp_path, unit):
    path = write_recording(tmp_path / "a.edf", {NAME: brain(60, 100)}, 100)
    with pytest.raises(ValueError, match="is in .*, expected uV"):
        read_channel(reheaded(path, unit=unit))


def test_which_of_two_channels_of_one_name_was_taken_is_said(tmp_path):
    first, second = brain(60, 100), brain(60, 100, 1)
    path = write_recording(tmp_path / "a.edf", {"EEG Fpz-Cz": first, "ECG": second, "Fpz - Cz": second}, 100)
    found = read_channel(path)
    np.testing.assert_allclose(found.x, first, atol=0.1)
    assert found.notes == ("2 channels are called 'EEG Fpz-Cz' (numbers 1, 3): number 1 was taken",)
    content = path.read_bytes()
    path.write_bytes(content[:288] + b"EEG Fpz-Cz".ljust(16) + content[304:])  # the same name to the letter
    np.testing.assert_allclose(read_channel(path, "EEG Fpz-Cz").x, first, atol=0.1)
    assert "numbers 1, 3" in read_channel(path).notes[0]
    assert read_channel(path, "ECG").notes == ()


def test_prepare_says_so_too(tmp_path):
    write_pair(tmp_path, spare=["EEG Fpz-Cz"])
    (row,) = prepare(tmp_path, tmp_path / "out").itertuples()
    assert row.status == "written" and "(numbers 1, 2): number 1 was taken" in row.problem


# amplitude

SCALES = {"in V": 1e-6, "volts times 100": 1e-4, "in mV": 1e-3, "in nV": 1e3, "counts of an amplifier": 100.0}


def test_the_unit_of_every_real_night_is_told(shared):
    data = np.load(shared / "data/sleepedf20_first5s.npz", allow_pickle=False)
    nights = [name.removesuffix("_x") for name in data.files if name.endswith("_x")]
    for night in nights:
        gain, offset = data[f"{night}_ab"]
        x = (data[f"{night}_x"][200:320] * np.float32(gain) + np.float32(offset)).ravel()
        cases = {"": x, "z-scored": (x - x.mean()) / x.std()} | {unit: x * np.float32(s) for unit, s in SCALES.items()}
        for unit, signal in cases.items():
            problem = amplitude_problem(signal, 100, bad_seconds(signal, 100))
            assert bool(unit) == bool(problem) and (unit in problem or unit == "counts of an amplifier"), problem
    assert len(nights) == 39


def test_flat_is_not_a_unit():
    random = np.random.default_rng(0)
    steps = 0.05 * random.integers(-1, 2, 60_000)  # the last bit of an amplifier without an electrode
    for x in (np.zeros(60_000), np.full(60_000, np.nan), steps, np.where(np.arange(60_000) % 2, 900.0, -900.0)):
        assert amplitude_problem(x, 100, bad_seconds(x, 100)) == ""
    mostly = np.where(np.arange(60_000) < 6000, brain(600, 100), steps)  # worn for a tenth of the time
    assert amplitude_problem(mostly, 100, bad_seconds(mostly, 100)) == ""


@pytest.mark.parametrize("unit, factor", SCALES.items())
def test_a_recording_in_another_unit_is_not_scored(tmp_path, model, unit, factor):
    x, physical = brain(120, 100) * factor, 500 * factor
    path = write_recording(tmp_path / "a.edf", {NAME: x}, 100, physical=float(f"{physical:.3g}"))
    with pytest.raises(ValueError, match=f"a.edf: channel '{NAME}' has a typical amplitude of .* probably .*{unit}"):
        score(path, model)


def test_what_mne_holds_in_another_unit_is_not_scored(tmp_path, model):
    raw = mne.io.RawArray(brain(60, 100)[None], mne.create_info(["Fpz-Cz"], 100.0, "eeg"), verbose="ERROR")
    raw.save(tmp_path / "microvolts_raw.fif", verbose="ERROR")  # µV where MNE has V
    with pytest.raises(ValueError, match="typical amplitude of .*e\\+07 µV"):
        score(tmp_path / "microvolts_raw.fif", model)


@pytest.mark.parametrize("unit, factor", [*list(SCALES.items())[:4], ("z-scored", 1 / 25)])
def test_prepared_nights_in_another_unit(tmp_path, model, unit, factor):
    path = tmp_path / "SC4001E0.npz"
    x = np.float32(brain(600, 100) * factor).reshape(20, 3000, 1)
    np.savez(path, x=x, y=np.arange(20) % 5, fs=np.array([100.0]), ch_label=np.array([NAME]))
    (row,) = prepare(tmp_path, tmp_path / "out", seconds=5).itertuples()
    assert row.status == "failed" and "typical amplitude" in row.problem and unit in row.problem
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["nights.csv"]
    with pytest.raises(ValueError, match=f"SC4001E0.npz: .* amplitude of .*{unit}"):
        score(path, model)


def test_a_rate_and_a_label_in_arrays_of_one(tmp_path, model):
    x = np.float32(brain(600, 100)).reshape(20, 3000, 1)
    np.savez(tmp_path / "SC4001E0.npz", x=x, y=np.arange(20) % 5, fs=np.array([[100.0]]), ch_label=np.array([NAME]))
    assert prepare(tmp_path, tmp_path / "out", seconds=5).status.tolist() == ["written"]
    assert score(tmp_path / "SC4001E0.npz", model).night.channel == NAME


# streams


STREAMS = {
    "float64": (lambda x: x.astype("<f8"), "as float64 the samples would be EEG"),
    "float64 in V": (lambda x: (x * 1e-6).astype("<f8"), "as float64 the samples would be EEG"),
    "whole float64": (lambda x: np.rint(x).astype("<f8"), "as float64 the samples would be EEG"),
    "int16": (lambda x: np.rint(x).astype("<i2"), "as int16 the samples would be EEG"),
    "int32": (lambda x: np.rint(x).astype("<i4"), "as int32 the samples would be EEG"),
    "big endian": (lambda x: x.astype(">f4"), "as big-endian float32 the samples would be EEG"),
    "V": (lambda x: (x * 1e-6).astype("<f4"), "probably in V; this stream takes µV"),
    "mV": (lambda x: (x * 1e-3).astype("<f4"), "probably in mV"),
    "z-scored": (lambda x: (x / x.std()).astype("<f4"), "z-scored"),
    "counts": (lambda x: (x * 100).astype("<f4"), "counts of an amplifier"),
    "nothing": (lambda x: np.zeros(len(x), "<f4"), "flat, clipped or not recorded"),
}


@pytest.mark.parametrize("kind", STREAMS)
def test_a_stream_of_something_else_is_not_scored(model, capsys, kind):
    made, words = STREAMS[kind]
    sink = io.StringIO()
    n, *_ = score_stream(io.BytesIO(made(brain(240, 100)).tobytes()), sink, model)
    stages = [line.split(",")[1] for line in sink.getvalue().splitlines()[1:]]
    assert len(stages) == n >= 4 and set(stages) == {"?"}
    told = capsys.readouterr().err
    assert told.startswith("epoch 1 is not scored: ") and words in told and told.count("\n") == 1


def test_a_stream_that_loses_its_electrode_says_so_once(model, capsys):
    x = np.float32(brain(300, 100))
    x[6000:9000], x[15_000:27_000] = 5, 5  # a single epoch says nothing, of four the third
    sink = io.StringIO()
    score_stream(io.BytesIO(x.tobytes()), sink, model)
    stages = [line.split(",")[1] for line in sink.getvalue().splitlines()[1:]]
    assert [stage in STAGES for stage in stages] == [True, True, False, True, True, False, False, False, False, True]
    assert capsys.readouterr().err == "epoch 8 is not scored: it is flat, clipped or not recorded\n"


def test_no_warning_of_a_library_reaches_the_user(saved):
    """As the command shows them; a stream of float64 overflows float32 in many places."""
    data = brain(120, 100).astype("<f8").tobytes()
    command = [sys.executable, "-m", "sleepkit", "score", "--stream", "--model", str(saved)]
    done = subprocess.run(command, input=data, cwd=ROOT, capture_output=True)
    assert done.returncode == 0 and b"Warning" not in done.stderr and b"as float64" in done.stderr


# sizes


def cut(content):
    return content[:-100]


SIZES = {
    "last record cut short": (cut, 299, "truncated: the header promises 300 data records, and 299 whole ones"),
    "half of it": (lambda c: c[: 512 + 200 * 150], 150, "truncated: the header promises 300"),
    "not closed": (lambda c: c[:236] + b"-1      " + c[244:], 300, "not closed: the header counts -1"),
    "not closed, half a record": (lambda c: c[:236] + b"-1      " + c[244:-100], 299, "not closed"),
    "not closed, zeros behind": (lambda c: c[:236] + b"-1      " + c[244:] + bytes(4000), 300, "not closed"),
    "counts nothing": (lambda c: c[:236] + b"0       " + c[244:], 300, "not closed: the header counts 0"),
    "counts too few": (lambda c: c[:236] + b"120     " + c[244:], 300, "not closed: the header counts 120"),
    "zeros behind": (lambda c: c + bytes(512), 300, "512 bytes behind the last data record are left out"),
    "a note behind": (lambda c: c + b"more", 300, "4 bytes behind the last data record are left out"),
}


@pytest.mark.parametrize("spoil, records, note", SIZES.values(), ids=SIZES.keys())
def test_whole_records_are_scored(tmp_path, model, spoil, records, note):
    x = brain(300, 100)
    path = write_recording(tmp_path / "a.edf", {NAME: x}, 100)
    path.write_bytes(spoil(path.read_bytes()))
    assert open_edf(path).records == records
    found = score(path, model)
    assert any(note in one for one in found.notes) and len(found.epochs) == records // 30
    np.testing.assert_allclose(read_channel(path).x, x[: records * 100], atol=0.1)


@pytest.mark.parametrize("content", [b"", b"\0" * 150])
def test_not_one_whole_record(tmp_path, model, content):
    path = write_recording(tmp_path / "a.edf", {NAME: brain(60, 100)}, 100)
    path.write_bytes(path.read_bytes()[:512] + content)
    with pytest.raises(ValueError, match="a.edf: truncated within its first data record"):
        score(path, model)


def test_prepare_takes_what_is_there_where_it_is_told_to(tmp_path):
    psg, hypnogram = write_pair(tmp_path / "edf")
    psg.write_bytes(psg.read_bytes()[:-100])
    refused = prepare(tmp_path / "edf", tmp_path / "out").iloc[0]
    assert refused.status == "failed" and "truncated" in refused.problem and "--allow-truncated" in refused.problem
    row = prepare(tmp_path / "edf", tmp_path / "out", allow_truncated=True).iloc[0]
    assert (row.status, row.n_epochs, row.W) == ("written", 14, 8) and "17 whole ones are there" in row.problem
    again = prepare(tmp_path / "edf", tmp_path / "out", allow_truncated=True).iloc[0]
    assert (again.status, again.n_epochs) == ("unchanged", 14)
    hypnogram.write_bytes(hypnogram.read_bytes()[:-10])
    assert "truncated" in prepare(tmp_path / "edf", tmp_path / "out", allow_truncated=True).problem[0]
