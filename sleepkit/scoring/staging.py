"""Score a night: its epochs in the windows of a trained network, then the context of the night."""

import datetime
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from sleepkit.epochs import EPOCH_SECONDS, STAGES, read_prepared
from sleepkit.evaluation.context import smooth
from sleepkit.recordings import quality
from sleepkit.recordings.channel import read_channel, whole_epochs
from sleepkit.recordings.hypnogram import read_hypnogram
from sleepkit.scoring.model import Model, load_model

UNSCORED = "?"  # in the column of stages; Sleep-EDF's "Sleep stage ?" in a hypnogram
STRANGE = 0.2  # share of windows, unlike the training data or humming, from which on it is said


@dataclass(frozen=True)
class Night:
    """The signal of a night in the windows of a network."""

    x: np.ndarray  # (epochs, windows, samples) float32 µV
    good: np.ndarray  # (epochs, windows) bool: neither flat nor clipped
    fs: float  # Hz
    channel: str
    start: datetime.datetime | datetime.time | None  # of the first sample, a time where its date is not known
    labels: np.ndarray | None  # (epochs,) int, an expert's stages where the file holds them
    notes: tuple  # what the user should know

    @property
    def scored(self):  # (epochs,) bool
        return quality.epochs_scored(self.good)


@dataclass(frozen=True, eq=False)
class Scoring:
    """A scored night; an epoch that was not scored has stage "?" and no probabilities."""

    path: Path
    model: Model
    night: Night
    epochs: pd.DataFrame  # a row per epoch: onset (s), stage, W, N1, N2, N3, REM, with context where it was used
    network: pd.DataFrame  # the same by the network alone
    labels: np.ndarray | None  # (n,) stages of an expert, negative where there is none
    notes: tuple  # what the user should know

    @property
    def stages(self):  # (n,) int: position in STAGES, -1 where the epoch was not scored
        return pd.Index(STAGES).get_indexer(self.epochs["stage"])


def score(
    path: str | Path,
    model: Model | str | Path | None = None,
    channel: str | None = None,
    context: bool = True,
    hypnogram: str | Path | None = None,
) -> Scoring:
    """Stages of a recording, one per 30 s: `score(path).epochs` is the data frame.

    path : EDF, EDF+, BDF, what MNE-Python reads, or a prepared `.npz` night
    model : path of a saved network (without ending) or of an exported `.onnx`, or a Model; None is the package's own
    channel : label, pattern or derivation ("Fpz - Cz"); None is Fpz-Cz
    context : whether the probabilities are smoothed over the night; the network's own otherwise
    hypnogram : path of an expert's EDF+ hypnogram to compare with"""
    model = model if isinstance(model, Model) else load_model(model)
    night = read_night(path, model.fs, model.samples, channel)
    if hypnogram is not None and night.labels is not None:
        holds = f"{path}: a prepared night holds the expert's stages of the epochs that were kept"
        raise ValueError(f"{holds}; a hypnogram of the whole night ({hypnogram}) does not fit them: leave it out")
    scored, n, labels = night.scored, len(night.x), night.labels
    smoothed = alone = model.vote(night.x, night.good)
    notes = [*night.notes, *_doubts(night, model)]
    if hypnogram is not None:
        expert = read_hypnogram(hypnogram)
        labels, askew = expert.epochs(n, night.start)
        labels, notes = np.maximum(labels, -1), [*notes, *expert.notes, *askew]
    if context and model.context is None:
        notes.append("the model holds no context: stages are the network's alone")
    elif context and n:
        # An epoch that says nothing has what evidence is divided by as its probabilities: its neighbours decide.
        nothing = model.context.prior**model.context.rarity
        smoothed = smooth(np.where(scored[:, None], alone, nothing), model.context)
    if not scored.all():
        notes.append(f"{(~scored).sum()} of {n} epochs are flat, clipped or not recorded: stage {UNSCORED}")
    frames = (_frame(probabilities, scored) for probabilities in (smoothed, alone))
    return Scoring(Path(path), model, night, *frames, labels, tuple(notes))


