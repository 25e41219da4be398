"""What stands at a notebook's beginning and end: its settings next to the paper's, and the answer to its question."""

from dataclasses import MISSING, fields

import pandas as pd

from sleepkit.evaluation.protocols import SUBJECTWISE
from sleepkit.execution.record import told
from sleepkit.metrics import scores
from sleepkit.paper.published import PREPARED_COUNTS, published, published_confusion
from sleepkit.results import find, gather

REAL = "first5s-cpu"  # the profile whose results on real nights are committed
ACCURACY = {
    "acc": "accuracy on new people, %",
    "mf1": "macro-F1 on new people, %",
    "kappa": "kappa on new people (0 is chance)",
}
NEXT_TO_NONE = 0.5  # points of accuracy; the paper reports 0.1 to 0.2


def settings_table(*settings, paper=None):
    """Frozen dataclasses, whose defaults are the paper's for EDF-20, as a data frame setting, paper, this run;
    paper : dict setting -> value in the paper where that is not the default."""
    rows = {}
    for one in settings:
        shown = told(one)
        for field in (field for field in fields(one) if field.name in shown):
            default = "–" if field.default is MISSING else field.default
            rows[f"{type(one).__name__}: {field.name}"] = {"paper": default, "this run": getattr(one, field.name)}
    for name, value in (paper or {}).items():
        rows[name]["paper"] = value
    return pd.DataFrame.from_dict(rows, orient="index").map(str).reset_index(names="setting")


def answer(notebook, run):
    """A data frame with a row per question of a notebook ("prepare", "stage1", "stage2"); nothing is asserted. Nothing
    is published of a data set of one's own: there is this run alone.
    run : name of the profile, or an object with `profile` and perhaps `dataset`"""
    profile = getattr(run, "profile", run)
    dataset = getattr(run, "dataset", None) or _prepared(profile)
    rows = {"prepare": _epochs, "stage1": _accuracy, "stage2": _pruning}[notebook](profile, dataset)
    table = pd.DataFrame(rows, columns=["question", "published", "this run", "real nights", "verdict"])
    if dataset not in PREPARED_COUNTS:
        return table[["question", "this run"]]
    facts = find(profile, "preparation.json")
    simulated = facts and facts["simulated"]
    return table.assign(verdict="simulated nights: says nothing about people") if simulated else table


def _prepared(profile):  # the data set whose nights a profile has: EDF-20 where there are such, or none at all
    there = (["edf20"] if (nights := find(profile, "nights.csv")) is None else nights.dataset.tolist()) or ["edf20"]
    return "edf20" if "edf20" in there else there[0]


def _epochs(profile, dataset):
    def counted(name):
        nights = find(name, "nights.csv")
        n = 0 if nights is None else nights[nights.dataset == dataset].n_epochs.sum()
        return f"{n:,}" if n else "–"

    known, ours = f"{sum(PREPARED_COUNTS.get(dataset, {}).values()):,}", counted(profile)
    verdict = "the paper's epochs" if ours == known else "other nights, or not all of them"
    name = f"EDF-{dataset[3:]}" if dataset in PREPARED_COUNTS else dataset
    return [(f"epochs of {name}", known, ours, counted(REAL), verdict)]


def _accuracy(profile, dataset):
    theirs, rows = dict.fromkeys(ACCURACY), []
    if dataset in PREPARED_COUNTS:
        theirs = scores(published_confusion(f"{dataset}_L7_full"))
    for name, words in ACCURACY.items():
        known, ours, real = theirs[name], *(_of_first_network(one, dataset, name) for one in (profile, REAL))
        size, decimals = (1, 3) if name == "kappa" else (100, 1)
        below = "–"
        if known is not None and ours is not None:
            below = f"{size * (known - ours):.{decimals}f} below, by a protocol that keeps people apart"
        known, ours, real = ("–" if value is None else f"{size * value:.{decimals}f}" for value in (known, ours, real))
        rows.append((words, f"{known}, epochwise" if known != "–" else known, ours, real, below))
    return rows


def _of_first_network(profile, dataset, score):
    """Mean over seeds of the shallowest full network, each epoch for itself; None where there is none."""
    rows = gather(profile, "crossval.csv")
    if rows is None:
        return None
    rows = rows[(rows.fold == "pooled") & (rows.context == "none") & (rows.protocol == SUBJECTWISE.name)]
    rows = rows[(rows.dataset == dataset) & (rows.pruned == 0) & (rows.variant == "") & (rows.origin != "nested")]
    return None if rows.empty else rows[rows.cells == rows.cells.min()][score].mean()


def _pruning(profile, dataset):
    size = published("parameters").query("dataset == @dataset and layers == 7")
    lost, share = zip(*(_of_pruning(one, dataset) for one in (profile, REAL)), strict=True)
    verdict = "as the paper says" if lost[0] and lost[0][0] <= NEXT_TO_NONE else "more than the paper says"
    intervals = ["–" if one is None else "{:.1f} ({:.1f} to {:.1f})".format(*one) for one in lost]
    share_left = (100 * size.params_nonzero_after_pruning / size.params_total).mean()  # of one row, or of none
    zeroed = f"{share_left:.0f}, set to zero"
    return [
        ("accuracy lost, points (95 % interval)", "0.1 to 0.2", *intervals, verdict if lost[0] else "–"),
        ("parameters left, %", zeroed, *map(_shown, share), "removed for good"),
    ]


def _of_pruning(profile, dataset):
    """(points of accuracy lost and its interval, share of parameters left in per cent) of the shallowest network."""
    stage2 = "stage2_prune" if dataset == "edf20" else f"stage2_prune_{dataset}"
    rows, sizes = find(profile, f"{stage2}/differences.csv"), gather(profile, "parameters.csv")
    if rows is None:
        return None, None
    row = rows[(rows.comparison == "pruned - full") & (rows.metric == "acc") & (rows.dataset == dataset)]
    row = row.sort_values("cells", kind="stable").iloc[0]
    params = sizes[(sizes.genotype == row.genotype) & (sizes.cells == row.cells)].groupby("pruned").params.first()
    return (-100 * row.difference, -100 * row.high, -100 * row.low), 100 * params.iloc[-1] / params.iloc[0]


def _shown(value):
    return "–" if value is None else f"{value:.1f}"
