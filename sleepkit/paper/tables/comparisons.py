"""Tables 7 to 11: methods, variants, costs, protocols and departures, a row each."""

import json

import numpy as np
import pandas as pd

from sleepkit.evaluation.protocols import EPOCHWISE, PROTOCOLS, SUBJECTWISE
from sleepkit.metrics import confusion, scores
from sleepkit.paper.published import PROTOCOL, baselines, published, published_networks
from sleepkit.paper.tables.formats import HEADS, factor
from sleepkit.paper.tables.runs import DATASETS, RATE
from sleepkit.results import SCORES, of_stage_2

LENGTH, SIZE = "epoch, s", ["genotype", "C", "L", "pruned"]
KEYS, SHORT = ["genotype", "protocol", "context", "pruned", "channels", "cells"], {"cells": "L", "channels": "C"}
DIFFERENCES = {key: f"difference of {HEADS[key].replace('%', 'points')}" for key in ("acc", "mf1", "kappa")}
NIGHT = ", context of the night"
CONTEXTS = {"none": "", "forward": ", context of the past", "both": NIGHT, "both+rarity": f"{NIGHT} with rarity"}
CONTEXT_NOTE = (
    "Context of the same night, a hidden Markov model: forward, the epochs before; both, all of them, and validation "
    "subjects choose how much an epoch's evidence weighs; both+rarity, they choose as well how far a stage's rarity "
    "counts."
)
GAP = (
    "Epochwise, epochs of the same people train a network and the test epochs choose which of its states is kept, on "
    "the epochs that data pruning left (it takes the steadiest of one half and the least steady of the other); "
    "subjectwise neither is so, on all epochs."
)
NESTED = "where every fold searches, by a smaller search, and prunes data without its test subjects, too."
SCORE_COLUMNS = [column for key in SCORES for column in (HEADS[key], f"{HEADS[key]} sd")]
COST = {"network": "network", "runtime": "runtime", "samples": "samples of an epoch", "params": "parameters"}
COST |= {"macs": "MACs, M", "file_bytes": "file, kB", "median_ms": "median, ms per epoch"}
COST |= {"p95_ms": "95th percentile, ms per epoch", "peak_mb": "peak memory, MB", "startup_s": "start-up, s"}
COST |= {"epochs_per_s": "epochs per second"}  # columns of cost.csv and their heads


def table_state_of_the_art(crossval=None, parameters=None):
    """Table 7: what others report (most accurate first), what the paper reports, and this run, with their protocols.
    crossval, parameters : data frames as crossval.csv and parameters.csv of all notebooks, or None"""
    known, parts = baselines().rename(columns={"macro_f1": "mf1", "mmacs": "macs"}), []
    for dataset, name in DATASETS.items():
        others = known[known.dataset.str.startswith(dataset)].sort_values("acc", ascending=False, kind="stable")
        seconds = np.where(others.dataset.str.endswith("5s"), "5", "30")
        parts.append(_named(others.assign(source=others.evidence, **{LENGTH: seconds}), name))
        theirs = _published_scores(dataset).assign(protocol=PROTOCOL, source="published")
        stages = theirs.stage.map({1: "stage 1", 2: "stage 2, weights set to zero"})
        names = "this paper, " + stages + ", L = " + theirs.L.astype(str)
        parts.append(_named(theirs.assign(method=names, macs=theirs.macs / 1e6), name))
        if crossval is not None:
            parts.append(_named(_found_networks(crossval, dataset, parameters), name))
    return pd.concat(parts, ignore_index=True).dropna(axis=1, how="all").astype({"parameters": "Int64"})


def table_ablation(ablation):
    """Table 8: a row per variant of ablation.csv in its order, mean over the seeds and sd where there are several."""
    by_variant = ablation.groupby("variant", sort=False)
    table = _over_seeds(by_variant)
    table["parameters"] = by_variant.params.mean().round().astype(int)
    table["MACs, M"] = by_variant.macs.mean() / 1e6
    table["epochs trained on"] = by_variant.trained_on.mean().round().astype(int)
    return table.assign(**{"epochs scored": by_variant.n.first()}).reset_index()


