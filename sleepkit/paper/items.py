"""The 28 numbered tables and figures of the paper: what each is drawn from and by what, and whose numbers it has."""

from collections.abc import Callable
from dataclasses import dataclass

from sleepkit.execution import paths
from sleepkit.paper import figures, tables
from sleepkit.paper.published import SEARCH_SAMPLES, published, published_genotype
from sleepkit.results import find, gather, read

EDF20, EDF78 = ("edf20",), ("edf78",)
BOTH = EDF20 + EDF78
SHARPENING = [
    f"stage1_edf20/{name}" for name in ("weights.npz", "removed_operations.csv", "history.csv", "genotype.json")
]


@dataclass(frozen=True)
class Item:
    """A numbered table or figure.

    key : "fig06"; the number never changes
    slug, title : of its files, and in words
    notebook : the one that computes its numbers
    datasets : whose recordings it shows; () where it shows nobody's
    networks : whose numbers: of "all" networks, of those of "stage 1" or "stage 2", of the "first" of the profile, of
        its "own" (from searches that no other item shows), or of "none", but of the search
    function : what draws it, a `plot_...` that returns a figure or a `table_...` that returns a data frame
    data : function of a profile that returns the arguments of `function` but for the note, or None without results
    seeds : result file that names the seeds, where they are not those of crossval.csv
    remarks : function of a profile and the table that returns a list of sentences for its foot
    """

    key: str
    slug: str
    title: str
    notebook: str
    datasets: tuple
    networks: str
    function: Callable
    data: Callable
    seeds: str = ""
    remarks: Callable = lambda profile, table: []

    @property
    def is_figure(self):
        return self.key.startswith("fig")

    def draw(self, profile, note=""):
        """The matplotlib figure, with `note` at its foot, or the data frame; None where the profile has no results."""
        data = self.data(profile)
        if data is None:
            return None
        return self.function(*data, note=note) if self.is_figure else self.function(*data)

    def stem(self, profile):
        """The path of its files without their ending: figures/<profile>/fig06_search_curves."""
        return paths.figures(profile) / f"{self.key}_{self.slug}"

    def files(self, profile):
        """The paths of its files."""
        endings = ("png", "svg") if self.is_figure else ("csv", "md", "tex")
        return [self.stem(profile).with_suffix(f".{ending}") for ending in endings]


def item(key):
    """The item with that key ("fig06"); ValueError lists the keys there are."""
    for entry in ITEMS:
        if entry.key == key:
            return entry
    raise ValueError(f"no item {key!r}; known: {', '.join(entry.key for entry in ITEMS)}")


def _needs(*names):
    """Data of an item that is drawn from these result files alone."""

    def data(profile):
        found = [find(profile, name) for name in names]
        return None if any(file is None for file in found) else found

    return data


def _nothing(profile):
    return ()


def _cell(dataset, kind):
    return lambda profile: (published_genotype(dataset), find(profile, f"stage1_{dataset}/genotype.json"), kind)


def _stage(dataset, pruned):
    names = ("crossval.csv", "per_class.csv", "parameters.csv")
    return lambda profile: (dataset, pruned, *(gather(profile, name) for name in names))


def _confusion(dataset):
    return lambda profile: (dataset, gather(profile, "confusion.csv"))


def _search(profile):
    return find(profile, "stage1_edf20/history.csv"), published("search_curve"), SEARCH_SAMPLES


def _training(profile):
    return gather(profile, "training_curves.csv"), published("training_curves")


def _sizes(profile):
    return gather(profile, "crossval.csv"), gather(profile, "parameters.csv")


def _crossval(profile):
    return gather(profile, "crossval.csv"), "edf20"


def _epochs(profile):
    return find(profile, "nights.csv"), {name: find(profile, f"stage1_{name}/removed_samples.csv") for name in BOTH}


def _settings(profile):
    found = {tables.DATASETS[name]: find(profile, f"stage1_{name}/settings.json") for name in BOTH}
    return ({name: settings for name, settings in found.items() if settings},)


def _ablation_remarks(profile, table):
    return [tables.ablation_note(read(profile, "stage2_prune/ablation.json"))]


def _protocol_remarks(profile, table):
    """What the contexts of table 10 are, and what separates its protocols."""
    predictions, kept = (find(profile, f"stage1_edf20/{name}.npz") for name in ("predictions", "kept"))
    gap = tables.protocol_gap(gather(profile, "crossval.csv"), "edf20", predictions, kept)
    return [tables.CONTEXT_NOTE] * bool((table.context != "none").any()) + [gap] * bool(gap)


