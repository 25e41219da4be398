"""The EDF reader against edfio and MNE-Python, on real, simulated and random files, and where the two are wrong."""

import datetime
import warnings

import edfio
import mne
import numpy as np
import pytest
from recording_files import reheaded, write_recording

from sleepkit.recordings.edf import open_edf
from sleepkit.recordings.hypnogram import read_hypnogram
from sleepkit.recordings.simulation import simulate_night


@pytest.fixture(scope="module")
def night(tmp_path_factory):
    return simulate_night(tmp_path_factory.mktemp("night"), 3, hours=2017 / 3600)


def by_mne(path, label, unit=1e6):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        raw = mne.io.read_raw(path, include=[label], preload=False, verbose="error")
    return raw.get_data()[0] * unit


def signals_of(path):
    edf = open_edf(path)
    return edf, {signal.label: signal for signal in edf.channels()}


@pytest.mark.parametrize("channel", ["EEG Fpz-Cz", "EEG Pz-Oz", "EOG horizontal"])
def test_a_real_recording(shared, channel):
    path = shared / "data" / "edf" / "SC4001E0-PSG.first300s.edf"
    edf, signals = signals_of(path)
    x = edf.read(signals[channel])
    assert x.shape == (30_000,) and x.dtype == np.float32 and edf.start == datetime.datetime(1989, 4, 24, 16, 13)
    np.testing.assert_allclose(x, by_mne(path, channel), rtol=2e-7, atol=1e-6)


def test_a_simulated_recording(night):
    edf, signals = signals_of(night[0])
    for theirs in edfio.read_edf(night[0]).signals:
        x = edf.read(signals[theirs.label])
        assert edf.rate(signals[theirs.label]) == theirs.sampling_frequency
        np.testing.assert_allclose(x, theirs.data, rtol=2e-7, atol=1e-6)
    np.testing.assert_allclose(edf.read(signals["EEG Fpz-Cz"]), by_mne(night[0], "EEG Fpz-Cz"), rtol=2e-7, atol=1e-6)


@pytest.mark.parametrize("kind", ["EDF", "BDF"])
@pytest.mark.parametrize("seed", range(4))
def test_random_recordings(tmp_path, kind, seed):
    random = np.random.default_rng(seed)
    rate, seconds, physical = (
        random.choice([50, 100, 128, 256]),
        random.choice([1, 2, 10]),
        random.choice([192, 3276.7]),
    )
    made = {name: random.uniform(-physical, physical, 60 * rate) for name in ("Fpz", "Cz", "ECG")}
    path = write_recording(tmp_path / f"a.{kind.lower()}", made, rate, kind, seconds, physical=physical)
    edf, signals = signals_of(path)
    read = edfio.read_edf if kind == "EDF" else edfio.read_bdf
    for theirs in read(path).signals:
        x = edf.read(signals[theirs.label])
        np.testing.assert_allclose(x, made[theirs.label], atol=physical / 2**15)
        np.testing.assert_allclose(x, theirs.data, rtol=3e-7, atol=1e-4)
        np.testing.assert_allclose(x, by_mne(path, theirs.label), rtol=3e-7, atol=1e-4)


@pytest.mark.parametrize("gaps", [False, True])
def test_a_stretch_is_the_same_stretch(tmp_path, gaps):
    random = np.random.default_rng(0)
    onsets = np.cumsum(random.integers(1, 4, 300)) if gaps else None
    path = write_recording(tmp_path / "a.edf", {"Fpz": random.uniform(-900, 900, 30_000)}, 100, onsets=onsets)
    edf, signals = signals_of(path)
    whole = edf.read(signals["Fpz"])
    assert np.isnan(whole).any() == gaps
    for first, last in ((0, 100), (150, 151), (1234, 20_001), (len(whole) - 1, len(whole))):
        np.testing.assert_array_equal(edf.read(signals["Fpz"], first, last), whole[first:last])
    np.testing.assert_allclose(edf.read(signals["Fpz"], factor=1e3), whole * 1e3, rtol=2e-7)


def test_only_the_stretch_is_read(tmp_path, monkeypatch):
    path = write_recording(tmp_path / "a.edf", {"Fpz": np.zeros(360_000)}, 100, seconds=30)
    edf, signals = signals_of(path)
    read, right = [], np.fromfile
    monkeypatch.setattr(np, "fromfile", lambda file, kind, count: read.append(count) or right(file, kind, count))
    edf.read(signals["Fpz"], 6000, 12_001)
    assert sum(read) == 3 * 3000 * 2


