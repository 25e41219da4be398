"""A trained network as scoring takes it: saved by a notebook or exported as ONNX, with the context of a night."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from sleepkit.epochs import EPOCH_SECONDS, STAGES
from sleepkit.evaluation.context import Context
from sleepkit.execution.extras import extras
from sleepkit.execution.paths import WEIGHTS
from sleepkit.metrics import softmax

DEFAULT = WEIGHTS / "edf20_first5s_L7"  # the paper's network, of which `export` and `bench infer` speak
PACKAGED = WEIGHTS / "fold0_L7_averaged.onnx"  # what scores a night when no model is named
BATCH = 48  # windows at a time: what a layer makes of more no longer fits into a core's cache


@dataclass(frozen=True, eq=False)
class Model:
    """A trained network with what scoring needs to know about it."""

    name: str
    logits: Callable  # windows (n, samples) float32 µV -> (n, 5)
    fs: float  # Hz
    samples: int
    facts: dict  # as `save_network` wrote it
    context: Context | None

    def probabilities(self, x):  # (n, samples) float32 µV -> (n, 5)
        parts = [self.logits(x[i : i + BATCH]) for i in range(0, len(x), BATCH)]
        return softmax(np.concatenate([np.zeros((0, len(STAGES))), *parts]))

    def vote(self, x, good):
        """(n, windows, samples) float32 µV -> (n, 5) probabilities by votes of `good` (n, windows), 0 without."""
        n, windows, samples = x.shape
        votes = self.probabilities(x.reshape(-1, samples)).reshape(n, windows, -1)
        weight = good / np.maximum(good.sum(axis=1, keepdims=True), 1)
        return (votes * weight[:, :, None]).sum(axis=1)


def load_model(path: str | Path | None = None) -> Model:
    """The model saved under `path` (by `save_network`, with or without ending, or as `.onnx`); None is the package's.
    ValueError for a missing or damaged file and for a network that cannot score a new night."""
    packaged = PACKAGED if PACKAGED.is_file() and find_spec("onnxruntime") else DEFAULT
    chosen = Path(packaged if path is None else path)
    if chosen.suffix == ".onnx":
        return _model(chosen, *_onnx(chosen))
    chosen = chosen.with_suffix("") if chosen.suffix in (".safetensors", ".json") else chosen
    if not chosen.with_name(chosen.name + ".safetensors").is_file():
        missing = "the package has no default weights yet" if path is None else "no such model"
        cure = "name with --model a network that a notebook saved (runs/PROFILE/.../foldN.safetensors)"
        raise ValueError(f"{chosen}.safetensors: {missing}; {cure}")
    # These import torch, which takes a second: an exported network does not need it, nor does a mistyped name.
    with extras():
        from sleepkit.evaluation.protocols import Normalisation
        from sleepkit.evaluation.training import predict_logits
        from sleepkit.network.saved import load_network
    net, facts = load_network(chosen)
    try:
        scale = Normalisation(*(float(facts["normalisation"][name]) for name in ("mean", "sd")))
        if not (np.isfinite([scale.mean, scale.sd]).all() and scale.sd > 0):
            raise ValueError(f"mean {scale.mean}, sd {scale.sd}")
    except (KeyError, TypeError, ValueError) as error:
        lacks = f"no single mean and sd of the training signal ({error}), so it cannot score a new night"
        raise ValueError(f"{chosen}.json: holds {lacks}; name a network of protocol subjectwise") from error
    return _model(chosen, lambda x: predict_logits(net, scale(x)), facts)


def describe(model):
    """Which model, trained on what, with which cross-validated accuracy: lines of text."""
    facts = model.facts
    parameters = f", {facts['parameters']:,} parameters" if isinstance(facts.get("parameters"), int) else ""
    lines = [f"model {model.name}{parameters}, trained on: {facts.get('data') or 'not on record'}"]
    try:
        checked = facts["cross_validation"]
        folds = f"{checked['folds']} fold{'s' * (checked['folds'] != 1)}"
        where = f"{checked['data']}, {checked['protocol']}, {folds}, {checked['n']:,} epochs"
        where += f", mean over {checked['seeds']} seeds" if checked.get("seeds", 1) > 1 else ""
        where += "; architecture has seen the test subjects" * checked.get("architecture_has_seen_test_subjects", False)
        how = "cross-validated" if checked["folds"] > 1 else "tested"
        known = {f"{how} on {where}": checked, "the same with context": checked.get("context")}
        for what, found in known.items():
            if found:
                accuracy, macro_f1 = (f"{100 * found[name]:.1f} %" for name in ("acc", "mf1"))
                lines.append(f"{what}: accuracy {accuracy}, macro-F1 {macro_f1}, kappa {found['kappa']:.3f}")
    except (KeyError, TypeError, ValueError, AttributeError):
        lines.append("its cross-validated accuracy is not on record")
    return lines


def _onnx(path):
    """Logits by onnxruntime, without PyTorch; the file takes µV and holds the facts (see `onnx_export`)."""
    if not path.is_file():
        raise ValueError(f"{path}: no such model; write one with `python -m sleepkit export`")
    try:
        from sleepkit.scoring.onnx_session import open_session, run_session

        session = open_session(path)
    except ImportError as error:
        raise ValueError(f"{path}: needs onnxruntime; install it with `pip install onnxruntime`") from error
    try:
        if (facts := json.loads(session.get_modelmeta().custom_metadata_map["facts"]))["input"] != "µV":
            raise ValueError("its input is not µV")
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: not a network that the export wrote ({error}); export it again") from error
    return lambda x: run_session(session, x), facts


def _model(path, logits, facts):
    try:
        fs, samples = float(facts["fs"]), int(facts["samples"])
        if not (0 < fs < 1e5 and 0 < samples <= EPOCH_SECONDS * fs and EPOCH_SECONDS * fs % samples == 0):
            raise ValueError(f"fs {fs}, samples {samples}: an epoch of {EPOCH_SECONDS} s is no multiple of that")
        return Model(path.name, logits, fs, samples, facts, read_context(facts.get("context")))
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: its description cannot be used ({error}); save or export it again") from error


def read_context(found):
    """The Context of a network's description; None where it has none, ValueError where it cannot be used."""
    if not found:
        return None
    transition, prior = (np.array(found[name], dtype=float) for name in ("transition", "prior"))
    weight, rarity = (float(found.get(name, 1)) for name in ("weight", "rarity"))
    k = len(STAGES)
    if transition.shape != (k, k) or prior.shape != (k,) or not (transition > 0).all() or not (prior > 0).all():
        raise ValueError(f"context: expected {k} x {k} transitions and {k} shares, all above 0")
    if not (0 < weight <= 1 and 0 <= rarity <= 1):
        raise ValueError(f"context: weight {weight}, rarity {rarity}; expected above 0 and from 0, each at most 1")
    return Context(transition / transition.sum(axis=1, keepdims=True), prior / prior.sum(), weight, rarity)
