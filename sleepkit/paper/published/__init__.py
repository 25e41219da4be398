"""The published numbers: everything that the authors' notebooks print, as data frames, matrices and genotypes."""

import json
from pathlib import Path

import numpy as np
import pandas as pd

from sleepkit.epochs import STAGES
from sleepkit.genotype import Genotype
from sleepkit.metrics import CELLS, scores

FOLDER = Path(__file__).parent

# Epochs per stage after preparation, before any data pruning: the released logs give the totals per night, the class
# counts follow from the official hypnograms and agree with those totals.
PREPARED_COUNTS = {"edf20": (8285, 2804, 17799, 5703, 7717), "edf78": (65951, 21522, 69132, 13039, 25835)}
PREPARED_COUNTS = {name: dict(zip(STAGES, counts, strict=True)) for name, counts in PREPARED_COUNTS.items()}

# Samples of each half of EDF-20 at the start and after the pruning rounds of epochs 5, 10, 15, 20 (released search).
HALVES = {"n_train": (21154, 20097, 19063, 18050, 17062), "n_valid": (21154, 20097, 19169, 18427, 17897)}
SEARCH_SAMPLES = pd.DataFrame({"epoch": (1, 6, 11, 16, 21), **HALVES})

# Multiplications of the published full networks on 3000 samples, by depth; counted here (sleepkit.network.size).
FULL_MACS = {"edf20": {7: 81.34e6, 9: 100.06e6, 11: 133.37e6}, "edf78": {7: 74.41e6, 9: 89.69e6, 11: 118.10e6}}
PROTOCOL = "epochwise (5 folds over the epochs that data pruning kept; best epoch on the test fold)"


def published(name):
    """A published table as a data frame: the file `name`.csv; ValueError lists the names there are."""
    known = sorted(path.stem for path in FOLDER.glob("*.csv"))
    if name not in known:
        raise ValueError(f"no published table {name!r}; known: {', '.join(known)}")
    return pd.read_csv(FOLDER / f"{name}.csv")


def baselines():
    """What other methods reach: baselines.csv (scores in percent but for kappa, mmacs in millions), with one row more:
    AttnSleep on the first 5 s of every epoch, from the predictions that its repository stores
    (swapnil5053/AttnSleep-EEG-5s, MIT). The number printed there is the mean over folds; here the folds are merged."""
    table = published("baselines")
    found = scores(published("attnsleep_first5s")[CELLS].sum().to_numpy().reshape(5, 5))
    percent = {"acc": found["acc"], "macro_f1": found["mf1"], "mgm": found["mgm"]}
    values = {name: round(100 * value, 2) for name, value in percent.items()} | {"kappa": round(found["kappa"], 4)}
    row = table[table.method == "AttnSleep at 5 s"].assign(evidence="its stored predictions", **values)
    return pd.concat([table, row.assign(method="AttnSleep at 5 s, merged")], ignore_index=True)


def published_networks(dataset):
    """The six published networks on "edf20" or "edf78": stage, C, L, parameters, MACs and the scores of `metrics`.
    The released pruning sets weights to zero, so a network of stage 2 keeps its size."""
    sizes, rows = published("parameters").query("dataset == @dataset").set_index("layers"), []
    for stage, model in ((1, "full"), (2, "pruned")):
        for cells, macs in FULL_MACS[dataset].items():
            size = {"C": sizes.channels[cells], "L": cells, "params": sizes.params_total[cells], "macs": macs}
            rows.append({"stage": stage, **size, **scores(published_confusion(f"{dataset}_L{cells}_{model}"))})
    return pd.DataFrame(rows)


def published_confusion(key):
    """(5, 5) int, rows the true stage in the order of STAGES, of e.g. "edf20_L9_full"; the five test folds merged."""
    return np.array(_entry("confusion_matrices", key), dtype=int)


def published_genotype(dataset):
    """The genotype that the authors' results on "edf20" or "edf78" use; None for a data set of one's own."""
    return Genotype(**_entry("genotypes", dataset)) if dataset in PREPARED_COUNTS else None


def published_search(dataset):
    """The authors' search as `plot_search` takes it, curve and samples; (None, None) for a data set of one's own."""
    return (published("search_curve"), SEARCH_SAMPLES) if dataset in PREPARED_COUNTS else (None, None)


def _entry(name, key):
    entries = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    if key not in entries:
        raise ValueError(f"no {key!r} in published {name}; known: {', '.join(sorted(entries))}")
    return entries[key]
