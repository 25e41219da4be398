"""Settings of a search."""

from dataclasses import dataclass, field

from sleepkit.execution.precision import choose
from sleepkit.execution.record import QUIET
from sleepkit.pruning.data import pruning_rounds


@dataclass(frozen=True, kw_only=True)
class SearchSettings:
    """Settings of one search; the defaults are the paper's (method section 1)."""

    channels: int = 16
    cells: int = 6
    nodes: int = 7
    epochs: int = 25
    batch: int = 32
    lr: float = 0.025  # of the weights: SGD, momentum 0.9, weight decay 3e-4, cosine to 0
    alpha_lr: float = 3e-4  # of the architecture: Adam, betas (0.5, 0.999), weight decay 1e-3
    entropy_weight: float = 0.001
    prune_every: int = 5
    prune_until: int = 22
    data_fraction: float = 0.05  # share of each half that a round removes
    data_pruning: bool = True
    operation_pruning: bool = True
    split_seed: int = 47
    seed: int = 42
    precision: str = field(default="float32", metadata=QUIET)  # of activations: "bfloat16", or "auto"

    def __post_init__(self):
        object.__setattr__(self, "precision", choose(self.precision))
        for name in ("epochs", "batch"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}: a search needs at least 1")
        if self.prune_every < 2:
            raise ValueError(f"prune_every={self.prune_every}: the variance of an error needs at least two epochs")

    @property
    def rounds(self):
        """Epochs, counted from 1, that end in a round of pruning."""
        return pruning_rounds(self.prune_every, min(self.prune_until, self.epochs))
