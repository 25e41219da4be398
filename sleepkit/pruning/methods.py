"""The ways to get a small network that are compared: how each starts, how it trains, and who teaches it."""

from collections.abc import Callable
from dataclasses import dataclass


def _pruned_by(scores):
    """A start: the trained network without its filters of lowest score; `scores(filters, net, balance, seed)`."""

    def start(net, ratio, balance, seed):
        from sleepkit.pruning import filters  # imports torch, which figures do without

        return filters.prune_filters(net, ratio, balance, scores(filters, net, balance, seed))

    return start


def _as_wide(net, ratio, balance, seed):
    """A start: an untrained network as wide as the pruned one."""
    from sleepkit.network.sleepnet import SleepNet

    return SleepNet(net.genotype, net.channels, len(net.cells), widths=by_importance(net, ratio, balance, seed).widths)


def _masked(net, ratio, balance, seed):
    """A start: what the authors' code did, an untrained network whose weights are masked once."""
    from sleepkit.network.sleepnet import SleepNet
    from sleepkit.pruning.filters import released_mask

    return released_mask(SleepNet(net.genotype, net.channels, len(net.cells)), ratio)


by_importance = _pruned_by(lambda filters, net, balance, seed: filters.filter_scores(net, balance))
at_random = _pruned_by(lambda filters, net, balance, seed: filters.random_scores(net, seed))
by_l1 = _pruned_by(lambda filters, net, balance, seed: filters.l1_scores(net))


@dataclass(frozen=True)
class Method:
    """A way to get a small network from a trained one.

    title : in words, for legends
    start : function of the trained network, the share of filters to remove, the balance of importance and a seed that
        returns the SleepNet to train
    trains : "finetune", a few epochs at a fifth of the learning rate; "anew", as the trained network was; "both", as
        it was for as many epochs as both together
    teacher : whose probabilities are half of the targets: "" for nobody's, "itself" (the trained network), or
        "ensemble" (the trained networks of all seeds)
    """

    title: str
    start: Callable = by_importance
    trains: str = "finetune"
    teacher: str = ""


# In the order of legends. A network that is not fine-tuned has the method's name as its variant.
METHODS = {
    "importance": Method("importance (capacity and independence)"),
    "distilled": Method("importance, then distilled from the full one", trains="anew", teacher="itself"),
    "ensemble": Method("importance, then distilled from all seeds", trains="anew", teacher="ensemble"),
    "l1": Method("L1 norm", by_l1),
    "random": Method("at random", at_random),
    "scratch": Method("as wide, trained from scratch", _as_wide, "both"),
    "released": Method("mask of the released code, nothing removed", _masked, "both"),
}
VARIANTS = tuple(name for name, method in METHODS.items() if method.trains != "finetune")
