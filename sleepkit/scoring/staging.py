"""Score a night: a trained network on every epoch, then the context of the night."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd

from sleepkit.epochs import STAGES
from sleepkit.evaluation.context import Context, smooth
from sleepkit.execution.paths import WEIGHTS
from sleepkit.metrics import softmax
from sleepkit.recordings.edf import parse_start
from sleepkit.recordings.hypnogram import read_hypnogram
from sleepkit.recordings.quality import FEATURES, amplitude_problem, features, humming, typical_amplitude, unlike
from sleepkit.scoring.night import EPOCH_SECONDS, Night, read_night

DEFAULT = WEIGHTS / "edf20_first5s_L7"
UNSCORED = "?"  # in the column of stages; Sleep-EDF's "Sleep stage ?" in a hypnogram
BATCH = 48  # windows at a time: what a layer makes of more no longer fits into a core's cache
STRANGE = 0.2  # share of windows, unlike the training data or humming, from which on it is said


@dataclass(frozen=True, eq=False)
class Model:
    """A trained network with what scoring needs to know about it.

    logits : function, windows (n, samples) float32 µV -> (n, 5);  fs : Hz;  facts : dict, as `save_network` wrote it
    context : sleepkit.evaluation.context.Context, or None where the file holds none
    """

    name: str
    logits: Callable
    fs: float
    samples: int
    facts: dict
    context: Context | None

    def probabilities(self, x):
        """(n, samples) float32 µV -> (n, 5)."""
        if not len(x):
            return np.zeros((0, len(STAGES)))
        logits = np.concatenate([self.logits(x[i : i + BATCH]) for i in range(0, len(x), BATCH)]).astype(float)
        return softmax(logits)


@dataclass(frozen=True, eq=False)
class Scoring:
    """A scored night.

    epochs : data frame, one row per epoch: onset (s), stage, W, N1, N2, N3, REM, with context where it was used;
        stage "?" and no probabilities where the epoch was not scored
    network : the same by the network alone, each epoch for itself
    labels : (n,) stages of an expert, negative where there is none; None without a hypnogram
    notes : what the user should know, tuple of str
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
        return positions(self.epochs)


def score_recording(path, model=None, channel=None, context=True):
    """Stages of a recording: data frame with onset (s), stage, W, N1, N2, N3, REM, one row per 30 s.

    path : EDF, EDF+, BDF, what MNE-Python reads, or a prepared `.npz` night
    model : path of a saved network (without ending) or of an exported `.onnx` file, or a Model; None is the network
        that comes with the package
    channel : label, pattern or derivation ("Fpz - Cz"); None is Fpz-Cz
    context : whether the probabilities are smoothed over the night; the network's own otherwise
    Epochs that are flat, clipped or not recorded have stage "?" and no probabilities.
    Raises ValueError that names the file and the cure.
    """
    return score(path, model, channel, context).epochs


def score(path, model=None, channel=None, context=True, hypnogram=None):
    """As `score_recording`, with all that is known about it: returns a Scoring.

    hypnogram : path of an expert's EDF+ hypnogram to compare with
    """
    model = model if isinstance(model, Model) else load_model(model)
    night = read_night(path, model.fs, model.samples, channel)
    if hypnogram is not None and night.labels is not None:
        raise ValueError(
            f"{path}: a prepared night holds the expert's stages of the epochs that were kept, which are compared as "
            f"they are; a hypnogram of the whole night ({hypnogram}) does not fit them: leave it out"
        )
    labels = night.labels if hypnogram is None else _expert(hypnogram, night)
    n, windows, samples = night.x.shape
    votes = model.probabilities(night.x.reshape(-1, samples)).reshape(n, windows, -1)
    scored = night.scored
    # The windows of an epoch have one vote each; those that are flat or clipped have none.
    weight = (night.good & scored[:, None]) / np.maximum(night.good.sum(axis=1, keepdims=True), 1)
    alone = (votes * weight[:, :, None]).sum(axis=1)
    notes = [*night.notes, *_doubts(night, model)]
    if hypnogram is not None and night.start is None:
        notes.append("the recording does not say when it starts: the hypnogram was taken to start with it")
    smoothed = alone
    if context and model.context is None:
        notes.append("the model holds no context: stages are the network's alone")
    elif context and n:
        # An epoch that says nothing has what evidence is divided by as its probabilities: its neighbours decide.
        nothing = model.context.prior**model.context.rarity
        smoothed = smooth(np.where(scored[:, None], alone, nothing), model.context)
    if not scored.all():
        notes.append(f"{(~scored).sum()} of {n} epochs are flat, clipped or not recorded: stage {UNSCORED}")
    frames = (as_frame(probabilities, scored) for probabilities in (smoothed, alone))
    return Scoring(Path(path), model, night, *frames, labels, tuple(notes))


