"""Tables 1 to 6: the data, the settings, and every network's scores and size."""

import pandas as pd

from sleepkit.epochs import STAGES
from sleepkit.evaluation.protocols import EPOCHWISE
from sleepkit.metrics import per_class, scores
from sleepkit.paper.published import PREPARED_COUNTS, published, published_confusion
from sleepkit.paper.tables.formats import HEADS, factor
from sleepkit.recordings.sleep_edf import nights_of
from sleepkit.results import NETWORK, SCORES, of_stage_2

BY_STAGE = {"precision": "precision, %", "recall": "recall, %", "f1": "F1, %", "gmean": "G-mean, %"}
SIZES = ("parameters", "parameters not set to zero", "MACs, M")
DATASETS = {"edf20": "EDF-20", "edf78": "EDF-78"}

# Setting, value in the paper (or in the authors' run where its text is not at hand), name in settings.json; without a
# name it is fixed in the code at the paper's value.
SEARCH_SETTINGS = published("search_settings").fillna({"name": ""})


def table_epochs(nights, removed):
    """Table 1: epochs per stage before and after data pruning (BDP), published over this run.
    nights : data frame as nights.csv, or None
    removed : dict dataset -> data frame as removed_samples.csv, empty or None without a round"""
    after, rows = published("class_counts_after_bdp").set_index(["dataset", "stage"]).n_epochs, []
    for dataset, name in DATASETS.items():
        rows.append((name, "prepared", "published", PREPARED_COUNTS[dataset]))
        ours = "this run"
        if nights is not None and (nights.dataset == dataset).any():
            mine, known = nights[nights.dataset == dataset], len(nights_of(dataset))
            ours += "" if len(mine) == known else f", {len(mine)} of {known} nights"
            rows.append((name, "prepared", ours, mine[list(STAGES)].sum()))
        rows.append((name, "left by BDP", "published", after[dataset]))
        if removed.get(dataset) is not None and len(removed[dataset]):
            rounds = removed[dataset].sort_values("epoch", kind="stable").groupby(["half", "stage"])
            start = rounds.first()[["left", "removed"]].sum(axis=1)
            rows.append((name, "searched on", ours, start.groupby("stage").sum()))
            rows.append((name, "left by BDP", ours, rounds.left.last().groupby("stage").sum()))
    table = [(*head, *(int(counts[stage]) for stage in STAGES)) for *head, counts in rows]
    table = pd.DataFrame(table, columns=["data set", "epochs", "source", *STAGES])
    table["total"] = table[list(STAGES)].sum(axis=1)
    blocks = []
    for _, block in table.groupby(["data set", "epochs"], sort=False):
        blocks.append(block)
        if block.source.to_list() == ["published", "this run"]:
            change = block[[*STAGES, "total"]].diff().iloc[1].astype(int)
            blocks.append(block.iloc[[1]].assign(source="difference", **change))
    return pd.concat(blocks, ignore_index=True)


def table_settings(settings):
    """Table 2: search space and hyper-parameters of the paper and of this run; at the end, what only this run has.
    settings : dict name of the search -> its settings.json as a dict; may be empty"""
    rows = [(label, f"{value:g}", key) for label, value, key in SEARCH_SETTINGS.itertuples(index=False)]
    known = set(SEARCH_SETTINGS.name)
    further = dict.fromkeys(key for values in settings.values() for key in values if key not in known)
    rows += [(key.replace("_", " "), "", key) for key in further]
    table = pd.DataFrame([row[:2] for row in rows], columns=["setting", "paper"])
    for name, values in settings.items():
        table[f"this run, {name}"] = [_setting(values.get(key, "")) if key else "the same" for *_, key in rows]
    return table


def table_stage(dataset, pruned, crossval=None, by_stage=None, parameters=None):
    """Tables 3 to 6: scores, per-class scores and size of every network of one stage, a column each. Scores are of the
    merged predictions of all folds, each epoch scored alone, mean over seeds; mean and sd over folds are those of each
    seed, averaged. A column "difference" is this run minus the published network of the same depth.
    dataset : "edf20" or "edf78", or one's own, of which nothing is published; pruned : False for stage 1, True for 2
    crossval, by_stage, parameters : data frames as crossval.csv, per_class.csv, parameters.csv of this run, or None"""
    model = "pruned" if pruned else "full"
    depths = (7, 9, 11) if dataset in DATASETS else ()
    columns = {f"published, L = {cells}": _published_column(dataset, cells, model) for cells in depths}
    if crossval is not None:
        of_stage = (of_stage_2(crossval) == pruned) & (crossval.dataset == dataset)
        for name, keys in _networks(crossval[of_stage]):
            columns[name] = _found_column(keys, crossval, by_stage, parameters)
            if (theirs := columns.get(f"published, L = {keys['cells']}")) is not None:
                columns[name.replace("this run", "difference", 1)] = _difference(columns[name], theirs)
    table = pd.DataFrame(columns).rename_axis(["measure", "stage"]).reset_index()
    return table if pruned else table[table.measure != "parameters not set to zero"].reset_index(drop=True)


