"""A trained network as an ONNX file that onnxruntime scores nights with, without PyTorch; also in 8-bit integers."""

import copy
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx

from sleepkit.epochs import STAGES, EpochSet, own_identity, parse_night
from sleepkit.evaluation.protocols import Normalisation
from sleepkit.evaluation.training import predict_logits
from sleepkit.execution.paths import written
from sleepkit.network.saved import load_network
from sleepkit.results import checks
from sleepkit.scoring.onnx_graph import OPSET, network_graph, shorten_names
from sleepkit.scoring.onnx_session import BATCH, open_session, run_session

TOLERANCE = 1e-5  # of the logits in onnxruntime against PyTorch, relative to the largest where that is above 1
COMPARED = 2000  # epochs on which PyTorch is asked, too: it takes twenty times as long
POINTS = 1.0  # of accuracy that 8-bit integers may differ from PyTorch
CALIBRATION = 512  # epochs
PREPROCESSED = {"onnx.quant.pre_process": "onnxruntime.quant"}  # how onnxruntime marks a graph that it need not tidy
INTEGER_BLOCK = 16  # channels: integers are faster in it than in one of 8 whatever the processor (AVX2, AVX-512)
STRUCTURE = ("genotype", "widths", "config")  # of a saved network's description, which the graph shows itself
CARD = Path(__file__).with_name("model_card.md").read_text(encoding="utf-8")


def export_onnx(net, path, samples, normalisation=None, facts=None, block=None):
    """Write a network as one ONNX file: `eeg` (batch, 1, samples) float32 -> `logits` (batch, 5) float32.
    samples, facts, block : see `network_graph`; with another processor's block it takes up to half as long again
    normalisation : Normalisation or {"mean": ..., "sd": ...}; the file then takes µV. None: normalised input
    Raises ArithmeticError, and writes nothing, when onnxruntime and PyTorch differ by more than TOLERANCE."""
    if isinstance(normalisation, dict):
        normalisation = Normalisation(**normalisation)
    with written(path) as temporary:
        onnx.save(network_graph(net, samples, normalisation, facts, block), temporary)
        x = np.random.default_rng(0).uniform(-1.2, 1.2, (8, samples))
        x = x if normalisation is None else 3 * normalisation.sd * x + normalisation.mean
        difference = logit_difference(net, open_session(temporary), x.astype(np.float32), normalisation)
        if not difference <= TOLERANCE:
            found = f"its logits would differ from PyTorch's by {difference:.1e}, more than {TOLERANCE}"
            raise ArithmeticError(f"{path}: not written; {found}")


def logit_difference(net, session, x, normalisation=None):
    """Largest difference of a session's logits to PyTorch's for x (n, samples), relative to the largest above 1."""
    scaled = x if normalisation is None else normalisation(x)
    expected = predict_logits(copy.deepcopy(net).cpu(), scaled)  # a copy: it is switched to eval mode
    return float(np.abs(run_session(session, x) - expected).max() / max(1, np.abs(expected).max()))


