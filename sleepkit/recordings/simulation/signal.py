"""From stages to signals: frames of coloured noise whose spectrum follows the stage, and waveforms laid upon it."""

from functools import partial
from typing import NamedTuple

import numpy as np
from scipy.fft import irfft
from scipy.signal import lfilter

from sleepkit.recordings.simulation.hypnogram import EPOCH, MOVEMENT, UNSCORED

# fmt: off
FS = 100                       # Hz
FRAME, HOP = 4 * FS, 2 * FS    # samples; noise is made in frames of 4 s that overlap by half
CHUNK = 4096                   # frames at a time, which bounds the memory of a long night
STAGE = np.array([0, 1, 2, 3, 3, 4])  # Sleep stage W, 1, 2, 3, 4, R -> W, N1, N2, N3, REM

# Background at Fpz-Cz in W, N1, N2, N3, REM, hundredths of log10 of µV²/Hz: set so that, with the waveforms below, the
# mean log spectra of five seconds equal those of the twenty subjects of EDF-20 (Kemp et al. 2000).
KNOTS = (0.4, 0.8, 1.2, 1.6, 2.4, 3.2, 4, 5.2, 6, 7.2, 8.8, 10.4, 12, 13.6, 15.2, 16, 20, 24, 28, 32, 40, 50)
BACKGROUND = np.array([
    [260, 169, 157, 112, 109, 92, 83, 73, 69, 53, 33, 16, 11, 8, 4, 4, 3, -1, -3, -8, -6, -4],
    [176, 88, 100, 31, 29, -2, 0, 6, 9, 3, -17, -36, -51, -65, -63, -66, -59, -68, -82, -101, -120, -124],
    [191, 116, 149, 121, 123, 105, 89, 62, 50, 38, 14, 7, -2, -13, -16, -41, -73, -92, -104, -117, -123, -128],
    [251, 209, 255, 222, 184, 149, 132, 107, 89, 68, 36, 29, 14, -5, -38, -57, -93, -112, -124, -134, -139, -144],
    [197, 123, 139, 97, 103, 72, 61, 59, 46, 23, -9, -32, -43, -46, -52, -56, -56, -68, -85, -96, -106, -112],
]) / 100
# How far a stage's spectrum wanders in a night, log power: all, below 4 Hz, theta, alpha, sigma, above 16, above 30 Hz
WANDER = np.array([
    [.45, .45, .40, .50, .50, .60, .80],
    [.35, .30, .35, .50, .50, .50, .60],
    [.30, .25, .30, .40, .40, .35, .35],
    [.25, .15, .20, .35, .40, .35, .35],
    [.25, .25, .25, .35, .35, .35, .35],
])
LIGHTER, DEEPER = np.array([[0, 0, 1, 2, 1], [1, 2, 3, 3, 4]])  # the stages towards which ambiguous epochs lean

# Waveforms: events per minute in W, N1, N2, N3, REM, and gain at Fpz-Cz, Pz-Oz, EOG.
EVENTS = {
    "blink": ((11, 1.0, 0.1, 0.0, 0.5), (1.0, 0.05, 4.0)),
    "saccade": ((12, 1.5, 0.1, 0.0, 9), (0.12, 0.0, 1.0)),
    "vertex": ((0.2, 4, 1.0, 0.1, 0.1), (1.0, 0.5, 0.3)),
    "spindle": ((0.0, 0.3, 10, 6, 0.02), (1.0, 0.7, 0.2)),
    "kcomplex": ((0.0, 0.2, 2.2, 1.0, 0.02), (1.0, 0.5, 0.5)),
    "slow": ((0.0, 0.05, 1.5, 30, 0.02), (1.0, 0.6, 0.5)),
    "sawtooth": ((0.05, 0.5, 0.1, 0.0, 3.5), (1.0, 0.4, 0.3)),
}
# fmt: on


class Person(NamedTuple):
    """What makes one subject's recordings unlike another's; levels are in units of log power."""

    levels: tuple  # per stage: all of it, below 4 Hz, theta, alpha, sigma, above 16, above 30 Hz
    alpha_hz: float
    spindle_hz: float
    waves: float  # size of the slow waves and K-complexes, relative
    mains: float  # µV
    sex: str
    age: int