# annotations


def theirs(path):
    return [tuple(annotation) for annotation in edfio.read_edf(path).annotations]


def test_annotations_of_hypnograms(shared, night):
    paths = [*sorted((shared / "data" / "edf").glob("*-Hypnogram.edf")), night[1]]
    assert len(paths) == 21
    for path in paths:
        ours = open_edf(path).annotations()
        by_mne = mne.read_annotations(path)
        assert ours == theirs(path)
        assert [text for _, _, text in ours] == by_mne.description.tolist()
        assert [onset for onset, _, _ in ours] == by_mne.onset.tolist()
        assert read_hypnogram(path).end


@pytest.mark.parametrize("seed", range(4))
def test_random_annotations(tmp_path, seed):
    random = np.random.default_rng(seed)
    onsets = np.sort(random.choice(6000, 40, replace=False)) / 100
    made = [
        (
            onset,
            None if random.random() < 0.3 else float(random.integers(0, 900)) / 10,
            random.choice(["a", "µ é", "+5"]),
        )
        for onset in onsets.tolist()
    ]
    signals = [edfio.EdfSignal(random.uniform(-9, 9, 6000), 100, label="Fpz")] if seed % 2 else []
    edfio.Edf(signals, annotations=[edfio.EdfAnnotation(*one) for one in made]).write(tmp_path / "a.edf")
    assert open_edf(tmp_path / "a.edf").annotations() == made == theirs(tmp_path / "a.edf")


def annotated(path, *records):
    """An EDF+ file of annotations alone, each record with these bytes."""
    size = max(len(record) for record in records) + 1
    head = b"0".ljust(168) + b"24.04.8916.13.00" + b"512".ljust(8) + b"EDF+C".ljust(44)
    head += str(len(records)).encode().ljust(8) + b"0".ljust(8) + b"1".ljust(4)
    fields = (b"EDF Annotations", 16), (b"", 88), (b"-1", 8), (b"1", 8), (b"-32768", 8), (b"32767", 8), (b"", 80)
    header = b"".join(text.ljust(width) for text, width in fields) + str(size).encode().ljust(8) + b" " * 32
    path.write_bytes(head + header + b"".join(record.ljust(2 * size, b"\0") for record in records))
    return open_edf(path)


def test_only_an_empty_text_keeps_the_time(tmp_path):
    """edfio drops the first annotation of every record, whatever it says."""
    edf = annotated(
        tmp_path / "a.edf", b"+0\x1530\x14N1\x14\0+30\x1530\x14N2\x14\0", b"+60\x14\x14\0+60\x14N3\x14and\x14"
    )
    assert edf.annotations() == [(0.0, 30.0, "N1"), (30.0, 30.0, "N2"), (60.0, None, "N3"), (60.0, None, "and")]
    assert len(theirs(tmp_path / "a.edf")) == 3


def test_onsets_count_from_the_first_sample(tmp_path):
    edf = annotated(tmp_path / "a.edf", b"+0.5\x14\x14\0+30.5\x1530\x14N2\x14\0")
    assert edf.annotations() == [(30.0, 30.0, "N2")] == theirs(tmp_path / "a.edf")


@pytest.mark.parametrize(
    "record", [b"hello", b"0\x14a\x14", b"+0\x14\x14\0+x\x14a\x14", b"+0\x14\x14\0+30\x15-5\x14a\x14"]
)
def test_what_is_no_annotation(tmp_path, record):
    edf = annotated(tmp_path / "a.edf", record)
    with pytest.raises(ValueError, match="a.edf: its annotations cannot be read"):
        edf.annotations()


# any file, against a reading by hand and against MNE-Python