def as_frame(probabilities, scored):
    """(n, 5), (n,) bool -> data frame with onset, stage, W, N1, N2, N3, REM."""
    stage = np.where(scored, np.array(STAGES)[probabilities.argmax(axis=1)], UNSCORED)
    frame = pd.DataFrame(np.where(scored[:, None], probabilities, np.nan), columns=list(STAGES))
    frame.insert(0, "onset", np.arange(len(frame)) * EPOCH_SECONDS)
    frame.insert(1, "stage", stage)
    return frame


def positions(frame):
    """Column `stage` as (n,) int: position in STAGES, -1 where the epoch was not scored."""
    return np.array([STAGES.index(stage) if stage in STAGES else -1 for stage in frame["stage"]], dtype=int)


def load_model(path=None):
    """The model saved under `path` (by `save_network`, given with or without ending, or by the export as `.onnx`).

    path : None is the network that comes with the package
    Raises ValueError for a missing or damaged file and for a network that cannot score a new night.
    """
    chosen = Path(_packaged() if path is None else path)
    if chosen.suffix == ".onnx":
        logits, facts = _onnx(chosen)
        return _model(chosen, logits, facts)
    if chosen.suffix in (".safetensors", ".json"):
        chosen = chosen.with_suffix("")
    if not chosen.with_name(chosen.name + ".safetensors").is_file():
        missing = "the package has no default weights yet" if path is None else "no such model"
        raise ValueError(
            f"{chosen}.safetensors: {missing}; name with --model a network that a notebook saved "
            "(runs/PROFILE/.../foldN.safetensors)"
        )
    # These import torch, which takes a second: an exported network does not need it, nor does a mistyped name.
    from sleepkit.evaluation.protocols import Normalisation
    from sleepkit.evaluation.training import predict_logits
    from sleepkit.network.saved import load_network

    net, facts = load_network(chosen)
    try:
        scale = Normalisation(*(float(facts["normalisation"][name]) for name in ("mean", "sd")))
        if not (np.isfinite([scale.mean, scale.sd]).all() and scale.sd > 0):
            raise ValueError(f"mean {scale.mean}, sd {scale.sd}")
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{chosen}.json: holds no single mean and sd of the training signal ({error}), so it cannot score a new "
            "night; name a network of protocol subjectwise"
        ) from error
    return _model(chosen, lambda x: predict_logits(net, scale(x)), facts)


