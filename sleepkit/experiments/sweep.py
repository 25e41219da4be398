"""Figure 13: scores over the share of filters removed; and how soon the weights under the released masks are back."""

from dataclasses import replace
from itertools import product

import pandas as pd
import torch
from torch import nn
from torch.nn import functional as F

from sleepkit.evaluation.crossval import cross_validate
from sleepkit.experiments.stage2 import first_family, measured, pruned_network, pruning_plan
from sleepkit.pruning.methods import METHODS
from sleepkit.results import COLUMNS, write_table


def sweep_ratios(networks, sweep, pruning, run):
    """Prune the first network, with every seed, by every method and ratio of `sweep`, and train on `sweep.folds`.
    Writes sweep.csv and returns it as a data frame; without ratios nothing is computed or written. At ratio 0 the
    methods that fine-tune are one run, the full network with the same extra epochs, "distilled" is the full network
    that learns from itself, and "scratch" has no row. Raises TimeOver."""
    family = first_family(networks) if sweep.ratios else []
    for network in family:
        if missing := sorted(set(sweep.folds) - set(network.networks)):
            there = f"stage 1 trained seed {network.key.seed} on the folds {sorted(network.networks)}"
            raise ValueError(f"sweep_folds: {missing}: {there}; name some of these")
    cases = [case for case in product(sweep.methods, sweep.ratios, family) if case[1] or case[0] != "scratch"]
    plans = []
    for method, ratio, network in cases:
        way = method if ratio or METHODS[method].trains != "finetune" else "importance"
        plans.append(pruning_plan(network, way, replace(pruning, ratio=ratio), run, sweep.folds, family))
    done = cross_validate(plans, **run.places()) if plans else []
    rows = [
        {"method": method, "ratio": ratio, "seed": network.key.seed} | measured(one)
        for (method, ratio, network), one in zip(cases, done, strict=True)
    ]
    frame = pd.DataFrame(rows, columns=COLUMNS["sweep.csv"])
    return write_table(frame, run.results(run.stage2) / "sweep.csv") if rows else frame


def regrowth(networks, pruning, run, steps=60):
    """Train the released code's masked network and count after every step what is no longer zero. One row per seed of
    the first network and step (0 is the mask itself), on the first fold's training epochs: how many weights and filters
    the mask zeroed, and how many of them are back, a filter with its first weight. Also written as regrowth.csv."""
    rows = []
    for network in first_family(networks):
        fold, epochs, seed = network.folds[0], network.data, network.key.seed
        scale = network.protocol.normalisation(epochs, fold)
        x, y = torch.from_numpy(scale(epochs.x[fold.train])), torch.from_numpy(epochs.y[fold.train])
        torch.manual_seed(seed)
        net = pruned_network(network.networks, pruning.ratio, pruning.balance, "released", seed, fold.number)
        rows += [{"seed": seed} | row for row in count_regrowth(net, x, y, network.training, steps)]
    frame = pd.DataFrame(rows, columns=COLUMNS["regrowth.csv"])
    return write_table(frame, run.results(run.stage2) / "regrowth.csv")


def count_regrowth(net, x, y, training, steps):
    """Rows of regrowth.csv but for the seed, as dicts: `net` is trained by Adam on random batches.
    x : (n, samples) normalised;  y : (n,) stages;  both tensors"""
    weights = [module.weight for module in net.modules() if isinstance(module, nn.Conv1d)]
    zeroed = [weight.detach() == 0 for weight in weights]
    filters = [mask.flatten(1).all(dim=1) for mask in zeroed]
    optimiser = torch.optim.Adam(net.parameters(), training.lr)
    net.train()
    rows = []
    for step in range(steps + 1):
        if step:
            chosen = torch.randint(len(y), (training.batch,))
            loss = F.cross_entropy(net(x[chosen].unsqueeze(1)), y[chosen])
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
        back = [mask & (weight.detach() != 0) for mask, weight in zip(zeroed, weights, strict=True)]
        filters_back = [f & b.flatten(1).any(dim=1) for f, b in zip(filters, back, strict=True)]
        masks = {"zeroed_weights": zeroed, "back_weights": back}
        masks |= {"zeroed_filters": filters, "back_filters": filters_back}
        rows.append({"step": step} | {name: sum(int(mask.sum()) for mask in parts) for name, parts in masks.items()})
    return rows
