"""The three levels of pruning: data (BDP), operations (DOP), filters (capacity and independence)."""


def __getattr__(name):  # lazily: the table of methods does without torch
    if name not in ("prune_filters", "released_mask"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from sleepkit.pruning import filters

    return getattr(filters, name)
