"""Tables 1 to 6: the data, the settings, and every network's scores and size."""

import numpy as np
import pandas as pd

from sleepkit.epochs import STAGES, parse_night
from sleepkit.evaluation.protocols import EPOCHWISE
from sleepkit.metrics import CELLS, per_class, scores
from sleepkit.paper.published import FULL_MACS, PREPARED_COUNTS, published, published_confusion
from sleepkit.recordings.sleep_edf import nights_of
from sleepkit.results import NETWORK, of_stage_2

BY_STAGE = {"f1": "F1, %", "f1 sd": "F1, % sd", "precision": "precision, %", "recall": "recall, %"}
BY_STAGE |= {"gmean": "G-mean, %", "kappa": "kappa", "acc": "ACC, %", "acc sd": "ACC, % sd"}
SIZES = ("parameters", "parameters not set to zero", "MACs, M")
RATE = 100  # samples a second of prepared epochs
STAGE_NOTE = 'In rows "all", F1 (macro-F1), precision, recall and G-mean are means over the stages. ± is the standard '
STAGE_NOTE += "deviation over subjects. kappa of a stage is that of the stage against all others. Human scorers: doi:"
STAGE_NOTE += ", doi:".join(published("human_agreement").doi.unique()) + "."
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


def table_stage(dataset, pruned, crossval=None, matrices=None, nights=None, parameters=None):
    """Tables 3 to 6: every network of one stage, a row for each sleep stage and one for all, in which precision,
    recall, F1 and G-mean are means over the stages. Scores are of the merged predictions of all folds, each epoch
    scored alone, mean over seeds; "sd" is over subjects, mean over seeds. At the end, what human scorers reach.
    dataset : "edf20" or "edf78", or one's own, of which nothing is published; pruned : False for stage 1, True for 2
    crossval, matrices, nights, parameters : data frames as crossval.csv, confusion.csv, confusion_by_night.csv and
        parameters.csv of this run, or None"""
    depths = (7, 9, 11) if dataset in DATASETS else ()
    blocks = [_published_rows(dataset, cells, "pruned" if pruned else "full") for cells in depths]
    if crossval is not None:
        of_stage = (of_stage_2(crossval) == pruned) & (crossval.dataset == dataset)
        for name, keys in _networks(crossval[of_stage]):
            blocks.append(_found_rows(name, keys, matrices, nights, parameters))
    humans = published("human_agreement").drop(columns="doi").rename(columns=BY_STAGE)
    table = pd.concat([*blocks, humans], ignore_index=True).dropna(axis=1, how="all")
    return table.astype({name: "Int64" for name in ("seeds", "epochs", *SIZES[:2]) if name in table})


def _published_rows(dataset, cells, model):
    size = published("parameters").query("dataset == @dataset and layers == @cells").iloc[0]
    sizes = {"parameters": size.params_total, "MACs, M": FULL_MACS[dataset][cells] / 1e6}
    if model == "pruned":  # the released pruning zeroed weights and removed none, so the network keeps its size
        sizes["parameters not set to zero"] = size.params_nonzero_after_pruning
    head = {"network": f"published, L = {cells}", "protocol": EPOCHWISE.name, "epoch, s": "30", "seeds": 1}
    return _rows(head, published_confusion(f"{dataset}_L{cells}_{model}")[None], sizes)


def _found_rows(name, keys, matrices, nights, parameters):
    size = _of(parameters, {key: keys[key] for key in ("genotype", "channels", "cells", "pruned")})
    if size.empty:
        raise ValueError(f"parameters.csv has no row for the network {keys} of crossval.csv; run its notebook again")
    size, mine = size.iloc[0], _of(matrices, keys).set_index(["true", "predicted"]).groupby("seed").n
    found = np.array([n.unstack().reindex(index=STAGES, columns=STAGES, fill_value=0) for _, n in mine])
    sizes = {"parameters": size.params, "MACs, M": size.macs / 1e6}
    head = {"network": name, "protocol": keys["protocol"], "epoch, s": f"{size.samples / RATE:g}", "seeds": len(found)}
    return _rows(head, found, sizes, None if nights is None else _of(nights, keys))


def _rows(head, matrices, sizes, nights=None):
    """The rows of one network from its confusion matrices, (seeds, 5, 5), and its rows of confusion_by_night.csv."""
    by_seed = pd.concat([per_class(matrix).assign(kappa=_kappa(matrix)) for matrix in matrices])
    rows, values = by_seed.groupby("stage", sort=False).mean(), scores(matrices)
    rows.loc["all"] = rows.mean()
    rows.loc["all", ["kappa", "acc"]] = np.mean(values["kappa"]), np.mean(values["acc"])
    if nights is not None and len(nights):
        rows["f1 sd"], rows.loc["all", "acc sd"] = _spread(nights)
    rows *= [1 if column == "kappa" else 100 for column in rows]
    rows["epochs"] = [*matrices[0].sum(axis=1), matrices[0].sum()]
    rows.loc["all", list(sizes)] = list(sizes.values())
    rows = rows.rename(columns=BY_STAGE).reset_index().assign(**head)
    return rows.reindex(columns=[*head, "stage", "epochs", *BY_STAGE.values(), *SIZES])


def _kappa(matrix):
    """Cohen's kappa of each stage against all others: (5, 5) -> (5,)."""
    both, true, said = matrix.diagonal(), matrix.sum(axis=1), matrix.sum(axis=0)
    twos = np.array([[both, true - both], [said - both, matrix.sum() - true - said + both]])
    return scores(twos.transpose(2, 0, 1))["kappa"]


def _spread(nights):
    """Standard deviation over subjects, mean over seeds, of F1 by stage and of their mean, (6,), and of accuracy; a
    subject without a stage does not count there."""
    who = nights.subject if "subject" in nights else nights.night.map(lambda night: parse_night(night)[0])
    subjects = nights.groupby(["seed", who])[CELLS].sum()
    matrices = subjects.to_numpy(dtype=float).reshape(-1, 5, 5)
    true, said, both = matrices.sum(axis=2), matrices.sum(axis=1), matrices.diagonal(axis1=1, axis2=2)
    f1 = pd.DataFrame(np.where(true > 0, 2 * both / np.maximum(true + said, 1), np.nan), subjects.index)
    f1["all"], f1["acc"] = f1.mean(axis=1), both.sum(axis=1) / true.sum(axis=1)
    sd = f1.groupby("seed").std().mean().to_numpy()
    return sd[:-1], sd[-1]


def _networks(crossval):
    keys = [key for key in NETWORK if key != "seed"]
    rows = crossval[crossval.context == "none"].drop_duplicates(keys)
    rows = rows.sort_values(["protocol", "genotype", "cells", "channels", "pruned"])
    for network in rows[keys].to_dict("records"):
        share = f", {100 * network['pruned']:.0f} % pruned" if network["pruned"] else ""
        yield f"{network['genotype']}, L = {network['cells']}, C = {network['channels']}{share}", network


def _of(frame, keys):
    return frame[(frame[list(keys)] == list(keys.values())).all(axis=1)]


def _setting(value):
    if isinstance(value, float):
        return f"{value:g}"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