def draw_person(rng):
    """A subject; spreads follow those between the twenty subjects of EDF-20."""
    spread = np.array([0.25, 0.2, 0.2, 0.35, 0.35, 0.4, 0.4])
    levels = spread * (rng.standard_normal(7) + 0.6 * rng.standard_normal((5, 7)))  # some traits show in one stage only
    alpha_hz, spindle_hz = rng.normal(9.8, 0.7), rng.normal(13.2, 0.5)
    waves, mains = float(np.exp(rng.normal(0, 0.15))), rng.uniform(0.2, 1.0)
    sex, age = "FM"[rng.integers(2)], int(rng.integers(25, 35))
    return Person(tuple(map(tuple, levels)), alpha_hz, spindle_hz, waves, mains, sex, age)


def _wander(rng, n, k, seconds):
    """(n, k) float32 unit-variance noise that forgets itself within about `seconds`; one row per frame."""
    keep = np.exp(-HOP / FS / seconds)
    white = rng.standard_normal((n, k), dtype=np.float32)
    white[1:] *= np.float32(np.sqrt(1 - keep**2))  # the first row already has the variance of the rest
    return lfilter(np.float32([1.0]), np.float32([1.0, -keep]), white, axis=0)


def stage_weights(rng, stages, frames):
    """How much of each stage is in each frame, (frames, 5) float32 that add up to 1, and how much the subject moves,
    (frames,) float32, 0 to 1. Changes of stage fall off the scorer's 30-s grid, and epochs are ambiguous."""
    scored = stages < MOVEMENT
    last = np.maximum.accumulate(np.where(scored, np.arange(len(stages)), 0))
    body = STAGE[np.where(scored, stages, 0)[last]]  # under a movement the stage goes on
    starts = np.flatnonzero(np.diff(body, prepend=-1))
    changes = np.maximum.accumulate(EPOCH * starts + np.where(starts > 0, rng.normal(0, 6, len(starts)), 0))
    seconds = np.arange(frames) * HOP / FS
    stage = body[starts[np.searchsorted(changes, seconds, side="right").clip(1) - 1]]
    lean = (0.9 * _wander(rng, frames, 1, 90) + 0.45 * _wander(rng, frames, 1, 10))[:, 0]
    share = np.clip(0.4 * np.abs(lean) - 0.15, 0, 0.7)
    weights, rows = np.zeros((frames, 5), dtype=np.float32), np.arange(frames)
    weights[rows, stage] += 1 - share
    weights[rows, np.where(lean > 0, LIGHTER[stage], DEEPER[stage])] += share
    arousal = np.flatnonzero(rng.random(frames) < 10 * HOP / FS / 3600)  # ten an hour, some seconds of wake each
    for later in range(4):
        woken = arousal[(rng.random(len(arousal)) < 0.85**later) & (arousal + later < frames)] + later
        weights[woken] = 0.5 * weights[woken] + 0.5 * np.eye(5, dtype=np.float32)[0]
    weights = lfilter([0.5, 0.3, 0.2], 1, np.pad(weights, ((2, 0), (0, 0)), mode="edge"), axis=0)[2:].astype(np.float32)
    moving = np.zeros(frames, dtype=np.float32)
    onset = np.flatnonzero(rng.random(frames) < (weights @ np.array([20, 6, 3, 2, 4])) * HOP / FS / 3600)
    for later in range(3):
        moving[np.minimum(onset + later, frames - 1)] = rng.uniform(0.3, 1, len(onset))
    told = stages[(seconds / EPOCH).astype(int).clip(0, len(stages) - 1)]
    moving = np.where(told == MOVEMENT, rng.uniform(0.5, 1, frames), moving)
    return weights, np.where(told == UNSCORED, 1, moving).astype(np.float32)


