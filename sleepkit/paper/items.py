"""The 28 numbered tables and figures of the paper, and two beyond it (figure 18, table 12): what each is drawn from and
by what, and whose numbers it has."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import product

import pandas as pd

from sleepkit.execution import paths
from sleepkit.paper import figures, tables
from sleepkit.paper.published import SEARCH_SAMPLES, published, published_genotype
from sleepkit.results import find, gather, read

EDF20, BOTH = ("edf20",), ("edf20", "edf78")
CELLS = ("Normal", "normal"), ("Reduction", "reduce")
STAGE1, STAGE2 = "stage1_edf20", "stage2_prune"
SIZES = "crossval", "parameters"
SEARCHED = "weights.npz", "removed_operations.csv", "history.csv", "genotype.json"


@dataclass(frozen=True)
class Item:
    """A numbered table or figure."""

    key: str  # "fig06"; the number never changes
    slug: str  # of its files
    title: str  # in words
    notebook: str  # the one that computes its numbers
    datasets: tuple  # whose recordings it shows; () where it shows nobody's
    networks: str  # which, of those that provenance knows
    function: Callable  # a `plot_...` that returns a figure or a `table_...` that returns a data frame
    data: Callable  # of a profile: the arguments of `function` but for the note, or None without results
    own: str = ""  # result file that names the seeds, test epochs or processor, where they are not those of all
    remarks: Callable = lambda profile, table: []  # sentences for the foot of a table
    supplement: Callable = None  # a `plot_...` that draws what a figure has no room for, from the same data

    @property
    def is_figure(self):
        return self.key.startswith("fig")

    def draw(self, profile, note=""):
        """The matplotlib figure, with `note` at its foot, or the data frame; None where the profile has no results."""
        data, noted = self.data(profile), {"note": note} if self.is_figure else {}
        return None if data is None else self.function(*data, **noted)

    def stem(self, profile):
        """The path of its files without their ending: figures/<profile>/fig06_search_curves."""
        return paths.figures(profile) / f"{self.key}_{self.slug}"

    def files(self, profile):
        endings = ("png", "svg") if self.is_figure else ("csv", "md", "tex")
        stems = [one.stem(profile) for one in (self, self.rest) if one]
        return [stem.with_suffix(f".{ending}") for stem in stems for ending in endings]

    @property
    def rest(self):
        """The supplement as an item of its own, or None."""
        own = {"slug": f"{self.slug}_supplement", "networks": "all", "function": self.supplement, "supplement": None}
        return self.supplement and replace(self, **own)


def item(key):
    """The item with that key ("fig06"); ValueError lists the keys there are."""
    known = {entry.key: entry for entry in ITEMS}
    if key not in known:
        raise ValueError(f"no item {key!r}; known: {', '.join(known)}")
    return known[key]


def _needs(notebook, *names):
    """Data of an item that is drawn from these result files of one notebook alone."""

    def data(profile):
        found = [find(profile, f"{notebook}/{name}") for name in names]
        return None if any(file is None for file in found) else found

    return data


def _gathered(names, before=(), after=()):
    """Data of an item that is drawn from these files of all notebooks, each or none, and from other arguments."""
    return lambda profile: (*before, *(gather(profile, f"{name}.csv") for name in names), *after)


def _cell(dataset, kind):
    return lambda profile: (published_genotype(dataset), find(profile, f"stage1_{dataset}/genotype.json"), kind)


def _search(profile):
    return find(profile, f"{STAGE1}/history.csv"), published("search_curve"), SEARCH_SAMPLES


def _epochs(profile):
    return find(profile, "nights.csv"), {name: find(profile, f"stage1_{name}/removed_samples.csv") for name in BOTH}


def _settings(profile):
    found = {words: find(profile, f"stage1_{name}/settings.json") for name, words in tables.DATASETS.items()}
    return ({name: settings for name, settings in found.items() if settings},)


def _wearable(profile):
    return (pd.read_csv(paths.WEIGHTS / "wearable.csv"),)  # of the package's networks, whatever the profile


def _protocol_remarks(profile, table):
    predictions, kept = (find(profile, f"stage1_edf20/{name}.npz") for name in ("predictions", "kept"))
    gap = tables.protocol_gap(gather(profile, "crossval.csv"), "edf20", predictions, kept)
    return [tables.CONTEXT_NOTE] * bool((table.context != "none").any()) + [gap] * bool(gap)


# fmt: off
ITEMS = (
    Item("fig01", "framework", "The two-stage framework", "figures", (), "none", figures.plot_framework, _gathered(())),
    *(Item(f"fig0{number}", f"{dataset}_{word.lower()}_cell", f"{word} cell, {tables.DATASETS[dataset]}",
           f"stage1_{dataset}", (dataset,), "none", figures.plot_cells, _cell(dataset, kind))
      for number, (dataset, (word, kind)) in enumerate(product(BOTH, CELLS), start=2)),
    Item("fig06", "search_curves", "Search curves and pruning rounds", STAGE1, EDF20, "none",
         figures.plot_search, _search),
    Item("fig07", "sharpening", "How the architecture weights sharpen", STAGE1, EDF20, "none",
         figures.plot_sharpening, _needs(STAGE1, *SEARCHED)),
    Item("fig08", "removed_epochs", "What data pruning removes", STAGE1, EDF20, "none",
         figures.plot_removed, _needs(STAGE1, "voe.npz", "examples.npz")),
    *(Item(key, f"{dataset}_confusion", f"Confusion matrices, {tables.DATASETS[dataset]}", STAGE2, (dataset,),
           "shallowest", figures.plot_confusion, _gathered(["confusion"], [dataset]),
           supplement=figures.plot_confusions)
      for key, dataset in zip(("fig09", "fig10"), BOTH, strict=True)),
    Item("fig11", "training_curves", "Training curves of the folds", STAGE2, BOTH, "family", figures.plot_training,
         lambda profile: (gather(profile, "training_curves.csv"), published("training_curves"))),
    Item("fig12", "importance", "Importance of the filters per layer", STAGE2, EDF20, "fold",
         figures.plot_importance, _needs(STAGE2, "filters.csv")),
    Item("fig13", "pruning_ratio", "Accuracy against pruning ratio", STAGE2, EDF20, "first",
         figures.plot_sweep, _needs(STAGE2, "sweep.csv"), f"{STAGE2}/sweep.csv"),
    Item("fig14", "cost_accuracy", "Accuracy against parameters and MACs", STAGE2, BOTH, "all",
         figures.plot_tradeoff, _gathered(SIZES)),
    Item("fig15", "night", "One night: expert, network, network with context", STAGE1, EDF20, "first",
         figures.plot_night, _needs(STAGE1, "predictions.npz")),
    Item("fig16", "calibration", "Reliability before and after pruning and temperature scaling", STAGE2,
         EDF20, "first", figures.plot_calibration, _needs(STAGE2, "calibration.csv")),
    Item("fig17", "latency", "Latency and size on one CPU thread", STAGE2, EDF20, "fold",
         figures.plot_latency, _needs(STAGE2, "cost.csv"), f"{STAGE2}/cost.csv"),
    Item("fig18", "wearable", "Memory and time on a microcontroller", "figures", (), "none",
         figures.plot_wearable, _wearable),
    Item("tab01", "epochs", "Epochs per stage before and after data pruning", "prepare", BOTH, "none",
         tables.table_epochs, _epochs),
    Item("tab02", "settings", "Search space and hyper-parameters", STAGE1, BOTH, "none",
         tables.table_settings, _settings),
    *(Item(f"tab0{number}", f"{dataset}_stage{stage}", f"{tables.DATASETS[dataset]}, stage {stage}",
           STAGE2 if stage == 2 else f"stage1_{dataset}", (dataset,), f"stage {stage}",
           tables.table_stage, _gathered(("crossval", "confusion", "confusion_by_night", "parameters"),
                                         [dataset, stage == 2]),
           remarks=lambda profile, table: [tables.STAGE_NOTE])
      for number, (dataset, stage) in enumerate(product(BOTH, (1, 2)), start=3)),
    Item("tab07", "state_of_the_art", "Comparison with the state of the art", STAGE2, BOTH, "all",
         tables.table_state_of_the_art, _gathered(SIZES)),
    Item("tab08", "ablation", "Ablation", STAGE2, EDF20, "own",
         tables.table_ablation, _needs(STAGE2, "ablation.csv"), f"{STAGE2}/ablation.csv",
         lambda profile, table: [tables.ablation_note(read(profile, f"{STAGE2}/ablation.json"))]),
    Item("tab09", "cost", "Inference cost", STAGE2, EDF20, "fold", tables.table_cost, _needs(STAGE2, "cost.csv"),
         f"{STAGE2}/cost.csv"),
    Item("tab10", "protocols", "Protocols and context", STAGE2, EDF20, "all",
         tables.table_protocols, _gathered(SIZES, after=["edf20"]), remarks=_protocol_remarks),
    Item("tab11", "departures", "Departures: paper, released code, companion", "figures", (), "none",
         tables.table_departures, _gathered(())),
    Item("tab12", "microcontroller", "What the networks need of a microcontroller", "figures", (), "none",
         tables.table_wearable, _wearable, remarks=lambda profile, table: tables.wearable_remarks(*_wearable(profile))),
)
# fmt: on
