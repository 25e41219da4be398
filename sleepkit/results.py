"""Result files: the small csv, json and npz of a profile, read with their columns checked."""

import json
import zipfile
import zlib
from dataclasses import dataclass

import numpy as np
import pandas as pd

from sleepkit.epochs import STAGES
from sleepkit.execution import notebooks, paths
from sleepkit.genotype import Genotype
from sleepkit.metrics import CELLS

FOLDERS = ("stage1_edf20", "stage1_edf78", "stage2_prune", "stage2_prune_edf78")  # of the notebooks' crossval.csv

# What tells one trained network from another in crossval.csv and its companions.
NETWORK = ["protocol", "genotype", "channels", "cells", "pruned", "context", "seed"]
SCORES = ["acc", "mf1", "kappa", "mgm"]
PARTS = ["dataset", "origin", "variant"]  # of a network's label: columns that `read` adds and `write_table` leaves out
COLUMNS = {
    "nights.csv": ["dataset", "night", "subject", *STAGES, "n_epochs", "movement", "unscored", "trimmed"],
    "history.csv": "epoch temperature train_loss train_acc valid_loss valid_acc n_train n_valid operations entropy "
    "removed_train removed_valid removed_operations seconds".split(),
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
    "differences.csv": "comparison genotype channels cells metric difference low high seeds subjects".split(),
    "calibration.csv": "network temperature_scaled bin low high n confidence accuracy ece temperature".split(),
    "cost.csv": "network runtime samples params macs file_bytes median_ms p95_ms peak_mb startup_s "
    "epochs_per_s".split(),
}


@dataclass(frozen=True)
class NetworkKey:
    """What tells one trained network from another."""

    protocol: str  # name of a Protocol
    dataset: str  # "edf20", "edf78" or one's own
    origin: str  # of its genotype: "published", "searched", or "nested" (a search in every fold)
    channels: int
    cells: int
    pruned: float = 0.0  # share of its filters that was removed
    seed: int = 0
    variant: str = ""  # how stage 2 made it where that was not by pruning and fine-tuning, a name of METHODS

    @property
    def label(self):
        """The column `genotype` of result files: "edf20-published", "edf20-published-distilled"."""
        return "-".join(filter(None, (self.dataset, self.origin, self.variant)))

    @classmethod
    def parse(cls, row):
        """The key in a row of crossval.csv or a companion (a mapping)."""
        dataset, origin, variant = parts_of(row["genotype"])
        numbers = int(row["channels"]), int(row["cells"]), float(row["pruned"]), int(row["seed"])
        return cls(row["protocol"], dataset, origin, *numbers, variant)

    def __str__(self):
        share = f"_pruned{100 * self.pruned:.0f}" if self.pruned else ""
        return f"{self.label}_{self.protocol}_C{self.channels}_L{self.cells}{share}_seed{self.seed}"

    def columns(self):
        """Its columns in result files, `context` among them, as a dict."""
        return {name: getattr(self, name, None) for name in NETWORK} | {"genotype": self.label, "context": "none"}


def parts_of(label):
    """(dataset, origin, variant) of a label in the column `genotype`; what is missing is ""."""
    return (*label.split("-", 2), "", "")[:3]


class MissingResult(FileNotFoundError):
    """A result file that no run has made yet; the message says which command makes it."""


def command(profile, notebook):
    """The command that runs one notebook of a profile."""
    option = "--profile" if profile in notebooks.named() else "-p profile"
    return f"python -m sleepkit run {notebook}" + f" {option} {profile}" * (profile != "demo")


