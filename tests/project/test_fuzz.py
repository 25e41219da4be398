"""Damaged recordings and hypnograms: a clear error or a right result; never another exception, a hang, a crash, or
silent nonsense. Files are mutated and scored in forked workers with limits on memory and time; the short run is part
of every test run, the long one (`make fuzz`) scores LONG files."""

import contextlib
import datetime
import multiprocessing
import resource
import signal
import sys
import traceback
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypnogram_files import WRITERS
from recording_files import brain, reheaded, save_tiny, write_recording

from sleepkit.epochs import STAGES
from sleepkit.recordings.edf import MAGIC, open_edf
from sleepkit.recordings.quality import PLAUSIBLE
from sleepkit.recordings.start import shown
from sleepkit.scoring import load_model, score

SHORT, LONG = 600, 20_000
SECONDS = 20  # of one file; it takes 0.01
MEMORY = 1 << 30  # bytes beyond what a worker starts with
CHANNEL = "EEG Fpz-Cz"
STAGED = ("W", "N1", "R")
NASTY = (
    b"-1", b"0", b"1", b"99999999", b"1e9", b"-1e9", b"1e-9", b"nan", b"inf", b"", b" ", b"1_0", b"0x10", b"1,5", b"+3",
    b"\xff" * 8, b"\x00" * 8, b"EDF+D", b"EDF+C", b"BDF+D", b"EDF Annotations", b"uV", b"mV", b"V", b"%d",
    b"2147483648", b"-32769", b"3.5", b"1000000", b"00.00.00", b"31.02.99", b"99.99.99", b"01.01.85", b"23.59.59",
    b"Startdate X", b"Startdate 30-FEB-1989", b"Startdate 24-APR-2089", b"24.04.yy", b"\xc2\xb5V",
    b"+600\x14\x14", b"-1e300\x14\x14",
)  # fmt: skip
ODD = (
    *NASTY, b"\n", b"\t", b",", b";", b'"', b"<", b"&b;", b"#", b"...", b"e:3", b"0+", b"24:00:00", b"1970-01-01",
    b"R", b"4", b"onset", b"stage", b"start,stop,",
)  # fmt: skip
# Widths of the fields of a header, and of those of every signal after it (EDF specification).
HEAD = (8, 80, 80, 8, 8, 8, 44, 8, 8, 4)
SIGNAL = (16, 80, 8, 8, 8, 8, 8, 80, 8, 32)


def seeds(folder):
    """Recordings and a hypnogram, whole ones: name -> path."""
    eeg, other = brain(95, 100), brain(95, 100, seed=1)
    two = {CHANNEL: eeg, "EMG": other}
    gapped = [*range(40), *range(70, 125)]
    made = {
        "edf": write_recording(folder / "a.edf", two, 100, seconds=5),
        "bdf": write_recording(folder / "b.bdf", two, 100, "BDF"),
        "edf+d": write_recording(folder / "c.edf", {CHANNEL: eeg}, 100, onsets=gapped),
        "128 hz": write_recording(folder / "d.edf", {CHANNEL: brain(95, 128) / 1000}, 128, unit="mV", physical=1),
    }
    late = write_recording(folder / "e.edf", {CHANNEL: eeg}, 100, onsets=30.5 + np.arange(95))
    made["late edf+c"] = reheaded(late, recording="Startdate 24-APR-1989 X X X", plus="EDF+C")
    early = np.arange(95) * 0.999
    early[60:] -= 3600
    made["early edf+d"] = write_recording(folder / "f.edf", {CHANNEL: eeg}, 100, onsets=early)
    made |= {f"hypnogram {kind}": write(folder / f"{kind}.txt", STAGED) for kind, write in WRITERS.items()}
    return {name: path.read_bytes() for name, path in made.items()}


def fields(content):
    """(start, width, whether a reader may ignore it) of every field of the header of an EDF or BDF file."""
    n = (int(content[184:192]) - 256) // 256
    places, at = [], 0
    for number, width in enumerate(HEAD):
        places.append((at, width, number in (1, 2)))
        at += width
    for number, width in enumerate(SIGNAL):
        for _ in range(n):
            places.append((at, width, number in (1, 7, 9)))
            at += width
    return places


