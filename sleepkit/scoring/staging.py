"""Score a night: a trained network on every epoch, then the context of the night."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from sleepkit.epochs import EPOCH_SECONDS, STAGES
from sleepkit.evaluation.context import smooth
from sleepkit.recordings.edf import parse_start
from sleepkit.recordings.hypnogram import read_hypnogram
from sleepkit.recordings.quality import FEATURES, PLAUSIBLE, features, humming, typical_amplitude, unlike
from sleepkit.scoring.model import Model, load_model
from sleepkit.scoring.night import Night, read_night

UNSCORED = "?"  # in the column of stages; Sleep-EDF's "Sleep stage ?" in a hypnogram
STRANGE = 0.2  # share of windows, unlike the training data or humming, from which on it is said


@dataclass(frozen=True, eq=False)
class Scoring:
    """A scored night.

    epochs : data frame, one row per epoch: onset (s), stage, W, N1, N2, N3, REM, with context where it was used;
        stage "?" and no probabilities where the epoch was not scored
    network : the same by the network alone;  notes : what the user should know, tuple of str
    labels : (n,) stages of an expert, negative where there is none; None without a hypnogram
    """

    path: Path
    model: Model
    night: Night
    epochs: pd.DataFrame
    network: pd.DataFrame
    labels: np.ndarray | None
    notes: tuple

    @property
    def stages(self):
        """(n,) int: position in STAGES, -1 where the epoch was not scored."""
        return np.array([STAGES.index(stage) if stage in STAGES else -1 for stage in self.epochs["stage"]], dtype=int)


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
    hypnogram : path of an expert's EDF+ hypnogram to compare with
    """
    model = model if isinstance(model, Model) else load_model(model)
    night = read_night(path, model.fs, model.samples, channel)
    if hypnogram is not None and night.labels is not None:
        holds = f"{path}: a prepared night holds the expert's stages of the epochs that were kept"
        raise ValueError(f"{holds}; a hypnogram of the whole night ({hypnogram}) does not fit them: leave it out")
    labels = night.labels if hypnogram is None else _expert(hypnogram, night)
    scored, n = night.scored, len(night.x)
    smoothed = alone = model.vote(night.x, night.good)
    notes = [*night.notes, *_doubts(night, model)]
    if hypnogram is not None and night.start is None:
        notes.append("the recording does not say when it starts: the hypnogram was taken to start with it")
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
    stage = np.where(scored, np.array(STAGES)[probabilities.argmax(axis=1)], UNSCORED)
    frame = pd.DataFrame(np.where(scored[:, None], probabilities, np.nan), columns=list(STAGES))
    frame.insert(0, "onset", np.arange(len(frame)) * EPOCH_SECONDS)
    frame.insert(1, "stage", stage)
    return frame


def _doubts(night, model):
    """Notes on a signal that is no EEG by its amplitude, or unlike what the model was trained on."""
    x = night.x[night.good & night.scored[:, None]]
    if not len(x):
        return ["no epoch can be scored: the channel is flat or clipped throughout"]
    if not PLAUSIBLE[0] <= (amplitude := typical_amplitude(x)) <= PLAUSIBLE[1]:
        problem = (
            f"the signal's typical amplitude is {amplitude:.3g} µV (standard deviation), while EEG in sleep has 5 to "
        )
        return [problem + "60: its unit is probably wrong, or it is no EEG; it was scored as the header says"]
    found, facts = features(x), model.facts.get("training_signal")
    known = isinstance(facts, dict) and all(name in facts for name in FEATURES)
    if known and (share := unlike(found, facts).mean()) > STRANGE:
        what = "are unlike the training data in amplitude or spectrum"
        why = "another channel, another filter, mains hum, a loose electrode?"
    # A night like one of the training data is not unlike them: those of Sleep-EDF hold one that hums.
    elif (share := humming(found).mean()) > STRANGE:
        what = f"have most of their power above {model.fs / 4:g} Hz, where EEG has little"
        why = "mains hum?"
    else:
        return []
    return [f"{100 * share:.0f} % of the windows {what} ({why}): do not rely on these stages"]


def _expert(path, night):
    """An expert's stages on the epochs of the night, (n,) int; negative where there is none."""
    hypnogram = read_hypnogram(path)
    start, shift = parse_start(hypnogram.start), 0
    if start and night.start:
        shift = (start - night.start).total_seconds() / EPOCH_SECONDS
    if shift % 1 or abs(shift) > 2880:
        starts = f"{path}: starts {start}, the recording {night.start}"
        raise ValueError(f"{starts}; the two are not of one night, or their epochs do not fall together")
    labels = np.full(len(night.x), -1)
    for first, end, label in hypnogram.bouts:
        first, end = (min(max(0, place + int(shift)), len(labels)) for place in (first, end))
        labels[first:end] = max(label, -1)
    return labels
