"""Figure 13, and the contrast with the released masks: scores over the share of filters removed, and how soon masked
weights are back. Files in, files out."""

import numpy as np
import pandas as pd
import torch
from torch import nn
from torch.nn import functional as F

from sleepkit.evaluation import crossval
from sleepkit.evaluation.protocols import SUBJECTWISE
from sleepkit.experiments.stage1 import full_plan, run_plans
from sleepkit.experiments.stage2 import first_fold, folds_of, pruned_network, pruning_plan
from sleepkit.experiments.trained import Trained, family
from sleepkit.metrics import scores
from sleepkit.network.saved import load_network
from sleepkit.pruning.methods import VARIANTS
from sleepkit.results import COLUMNS, write_table


def sweep_ratios(epochs, trained, settings):
    """Prune the first network by every one of `settings.methods` and `settings.ratios`, and fine-tune.

    With the seeds of `sweep_networks`, on the folds `settings.sweep_folds`; their merged predictions are scored.
    Writes sweep.csv (method, ratio, seed, acc, mf1, kappa, mgm, params, macs, n) and returns it as a data frame;
    without ratios nothing is computed or written. At ratio 0 nothing is removed: "importance", "random" and "l1" are
    one run, the full network with the same extra epochs, "distilled" is the full network that learns from itself, and
    "scratch" has no row. Raises ValueError when `max_minutes` were over first.
    """
    networks = sweep_networks(epochs, trained, settings) if settings.ratios else []
    cases = [
        (method, ratio, network)
        for method in settings.methods
        for ratio in settings.ratios
        for network in networks
        if ratio or method != "scratch"
    ]
    plans = [
        pruning_plan(epochs, network, settings, _method(method, ratio), ratio, settings.sweep_folds)
        for method, ratio, network in cases
    ]
    rows = []
    for (method, ratio, network), run in zip(cases, run_plans(plans, settings) if plans else [], strict=True):
        row = {"method": method, "ratio": ratio, "seed": network.keys["seed"]}
        row |= scores(crossval.pooled_confusion(run.predictions))
        rows.append(row | {"params": run.params, "macs": run.macs, "n": len(run.predictions)})
    frame = pd.DataFrame(rows, columns=COLUMNS["sweep.csv"])
    if rows:
        write_table(frame, settings.folder / "sweep.csv")
    return frame


def sweep_networks(epochs, trained, settings):
    """The first network with every seed of the sweep, as a list of Trained.

    Seeds that stage 1 did not train are trained on the sweep's folds as it would have trained them. Raises ValueError
    when stage 1 did not train one of its seeds on a fold of the sweep, or `max_minutes` were over first.
    """
    there = {network.keys["seed"]: network for network in family(trained)}
    seeds = settings.sweep_seeds or tuple(there)
    of_seed = {seed: sorted(there[seed].networks) for seed in seeds if seed in there}
    for seed, numbers in of_seed.items():
        if missing := sorted(set(settings.sweep_folds) - set(numbers)):
            raise ValueError(
                f"sweep_folds: {missing}: stage 1 trained seed {seed} on the folds {numbers}; name some of these, or "
                "run stage 1 on the others, too (only_folds)"
            )
    first = next(iter(there.values()))
    genotype, folds = load_network(next(iter(first.networks.values())))[0].genotype, folds_of(epochs, first, settings)
    of_training = (genotype, first.train, settings.first, settings.sweep_folds or tuple(first.networks))
    new = [seed for seed in seeds if seed not in there]
    plans = [full_plan(epochs, folds, first.keys | {"seed": seed}, *of_training) for seed in new]
    for run in run_plans(plans, settings) if plans else []:
        there[run.keys["seed"]] = Trained(run.keys, run.by_fold, run.train, first.sides, first.data)
    return [there[seed] for seed in seeds]


def _method(method, ratio):
    return "importance" if ratio == 0 and method not in VARIANTS else method


def regrowth(epochs, trained, settings, steps=60):
    """Train the released code's masked network and count after every step what is no longer zero.

    One row per seed of the first network and step (0 is the mask itself), on the first fold's training epochs:
    zeroed_weights and zeroed_filters are those of the mask, back_weights and back_filters those of them that are not
    zero any more; a filter is back with its first weight. Also written as regrowth.csv.
    """
    rows = []
    for network in family(trained):
        fold = first_fold(epochs, network, settings)
        scale = SUBJECTWISE.normalisation(epochs, fold)
        x, y = torch.from_numpy(scale(epochs.x[fold.train])), torch.from_numpy(epochs.y[fold.train])
        seed = network.keys["seed"]
        torch.manual_seed(seed)
        net = pruned_network(network.networks, settings.ratio, settings.balance, "released", seed, fold.number)
        counts = count_regrowth(net, x, y, network.train.lr, network.train.batch, steps)
        rows += [{"seed": seed} | row for row in counts]
    frame = pd.DataFrame(rows, columns=COLUMNS["regrowth.csv"])
    write_table(frame, settings.folder / "regrowth.csv")
    return frame


def count_regrowth(net, x, y, lr, batch, steps):
    """Rows of regrowth.csv but for the seed, as dicts: `net` is trained by Adam on random batches.

    x : (n, samples) normalised;  y : (n,) stages;  both tensors
    """
    weights = [module.weight for module in net.modules() if isinstance(module, nn.Conv1d)]
    zeroed = [weight.detach() == 0 for weight in weights]
    filters = [mask.flatten(1).all(dim=1) for mask in zeroed]
    optimiser = torch.optim.Adam(net.parameters(), lr)
    net.train()
    rows = []
    for step in range(steps + 1):
        if step:
            chosen = torch.randint(len(y), (batch,))
            loss = F.cross_entropy(net(x[chosen].unsqueeze(1)), y[chosen])
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
        back = [mask & (weight.detach() != 0) for mask, weight in zip(zeroed, weights, strict=True)]
        rows.append(
            {
                "step": step,
                "zeroed_weights": _total(zeroed),
                "back_weights": _total(back),
                "zeroed_filters": _total(filters),
                "back_filters": _total(f & b.flatten(1).any(dim=1) for f, b in zip(filters, back, strict=True)),
            }
        )
    return rows


def _total(masks):
    return int(np.sum([int(mask.sum()) for mask in masks]))