def mutate(content, random):
    """A damaged copy, and whether all of the damage is where a reader need not look."""
    if content[:8] not in MAGIC:
        return mutate_text(content, random), False
    new, harmless = bytearray(content), True
    places = fields(content)
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        kind = random.integers(6)
        start, width, ignored = places[random.integers(len(places))]
        if kind == 0:  # a byte of a field
            new[start + random.integers(width)] = random.integers(256)
        elif kind == 1:  # a field
            new[start : start + width] = NASTY[random.integers(len(NASTY))][:width].ljust(width)
        elif kind == 2:  # a digit of a field
            digits = [i for i in range(start, start + width) if chr(new[i]).isdigit()]
            if digits:
                new[random.choice(digits)] = ord("0") + random.integers(10)
        elif kind == 3:  # any byte, annotations and samples among them
            new[random.integers(len(new))] = random.integers(256)
            ignored = False
        elif kind == 4:  # a stretch is lost, doubled, or moved
            first, second = sorted(random.integers(len(new), size=2))
            stretch = new[first:second]
            new = [new[:first] + new[second:], new + stretch, new[:first] + stretch[::-1] + new[second:]][
                random.integers(3)
            ]
            new, ignored = bytearray(new), False
        else:  # two fields change places
            other, length, _ = places[random.integers(len(places))]
            length = min(length, width)
            new[start : start + length], new[other : other + length] = (
                new[other : other + length],
                new[start : start + length],
            )
            ignored = False
        harmless &= ignored
        if len(new) < len(content):  # the places of the fields no longer hold
            break
    return bytes(new), harmless


def mutate_text(content, random):
    """A copy of a text with some bytes, words or stretches changed, lost, doubled or moved."""
    new = bytearray(content)
    for _ in range(random.choice((1, 1, 1, 2, 3, 8))):
        first, second = sorted(random.integers(len(new) + 1, size=2))
        kind, word = random.integers(5), ODD[random.integers(len(ODD))]
        if kind == 0 and first < len(new):
            new[first] = random.integers(256)
        elif kind == 1:  # a word is put in, or takes the place of as many bytes
            new[first : first + random.choice((0, len(word)))] = word
        elif kind == 2:
            lines = new.split(b"\n")
            lines[random.integers(len(lines))] = [*lines, b"", word][random.integers(len(lines) + 2)]
            new = bytearray(b"\n".join(lines))
        else:
            stretch = new[first:second]
            new = new[:first] + new[second:] if kind == 3 else new[:second] + stretch + new[second:]
    return bytes(new)


def check(found, expected, harmless):
    """What must hold of a result, however it came about."""
    frame, n = found.epochs, len(found.epochs)
    assert list(frame) == ["onset", "stage", *STAGES] and n >= 1
    assert frame["onset"].tolist() == [30 * i for i in range(n)]
    scored = (frame["stage"] != "?").to_numpy()
    probabilities = frame[list(STAGES)].to_numpy(float)
    assert np.isnan(probabilities[~scored]).all()
    np.testing.assert_allclose(probabilities[scored].sum(axis=1), 1)
    x = found.night.x[found.night.good & found.night.scored[:, None]]
    # What cannot be EEG by its amplitude is refused; windows of a network differ a little from those it is taken from.
    assert PLAUSIBLE[0] / 2 <= np.median(x.std(axis=1)) <= 2 * PLAUSIBLE[1] if len(x) else found.notes
    assert found.night.start is None or isinstance(found.night.start, (datetime.datetime, datetime.time))
    assert found.night.start == open_edf(found.path).start and shown(found.night.start)
    if harmless:
        assert frame.equals(expected.epochs)


