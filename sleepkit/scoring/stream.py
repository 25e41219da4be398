"""Staging in real time: raw samples in, a stage per 30-s epoch out, with what is known up to that epoch alone."""

import sys
import time
from collections import deque
from dataclasses import replace
from typing import BinaryIO, TextIO

import numpy as np

from sleepkit.epochs import EPOCH_SECONDS, STAGES
from sleepkit.evaluation.context import advance
from sleepkit.recordings.quality import PLAUSIBLE, amplitude_problem, bad_seconds, epochs_scored, windows_scored
from sleepkit.recordings.resampling import OFFSET
from sleepkit.scoring.familiarity import FEWEST, adapted, night_votes
from sleepkit.scoring.model import Model
from sleepkit.scoring.staging import UNSCORED

HEADER = ("onset", "stage", *STAGES, "latency_ms")
OTHERS = {"float64": "<f8", "int32": "<i4", "int16": "<i2", "big-endian float32": ">f4"}  # what else may be piped in
LONGEST_LINE = 200  # characters of a number; what is longer is no number, and need not be held in memory


def score_stream(
    source: BinaryIO, sink: TextIO, model: Model, form: str = "float32", context: bool = True
) -> tuple[int, int, float, float]:
    """Read epochs from `source` until it ends, and write a line of csv to `sink` as each one is complete.

    source : raw samples in µV at `model.fs`: float32 little endian, or ("text") one number per line
    sink : gets columns HEADER, latency from an epoch's last sample on; one that cannot be scored has stage "?" alone
    context : forward-only smoothing; without it, or where the model holds none, the network's own probabilities
    returns (number of epochs, samples left over, mean and largest latency in ms)"""
    length = round(EPOCH_SECONDS * model.fs)
    smoothing = model.context if context else None
    belief, n, total, largest, off, unscored = None, 0, 0.0, 0.0, 0, 0
    past = deque(maxlen=FEWEST)  # what the windows of the last two hours lacked, an entry per epoch
    print(*HEADER, sep=",", file=sink, flush=True)
    for x in _float32(source, length) if form == "float32" else _numbers(source, length):
        if len(x) < length:
            return n, len(x), total / max(n, 1), largest
        arrived = time.perf_counter()
        alone, why = _network(x, model, form, past)
        if smoothing is not None:
            belief = advance(belief, smoothing.prior if alone is None else alone, smoothing)
        stage, values = UNSCORED, [""] * len(STAGES)
        if alone is not None:
            probabilities = alone if smoothing is None else belief
            stage, values = STAGES[int(np.argmax(probabilities))], [f"{value:.4f}" for value in probabilities]
        latency = 1000 * (time.perf_counter() - arrived)
        print(n * EPOCH_SECONDS, stage, *values, f"{latency:.1f}", sep=",", file=sink, flush=True)
        n, total, largest = n + 1, total + latency, max(largest, latency)
        unscored = unscored + 1 if why else 0
        if unscored == (1 if unscored == n else 3):  # later on, a single one may be a movement
            print(f"epoch {n} is not scored: {why}", file=sys.stderr)
        off = off + 1 if alone is not None and abs(np.nanmean(x)) > OFFSET else 0
        if off == 3:  # a single one may be a movement
            why = f"epochs {n - 2} to {n} lie more than {OFFSET} µV from zero: an amplifier that passes direct current?"
            print(why, "Such stages mean nothing; high-pass the signal at 0.5 Hz first", file=sys.stderr)
    return n, 0, total / max(n, 1), largest


def _network(x, model, form, past):
    """(5,) probabilities of an epoch by the network alone, and ""; or None and why: its amplitude is not that of EEG,
    or less than half of its windows can be scored. past : what earlier windows lacked (see `Votes`), extended"""
    finite = np.where(np.isfinite(x), x, np.nan)
    bad = bad_seconds(finite, model.fs)[:EPOCH_SECONDS]
    good = windows_scored(bad[None], len(x) // model.samples)
    problem = amplitude_problem(finite, model.fs, bad)
    if form == "float32" and (kind := _other_type(x)):
        return None, f"as {kind} the samples would be EEG; this stream takes little-endian float32 in µV"
    if epochs_scored(good)[0] and not problem:
        votes = night_votes(model, np.nan_to_num(finite).reshape(1, -1, model.samples), good)
        if votes.deficit is not None:
            past.append(votes.deficit)
            votes = replace(votes, deficit=np.concatenate(past))
        return adapted(model, votes)[0][0], ""
    return None, f"{problem}; this stream takes µV" if problem else "it is flat, clipped or not recorded"


def _other_type(x):
    """The type of OTHERS as which the bytes of an epoch have the amplitude of EEG, in µV or as floats in V; "" where
    they may be float32: all are finite, of a size that signals have, and not every other one is 0 (float64 without
    fractions)."""
    if np.isfinite(x).all() and x[::2].any() and 1e-15 < np.abs(x).max() < 1e15:
        return ""
    for kind, code in OTHERS.items():
        values = np.frombuffer(x.tobytes()[: x.nbytes // 8 * 8], code)
        if np.isfinite(values).all() and np.abs(values).max() < 1e6:
            sd = values.std(dtype=np.float64)
            if any(PLAUSIBLE[0] <= sd * factor <= PLAUSIBLE[1] for factor in ((1, 1e6) if "f" in code else (1,))):
                return kind
    return ""


def _float32(source, length):
    """Arrays of `length` samples; the last one shorter, where the source ends within an epoch."""
    while True:
        wanted, parts = 4 * length, []
        while wanted and (part := source.read(wanted)):  # a pipe gives what there is
            parts.append(part)
            wanted -= len(part)
        if raw := b"".join(parts):
            yield np.frombuffer(raw[: len(raw) // 4 * 4], "<f4")
        if wanted:
            return


def _numbers(source, length):
    samples, filled = np.empty(length, np.float32), 0
    for line, text in enumerate(iter(lambda: source.readline(LONGEST_LINE), b""), 1):
        if not text.strip():
            continue
        try:
            with np.errstate(over="ignore"):  # too large for float32 is infinite, and not scored
                samples[filled] = float(text)
        except ValueError as error:
            shown = f"standard input, line {line}: {text[:40].decode('latin-1').strip()!r} is no number"
            cure = "expected one sample in µV per line, or give --stream float32 for raw samples"
            raise ValueError(f"{shown}; {cure}") from error
        filled += 1
        if filled == length:
            yield samples.copy()
            filled = 0
    if filled:
        yield samples[:filled].copy()
