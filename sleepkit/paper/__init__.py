"""The paper's side: published numbers, tables and figures."""

from sleepkit.execution.extras import lazy

_HOMES = {"answer": "answers", "settings_table": "answers", "published_genotype": "published", "show": "display"}
__getattr__ = lazy(__name__, _HOMES)
