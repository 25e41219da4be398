"""The three levels of pruning: data (BDP), operations (DOP), filters (capacity and independence)."""

__all__ = ["prune_filters", "released_mask"]


def __getattr__(name):
    if name in __all__:
        from sleepkit.pruning import filters  # only now, as it imports torch and `methods` does without

        return getattr(filters, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
