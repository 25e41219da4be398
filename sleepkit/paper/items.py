"""The numbered tables and figures of the paper."""

from typing import NamedTuple

from sleepkit.execution import paths


class Item(NamedTuple):
    key: str  # "fig06": the number never changes
    slug: str
    title: str
    notebook: str  # whose results it is drawn from
    function: str  # what draws it


ITEMS = (
    Item("fig01", "framework", "The two-stage framework", "figures", "figures.plot_framework"),
    Item("fig02", "edf20_normal_cell", "Normal cell, EDF-20", "stage1_edf20", "figures.plot_cells"),
    Item("fig03", "edf20_reduction_cell", "Reduction cell, EDF-20", "stage1_edf20", "figures.plot_cells"),
    Item("fig04", "edf78_normal_cell", "Normal cell, EDF-78", "stage1_edf78", "figures.plot_cells"),
    Item("fig05", "edf78_reduction_cell", "Reduction cell, EDF-78", "stage1_edf78", "figures.plot_cells"),
    Item("fig06", "search_curves", "Search curves and pruning rounds", "stage1_edf20", "figures.plot_search"),
    Item("fig07", "sharpening", "How the architecture weights sharpen", "stage1_edf20", "figures.plot_sharpening"),
    Item("fig08", "removed_epochs", "What data pruning removes", "stage1_edf20", "figures.plot_removed"),
    Item("fig09", "edf20_confusion", "Confusion matrices, EDF-20", "stage2_prune", "figures.plot_confusion"),
    Item("fig10", "edf78_confusion", "Confusion matrices, EDF-78", "stage2_prune", "figures.plot_confusion"),
    Item("fig11", "training_curves", "Training curves per fold", "stage2_prune", "figures.plot_training"),
    Item("fig12", "importance", "Importance of the filters per layer", "stage2_prune", "figures.plot_importance"),
    Item("fig13", "pruning_ratio", "Accuracy against pruning ratio", "stage2_prune", "figures.plot_sweep"),
    Item("fig14", "cost_accuracy", "Accuracy against parameters and MACs", "stage2_prune", "figures.plot_tradeoff"),
    Item("fig15", "night", "One night: expert, network, network with context", "stage1_edf20", "figures.plot_night"),
    Item(
        "fig16",
        "calibration",
        "Reliability before and after pruning and temperature scaling",
        "stage2_prune",
        "figures.plot_calibration",
    ),
    Item("fig17", "latency", "Latency and size on one CPU thread", "stage2_prune", "figures.plot_latency"),
    Item("tab01", "epochs", "Epochs per stage before and after data pruning", "prepare", "tables.table_epochs"),
    Item("tab02", "settings", "Search space and hyper-parameters", "stage1_edf20", "tables.table_settings"),
    Item("tab03", "edf20_stage1", "EDF-20, stage 1", "stage1_edf20", "tables.table_stage"),
    Item("tab04", "edf20_stage2", "EDF-20, stage 2", "stage2_prune", "tables.table_stage"),
    Item("tab05", "edf78_stage1", "EDF-78, stage 1", "stage1_edf78", "tables.table_stage"),
    Item("tab06", "edf78_stage2", "EDF-78, stage 2", "stage2_prune", "tables.table_stage"),
    Item(
        "tab07",
        "state_of_the_art",
        "Comparison with the state of the art",
        "stage2_prune",
        "tables.table_state_of_the_art",
    ),
    Item("tab08", "ablation", "Ablation", "stage2_prune", "tables.table_ablation"),
    Item("tab09", "cost", "Inference cost", "stage2_prune", "tables.table_cost"),
    Item("tab10", "protocols", "Protocols and context", "stage2_prune", "tables.table_protocols"),
    Item("tab11", "departures", "Departures: paper, released code, companion", "figures", "tables.table_departures"),
)


def item(key):
    """The item with that key ("fig06"); ValueError lists the keys there are."""
    for entry in ITEMS:
        if entry.key == key:
            return entry
    raise ValueError(f"no item {key!r}; known: {', '.join(entry.key for entry in ITEMS)}")


def path(profile, key, ending):
    """Where the file of an item stands: figures/<profile>/fig06_search_curves.png."""
    return paths.figures(profile) / f"{key}_{item(key).slug}.{ending}"
