"""Full beside pruned networks, and both beside a peer, on the same epochs: differences paired by subject, and
calibration. Files in, files out."""

import numpy as np
import pandas as pd

from sleepkit.epochs import parse_night
from sleepkit.evaluation.calibration import expected_calibration_error, fit_temperature, reliability, temper
from sleepkit.evaluation.fold import fold_probabilities
from sleepkit.experiments.cost import measure_cost
from sleepkit.experiments.trained import NONE_SUBJECTWISE, families, family, load_pruned
from sleepkit.metrics import CELLS, confusion_differences
from sleepkit.paper.published import published
from sleepkit.results import COLUMNS, NETWORK, read, write_table

# AttnSleep on the first 5 s of every epoch of EDF-20: its confusions per night, from the predictions that the public
# repository swapnil5053/AttnSleep-EEG-5s (MIT) stores. Its best epoch was chosen on the test fold. With context: the
# same predictions, of which only the labels are stored, smoothed forward and backward with the transitions and
# confusions of the other nine folds, every epoch at full weight.
PEER = {False: "attnsleep_first5s", True: "attnsleep_first5s_context"}
PEER_SAMPLES = 500
# Context of both sides -> how the name of their comparison ends.
ENDINGS = {"none": "", "both": ", context", "both+rarity": ", context with rarity"}
# Ways to train what pruning left -> the end of their genotype's name in stage 2.
WAYS = {"pruned": "", "distilled": "-distilled", "ensemble": "-ensemble"}


def paired_differences(settings):
    """Every subject-wise network against AttnSleep where it staged the same epochs, full and pruned, pruned against
    full, trained with hum against without, deeper against the one of fewest cells, and of a found genotype against the
    published one; each epoch for itself, and both sides with either context of the night. Likewise what was distilled
    after pruning, from the full network or from those of all seeds, against the full network, against each other, and
    against the full network distilled from itself, which had as many epochs.

    Reads confusion_by_night.csv of both stages; the seeds are those that both sides have with that context. Writes
    differences.csv and returns it as a data frame: comparison ("pruned - full", "distilled - full, context" ...),
    genotype of the full network, channels, cells, metric, difference (mean over seeds, pooled over folds), low and high
    (its 95 % bootstrap interval over subjects), seeds, subjects. Says why where AttnSleep is left out. Raises
    MissingResult when a stage has not run, ValueError when nothing was pruned, or on other epochs than those of stage 1.
    """
    stages = (f"stage1_{settings.dataset}", settings.name)
    first, second = (read(settings.profile, f"{stage}/confusion_by_night.csv") for stage in stages)
    samples = read(settings.profile, f"{stages[1]}/parameters.csv").samples.iloc[0]
    first = first[first.protocol == "subjectwise"]
    if first.empty:
        raise ValueError(f"differences are paired by subject, and {NONE_SUBJECTWISE}")
    second = second[second.protocol == "subjectwise"]
    pruned, again = second[np.isclose(second.pruned, settings.ratio)], second[second.pruned == 0]
    rows, unstaged = [], set()
    for name, key, ours, other in _pairs(first, pruned, again):
        for context, ending in ENDINGS.items():
            sides = [side[side.context == context] for side in (ours, other) if side is not None]
            seeds = sorted(set.intersection(*(set(side.seed) for side in sides)))
            if not seeds:
                continue
            sides = [side[side.seed.isin(seeds)] for side in sides]
            _require_same_epochs(pd.concat(sides), settings.folder)
            if other is None:
                peer, reason = peer_confusions(sides[0][sides[0].seed == seeds[0]], samples, context != "none")
                if peer is None:
                    unstaged.add(reason)
                    continue
            left, right = (*map(_by_subject, sides), *([peer[None]] if other is None else []))
            facts = {"comparison": name + ending} | key
            for metric, (difference, low, high) in confusion_differences(left, right, seed=0).items():
                row = {"metric": metric, "difference": difference, "low": low, "high": high}
                rows.append(facts | row | {"seeds": len(seeds), "subjects": left.shape[1]})
    for reason in sorted(unstaged):
        print(f"No comparison with AttnSleep: {reason}.")
    frame = pd.DataFrame(rows, columns=COLUMNS["differences.csv"])
    if "pruned - full" not in set(frame.comparison):
        raise ValueError(
            f"{settings.folder / 'confusion_by_night.csv'}: no network of {settings.dataset} pruned by "
            f"{settings.ratio:g} with a seed of stage 1; run the notebook stage2_prune again"
        )
    write_table(frame, settings.folder / "differences.csv")
    return frame


def _pairs(first, pruned, again):
    """Whom to compare: (name, key of the full network, nights of the one, those of the other or None for AttnSleep).

    first, pruned, again : nights of stage 1, of what stage 2 pruned, and of what it trained again whole
    """
    names = ["genotype", "channels", "cells"]
    shallowest = first.groupby(names[:2]).cells.min()
    for values, whole in first.groupby(names, sort=False):
        key = dict(zip(names, values, strict=True))
        genotype, channels, cells = values

        def named(nights, genotype, cells=cells):
            return nights[(nights[names] == [genotype, channels, cells]).all(axis=1)]

        yield "full - AttnSleep", key, whole, None
        if (origin := genotype.split("-")[1]) != "published":
            yield "full - published genotype", key, whole, named(first, genotype.replace(origin, "published"))
        if genotype.endswith("-hum"):
            yield "full - without hum", key, whole, named(first, genotype.removesuffix("-hum"))
        fewest = shallowest[genotype, channels]
        if cells > fewest:
            yield f"full - L = {fewest}", key, whole, named(first, genotype, fewest)
        for way, suffix in WAYS.items():
            small = named(pruned, genotype + suffix)
            yield f"{way} - full", key, small, whole
            yield f"{way} - AttnSleep", key, small, None
        small, taught = (named(nights, genotype + WAYS["distilled"]) for nights in (pruned, again))
        yield "ensemble - distilled", key, named(pruned, genotype + WAYS["ensemble"]), small
        yield "full distilled - full", key, taught, whole
        yield "full distilled - AttnSleep", key, taught, None
        yield "distilled - full distilled", key, small, taught


