"""What the notebooks' cells call."""

from sleepkit.execution.extras import lazy

HOMES = {
    "settings": "Ablation Networks Pruning Run Sweep",
    "preparing": "Preparation obtain_recordings prepare_nights stage_counts",
    "stage1": "load_epochs nested_report search_architecture train_networks",
    "stage2": "filter_importance full_and_pruned load_networks load_pruned prune_and_finetune prune_other_dataset",
    "sweep": "regrowth sweep_ratios",
    "ablation": "ablate",
    "compare": "calibrate inference_cost paired_differences",
    "checks": "evaluation_checks preparation_checks pruning_checks search_checks",
}

__getattr__ = lazy(__name__, {name: module for module, names in HOMES.items() for name in names.split()})
