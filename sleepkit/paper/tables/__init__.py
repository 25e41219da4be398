"""Tables: one function per item; each takes data frames and returns one, with units in the heads."""
# ruff: noqa: F401  the face of the room of tables

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
from sleepkit.paper.tables.runs import DATASETS, STAGE_NOTE, table_epochs, table_settings, table_stage
from sleepkit.paper.tables.wearable import table_wearable, wearable_remarks
