"""Score a night: its epochs in the windows of a trained network, then the context of the night."""

import datetime
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from sleepkit.epochs import EPOCH_SECONDS, STAGES, read_prepared
from sleepkit.evaluation.context import smooth
from sleepkit.execution.extras import extras
from sleepkit.recordings import quality
from sleepkit.recordings.channel import name_of, read_channel
from sleepkit.recordings.hypnogram import read_hypnogram
from sleepkit.recordings.resampling import brought_to, whole_epochs
from sleepkit.scoring.familiarity import adapted, night_votes, unadapted
from sleepkit.scoring.model import Model, load_model
from sleepkit.scoring.sleep_statistics import sleep_statistics, time_in_bed
from sleepkit.scoring.trust import UNNAMED, Trust, about_channel, measures, trust

if TYPE_CHECKING:
    import mne

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

    path: Path  # a name for a recording in memory
    model: Model
    night: Night
    epochs: pd.DataFrame  # a row per epoch: onset (s), stage, W, N1, N2, N3, REM, with context where it was used
    network: pd.DataFrame  # the same by the network alone
    labels: np.ndarray | None  # (n,) stages of an expert, negative where there is none
    notes: tuple  # what the user should know
    trust: Trust | None = None  # how often an expert may be expected to agree; None where the model does not tell
    in_bed: tuple | None = None  # first epoch of the time in bed and that after the last; None is the whole recording

    @property
    def stages(self):  # (n,) int: position in STAGES, -1 where the epoch was not scored
        return pd.Index(STAGES).get_indexer(self.epochs["stage"])

    @property
    def statistics(self):  # dict of `sleep_statistics`, between lights off and lights on
        return sleep_statistics(self.stages[slice(*(self.in_bed or (None,)))])

    def to_events(self):
        """Bouts of one stage as BIDS has events: data frame of onset, duration (s), trial_type ("?": not scored)."""
        stages = self.epochs["stage"].to_numpy()
        first = np.flatnonzero(np.r_[True, stages[1:] != stages[:-1]])
        lasts = np.diff(first, append=len(stages))
        return pd.DataFrame(
            {"onset": EPOCH_SECONDS * first, "duration": EPOCH_SECONDS * lasts, "trial_type": stages[first]}
        )

    def to_annotations(self):
        """The bouts as mne.Annotations ("Sleep stage N2"), from the first sample on, for `raw.set_annotations`."""
        with extras():
            import mne
        events, start = self.to_events(), self.night.start
        zero = start.replace(tzinfo=datetime.UTC) if isinstance(start, datetime.datetime) else None
        return mne.Annotations(events["onset"], events["duration"], edf_texts(events["trial_type"]), orig_time=zero)

    def plot(self, axes=None):
        """The hypnogram and the probabilities into two matplotlib axes, new ones without; returns them."""
        from sleepkit.scoring.plots import plot_scoring

        return plot_scoring(self.epochs, axes)


def edf_texts(stages):
    """Names of stages as EDF+ has them in hypnograms: "REM" -> "Sleep stage R"."""
    return [f"Sleep stage {'R' if stage == 'REM' else stage}" for stage in stages]


def score(  # long: its arguments are explained here
    recording: "str | Path | mne.io.BaseRaw | tuple[np.ndarray, float]",
    model: Model | str | Path | None = None,
    channel: str | None = None,
    context: bool = True,
    hypnogram: "str | Path | mne.Annotations | mne.io.BaseRaw | None" = None,
    stages: dict[str, str] | str | Path | None = None,
    lights_off: str | float | None = None,
    lights_on: str | float | None = None,
    adapt: bool = True,
) -> Scoring:
    """Stages of a recording, one per 30 s: `score(recording).epochs` is the data frame.

    recording : path of an EDF, EDF+, BDF, what MNE-Python reads, or a prepared `.npz` night; an mne.io.Raw, of which
        what is annotated as BAD is not scored; or (x, fs), a channel in µV and its rate in Hz
    model : path of a saved network (without ending) or of an exported `.onnx`, or a Model; None is the package's own
    channel : label, pattern or derivation ("Fpz - Cz"); None is Fpz-Cz
    context : whether the probabilities are smoothed over the night; the network's own otherwise
    hypnogram : an expert's, to compare with: path of a file of any kind, mne.Annotations, or Raw with them
    stages : further names of stages in it: {their name: stage}, or the path of a yaml file of such lines
    lights_off, lights_on : time in bed, for the statistics: clocks ("22:30"), or seconds after the first sample
    adapt : whether a night of unusual amplitude or fast activity is staged otherwise than one like the training's"""
    model = model if isinstance(model, Model) else load_model(model)
    model = model if adapt else unadapted(model)
    night = read_night(recording, model.fs, model.samples, channel)
    labels, compared = (night.labels, []) if hypnogram is None else _expert(recording, night, hypnogram, stages)
    scored, n, votes = night.scored, len(night.x), night_votes(model, night.x, night.good)
    alone, its_context, seen = adapted(model, votes)
    notes = [*night.notes, *about_channel(night.channel), *seen, *_doubts(night, model, votes.factor), *compared]
    smoothed = alone
    if context and its_context is None:
        notes.append("the model holds no context: stages are the network's alone")
    elif context and n:
        # An epoch that says nothing has what evidence is divided by as its probabilities: its neighbours decide.
        nothing = its_context.prior**its_context.rarity
        smoothed = smooth(np.where(scored[:, None], alone, nothing), its_context)
    if not scored.all():
        notes.append(f"{(~scored).sum()} of {n} epochs are flat, clipped or not recorded: stage {UNSCORED}")
    expected = _expected(votes.deficit, model, alone[scored])
    notes += [expected.words] if expected else []
    frames = (_frame(probabilities, scored) for probabilities in (smoothed, alone))
    in_bed = time_in_bed(n, night.start, lights_off, lights_on)
    return Scoring(name_of(recording), model, night, *frames, labels, tuple(notes), expected, in_bed)