def _require_same_epochs(nights, folder):
    """Every network must have tested as many epochs of each stage of every night: else nothing is paired."""
    stages = pd.DataFrame(nights[CELLS].to_numpy().reshape(-1, 5, 5).sum(axis=2)).assign(night=nights.night.to_numpy())
    number = nights.night.nunique()
    staged = nights.groupby(NETWORK).night.nunique()
    if len(stages.drop_duplicates()) != number or (staged != number).any():
        raise ValueError(
            f"{folder / 'confusion_by_night.csv'}: the networks of stage 1, or seeds of either stage, were tested on "
            "other epochs than these; run the stage-1 notebook and then stage2_prune again"
        )


def _by_subject(nights):
    """(seeds, subjects, 5, 5) confusion matrices from rows of confusion_by_night.csv."""
    subject = nights.night.map(lambda night: parse_night(night)[0])
    summed = nights.groupby(["seed", subject])[CELLS].sum()
    return summed.to_numpy().reshape(nights.seed.nunique(), -1, 5, 5)


def peer_confusions(nights, samples, context=False):
    """AttnSleep's (subjects, 5, 5) confusion matrices on these nights and "", or None and why it did not stage them.

    nights : data frame with the columns night and CELLS, a row per night, of any network
    samples : length of their epochs;  context : of its predictions smoothed over the night

    The epochs are the same when they are as long and every night has as many of each stage.
    """
    if samples != PEER_SAMPLES:
        return None, f"it staged epochs of {PEER_SAMPLES} samples, these have {samples}"
    stored = published(PEER[context]).set_index("night")
    subjects = {}
    for row in nights.sort_values("night").to_dict("records"):
        night = row["night"]
        if night not in stored.index:
            return None, f"it did not stage night {night}"
        matrix, mine = (np.array([cells[name] for name in CELLS]).reshape(5, 5) for cells in (stored.loc[night], row))
        if not np.array_equal(matrix.sum(1), mine.sum(1)):
            return None, f"it staged other epochs of night {night}"
        subject = parse_night(night)[0]
        subjects[subject] = subjects.get(subject, 0) + matrix
    return np.stack([subjects[subject] for subject in sorted(subjects)]), ""


def _rows(epochs, ids):
    """Positions of the epochs with these ids; ValueError where some are not there."""
    if missing := int((~np.isin(ids, epochs.id)).sum()):
        raise ValueError(
            f"{missing} of {len(ids)} epochs that a network was validated or tested on are not here; "
            "give stage 2 the subjects of stage 1, with all their nights"
        )
    order = np.argsort(epochs.id)
    return order[np.searchsorted(epochs.id, ids, sorter=order)]


def calibrate(epochs, trained, settings):
    """Reliability of the first network, full and pruned, before and after temperature scaling.

    The temperature of every fold is fitted on its validation subjects; bins are of all folds' test epochs together.
    Writes calibration.csv and returns it as a data frame: network, temperature_scaled, bin, low, high, n, confidence,
    accuracy, ece, temperature (mean over folds, 1 before scaling). Raises ValueError when epochs of a fold are missing.
    """
    key, networks = next(iter(families(trained).items()))
    sides = {"full": networks[0], "pruned": families(load_pruned(settings))[key][0]}
    frames = []
    for name, network in sides.items():
        folds = [fold_probabilities(path) for _, path in sorted(network.networks.items())]
        fitted = [fit_temperature(epochs.y[_rows(epochs, fold["valid_id"])], fold["valid_prob"]) for fold in folds]
        y = epochs.y[_rows(epochs, np.concatenate([fold["id"] for fold in folds]))]
        for scaled, temperatures in enumerate(([1.0] * len(folds), fitted)):
            prob = np.concatenate(
                [temper(fold["prob"], value) for fold, value in zip(folds, temperatures, strict=True)]
            )
            facts = {"network": name, "temperature_scaled": scaled, "temperature": np.mean(temperatures)}
            frames.append(reliability(y, prob).assign(ece=expected_calibration_error(y, prob), **facts))
    frame = pd.concat(frames, ignore_index=True)[COLUMNS["calibration.csv"]]
    write_table(frame, settings.folder / "calibration.csv")
    return frame


def inference_cost(trained, settings):
    """What an answer costs of the first network's first fold, full and pruned (sleepkit.experiments.cost.measure_cost).

    Writes cost.csv and returns it as a data frame.
    """
    networks = {"full": family(trained)[0], "pruned": family(load_pruned(settings))[0]}
    first = {name: next(iter(network.networks.values())) for name, network in networks.items()}
    frame = measure_cost(first, repeats=settings.cost_repeats)
    write_table(frame, settings.folder / "cost.csv")
    return frame