# Two lines an item: what it is and whose numbers it has; how it is drawn.
# fmt: off
ITEMS = (
    Item("fig01", "framework", "The two-stage framework", "figures", (), "none",
         figures.plot_framework, _nothing),
    Item("fig02", "edf20_normal_cell", "Normal cell, EDF-20", "stage1_edf20", EDF20, "none",
         figures.plot_cells, _cell("edf20", "normal")),
    Item("fig03", "edf20_reduction_cell", "Reduction cell, EDF-20", "stage1_edf20", EDF20, "none",
         figures.plot_cells, _cell("edf20", "reduce")),
    Item("fig04", "edf78_normal_cell", "Normal cell, EDF-78", "stage1_edf78", EDF78, "none",
         figures.plot_cells, _cell("edf78", "normal")),
    Item("fig05", "edf78_reduction_cell", "Reduction cell, EDF-78", "stage1_edf78", EDF78, "none",
         figures.plot_cells, _cell("edf78", "reduce")),
    Item("fig06", "search_curves", "Search curves and pruning rounds", "stage1_edf20", EDF20, "none",
         figures.plot_search, _search),
    Item("fig07", "sharpening", "How the architecture weights sharpen", "stage1_edf20", EDF20, "none",
         figures.plot_sharpening, _needs(*SHARPENING)),
    Item("fig08", "removed_epochs", "What data pruning removes", "stage1_edf20", EDF20, "none",
         figures.plot_removed, _needs("stage1_edf20/voe.npz", "stage1_edf20/examples.npz")),
    Item("fig09", "edf20_confusion", "Confusion matrices, EDF-20", "stage2_prune", EDF20, "all",
         figures.plot_confusion, _confusion("edf20")),
    Item("fig10", "edf78_confusion", "Confusion matrices, EDF-78", "stage2_prune", EDF78, "all",
         figures.plot_confusion, _confusion("edf78")),
    Item("fig11", "training_curves", "Training curves per fold", "stage2_prune", BOTH, "all",
         figures.plot_training, _training),
    Item("fig12", "importance", "Importance of the filters per layer", "stage2_prune", EDF20, "first",
         figures.plot_importance, _needs("stage2_prune/filters.csv")),
    Item("fig13", "pruning_ratio", "Accuracy against pruning ratio", "stage2_prune", EDF20, "first",
         figures.plot_sweep, _needs("stage2_prune/sweep.csv"), "stage2_prune/sweep.csv"),
    Item("fig14", "cost_accuracy", "Accuracy against parameters and MACs", "stage2_prune", BOTH, "all",
         figures.plot_tradeoff, _sizes),
    Item("fig15", "night", "One night: expert, network, network with context", "stage1_edf20", EDF20, "first",
         figures.plot_night, _needs("stage1_edf20/predictions.npz")),
    Item("fig16", "calibration", "Reliability before and after pruning and temperature scaling", "stage2_prune",
         EDF20, "first", figures.plot_calibration, _needs("stage2_prune/calibration.csv")),
    Item("fig17", "latency", "Latency and size on one CPU thread", "stage2_prune", EDF20, "first",
         figures.plot_latency, _needs("stage2_prune/cost.csv")),
    Item("tab01", "epochs", "Epochs per stage before and after data pruning", "prepare", BOTH, "none",
         tables.table_epochs, _epochs),
    Item("tab02", "settings", "Search space and hyper-parameters", "stage1_edf20", BOTH, "none",
         tables.table_settings, _settings),
    Item("tab03", "edf20_stage1", "EDF-20, stage 1", "stage1_edf20", EDF20, "stage 1",
         tables.table_stage, _stage("edf20", False)),
    Item("tab04", "edf20_stage2", "EDF-20, stage 2", "stage2_prune", EDF20, "stage 2",
         tables.table_stage, _stage("edf20", True)),
    Item("tab05", "edf78_stage1", "EDF-78, stage 1", "stage1_edf78", EDF78, "stage 1",
         tables.table_stage, _stage("edf78", False)),
    Item("tab06", "edf78_stage2", "EDF-78, stage 2", "stage2_prune", EDF78, "stage 2",
         tables.table_stage, _stage("edf78", True)),
    Item("tab07", "state_of_the_art", "Comparison with the state of the art", "stage2_prune", BOTH, "all",
         tables.table_state_of_the_art, _sizes),
    Item("tab08", "ablation", "Ablation", "stage2_prune", EDF20, "own",
         tables.table_ablation, _needs("stage2_prune/ablation.csv"), "stage2_prune/ablation.csv", _ablation_remarks),
    Item("tab09", "cost", "Inference cost", "stage2_prune", EDF20, "first",
         tables.table_cost, _needs("stage2_prune/cost.csv")),
    Item("tab10", "protocols", "Protocols and context", "stage2_prune", EDF20, "all",
         tables.table_protocols, _crossval, remarks=_protocol_remarks),
    Item("tab11", "departures", "Departures: paper, released code, companion", "figures", (), "none",
         tables.table_departures, _nothing),
)
# fmt: on
