"""Full and pruned networks, and a peer, on the same epochs: differences paired by subject, and calibration."""

import numpy as np
import pandas as pd

from sleepkit.epochs import parse_night
from sleepkit.evaluation.crossval import fold_probabilities
from sleepkit.evaluation.protocols import SUBJECTWISE
from sleepkit.experiments.calibration import expected_calibration_error, fit_temperature, reliability, temper
from sleepkit.experiments.cost import measure_cost, processor
from sleepkit.experiments.differences import confusion_differences
from sleepkit.experiments.stage2 import NONE_SUBJECTWISE, first_family, load_pruned
from sleepkit.metrics import CELLS
from sleepkit.paper.published import published
from sleepkit.recordings.sleep_edf import DATASETS
from sleepkit.results import COLUMNS, NETWORK, read, with_subjects, write_table

# AttnSleep on the first 5 s of every epoch of EDF-20: its confusions per night, from the predictions that the public
# repository swapnil5053/AttnSleep-EEG-5s (MIT) stores. Its best epoch was chosen on the test fold. With context: those
# labels smoothed forward and backward with the transitions and confusions of the other nine folds, at full weight.
PEER = {False: "attnsleep_first5s", True: "attnsleep_first5s_context"}
PEER_SAMPLES = 500
# Context of both sides -> how the name of their comparison ends.
ENDINGS = {"none": "", "both": ", context", "both+rarity": ", context with rarity"}
# Name in comparisons of what pruning left -> its variant (see sleepkit.pruning.methods).
SMALL = {"pruned": "", "distilled": "distilled", "ensemble": "ensemble"}


def paired_differences(pruning, run):
    """Differences of the subject-wise networks' scores, paired by subject, as `_pairs` lists them, in each of ENDINGS.

    Reads confusion_by_night.csv of both stages. Writes differences.csv and returns it as a data frame: comparison
    ("pruned - full" ...), genotype of the full network, channels, cells, metric, difference (mean over the seeds that
    both sides have, pooled over folds), low and high (its 95 % bootstrap interval over subjects), seeds, subjects.
    Raises MissingResult when a stage has not run, ValueError when nothing was pruned, or on other epochs than stage 1.
    """
    file = run.results(run.stage2) / "confusion_by_night.csv"
    nights = [read(run.profile, f"{stage}/{file.name}") for stage in (run.stage1, run.stage2)]
    first, second = (frame[frame.protocol == SUBJECTWISE.name] for frame in nights)
    if run.dataset not in DATASETS:
        first, second = (with_subjects(frame, run.profile, run.dataset) for frame in (first, second))
    samples = read(run.profile, f"{run.stage2}/parameters.csv").samples.iloc[0]
    if first.empty:
        raise ValueError(f"differences are paired by subject, and {NONE_SUBJECTWISE}")
    rows, unstaged, pruned, again = [], set(), np.isclose(second.pruned, pruning.ratio), second.pruned == 0
    for name, network, sides in _pairs(first, second[pruned], second[again]):
        for context, ending in ENDINGS.items():
            matrices, reason = _matrices([side[side.context == context] for side in sides], samples, file)
            unstaged.add(reason)
            if matrices:
                found = confusion_differences(*matrices, seed=0)
                seeds, subjects = matrices[0].shape[:2]
                rows += [(name + ending, *network, metric, *found[metric], seeds, subjects) for metric in found]
    for reason in sorted(unstaged - {""}):
        print(f"No comparison with AttnSleep: {reason}.")
    frame = pd.DataFrame(rows, columns=COLUMNS["differences.csv"])
    if "pruned - full" not in set(frame.comparison):
        what = f"no network of {run.dataset} pruned by {pruning.ratio:g} with a seed of stage 1"
        raise ValueError(f"{file}: {what}; run the notebook stage2_prune again")
    return write_table(frame, file.with_name("differences.csv"))


def _pairs(first, pruned, again):
    """Whom to compare: (name, (genotype, channels, cells) of the full network, [nights of one, of the other]); without
    another, AttnSleep's. first, pruned, again : nights of stage 1, of what stage 2 pruned, and trained again whole"""
    size = ["origin", "channels", "cells"]

    def named(nights, origin, channels, cells, variant=""):
        return nights[(nights[[*size, "variant"]] == [origin, channels, cells, variant]).all(axis=1)]

    for (origin, channels, cells), full in first.groupby(size, sort=False):
        network = full.iloc[0][["genotype", "channels", "cells"]].tolist()
        yield "full - AttnSleep", network, [full]
        if origin != "published":
            yield "full - published genotype", network, [full, named(first, "published", channels, cells)]
        fewest = first[(first.origin == origin) & (first.channels == channels)].cells.min()
        if cells > fewest:
            yield f"full - L = {fewest}", network, [full, named(first, origin, channels, fewest)]
        small = {way: named(pruned, origin, channels, cells, variant) for way, variant in SMALL.items()}
        for way, nights in small.items():
            yield f"{way} - full", network, [nights, full]
            yield f"{way} - AttnSleep", network, [nights]
        taught = named(again, origin, channels, cells, "distilled")
        yield "ensemble - distilled", network, [small["ensemble"], small["distilled"]]
        yield "full distilled - full", network, [taught, full]
        yield "full distilled - AttnSleep", network, [taught]
        yield "distilled - full distilled", network, [small["distilled"], taught]


