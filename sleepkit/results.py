"""Result files: the small csv, json and npz of a profile, read with their columns checked."""

import json
import zipfile
import zlib

import numpy as np
import pandas as pd

from sleepkit import paths
from sleepkit.epochs import STAGES
from sleepkit.genotype import Genotype
from sleepkit.metrics import CELLS

FOLDERS = ("stage1_edf20", "stage1_edf78", "stage2_prune", "stage2_prune_edf78")  # of the notebooks' crossval.csv

# What tells one trained network from another in crossval.csv and its companions.
NETWORK = ["protocol", "genotype", "channels", "cells", "pruned", "context", "seed"]
SCORES = ["acc", "mf1", "kappa", "mgm"]
# Ends of the genotype's name: networks that stage 2 trains beside those that it prunes and fine-tunes.
APART = ("scratch", "released", "distilled", "ensemble")

COLUMNS = {
    "nights.csv": ["dataset", "night", "subject", *STAGES, "n_epochs", "movement", "unscored", "trimmed"],
    "history.csv": [
        *("epoch", "temperature", "train_loss", "train_acc", "valid_loss", "valid_acc", "n_train", "n_valid"),
        *("operations", "entropy", "removed_train", "removed_valid", "removed_operations", "seconds"),
    ],
    "removed_samples.csv": ["epoch", "half", "stage", "removed", "left"],
    "removed_operations.csv": ["epoch", "kind", "edge", "source", "node", "operation", "weight"],
    "crossval.csv": [*NETWORK, "fold", *SCORES, "n"],
    "per_class.csv": [*NETWORK, "stage", "precision", "recall", "f1", "gmean"],
    "confusion.csv": [*NETWORK, "true", "predicted", "n"],
    "confusion_by_night.csv": [*NETWORK, "night", *CELLS],
    "parameters.csv": ["genotype", "channels", "cells", "pruned", "params", "macs", "samples"],
    "training_curves.csv": [*NETWORK, "fold", "epoch", "train_loss", "valid_loss", "valid_mf1"],
    "ablation.csv": ["variant", "seed", *SCORES, "params", "macs", "trained_on", "n"],
    "sweep.csv": ["method", "ratio", "seed", *SCORES, "params", "macs", "n"],
    "regrowth.csv": ["seed", "step", "zeroed_weights", "back_weights", "zeroed_filters", "back_filters"],
    "differences.csv": [
        *("comparison", "genotype", "channels", "cells", "metric", "difference", "low", "high", "seeds", "subjects"),
    ],
    "calibration.csv": [
        *("network", "temperature_scaled", "bin", "low", "high", "n", "confidence", "accuracy", "ece", "temperature"),
    ],
    "cost.csv": [
        *("network", "runtime", "samples", "params", "macs", "file_bytes", "median_ms", "p95_ms", "peak_mb"),
        *("startup_s", "epochs_per_s"),
    ],
}


class MissingResult(FileNotFoundError):
    """A result file that no run has made yet; the message says which command makes it."""


def command(profile, notebook):
    """The command that runs one notebook of a profile."""
    run = f"python -m sleepkit run {notebook}"
    return run if profile == "demo" else f"{run} --profile {profile}"


def read(profile, name):
    """A result file of a profile, e.g. read("demo", "stage1_edf20/history.csv").

    returns a data frame (csv), a Genotype (genotype.json), a dict (other json) or a dict of arrays (npz)
    Raises MissingResult when the file is not there and ValueError when it is not what its name says.
    """
    path = paths.results(profile) / name
    made = f"`{command(profile, _notebook_of(name))}`"
    if not path.exists():
        raise MissingResult(f"{path} is missing; `make reproduce PROFILE={profile}` makes it, or {made} alone")
    try:
        if path.suffix == ".npz":
            # numpy leaves a file open that turns out to be damaged; this one is closed whatever happens
            with open(path, "rb") as file, np.load(file, allow_pickle=False) as arrays:
                return dict(arrays)
        if path.suffix == ".json":
            text = path.read_text(encoding="utf-8")
            return Genotype.from_json(text) if path.name == "genotype.json" else json.loads(text)
        frame = pd.read_csv(path, dtype={"fold": str}, keep_default_na=False, na_values=[""])
    except (ValueError, TypeError, EOFError, OSError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"{path}: not what its name says ({error}). Run {made}, which makes it again") from error
    return _checked(frame, path)


def find(profile, name):
    """As `read`, but None where the file is missing: for items that can be drawn from published numbers alone."""
    return read(profile, name) if (paths.results(profile) / name).exists() else None


def gather(profile, file):
    """One kind of csv ("confusion.csv") of all notebooks that have it, as one data frame; None where none has."""
    frames = [find(profile, f"{folder}/{file}") for folder in FOLDERS]
    frames = [frame for frame in frames if frame is not None]
    return pd.concat(frames, ignore_index=True).drop_duplicates(ignore_index=True) if frames else None


def merge_crossval(profile):
    """Write results/<profile>/crossval.csv from the notebooks' crossval.csv and return the data frame.

    Rows that two notebooks share stand once. Raises MissingResult when no notebook has one, ValueError when two
    rows of the same network and fold differ.
    """
    frame = gather(profile, "crossval.csv")
    if frame is None:
        read(profile, f"{FOLDERS[0]}/crossval.csv")
    twice = frame[frame.duplicated([*NETWORK, "fold"], keep=False)]
    if len(twice):
        rows = twice.to_string(index=False)
        raise ValueError(f"profile {profile}: notebooks disagree on the same network and fold:\n{rows}")
    write_table(frame, paths.results(profile) / "crossval.csv")
    return frame


def of_stage_2(rows):
    """Which rows of crossval.csv or a companion are of networks that stage 2 made, pruned or trained again whole, as a
    bool series."""
    return (rows.pruned > 0) | rows.genotype.str.endswith(tuple(f"-{way}" for way in APART))


def write_table(frame, path):
    """Write a data frame as csv, whole or not at all."""
    with paths.written(path) as temporary:
        frame.to_csv(temporary, index=False, float_format="%.10g", lineterminator="\n")


def _checked(frame, path):
    missing = [column for column in COLUMNS.get(path.name, ()) if column not in frame.columns]
    if missing:
        there = ", ".join(frame.columns)
        raise ValueError(f"{path} lacks the columns {', '.join(missing)}; it has {there}. Remove it and run again.")
    return frame


def _notebook_of(name):
    if "/" not in name:
        return "prepare" if name in ("nights.csv", "preparation.json") else "figures"
    return "stage2_prune" if name.startswith("stage2_prune") else name.split("/")[0]
