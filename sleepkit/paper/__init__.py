"""The paper's side: published numbers, tables and figures."""

FACE = {"answer": "sleepkit.paper.answers", "settings_table": "sleepkit.paper.answers"}
FACE |= {"published_genotype": "sleepkit.paper.published", "show": "sleepkit.paper.display"}


def __getattr__(name):
    if name not in FACE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(FACE[name]), name)