def ablation_note(facts):
    """What table 8's networks were made with, in words; facts: ablation.json as a dict."""
    search, epochs = facts["search"], facts["train"]["epochs"]
    late = search["prune_every"] > min(search["prune_until"], search["epochs"] - 1)
    idle = " No search prunes before its last epoch is over: data pruning cannot change what they find."
    return (
        f"Fold {facts['fold']}, whose test subjects the searches of every row have not seen either: "
        f"C = {search['channels']}, L = {search['cells']}, N = {search['nodes']}, {search['epochs']} epochs; "
        f"then {epochs} epochs of training, on what the data pruning of the row's search left of the fold, and "
        f"{facts['finetune_epochs']} more for what is pruned or gets extra ones.{idle * late}"
    )


def table_cost(cost):
    """Table 9: what one epoch costs on one CPU thread, a row per length, network and runtime of cost.csv."""
    rows = cost.assign(macs=cost.macs / 1e6, file_bytes=cost.file_bytes / 1e3).sort_values("samples", kind="stable")
    return rows.astype(dict.fromkeys(list(COST)[4:], float))[list(COST)].rename(columns=COST)


def table_protocols(crossval, parameters, dataset):
    """Table 10: the networks of a data set by protocol and context, merged predictions; published ones first.
    Differences are this run minus the published network of the same stage, depth, protocol and length of an epoch.
    crossval, parameters : data frames as crossval.csv and parameters.csv, or None"""
    table = _published_scores(dataset).assign(source="published", protocol=EPOCHWISE.name, context="none", seeds=1)
    if crossval is not None:
        table = pd.concat([table, _found_scores(crossval, dataset, parameters)], ignore_index=True)
    columns = ["source", "protocol", LENGTH, "context", "stage", "C", "L", "seeds", *SCORE_COLUMNS]
    return table.reindex(columns=[*columns, *DIFFERENCES.values()]).dropna(axis=1, how="all")


def protocol_gap(crossval, dataset, predictions=None, kept=None):
    """A sentence for every network that both protocols tested with the same seeds, and for the nested search.
    crossval : data frame as crossval.csv, or None
    predictions, kept : dicts of arrays as predictions.npz and kept.npz, or None; with them, the network of the
        predictions is compared on the epochs that both protocols score, too"""
    if crossval is None:
        return ""
    pooled = crossval[(crossval.fold == "pooled") & (crossval.context == "none") & (crossval.dataset == dataset)]
    sentences = []
    for network, rows in pooled.groupby(["genotype", "channels", "cells", "pruned"]):
        share = f", {100 * network[3]:.0f} % pruned" if network[3] else ""
        name = "{0}, L = {2}, C = {1}".format(*network) + share
        seeds = sorted(set.intersection(*(set(part.seed) for _, part in rows.groupby("protocol"))))
        scored = 100 * rows[rows.seed.isin(seeds)].groupby("protocol")[["acc", "mf1"]].mean()
        if set(PROTOCOLS) <= set(scored.index):
            theirs, ours = scored.loc[EPOCHWISE.name].to_numpy(), scored.loc[SUBJECTWISE.name].to_numpy()
            gap = f"{theirs[0]:.1f} % accuracy epochwise, {ours[0]:.1f} % subjectwise, {_points(theirs - ours)}"
            gap += f", seed {', '.join(map(str, seeds))}"
            if (same := _on_the_same_epochs(crossval, predictions, kept, network)) is not None:
                seed, theirs, ours = same
                gap += f"; subjectwise on the same epochs, seed {seed}, {ours[0]:.1f} %, {_points(theirs - ours)}"
            sentences.append(f"{name}: {gap}.")
        elif (rows.origin.iloc[0], rows.variant.iloc[0]) == ("nested", ""):
            sentences.append(f"{name}: {scored.iloc[0, 0]:.1f} % subjectwise, {NESTED}")
    return " ".join([GAP] * any("epochwise" in sentence for sentence in sentences) + sentences)


def _points(gap):
    return f"a gap of {gap[0]:.1f} points ({gap[1]:.1f} in macro-F1)"