def by_hand(path):
    """All signals of a file by the letter of the specification, a sample at a time where it matters: first sample as a
    datetime, and for each signal (label, Hz, list of (s after the first sample, values of a record in its unit))."""
    content = path.read_bytes()
    n, records, seconds = int(content[252:256]), int(content[236:244]), float(content[244:252])
    size, at, columns = 3 if content[0] == 255 else 2, 256, {}
    for name, width in dict(label=16, about=80, unit=8, a=8, b=8, c=8, d=8, filter=80, samples=8, more=32).items():
        columns[name] = [content[at + i * width : at + (i + 1) * width].decode("latin-1").strip() for i in range(n)]
        at += n * width
    samples, onsets, values = [int(text) for text in columns["samples"]], [], [[] for _ in range(n)]
    for _ in range(records):
        for i in range(n):
            raw = content[at : at + size * samples[i]]
            at += size * samples[i]
            if "Annotations" in columns["label"][i]:
                onsets.append(float(raw[: raw.index(b"\x14")]))
                continue
            whole = [int.from_bytes(raw[k : k + size], "little", signed=True) for k in range(0, len(raw), size)]
            low, high, dlow, dhigh = (float(columns[name][i]) for name in "abcd")
            values[i].append((np.array(whole) - dlow) / (dhigh - dlow) * (high - low) + low)
    onsets = onsets or [record * seconds for record in range(records)]
    apart = "+D" in content[192:197].decode("latin-1")
    times = [onset - onsets[0] if apart else record * seconds for record, onset in enumerate(onsets)]
    day = datetime.datetime.strptime(content[168:184].decode(), "%d.%m.%y%H.%M.%S")
    ours = [i for i in range(n) if "Annotations" not in columns["label"][i]]
    signals = [(columns["label"][i], samples[i] / seconds, list(zip(times, values[i], strict=True))) for i in ours]
    return day + datetime.timedelta(seconds=onsets[0]), signals


def random_file(path, random):
    """A recording of any kind, with any start, EDF+ or not, with gaps or without."""
    kind, plus = path.suffix[1:].upper(), random.choice(["", "+C", "+D"])  # MNE goes by the ending
    rate, seconds = int(random.choice([50, 100, 128, 250, 256])), int(random.choice([1, 2, 5]))
    records, physical = int(random.integers(8, 30)), float(random.choice([187.5, 500, 3276.7]))
    made = {name: random.normal(0, 30, records * seconds * rate).clip(-180, 180) for name in ("Fpz", "Cz")}
    onsets = None
    if plus:
        first = random.choice([0, 0, 600, 37.25, 3661.5])
        gaps = random.choice([0, 0, 0, 1, 30], records) if plus == "+D" else 0
        onsets = first + np.arange(records) * seconds + np.cumsum(np.broadcast_to(gaps, records))
    write_recording(path, made, rate, kind, seconds, physical=physical, onsets=onsets)
    day = datetime.date(1985, 1, 2) + datetime.timedelta(days=int(random.integers(36_000)))
    clock = f"{random.integers(24):02d}.{random.integers(60):02d}.{random.integers(60):02d}"
    said = random.choice(["", f"Startdate {day:%d-%b-%Y} X X X".upper().replace("STARTDATE", "Startdate")])
    reheaded(path, f"{day:%d.%m.%y}", clock, said, plus=f"{kind}{plus}" if plus else None)
    return plus


def check_random_files(folder, numbers):
    for number in numbers:
        random = np.random.default_rng(number)
        path = folder / ("a.bdf" if number % 2 else "a.edf")
        plus = random_file(path, random)
        start, signals = by_hand(path)
        edf = open_edf(path)
        year = start.year + (100 if start.year < 1985 else 0)  # strptime goes by another century
        assert edf.start == start.replace(year=year), number
        assert [signal.label for signal in edf.channels()] == [label for label, _, _ in signals]
        for signal, (label, rate, records) in zip(edf.channels(), signals, strict=True):
            assert edf.rate(signal) == rate
            x, seen = edf.read(signal), np.zeros(0)
            for at, values in records:
                place = round(at * rate)
                np.testing.assert_allclose(x[place : place + len(values)], values, rtol=1e-6, atol=1e-3)
                seen = np.append(seen, np.arange(place, place + len(values)))
            assert np.flatnonzero(~np.isnan(x)).tolist() == seen.tolist()
            if plus != "+D":  # MNE leaves gaps out
                np.testing.assert_allclose(x, by_mne(path, label), rtol=1e-6, atol=1e-3)
        if not plus:  # MNE does not look at the onset of the first record
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                raw = mne.io.read_raw(path, preload=False, verbose="error")
            assert raw.info["meas_date"].replace(tzinfo=None) == edf.start


def test_random_files_are_read_as_by_hand(tmp_path):
    check_random_files(tmp_path, range(8))


@pytest.mark.slow
def test_many_random_files_are_read_as_by_hand(tmp_path):
    check_random_files(tmp_path, range(200))
