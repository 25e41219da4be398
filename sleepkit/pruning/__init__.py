"""The three levels of pruning: data (BDP), operations (DOP), filters (capacity and independence)."""

from sleepkit.execution.extras import lazy

__getattr__ = lazy(__name__, dict.fromkeys("l1_scores prune_filters random_scores released_mask".split(), "filters"))