def _expected(deficit, model, alone):
    """The Trust of a night; None where nothing is scored or the model's description lacks what that takes."""
    if not len(alone) or deficit is None or "trust" not in model.facts:
        return None
    return trust(measures(deficit, alone, model.facts["spectrum"]), model.facts["trust"])


def _expert(recording, night, hypnogram, stages):
    """An expert's stages on the epochs of a night, (n,) int, negative where there is none; and notes."""
    if night.labels is not None:
        holds = f"{recording}: a prepared night holds the expert's stages of the epochs that were kept"
        raise ValueError(f"{holds}; a hypnogram of the whole night ({hypnogram}) does not fit them: leave it out")
    expert = read_hypnogram(hypnogram, stages)
    labels, notes = expert.epochs(len(night.x), night.start)
    return np.maximum(labels, -1), [*expert.notes, *notes]


def _frame(probabilities, scored):
    frame = pd.DataFrame(np.where(scored[:, None], probabilities, np.nan), columns=list(STAGES))
    frame.insert(0, "onset", np.arange(len(frame)) * EPOCH_SECONDS)
    frame.insert(1, "stage", np.where(scored, np.array(STAGES)[probabilities.argmax(axis=1)], UNSCORED))
    return frame


def _doubts(night, model, factor):
    """Notes on a signal without a good epoch, or, multiplied by `factor`, unlike what the model was trained on."""
    if not len(x := night.x[night.good & night.scored[:, None]]):
        return ["no epoch can be scored: the channel is flat or clipped throughout"]
    found, facts = quality.features(x * np.float32(factor)), model.facts.get("training_signal")
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


def read_night(recording, fs, samples, channel=None):
    """Read a recording (see `read_channel`), or a prepared `.npz` night, for a network of `samples` samples at `fs` Hz.
    A prepared night that holds only the first seconds of its epochs gives an epoch as many windows as fit."""
    if (path := name_of(recording)).suffix.lower() == ".npz":
        return _from_prepared(path, fs, samples, channel)
    found, windows = read_channel(recording, channel), round(EPOCH_SECONDS * fs / samples)
    x, notes = whole_epochs(found, fs, f"{path}: ")
    n = len(x)
    good = quality.windows_scored(found.bad[: n * EPOCH_SECONDS].reshape(n, EPOCH_SECONDS), windows)
    return Night(x.reshape(n, windows, samples), good, fs, found.name, found.start, None, tuple(notes))


def _from_prepared(path, fs, samples, channel):
    night = read_prepared(path, whole=False)  # an epoch without a signal or a stage is passed over, no error
    label = night.channel or UNNAMED
    if channel is not None and channel != label:
        raise ValueError(f"{path}: no channel {channel!r}; there is: {label}. Name this one")
    (n, given), seconds = night.x.shape, night.x.shape[1] / night.fs
    length = round(seconds * fs)
    if length < samples or length % samples or abs(length / fs - seconds) > 1e-6:
        lengths = f"its epochs have {given} samples at {night.fs:g} Hz, and the network takes {samples} at {fs:g} Hz"
        raise ValueError(f"{path}: {lengths}; name a model that was trained on epochs of this length")
    windows, whole = length // samples, max(1, int(seconds))
    bad = quality.bad_seconds(night.x.ravel(), given / whole)
    if problem := quality.amplitude_problem(night.x.ravel(), given / whole, bad):
        raise ValueError(f"{path}: {label} has a {problem}; prepare the night again in µV")
    bad = bad.reshape(n, whole)
    good = quality.windows_scored(bad, windows) if whole % windows == 0 else np.ones((n, windows), bool)
    labels = np.where((night.y >= 0) & (night.y < len(STAGES)), night.y, -1)
    notes = ["a prepared night: epochs that were dropped when it was prepared are missing, and onsets count on"]
    if seconds < EPOCH_SECONDS:
        notes.append(f"of each epoch {seconds:g} s are there, and the stage is that of these")
    x, more = brought_to(fs, np.nan_to_num(night.x).ravel(), night.fs, n * length, given)
    return Night(x.reshape(n, windows, samples), good, fs, label, None, labels, (*notes, *more))