def quantise(net, path, samples, windows, normalisation=None, facts=None):
    """As export_onnx, in 8-bit integers (static, QDQ); `windows` (n, samples), as the file takes them, show ranges."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    x = np.asarray(windows, dtype=np.float32)[:, None]
    batches = iter([{"eeg": x[i : i + BATCH]} for i in range(0, len(x), BATCH)])

    class Windows(CalibrationDataReader):
        def get_next(self):
            return next(batches, None)

    model = network_graph(net, samples, normalisation, facts, INTEGER_BLOCK)
    properties = {entry.key: entry.value for entry in model.metadata_props}
    onnx.helper.set_model_props(model, properties | PREPROCESSED)
    kinds = {"activation_type": QuantType.QUInt8, "weight_type": QuantType.QInt8, "quant_format": QuantFormat.QDQ}
    with written(path) as temporary:
        quantize_static(model, temporary, Windows(), **kinds)
        model = onnx.load(temporary)
        onnx.helper.set_model_props(model, properties)
        onnx.save(shorten_names(model), temporary)


def export(model, folder, nights=None):
    """Write a saved network to `folder` as NAME.onnx, NAME.int8.onnx and NAME.md, the model card; returns the checks.

    model : path of a saved network, with or without its ending
    nights : folder of prepared nights. Those of training subjects calibrate the integers, those of subjects that the
        network has not seen check the files; where there are none of a kind, all serve. None: no integers
    returns a data frame: claim, expected, measured, holds"""
    net, about, name = load_exportable(model)
    folder = Path(folder)
    files, scale = {"float": folder / f"{name}.onnx"}, Normalisation(**about["normalisation"])
    facts = {key: value for key, value in about.items() if key not in STRUCTURE}
    export_onnx(net, files["float"], about["samples"], scale, facts)
    claims = [("ONNX equals PyTorch on noise, relative difference", f"at most {TOLERANCE:g}", "yes", True)]
    if nights is not None:
        files["int8"] = folder / f"{name}.int8.onnx"
        windows, unknown = calibration_and_test(nights, about)
        quantise(net, files["int8"], about["samples"], windows, scale, facts)
        claims = _compare(net, scale, files, unknown, about)
    frame = checks(*claims)
    with written(folder / f"{name}.md") as path:
        path.write_text(model_card(name, about, files, frame), encoding="utf-8")
    return frame


def load_exportable(model):
    """A saved network, its description and its name; ValueError where normalisation, samples or rate are missing."""
    model = Path(model)
    model = model.with_suffix("") if model.suffix in (".safetensors", ".json") else model
    net, about = load_network(model)
    if not {"normalisation", "samples", "fs"} <= set(about):
        raise ValueError(f"{model}.json: no normalisation, samples or fs; export takes networks trained subjectwise")
    return net, about, model.name


def model_card(name, about, files, frame):
    """The Markdown text that goes with exported files {"float": path, "int8": path} and their checks, a data frame."""
    shown = {key: about[key] for key in ("samples", "fs", "n_classes", "normalisation")}
    known = [f"- {key}: {json.dumps(value)}" for key, value in about.items() if key not in {*STRUCTURE, *shown}]
    sizes = [f"| `{path.name}` | {kind} | {path.stat().st_size:,} |" for kind, path in files.items()]
    without = "\nNo 8-bit version: it is calibrated on nights, and none were given.\n"
    rows = frame.assign(holds=frame.holds.map({True: "yes", False: "**no**"})).astype(str).itertuples(index=False)
    shown |= {"name": name, "names": list(STAGES), "stages": ", ".join(STAGES), "batch": BATCH}
    shown |= {"seconds": about["samples"] / about["fs"], "shift": -about["normalisation"]["mean"], "opset": OPSET}
    shown |= {"sizes": "\n".join(sizes), "integers": "" if "int8" in files else without, "known": "\n".join(known)}
    return CARD.format(rows="\n".join(f"| {' | '.join(row)} |" for row in rows), **shown)


def calibration_and_test(folder, about):
    """Windows (n, samples) in µV of subjects that trained the network, at most CALIBRATION, and the EpochSet of those
    it has not seen; where there are none, of all."""
    paths = Path(folder).glob("[!.]*.npz")
    subject = {path.stem: own[1] if (own := own_identity(path)) else parse_night(path.stem)[0] for path in paths}
    known = [name for name in subject if subject[name] in about.get("training", {}).get("train", [])]
    unknown = [name for name in subject if _seen(about) and subject[name] not in _seen(about)]
    parts = [EpochSet.load(folder, chosen or None) for chosen in (known, unknown)]
    for part in parts:
        if part.fs != about["fs"] or part.x.shape[1] < about["samples"]:
            there = f"{folder}: nights of {part.x.shape[1]} samples at {part.fs:g} Hz"
            needed = f"the network takes {about['samples']} at {about['fs']:g} Hz"
            raise ValueError(f"{there}; {needed}; prepare the nights accordingly")
    known, unknown = (replace(part, x=part.x[:, : about["samples"]]) for part in parts)
    return known.x[np.random.default_rng(0).permutation(len(known))[:CALIBRATION]], unknown


def _seen(about):
    """Subjects that trained the network or chose its epoch."""
    training = about.get("training", {})
    return {*training.get("train", []), *training.get("valid", [])}


def _compare(net, scale, files, epochs, about):
    subjects = set(epochs.subject.tolist())
    new = "held out" if _seen(about) and not _seen(about) & subjects else "not held out"
    kind = f"{len(epochs):,} epochs of subjects {', '.join(map(str, sorted(subjects)))}, {new}"
    sessions = [open_session(files[name]) for name in ("float", "int8")]
    some = epochs.x[:: -(-len(epochs) // COMPARED)]
    difference = logit_difference(net, sessions[0], some, scale)
    right = (run_session(session, epochs.x).argmax(1) == epochs.y for session in sessions)
    accuracy, int8 = (100 * float(values.mean()) for values in right)
    lost = accuracy - int8
    equal = f"ONNX equals PyTorch on {len(some):,} real epochs: relative difference of logits"
    as_well = f"int8 stages as well ({kind}): accuracy {int8:.2f} %, float {accuracy:.2f} %"
    return [
        (equal, f"at most {TOLERANCE:g}", f"{difference:.1e}", difference <= TOLERANCE),
        (as_well, f"within {POINTS:g} point", f"{lost:+.2f} points lost", abs(lost) <= POINTS),
    ]