def _noise(rng, logpower, color):
    """Overlapped frames of noise, (frames + 1, HOP) float32 µV: `logpower` (frames, FRAME // 2 + 1) is ln(µV²/Hz), and
    `color` (FRAME // 2 + 1,) a factor of the amplitude."""
    window = np.sin(np.pi * (np.arange(FRAME) + 0.5) / FRAME).astype(np.float32)  # sqrt-Hann, which keeps the power
    scale = (np.sqrt(FS * FRAME / 4) * color).astype(np.float32)  # E|X|² = PSD fs N / 2, half of it real
    scale[[0, -1]] = 0
    spectrum = rng.standard_normal((*logpower.shape, 2), dtype=np.float32).view(np.complex64)[..., 0]
    spectrum *= np.exp(0.5 * logpower)
    spectrum *= scale
    noise = irfft(spectrum, n=FRAME, axis=1) * window
    return np.pad(noise[:, :HOP], ((0, 1), (0, 0))) + np.pad(noise[:, HOP:], ((1, 0), (0, 0)))


def _background(rng, person, weights, moving, samples):
    """(3, samples) float32 µV: pink noise of Fpz-Cz, Pz-Oz and EOG, with the stage's spectrum and its wanderings."""
    f = np.fft.rfftfreq(FRAME, 1 / FS)
    octaves = np.log(f.clip(KNOTS[0])), np.log(KNOTS)
    table = np.stack([np.log(10) * np.interp(*octaves, row) for row in BACKGROUND]).astype(np.float32)
    # Where the seven levels of a person act on the spectrum.
    above4, above8, *above = (1 / (1 + np.exp(-(f - hz) / (0.08 * hz))) for hz in (4, 8, 16, 30))
    alpha, sigma = _bell(f, person.alpha_hz, 1.2), _bell(f, person.spindle_hz, 1.2)
    bumps = np.stack([np.ones_like(f), 1 - above4, above4 - above8, alpha, sigma, *above]).astype(np.float32)
    levels = (_wander(rng, len(weights), 7, 90) + 0.3 * _wander(rng, len(weights), 7, 5)) * (weights @ WANDER)
    levels += weights @ np.array(person.levels)
    levels += moving[:, None] * np.array([1.5, 2.5, 0, 0, 0, 2.0, 0])
    levels[:, 3] += weights @ np.array([0.5, 0.3, 0.0, 0.0, 0.3])  # alpha at rest
    levels = levels.astype(np.float32)
    colors = np.exp(np.stack([0 * f, -0.25 - 0.4 * bumps[1] + 0.7 * bumps[3], 0.1 + 0.1 * bumps[1] - 0.2 * bumps[3]]))
    out = np.zeros((3, (len(weights) + 1) * HOP), dtype=np.float32)
    for start in range(0, len(weights), CHUNK):
        logpower = weights[start : start + CHUNK] @ table + levels[start : start + CHUNK] @ bumps
        for signal, color in zip(out, colors, strict=True):
            noise = _noise(rng, logpower, color).ravel()
            signal[start * HOP : start * HOP + len(noise)] += noise
    return out[:, HOP : HOP + samples]


def _bell(t, at, width):
    return np.exp(-0.5 * ((t - at) / width) ** 2)


