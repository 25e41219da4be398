"""The paper's side: published numbers, tables and figures."""

from sleepkit.execution.extras import lazy

_HOMES = {"answers": "answer settings_table", "published": "published_genotype", "display": "as_table preview show"}
__getattr__ = lazy(__name__, {name: module for module, names in _HOMES.items() for name in names.split()})
