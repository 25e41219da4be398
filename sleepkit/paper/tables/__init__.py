"""Tables: one function per item; each takes data frames and returns one, with units in the heads."""

from sleepkit.paper.tables.comparisons import (
    CONTEXT_NOTE,
    ablation_note,
    protocol_gap,
    table_ablation,
    table_cost,
    table_departures,
    table_protocols,
    table_state_of_the_art,
)
from sleepkit.paper.tables.formats import latex, markdown, save
from sleepkit.paper.tables.runs import DATASETS, table_epochs, table_settings, table_stage

__all__ = [
    "CONTEXT_NOTE",
    "DATASETS",
    "ablation_note",
    "latex",
    "markdown",
    "protocol_gap",
    "save",
    "table_ablation",
    "table_cost",
    "table_departures",
    "table_epochs",
    "table_protocols",
    "table_settings",
    "table_stage",
    "table_state_of_the_art",
]