def describe(model):
    """Which model, trained on what, with which cross-validated accuracy: lines of text."""
    facts = model.facts
    parameters = f", {facts['parameters']:,} parameters" if isinstance(facts.get("parameters"), int) else ""
    lines = [f"model {model.name}{parameters}, trained on: {facts.get('data') or 'not on record'}"]
    checked = facts.get("cross_validation")
    if not isinstance(checked, dict):
        return [*lines, "its cross-validated accuracy is not on record"]

    def shown(scores):
        return (
            f"accuracy {100 * scores['acc']:.1f} %, macro-F1 {100 * scores['mf1']:.1f} %, kappa {scores['kappa']:.3f}"
        )

    try:
        where = f"{checked['data']}, {checked['protocol']}, {checked['folds']} folds, {checked['n']:,} epochs"
        where += f", mean over {checked['seeds']} seeds" if checked.get("seeds", 1) > 1 else ""
        where += "; architecture has seen the test subjects" * checked.get("architecture_has_seen_test_subjects", False)
        lines.append(f"cross-validated on {where}: {shown(checked)}")
        if checked.get("context"):
            lines.append(f"the same with context: {shown(checked['context'])}")
    except (KeyError, TypeError, ValueError):
        lines.append("its cross-validated accuracy is not on record")
    return lines


def _packaged():
    """The package's own network: as it was exported, where onnxruntime is installed, which takes a sixth of PyTorch's
    time and no second to start."""
    exported = DEFAULT.with_name(DEFAULT.name + ".onnx")
    return exported if exported.is_file() and find_spec("onnxruntime") else DEFAULT


def _model(path, logits, facts):
    try:
        fs, samples = float(facts["fs"]), int(facts["samples"])
        if not (0 < fs < 1e5 and 0 < samples <= EPOCH_SECONDS * fs and EPOCH_SECONDS * fs % samples == 0):
            raise ValueError(f"fs {fs}, samples {samples}: an epoch of {EPOCH_SECONDS} s is no multiple of that")
        return Model(path.name, logits, fs, samples, facts, _context(facts))
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: its description cannot be used ({error}); save or export it again") from error


def _context(facts):
    if not facts.get("context"):
        return None
    transition, prior = (np.array(facts["context"][name], dtype=float) for name in ("transition", "prior"))
    weight, rarity = (float(facts["context"].get(name, 1)) for name in ("weight", "rarity"))
    k = len(STAGES)
    if transition.shape != (k, k) or prior.shape != (k,) or not (transition > 0).all() or not (prior > 0).all():
        raise ValueError(f"context: expected {k} x {k} transitions and {k} shares, all above 0")
    if not 0 < weight <= 1:
        raise ValueError(f"context: weight {weight}, expected a number above 0, at most 1")
    if not 0 <= rarity <= 1:
        raise ValueError(f"context: rarity {rarity}, expected a number of 0 to 1")
    return Context(transition / transition.sum(axis=1, keepdims=True), prior / prior.sum(), weight, rarity)


def _onnx(path):
    """Logits by onnxruntime, without PyTorch; the file takes µV and holds the facts (see sleepkit.scoring.onnx_export)."""
    if not path.is_file():
        raise ValueError(f"{path}: no such model; write one with `python -m sleepkit export`")
    try:
        from sleepkit.scoring.onnx_session import open_session, run_session

        session = open_session(path)
    except ImportError as error:
        raise ValueError(f"{path}: needs onnxruntime; install it with `pip install onnxruntime`") from error
    try:
        facts = json.loads(session.get_modelmeta().custom_metadata_map["facts"])
        if facts["input"] != "µV":
            raise ValueError("its input is not µV")
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: not a network that the export wrote ({error}); export it again") from error
    return lambda x: run_session(session, x), facts


def _doubts(night, model):
    """Notes on a signal that is no EEG by its amplitude, or unlike what the model was trained on."""
    x = night.x[night.good & night.scored[:, None]]
    if not len(x):
        return ["no epoch can be scored: the channel is flat or clipped throughout"]
    if problem := amplitude_problem(typical_amplitude(x)):
        return [problem]
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
        raise ValueError(
            f"{path}: starts {start}, the recording {night.start}; the two are not of one night, or their epochs do "
            "not fall together"
        )
    labels = np.full(len(night.x), -1)
    for first, end, label in hypnogram.bouts:
        first, end = (min(max(0, place + int(shift)), len(labels)) for place in (first, end))
        labels[first:end] = max(label, -1)
    return labels
