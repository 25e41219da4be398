"""The ways to get a small network that are compared: how each starts, how it trains, and who teaches it."""

from collections.abc import Callable
from dataclasses import dataclass

from sleepkit import pruning  # its functions import torch, which figures do without


def by_importance(net, ratio, balance, seed):
    """The trained network without its least important filters."""
    return pruning.prune_filters(net, ratio, balance)


def at_random(net, ratio, balance, seed):
    return pruning.prune_filters(net, ratio, scores=pruning.random_scores(net, seed))


def by_l1(net, ratio, balance, seed):
    return pruning.prune_filters(net, ratio, scores=pruning.l1_scores(net))


def as_wide(net, ratio, balance, seed):
    """An untrained network as wide as the pruned one."""
    return type(net)(net.genotype, net.channels, len(net.cells), widths=by_importance(net, ratio, balance, seed).widths)


def masked(net, ratio, balance, seed):
    """What the authors' code did: an untrained network whose weights are masked once."""
    return pruning.released_mask(type(net)(net.genotype, net.channels, len(net.cells)), ratio)


@dataclass(frozen=True)
class Method:
    """A way to get a small network from a trained one."""

    title: str  # in words, for legends
    start: Callable = by_importance  # (trained network, share of filters to remove, balance, seed) -> SleepNet to train
    # "finetune", a few epochs at a fifth of the learning rate; "anew", as the trained network; "both", as long as both
    trains: str = "finetune"
    teacher: str = ""  # whose probabilities are half of the targets: of the trained network "itself", of the "ensemble"


# In the order of legends. A network that is not fine-tuned has the method's name as its variant.
METHODS = {
    "importance": Method("importance (capacity and independence)"),
    "distilled": Method("importance, then distilled from the full one", trains="anew", teacher="itself"),
    "ensemble": Method("importance, then distilled from all seeds", trains="anew", teacher="ensemble"),
    "l1": Method("L1 norm", by_l1),
    "random": Method("at random", at_random),
    "scratch": Method("as wide, trained from scratch", as_wide, "both"),
    "released": Method("mask of the released code, nothing removed", masked, "both"),
}
VARIANTS = tuple(name for name, method in METHODS.items() if method.trains != "finetune")