def _waveforms(rng, kind, n, person):
    """(n, length) float32 µV: `n` examples of one kind of event."""
    draw = partial(rng.uniform, size=(n, 1))
    size = np.exp(0.25 * rng.standard_normal((n, 1)))
    if kind == "blink":  # a positive hump, and the recorder's high-pass swinging back
        t, wide = np.arange(90) / FS, draw(0.05, 0.09)
        wave = 75 * (_bell(t, 0.2, wide) - 0.3 * _bell(t, 0.2 + 4 * wide, 2 * wide))
    elif kind == "saccade":  # a step that the high-pass lets decay
        t = np.arange(120) / FS
        wave = 130 * rng.choice([-1, 1], (n, 1)) * (1 - np.exp(-t / 0.02)) * np.exp(-t / draw(0.15, 0.35))
    elif kind == "vertex":  # sharp, negative, then a shallow positive
        t, wide = np.arange(60) / FS, draw(0.025, 0.045)
        wave = 38 * (-_bell(t, 0.2, wide) + 0.45 * _bell(t, 0.2 + 3.2 * wide, 2 * wide))
    elif kind == "spindle":  # 0.5 to 1.5 s, waxing and waning, slowing a little
        t, length = np.arange(160) / FS, draw(0.5, 1.5)
        hz = person.spindle_hz + 0.3 * rng.standard_normal((n, 1)) - 0.3 * t
        wave = 13 * np.exp(0.5 * person.levels[2][4]) * np.sin(2 * np.pi * (hz * t + draw(0, 1)))
        wave *= np.where(t < length, np.sin(np.pi * t / length), 0) ** 1.5
    elif kind == "kcomplex":  # sharp negative, then slow positive, together over half a second
        t, wide = np.arange(150) / FS, draw(0.05, 0.08)
        wave = 65 * person.waves * (-_bell(t, 0.3, wide) + 0.65 * _bell(t, 0.3 + 4.5 * wide, draw(0.1, 0.2)))
    elif kind == "slow":  # 0.5 to 1.5 Hz, 75 µV and more from peak to peak, down faster than up
        t, period = np.arange(260) / FS, draw(0.75, 1.6)
        phase = 2 * np.pi * t / period
        wave = -48 * person.waves * np.sin(phase + 0.4 * np.sin(phase)) * _bell(t, 0.55 * period, 0.4 * period)
    else:  # sawtooth: 2 to 5 Hz, three to eight teeth, slow rise and steep fall
        t, hz = np.arange(300) / FS, draw(2.2, 4.5)
        tooth = sum(np.sin(2 * np.pi * k * hz * t) / k for k in (1, 2, 3, 4))
        wave = 14 * tooth * _bell(t, 1.5, draw(0.35, 0.7))
    return (size * wave).astype(np.float32)


def _add_waveforms(rng, signals, person, weights):
    """Lay the events of all stages upon `signals` (3, samples), in place."""
    mood = np.exp(0.4 * _wander(rng, len(weights), len(EVENTS), 40) - 0.08)  # events come in clusters
    for i, (kind, (per_minute, gains)) in enumerate(EVENTS.items()):
        rate = weights @ np.array(per_minute) * mood[:, i] * HOP / FS / 60
        start = np.repeat(np.arange(len(weights)), rng.poisson(rate)) * HOP
        waves = _waveforms(rng, kind, len(start), person)
        index = (start + rng.integers(0, HOP, len(start)))[:, None] + np.arange(waves.shape[1])
        inside = index < signals.shape[1]
        for signal, gain in zip(signals, gains, strict=True):
            if gain:
                np.add.at(signal, index[inside], np.float32(gain) * waves[inside])


def draw_signals(rng, person, stages, seconds):
    """Signals of a night of `stages`, (n,) positions in LABELS: (3, 100 * seconds) float32 µV (Fpz-Cz, Pz-Oz, EOG) and
    (3, seconds) float32 (respiration in units of the recorder, chin EMG in µV, temperature in °C)."""
    frames = -(-FS * seconds // HOP) + 1
    weights, moving = stage_weights(rng, stages, frames)
    signals = _background(rng, person, weights, moving, FS * seconds)
    _add_waveforms(rng, signals, person, weights)
    t = np.arange(seconds)
    # 50 Hz lies at half the sampling rate: samples alternate, and a mains some mHz off beats slowly with the clock.
    beat = person.mains * np.cos(2 * np.pi * (rng.normal(0, 0.01) * t + rng.random()))
    signals += (beat[:, None] * np.tile([1, -1], FS // 2)).astype(np.float32).ravel()
    slot = np.minimum(t * FS // HOP, frames - 1)
    breath = np.sin(2 * np.pi * np.cumsum(rng.normal(0.25, 0.02, seconds)))
    breath = 600 * breath * (1 + moving[slot]) + 60 * rng.standard_normal(seconds) + 100
    tone = weights[slot] @ np.array([2.6, 1.9, 1.5, 1.4, 0.7]) + 1.5 * moving[slot]
    tone += 0.12 * rng.standard_normal(seconds)
    warmth = 37 - 0.4 * np.sin(np.pi * t / seconds) + 0.01 * rng.standard_normal(seconds)
    return signals, np.stack([breath, tone, warmth]).astype(np.float32)