def _matrices(sides, samples, file):
    """(seeds, subjects, 5, 5) confusion matrices of both sides, of the seeds that they share, and ""; or none and why
    AttnSleep is no other side. sides : nights of one or two networks in one context"""
    seeds = set.intersection(*(set(side.seed) for side in sides))
    if not seeds:
        return [], ""
    sides = [side[side.seed.isin(seeds)] for side in sides]
    nights = pd.concat(sides)
    # Every network must have tested as many epochs of each stage of every night: else nothing is paired.
    stages = pd.DataFrame(nights[CELLS].to_numpy().reshape(-1, 5, 5).sum(axis=2)).assign(night=nights.night.to_numpy())
    number = nights.night.nunique()
    if len(stages.drop_duplicates()) != number or (nights.groupby(NETWORK).night.nunique() != number).any():
        what = "the networks of stage 1, or seeds of either stage, were tested on other epochs than these"
        raise ValueError(f"{file}: {what}; run the stage-1 notebook and then stage2_prune again")
    matrices = [_by_subject(side) for side in sides]
    if len(sides) == 2:
        return matrices, ""
    once = sides[0][sides[0].seed == min(seeds)]
    peer, reason = peer_confusions(once, samples, once.context.iloc[0] != "none")
    return ([] if reason else [*matrices, peer[None]]), reason


def _by_subject(nights):
    """(seeds, subjects, 5, 5) confusion matrices from rows of confusion_by_night.csv."""
    who = nights.subject if "subject" in nights else nights.night.map(lambda night: parse_night(night)[0])
    summed = nights.groupby(["seed", who])[CELLS].sum()
    return summed.to_numpy().reshape(nights.seed.nunique(), -1, 5, 5)


def peer_confusions(nights, samples, context=False):
    """AttnSleep's (subjects, 5, 5) confusion matrices on these nights and "", or None and why it did not stage them.
    nights : data frame with the columns night and CELLS, a row per night, of any network
    samples : length of their epochs;  context : of its predictions smoothed over the night"""
    if samples != PEER_SAMPLES:
        return None, f"it staged epochs of {PEER_SAMPLES} samples, these have {samples}"
    stored = published(PEER[context]).set_index("night")[CELLS]
    nights = nights.sort_values("night").set_index("night")[CELLS]
    for night, mine in nights.iterrows():
        if night not in stored.index:
            return None, f"it did not stage night {night}"
        known, wanted = (row.to_numpy().reshape(5, 5).sum(axis=1) for row in (stored.loc[night], mine))
        if not np.array_equal(known, wanted):
            return None, f"it staged other epochs of night {night}"
    return _by_subject(stored.loc[nights.index].reset_index().assign(seed=0))[0], ""


def calibrate(networks, run):
    """Reliability of the first network, full and pruned, before and after temperature scaling, fitted on the validation
    subjects of every fold; bins are of all folds' test epochs together. Writes calibration.csv and returns it as a data
    frame; its temperature is the mean over folds, 1 before scaling."""
    frames = []
    for name, network in _first_pair(networks, run).items():
        folds, stages = sorted(network.folds, key=lambda fold: fold.number), network.data.y
        kept = [fold_probabilities(network.networks[fold.number]) for fold in folds]
        fitted = [fit_temperature(stages[fold.valid], one["valid_prob"]) for fold, one in zip(folds, kept, strict=True)]
        y = np.concatenate([stages[fold.test] for fold in folds])
        for scaled, temperatures in enumerate(([1.0] * len(folds), fitted)):
            prob = np.concatenate([temper(one["prob"], value) for one, value in zip(kept, temperatures, strict=True)])
            facts = {"network": name, "temperature_scaled": scaled, "temperature": np.mean(temperatures)}
            frames.append(reliability(y, prob).assign(ece=expected_calibration_error(y, prob), **facts))
    frame = pd.concat(frames, ignore_index=True)[COLUMNS["calibration.csv"]]
    return write_table(frame, run.results(run.stage2) / "calibration.csv")


def _first_pair(networks, run):
    return {"full": first_family(networks)[0], "pruned": first_family(load_pruned(run))[0]}


def inference_cost(networks, run, repeats=200):
    """`measure_cost` of the first network's first fold, full and pruned; also written as cost.csv."""
    first = {name: next(iter(network.networks.values())) for name, network in _first_pair(networks, run).items()}
    cost = measure_cost(first, repeats=repeats).assign(processor=processor())
    return write_table(cost, run.results(run.stage2) / "cost.csv")
