"""Settings of the notebooks, each about one thing, given by keyword. The search's and the training's are their rooms'."""

from dataclasses import dataclass, fields, replace
from pathlib import Path

from sleepkit.evaluation.protocols import PROTOCOLS
from sleepkit.execution import jobs, paths
from sleepkit.execution.checkpoint import Deadline
from sleepkit.pruning.methods import METHODS, VARIANTS
from sleepkit.search.settings import SearchSettings

ORIGINS = ("searched", "published")


@dataclass(frozen=True, kw_only=True)
class Run:
    """Which data, and where and how long work runs.

    dataset : "edf20" or "edf78": which of the prepared nights belong to it
    subjects : those of its subjects that take part; empty takes all
    where : where folds run, "inline", "local" or "slurm" (sleepkit.execution.jobs)
    max_minutes : minutes that each computing call may take, then TimeOver, and the next call goes on; 0 sets no limit
    """

    profile: str
    dataset: str = "edf20"
    subjects: tuple = ()
    device: str = "cpu"
    where: str = "inline"
    max_minutes: float = 0

    def __post_init__(self):
        jobs.require_place(self.where)
        as_tuples(self, "subjects")

    @property
    def gpus(self):
        """GPUs of a job."""
        return int(self.device.startswith("cuda"))

    @property
    def stage1(self):
        """Name of the notebook and of the folders of stage 1."""
        return f"stage1_{self.dataset}"

    @property
    def stage2(self):
        """Name of the folders of stage 2: every data set has its own, EDF-20's is called as the notebook is."""
        return "stage2_prune" if self.dataset == "edf20" else f"stage2_prune_{self.dataset}"

    def results(self, stage):
        """Folder of the result files of a stage (`stage1` or `stage2`)."""
        return paths.results(self.profile) / stage

    def work(self, stage):
        """Folder of everything large of a stage."""
        return paths.runs(self.profile) / stage

    def deadline(self):
        """When a call that begins now has to stop."""
        return Deadline.after(self.max_minutes or None)

    def places(self):
        """How `cross_validate` carries out plans that begin now, as keywords."""
        return {"device": self.device, "where": self.where, "deadline": self.deadline()}


@dataclass(frozen=True, kw_only=True)
class Networks:
    """Which networks stage 1 trains, and how they are tested.

    origins : whose genotypes become networks, "searched" and "published";  cells : depths L
    lr : learning rate, or a dict depth -> learning rate
    folds, validation_subjects : number of subject-wise folds, and training subjects of each that validate
    nested : dict of what changes in the search's settings when it is repeated inside every subject-wise fold; empty
        leaves that out
    """

    origins: tuple = ("searched",)
    channels: int = 8
    cells: tuple = (7, 9, 11)
    lr: float | dict = 0.0055
    protocols: tuple = ("subjectwise",)
    folds: int = 10
    validation_subjects: int = 3
    seeds: tuple = (0,)
    nested: dict | None = None

    def __post_init__(self):
        as_tuples(self, "origins", "cells", "protocols", "seeds")
        for name, known in (("protocols", PROTOCOLS), ("origins", ORIGINS)):
            require_known(name, getattr(self, name), known)
        for name in ("protocols", "origins", "cells", "seeds"):
            if not getattr(self, name):
                raise ValueError(f"{name} is empty: name at least one, or there is no network to train")
            require_once(name, getattr(self, name))
        for name in ("channels", "folds", "validation_subjects"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}: must be at least 1")
        if min(self.cells) < 1:
            raise ValueError(f"cells={self.cells}: a network has at least one cell")
        if self.nested:
            if not any(PROTOCOLS[name].by_subject for name in self.protocols):
                raise ValueError('nested: searches inside subject-wise folds need "subjectwise" among the protocols')
            changed(SearchSettings(), self.nested, "nested")
        self.lr_of(self.cells[0])

    def lr_of(self, cells):
        """Learning rate of the networks of that depth."""
        try:
            if not isinstance(self.lr, dict):
                return float(self.lr)
            return {int(depth): float(rate) for depth, rate in self.lr.items()}[cells]
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"lr={self.lr!r}: expected a learning rate, or one of every depth, such as {{7: 0.0055, 9: 0.005}}"
            ) from error


@dataclass(frozen=True, kw_only=True)
class Pruning:
    """How stage 2 prunes.

    ratio : share of channels removed in every tied set;  balance : weight of capacity against independence
    finetune_epochs : epochs after pruning, at a fifth of the learning rate
    variants : methods of METHODS that are trained on all folds next to importance, with rows of their own. "distilled"
        does the same to the full network: what pruning costs shows where both had as many epochs
    """

    ratio: float = 0.5
    balance: float = 0.5
    finetune_epochs: int = 25
    variants: tuple = ()

    def __post_init__(self):
        as_tuples(self, "variants")
        require_shares("ratio", (self.ratio,))
        if not 0 <= self.balance <= 1:
            raise ValueError(f"balance={self.balance}: a share lies between 0 and 1")
        if self.finetune_epochs < 1:
            raise ValueError(f"finetune_epochs={self.finetune_epochs}: must be at least 1")
        require_once("variants", self.variants)
        require_known("variants", self.variants, VARIANTS)


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """Figure 13: the pruning ratios and methods that are compared (no ratios leave it out), on which folds (empty
    takes all)."""

    ratios: tuple = ()
    methods: tuple = tuple(name for name in METHODS if name != "ensemble")
    folds: tuple = (0,)

    def __post_init__(self):
        as_tuples(self, "ratios", "methods", "folds")
        require_shares("ratios", self.ratios)
        for name in ("ratios", "methods", "folds"):
            require_once(name, getattr(self, name))
        require_known("methods", self.methods, METHODS)


@dataclass(frozen=True, kw_only=True)
class Ablation:
    """Table 8: its seeds, each with searches of its own (none leaves it out), and what changes in stage 1's search."""

    seeds: tuple = (0, 1, 2)
    search: dict | None = None

    def __post_init__(self):
        as_tuples(self, "seeds")
        require_once("ablation_seeds", self.seeds)
        changed(SearchSettings(), self.search or {}, "ablation_search")


def changed(search, changes, name):
    """SearchSettings that differ from `search` in `changes`, a dict, which an error calls `name`: ValueError where it
    is no dict of some of the search's settings."""
    known = [field.name for field in fields(SearchSettings)]
    if not isinstance(changes, dict) or set(changes) - set(known):
        raise ValueError(f"{name}={changes!r}: expected a dict of some of the search's settings: {', '.join(known)}")
    return replace(search, **changes)


def as_tuples(settings, *names):
    """Make these fields of a frozen dataclass tuples: notebooks give lists."""
    for name in names:
        object.__setattr__(settings, name, tuple(getattr(settings, name)))


def require_once(name, values):
    """ValueError where a setting names something twice: it would count twice in every mean and sd."""
    if len(set(values)) < len(values):
        raise ValueError(f"{name}={values}: a value stands twice; name each once")


def require_known(name, values, known):
    """ValueError where a setting names what there is not."""
    if wrong := [value for value in values if value not in known]:
        raise ValueError(f"{name}: {wrong} is not among {', '.join(known)}")


def require_shares(name, values):
    """ValueError where a setting is no share of channels that can be removed."""
    if wrong := [value for value in values if not 0 <= value < 1]:
        raise ValueError(f"{name}: {wrong}: a share of channels to remove lies in [0, 1)")


def nights_folder(run):
    """Folder of the prepared nights of a run's profile."""
    return Path(paths.runs(run.profile)) / "nights"