def _frame(probabilities, scored):
    frame = pd.DataFrame(np.where(scored[:, None], probabilities, np.nan), columns=list(STAGES))
    frame.insert(0, "onset", np.arange(len(frame)) * EPOCH_SECONDS)
    frame.insert(1, "stage", np.where(scored, np.array(STAGES)[probabilities.argmax(axis=1)], UNSCORED))
    return frame


def _doubts(night, model):
    """Notes on a signal without a good epoch, or unlike what the model was trained on."""
    if not len(x := night.x[night.good & night.scored[:, None]]):
        return ["no epoch can be scored: the channel is flat or clipped throughout"]
    found, facts = quality.features(x), model.facts.get("training_signal")
    known = isinstance(facts, dict) and all(name in facts for name in quality.FEATURES)
    if known and (share := quality.unlike(found, facts).mean()) > STRANGE:
        what = "are unlike the training data in amplitude or spectrum"
        why = "another channel, another filter, mains hum, a loose electrode?"
    # A night like one of the training data is not unlike them: those of Sleep-EDF hold one that hums.
    elif (share := quality.humming(found).mean()) > STRANGE:
        what = f"have most of their power above {model.fs / 4:g} Hz, where EEG has little"
        why = "mains hum?"
    else:
        return []
    return [f"{100 * share:.0f} % of the windows {what} ({why}): do not rely on these stages"]


def read_night(path, fs, samples, channel=None):
    """Read a recording (see `read_channel`), or a prepared `.npz` night, for a network of `samples` samples at `fs` Hz.
    A prepared night that holds only the first seconds of its epochs gives an epoch as many windows as fit."""
    if (path := Path(path)).suffix.lower() == ".npz":
        return _from_prepared(path, fs, samples, channel)
    found, windows = read_channel(path, channel), round(EPOCH_SECONDS * fs / samples)
    x, notes = whole_epochs(found, fs, f"{path}: ")
    n = len(x)
    good = quality.windows_scored(found.bad[: n * EPOCH_SECONDS].reshape(n, EPOCH_SECONDS), windows)
    return Night(x.reshape(n, windows, samples), good, fs, found.name, found.start, None, tuple(notes))


def _from_prepared(path, fs, samples, channel):
    night = read_prepared(path, whole=False)  # an epoch without a signal or a stage is passed over, no error
    label = night.channel or "one channel"
    if channel is not None and channel != label:
        raise ValueError(f"{path}: no channel {channel!r}; there is: {label}. Name this one")
    if abs(night.fs - fs) > 1e-6:
        raise ValueError(f"{path}: {night.fs:g} Hz, and the network takes {fs:g} Hz; score the recording itself")
    n, length = night.x.shape
    if length < samples or length % samples:
        lengths = f"its epochs have {length} samples, and the network takes {samples}"
        raise ValueError(f"{path}: {lengths}; name a model that was trained on epochs of this length")
    windows, seconds = length // samples, length / night.fs
    whole = max(1, int(seconds))
    bad = quality.bad_seconds(night.x.ravel(), length / whole)
    if problem := quality.amplitude_problem(night.x.ravel(), length / whole, bad):
        raise ValueError(f"{path}: {label} has a {problem}; prepare the night again in µV")
    bad = bad.reshape(n, whole)
    good = quality.windows_scored(bad, windows) if whole % windows == 0 else np.ones((n, windows), bool)
    labels = np.where((night.y >= 0) & (night.y < len(STAGES)), night.y, -1)
    notes = ["a prepared night: epochs that were dropped when it was prepared are missing, and onsets count on"]
    if seconds < EPOCH_SECONDS:
        notes.append(f"of each epoch {seconds:g} s are there, and the stage is that of these")
    return Night(np.nan_to_num(night.x).reshape(n, windows, samples), good, fs, label, None, labels, tuple(notes))
