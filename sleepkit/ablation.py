"""Table 8: what each level of pruning does to one network, and what else the same training epochs could have bought."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd

from sleepkit import crossval
from sleepkit.genotype import random_genotype
from sleepkit.metrics import scores
from sleepkit.network import SleepNet, load_network
from sleepkit.pruning.filters import l1_scores, prune_filters, random_scores, released_mask
from sleepkit.results import COLUMNS, write_table
from sleepkit.search import SearchSettings, run_search, search_key
from sleepkit.stage1 import size_of
from sleepkit.stage2 import finetuning, saved_folds

# Variant -> (data pruning, operation pruning) of its search.
SEARCHES = {"DARTS": (False, False), "+ BDP": (True, False), "+ DOP": (False, True), "+ BDP + DOP": (True, True)}
BASE = "+ BDP + DOP"  # the network that the other variants prune or train on


def ablate(epochs, trained, settings):
    """Every variant of table 8 on fold 0 of the first network, with each of the ablation seeds.

    Searches see the fold's training and validation subjects alone. Writes ablation.csv (variant, seed, acc, mf1,
    kappa, mgm, params, macs, n: test epochs of the fold) and returns it as a data frame; without seeds nothing is
    computed or written.
    """
    first = trained[0]
    fold = saved_folds(epochs, first)[0]
    rows = [row for seed in settings.ablation_seeds for row in _ablate_seed(epochs, fold, first, settings, seed)]
    frame = pd.DataFrame(rows, columns=COLUMNS["ablation.csv"])
    if rows:
        write_table(frame, settings.folder / "ablation.csv")
    return frame


def _ablate_seed(epochs, fold, first, settings, seed):
    channels, cells = first.keys["channels"], first.keys["cells"]
    train = replace(first.train, seed=seed)
    extra, longer = finetuning(train, settings), replace(train, epochs=train.epochs + settings.finetune_epochs)
    rows, networks = [], {}

    def test(variant, make, train):
        """Train what `make` returns on the fold, note its scores on the fold's test epochs and where it lies."""
        net = make()
        config = {"variant": variant, "channels": net.channels, "cells": cells, "ratio": settings.ratio}
        config |= {"balance": settings.balance, "architecture": json.loads(net.genotype.to_json())}
        # A run's name is a hash of all that went into it, so what starts from a run is told apart by that name.
        config |= {"from": networks[BASE].parent.name if BASE in networks else ""}
        predictions, _, (network,) = crossval.cross_validate(
            epochs, [fold], "subjectwise", lambda _: make(), train, settings.work / "ablation", config, settings.device
        )
        networks[variant] = network
        params, macs, _ = size_of(net, epochs)
        score = scores(crossval.pooled_confusion(predictions))
        rows.append(
            {"variant": variant, "seed": seed} | score | {"params": params, "macs": macs, "n": len(predictions)}
        )

    for variant in SEARCHES:
        genotype = _search(epochs, fold, settings, seed, variant)
        test(variant, lambda: SleepNet(genotype, channels, cells), train)
    drawn = random_genotype(_search_settings(settings, seed, "DARTS").nodes, seed)
    test("random architecture", lambda: SleepNet(drawn, channels, cells), train)

    def full():
        return load_network(networks[BASE])[0]

    def pruned(criterion=None):
        return lambda: prune_filters(full(), settings.ratio, settings.balance, criterion and criterion(full()))

    test("both + filter pruning", pruned(), extra)
    test("both + random filters", pruned(lambda net: random_scores(net, seed)), extra)
    test("both + filters by L1", pruned(l1_scores), extra)
    test("both, same extra epochs", full, extra)
    test("both, released mask", lambda: released_mask(SleepNet(genotype, channels, cells), settings.ratio), longer)
    test("both, half width from scratch", lambda: SleepNet(genotype, max(channels // 2, 1), cells), longer)
    return rows


def _search_settings(settings, seed, variant):
    """Settings of stage 1's search with the variant's levels of pruning."""
    data_pruning, operation_pruning = SEARCHES[variant]
    first = json.loads((settings.first / "networks.json").read_text())["search"]
    changes = {
        "epochs": settings.ablation_epochs,
        "data_pruning": data_pruning,
        "operation_pruning": operation_pruning,
        "seed": seed,
    }
    return SearchSettings(**(first | changes))


def _search(epochs, fold, settings, seed, variant):
    seen = epochs.subset(np.sort(np.concatenate([fold.train, fold.valid])))
    search = _search_settings(settings, seed, variant)
    return run_search(
        seen, search, settings.work / f"search-{search_key(seen, search)}", device=settings.device
    ).genotype