def work(seed, count, model, folder, pipe):
    """Mutate and score `count` files; sends back how many ended in which way, or what went wrong with which file."""
    soft = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (soft, soft))
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 26, 1 << 26))
    signal.signal(signal.SIGALRM, signal.SIG_DFL)  # a hang ends the worker: an exception could be caught on its way
    random, ends = np.random.default_rng(seed), Counter()
    whole = seeds(folder)
    paths = {name: folder / f"{i}.{'bdf' if name == 'bdf' else 'edf'}" for i, name in enumerate(whole)}
    for name, path in paths.items():
        path.write_bytes(whole[name])
    recordings = [name for name in whole if not name.startswith("hypnogram")]
    expected = {name: score(paths[name], model, CHANNEL) for name in recordings}
    scored = [name for name in whole if name not in recordings]
    for number in range(count):
        name = (scored, recordings)[number % 2][random.integers(len((scored, recordings)[number % 2]))]
        content, harmless = mutate(whole[name], random)
        damaged = folder / f"damaged.{'bdf' if name == 'bdf' else 'edf'}"
        expert = [None, paths["hypnogram edf"]][number % 4 // 2]
        damaged.write_bytes(content)
        signal.alarm(SECONDS)
        try:
            if name in scored:
                found = score(paths["edf"], model, CHANNEL, hypnogram=damaged)
                assert found.epochs.equals(expected["edf"].epochs)
                assert found.labels.shape == (3,) and found.labels.min() >= -1 and found.labels.max() <= 4
            else:
                check(score(damaged, model, CHANNEL, hypnogram=expert), expected[name], harmless)
            ends[name, "scored"] += 1
        except ValueError as error:
            text = str(error)
            where = str(damaged) in text or f"{expert}: starts" in text
            if not where or "\n" in text or (harmless and expert is None):
                pipe.send(("problem", seed, number, name, f"unclear or needless error: {text}"))
                return
            ends[name, "refused"] += 1
        except BaseException:
            pipe.send(("problem", seed, number, name, traceback.format_exc()))
            return
        signal.alarm(0)
    pipe.send(("done", dict(ends)))


def fuzz(count, folder, workers=2):
    """Score `count` damaged files in forked workers; returns how many ended in which way."""
    model = load_model(save_tiny(folder / "tiny"))
    score(write_recording(folder / "warm.edf", {CHANNEL: brain(60, 128)}, 128), model)  # all imports before the limits
    context, jobs = multiprocessing.get_context("fork"), []
    for seed in range(workers):
        ours, theirs = context.Pipe(duplex=False)
        place = folder / str(seed)
        place.mkdir()
        process = context.Process(target=work, args=(seed, count // workers, model, place, theirs))
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", DeprecationWarning
            )  # Python 3.12 on forks where threads are: they do not run
            process.start()
        theirs.close()
        jobs.append((process, ours, place))
    total = Counter()
    for process, pipe, place in jobs:
        told = None
        with contextlib.suppress(EOFError):
            told = pipe.recv()
        process.join()
        assert told is not None, f"worker ended with {process.exitcode} (-14: hung) on {place}/damaged.*"
        assert told[0] == "done", "seed {}, file {}, {}:\n{}".format(*told[1:])
        total.update(told[1])
    return total


def told(total):
    return ", ".join(f"{name} {end} {count}" for (name, end), count in sorted(total.items()))


@pytest.mark.skipif(sys.platform != "linux", reason="limits on memory are Linux's")
def test_damaged_files(tmp_path):
    total = fuzz(SHORT, tmp_path)
    assert sum(total.values()) == SHORT
    for name in ("edf", "bdf", "edf+d", "late edf+c", "early edf+d", "128 hz"):
        assert total[name, "scored"] and total[name, "refused"], told(total)
    hypnograms = [(end, count) for (name, end), count in total.items() if name.startswith("hypnogram")]
    assert {end for end, _ in hypnograms} == {"scored", "refused"} and sum(n for _, n in hypnograms) == SHORT // 2


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.skipif(sys.platform != "linux", reason="limits on memory are Linux's")
def test_many_damaged_files(tmp_path):
    total = fuzz(LONG, tmp_path)
    print(f"\n{sum(total.values())} damaged files: {told(total)}")
    assert sum(total.values()) == LONG


def test_a_worker_that_hangs_or_eats_memory_is_noticed(tmp_path, monkeypatch):
    """The harness sees what it is there for."""
    here, right = sys.modules[__name__], score
    monkeypatch.setattr(here, "SECONDS", 1)

    def hangs(path, *arguments, **options):
        while path.stem == "damaged":
            pass
        return right(path, *arguments, **options)

    def eats(path, *arguments, **options):
        if path.stem == "damaged":
            np.ones(2 * MEMORY, np.uint8)  # what other tests have freed counts as taken
        return right(path, *arguments, **options)

    for number, (fault, words) in enumerate(((hangs, "-14: hung"), (eats, "MemoryError"))):
        (tmp_path / str(number)).mkdir()
        monkeypatch.setattr(here, "score", fault)
        with pytest.raises(AssertionError, match=words):
            fuzz(20, tmp_path / str(number), workers=1)
