"""The three levels of pruning: data (BDP), operations (DOP), filters (capacity and independence)."""

from sleepkit.execution.extras import lazy

_FILTERS = "l1_scores", "prune_filters", "random_scores", "released_mask"
__getattr__ = lazy(__name__, dict.fromkeys(_FILTERS, "filters"))  # lazily: the table of methods does without torch