def read(profile, name):
    """A result file of a profile, e.g. read("demo", "stage1_edf20/history.csv"): a data frame (csv), a Genotype
    (genotype.json), a dict (other json) or a dict of arrays (npz). Raises MissingResult, or ValueError when it is not
    what its name says."""
    path = paths.results(profile) / name
    made = f"`{command(profile, _notebook_of(name))}`"
    if not path.exists():
        whole = f"`make reproduce PROFILE={profile}` makes it, or {made} alone"
        raise MissingResult(f"{path} is missing; {whole if profile in notebooks.named() else f'{made} makes it'}")
    try:
        if path.suffix == ".npz":
            # numpy leaves a file open that turns out to be damaged; this one is closed whatever happens
            with open(path, "rb") as file, np.load(file, allow_pickle=False) as arrays:
                return dict(arrays)
        if path.suffix == ".json":
            text = path.read_text(encoding="utf-8")
            return Genotype.from_json(text) if path.name == "genotype.json" else json.loads(text)
        frame = pd.read_csv(path, dtype={"fold": str, "subject": str}, keep_default_na=False, na_values=[""])
    except (ValueError, TypeError, EOFError, OSError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"{path}: not what its name says ({error}). Run {made}, which makes it again") from error
    if missing := [column for column in COLUMNS.get(path.name, ()) if column not in frame.columns]:
        there = ", ".join(frame.columns)
        raise ValueError(f"{path} lacks the columns {', '.join(missing)}; it has {there}. Remove it and run again.")
    return with_parts(frame) if "genotype" in frame else frame


def find(profile, name):
    """As `read`, but None where the file is missing: for items that can be drawn from published numbers alone."""
    return read(profile, name) if (paths.results(profile) / name).exists() else None


def gather(profile, file):
    """One kind of csv ("confusion.csv") of all notebooks that have it, as one data frame; None where none has."""
    own = sorted(path.name for path in paths.results(profile).glob("stage[12]_*"))  # of data sets of one's own
    found = [find(profile, f"{folder}/{file}") for folder in dict.fromkeys([*FOLDERS, *own])]
    frames = [frame for frame in found if frame is not None]
    return pd.concat(frames, ignore_index=True).drop_duplicates(ignore_index=True) if frames else None


def with_subjects(nights, profile, dataset):
    """confusion_by_night.csv with whose night each is, as nights.csv lists it: names of one's own do not say it."""
    listed = read(profile, "nights.csv").query("dataset == @dataset").set_index("night").subject
    return nights.assign(subject=nights.night.map(listed))


def merge_crossval(profile):
    """Write results/<profile>/crossval.csv from the notebooks' crossval.csv and return the data frame; rows that two
    notebooks share stand once. Raises MissingResult when no notebook has one, ValueError when rows disagree."""
    frame = gather(profile, "crossval.csv")
    if frame is None:
        read(profile, f"{FOLDERS[0]}/crossval.csv")
    if len(twice := frame[frame.duplicated([*NETWORK, "fold"], keep=False)]):
        rows = twice.to_string(index=False)
        raise ValueError(f"profile {profile}: notebooks disagree on the same network and fold:\n{rows}")
    return write_table(frame, paths.results(profile) / "crossval.csv")


def with_parts(frame):
    """A data frame with the parts of its labels (column `genotype`) as columns dataset, origin and variant."""
    parts = [parts_of(label) for label in frame.genotype]
    return frame.assign(**dict(zip(PARTS, zip(*parts, strict=True) if parts else ([],) * 3, strict=True)))


def of_stage_2(rows):
    """Which rows are of networks that stage 2 made, pruned or trained again whole, as a bool series."""
    return (rows.pruned > 0) | rows.genotype.map(lambda label: parts_of(label)[2] != "").astype(bool)


def write_table(frame, path):
    """Write a data frame as csv, whole or not at all, and return it; the parts of a label are left out of the file."""
    with paths.written(path) as temporary:
        kept = frame.drop(columns=PARTS) if "genotype" in frame and "variant" in frame else frame
        kept.to_csv(temporary, index=False, float_format="%.10g", lineterminator="\n")
    return frame


def write_json(facts, path):
    """Write a dict as a json file, whole or not at all."""
    with paths.written(path) as temporary:
        temporary.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


def checks(*claims):
    """Claims of a notebook's last cell as a data frame; each is a tuple (claim, expected, measured, holds)."""
    frame = pd.DataFrame(claims, columns=["claim", "expected", "measured", "holds"])
    return frame.astype({"expected": str, "measured": str, "holds": bool})


def _notebook_of(name):
    if "/" not in name:
        return "prepare" if name in ("nights.csv", "preparation.json") else "figures"
    folder = name.split("/")[0]
    return "stage2_prune" if folder.startswith("stage2") else folder if folder in FOLDERS else FOLDERS[0]