def _published_column(dataset, cells, model):
    matrix = published_confusion(f"{dataset}_L{cells}_{model}")
    folds = published("cv_results").query("dataset == @dataset and layers == @cells and model == @model")
    folds = folds[folds.fold != "pooled"].rename(columns={"gmean": "mgm"}).assign(seed=0)
    size = published("parameters").query("dataset == @dataset and layers == @cells").iloc[0]
    # The released pruning zeroed weights and removed none, so the published network keeps its size.
    zeroed = size.params_nonzero_after_pruning if model == "pruned" else size.params_total
    sizes = (int(size.params_total), int(zeroed), float("nan"))
    heads = {"protocol": EPOCHWISE.name, "seeds": 1, "epochs scored": int(matrix.sum())}
    return _column(heads, scores(matrix), folds, per_class(matrix), sizes)


def _found_column(keys, crossval, by_stage, parameters):
    of_network = _of(crossval, keys)
    pooled, folds = of_network[of_network.fold == "pooled"], of_network[of_network.fold != "pooled"]
    classes = _of(by_stage, keys).groupby("stage")[list(BY_STAGE)].mean().reindex(STAGES).reset_index()
    rows = _of(parameters, {key: keys[key] for key in ("genotype", "channels", "cells", "pruned")})
    if rows.empty:
        raise ValueError(f"parameters.csv has no row for the network {keys} of crossval.csv; run its notebook again")
    params = int(rows.params.iloc[0])
    sizes = (params, params, rows.macs.iloc[0] / 1e6)
    heads = {"protocol": keys["protocol"], "seeds": pooled.seed.nunique(), "epochs scored": int(pooled.n.iloc[0])}
    return _column(heads, pooled[SCORES].mean(), folds, classes, sizes)


def _column(heads, values, folds, classes, sizes):
    """One network's numbers in the rows of `table_stage`."""
    column = {(head, ""): value for head, value in heads.items()}
    column |= {(HEADS[key], ""): round(values[key] * factor(key), 6) for key in SCORES}
    for name, over_folds in (("mean", "mean"), ("sd", "std")):
        values = folds.groupby("seed").agg(over_folds, numeric_only=True).mean()  # over seeds
        for key in SCORES:
            column[f"{name} over folds of {HEADS[key]}", ""] = round(values.get(key, float("nan")) * factor(key), 6)
    by = classes.set_index("stage")
    column |= {(head, s): round(100 * float(by.at[s, key]), 6) for key, head in BY_STAGE.items() for s in STAGES}
    column |= zip([(head, "") for head in SIZES], sizes, strict=True)
    return pd.Series(column, dtype=object)


def _difference(ours, theirs):
    """This run minus published, of scores and sizes; of the other rows nothing."""
    compared = (*HEADS.values(), *BY_STAGE.values(), *SIZES[:2])
    rows = {row: ours[row] - value if row[0] in compared else float("nan") for row, value in theirs.items()}
    return pd.Series(rows, dtype=object)


def _networks(crossval):
    keys = [key for key in NETWORK if key != "seed"]
    rows = crossval[crossval.context == "none"].drop_duplicates(keys)
    rows = rows.sort_values(["protocol", "genotype", "cells", "channels", "pruned"])
    for network in rows[keys].to_dict("records"):
        share = f", {100 * network['pruned']:.0f} % pruned" if network["pruned"] else ""
        size = f"L = {network['cells']}, C = {network['channels']}{share}"
        yield f"this run, {network['genotype']}, {size}, {network['protocol']}", network


def _of(frame, keys):
    return frame[(frame[list(keys)] == list(keys.values())).all(axis=1)]


def _setting(value):
    if isinstance(value, float):
        return f"{value:g}"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