def _on_the_same_epochs(crossval, predictions, kept, network):
    """Seed, and (accuracy, macro-F1) in percent epochwise, and subjectwise on the kept epochs; None where the
    predictions are of another network, or not of all those epochs."""
    if predictions is None or kept is None:
        return None
    keys, names = json.loads(str(predictions["network"])), ["genotype", "channels", "cells", "pruned", "protocol"]
    ids = np.concatenate([kept["train"], kept["valid"]])
    rows = np.isin(predictions["id"], ids)
    wanted = dict(zip(names, (*network, EPOCHWISE.name), strict=True)) | {"fold": "pooled", "seed": keys["seed"]}
    epochwise = crossval[(crossval[list(wanted)] == list(wanted.values())).all(axis=1)]
    same = [keys[name] for name in names] == [*network, SUBJECTWISE.name]
    if not same or rows.sum() != len(ids) or len(epochwise) != 1:
        return None
    values = scores(confusion(predictions["y"][rows], predictions["prob"][rows].argmax(axis=1)))
    theirs, ours = epochwise[["acc", "mf1"]].to_numpy(float)[0], np.array([values["acc"], values["mf1"]])
    return keys["seed"], 100 * theirs, 100 * ours


def table_departures():
    """Table 11: what the paper says, what the released code does, what the companion does."""
    return published("departures").fillna("")


def _published_scores(dataset):
    rows = published_networks(dataset)
    rows[SCORES] *= [factor(key) for key in SCORES]
    return rows.rename(columns=HEADS).assign(**{LENGTH: "30"})


def _found_scores(crossval, dataset, parameters):
    """A row per network of this run: its keys, size, scores and sd, and differences from the published."""
    pooled = crossval[(crossval.fold == "pooled") & (crossval.dataset == dataset)]
    found = _over_seeds(pooled.groupby(KEYS)).reset_index().rename(columns=SHORT)
    found["stage"] = 1 + of_stage_2(found)
    whole = (found.stage == 2) & (found.pruned == 0)
    found["source"] = "this run, " + found.genotype + np.where(whole, ", not pruned", "")
    order = {context: place for place, context in enumerate(CONTEXTS)}
    found = found.sort_values(["protocol", "genotype", "C", "L", "pruned", "context"], key=lambda c: c.replace(order))
    sizes = parameters.rename(columns=SHORT)[[*SIZE, "params", "macs", "samples"]].drop_duplicates()
    found = found.merge(sizes, on=SIZE, how="left")
    found[LENGTH] = [f"{seconds:g}" for seconds in found.samples / RATE]
    known, same = _published_scores(dataset).assign(protocol=EPOCHWISE.name), ["stage", "L", "protocol", LENGTH]
    theirs = found[same].merge(known, on=same, how="left")
    for key, head in DIFFERENCES.items():
        found[head] = found[HEADS[key]].to_numpy() - theirs[HEADS[key]].to_numpy(float)
    return found


def _found_networks(crossval, dataset, parameters):
    """The networks of this run as rows of table 7."""
    found = _found_scores(crossval, dataset, parameters)
    folds = crossval[crossval.fold != "pooled"].groupby("protocol").fold.nunique()
    head = found.source + ", stage " + found.stage.astype(str) + ", L = " + found.L.astype(str)
    names = head + ", C = " + found.C.astype(str) + found.context.map(CONTEXTS)
    protocols = [f"{folds.get(protocol, 0)}-fold {protocol}" for protocol in found.protocol]
    return found.assign(method=names, protocol=protocols, macs=found.macs / 1e6, source="this run")


def _named(rows, dataset):
    """Rows under the heads of table 7."""
    numbers = [*SCORE_COLUMNS, "parameters", "MACs, M"]
    rows = rows.rename(columns=HEADS | {"params": "parameters", "macs": "MACs, M"}).assign(**{"data set": dataset})
    rows = rows.reindex(columns=["data set", "method", LENGTH, *numbers, "protocol", "source"])
    return rows.astype(dict.fromkeys(numbers, float))


def _over_seeds(grouped):
    """Number of seeds, and mean and sd over them of every score; without a second seed the sd is empty."""
    found = grouped[SCORES].agg(["mean", "std"]) * np.repeat([factor(key) for key in SCORES], 2)
    return found.set_axis(SCORE_COLUMNS, axis=1).assign(seeds=grouped.seed.nunique())[["seeds", *SCORE_COLUMNS]]
