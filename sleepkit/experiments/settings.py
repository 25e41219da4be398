"""Settings of the notebooks, each about one thing, given by keyword."""

import os
from dataclasses import dataclass, field, fields, replace

from sleepkit.evaluation.protocols import PROTOCOLS
from sleepkit.execution import jobs, paths
from sleepkit.execution.checkpoint import Deadline
from sleepkit.experiments.device import choose
from sleepkit.pruning.methods import METHODS, VARIANTS
from sleepkit.recordings.layout import require_own
from sleepkit.recordings.sleep_edf import DATASETS
from sleepkit.search.settings import SearchSettings

ORIGINS = ("searched", "published")


def _max_minutes():
    said = os.environ.get("SLEEPKIT_MAX_MINUTES") or "0"
    try:
        return float(said)
    except ValueError:
        raise ValueError(f"SLEEPKIT_MAX_MINUTES={said}: expected a number of minutes") from None


@dataclass(frozen=True, kw_only=True)
class Run:
    """Which data, and where and how long work runs.
    dataset : "edf20", "edf78", or the name of a data set of one's own: which of the prepared nights belong to it
    subjects : those of its subjects that take part; empty takes all
    device : where the networks are computed, "auto" or what else `sleepkit.experiments.device.choose` takes
    where : where folds run, "inline", "local" or "slurm" (sleepkit.execution.jobs)
    max_minutes : that each computing call may take, then TimeOver, and the next call goes on; 0 sets no limit
    The last three come from the variables SLEEPKIT_DEVICE, SLEEPKIT_WHERE and SLEEPKIT_MAX_MINUTES where they are not
    given; `sleepkit run --device, --where, --max-minutes` sets these. Results do not depend on them."""

    profile: str
    dataset: str = "edf20"
    subjects: tuple = ()
    device: str = "auto"
    where: str = field(default_factory=lambda: os.environ.get("SLEEPKIT_WHERE", "inline"))
    max_minutes: float = field(default_factory=_max_minutes)

    def __post_init__(self):
        jobs.require_place(self.where)
        object.__setattr__(self, "device", choose(self.device))
        as_tuples(self)
        if self.dataset not in DATASETS:
            require_own(self.dataset)

    @property
    def gpus(self):
        return int(self.device.startswith("cuda"))

    @property
    def stage1(self):
        """Name of the folders of stage 1."""
        return f"stage1_{self.dataset}"

    @property
    def notebook(self):
        """Name of the notebook of stage 1: that of EDF-20 takes any data set."""
        return f"stage1_{self.dataset if self.dataset in DATASETS else DATASETS[0]}"

    @property
    def stage2(self):
        """Name of the folders of stage 2: every data set has its own, EDF-20's is called as the notebook is."""
        return "stage2_prune" if self.dataset == "edf20" else f"stage2_prune_{self.dataset}"

    def results(self, stage):
        """Folder of the result files of `stage1` or `stage2`."""
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
    lr : learning rates, one of every depth or one for all
    folds, validation_subjects : number of subject-wise folds, and training subjects of each that validate
    nested : what changes in the search when it is repeated inside every subject-wise fold, a dict; empty: no repeat"""

    origins: tuple = ("searched",)
    channels: int = 8
    cells: tuple = (7, 9, 11)
    lr: tuple = (0.0055, 0.005, 0.005)
    protocols: tuple = ("subjectwise",)
    folds: int = 10
    validation_subjects: int = 3
    seeds: tuple = (0,)
    nested: dict | None = None

    def __post_init__(self):
        as_tuples(self)
        for name, known in {"protocols": PROTOCOLS, "origins": ORIGINS, "cells": None, "seeds": None}.items():
            require_distinct(name, values := getattr(self, name), known)
            if not values:
                raise ValueError(f"{name} is empty: name at least one, or there is no network to train")
        for name in ("channels", "folds", "validation_subjects"):
            require_positive(name, getattr(self, name))
        if min(self.cells) < 1:
            raise ValueError(f"cells={self.cells}: a network has at least one cell")
        if self.nested and not any(PROTOCOLS[name].by_subject for name in self.protocols):
            raise ValueError('nested: searches inside subject-wise folds need "subjectwise" among the protocols')
        changed(SearchSettings(), self.nested, "nested")
        if len(self.lr) not in (1, len(self.cells)):
            raise ValueError(f"lr={self.lr}: expected one learning rate, or one for each of the depths {self.cells}")

    def lr_of(self, cells):
        """Learning rate of the networks of that depth."""
        return self.lr[self.cells.index(cells) if len(self.lr) > 1 else 0]


@dataclass(frozen=True, kw_only=True)
class Pruning:
    """How stage 2 prunes.
    ratio : share of channels removed in every tied set;  balance : weight of capacity against independence
    finetune_epochs : epochs after pruning, at a fifth of the learning rate
    variants : methods of METHODS that are trained on all folds next to importance, with rows of their own. "distilled"
        does the same to the full network: what pruning costs shows where both had as many epochs"""

    ratio: float = 0.5
    balance: float = 0.5
    finetune_epochs: int = 25
    variants: tuple = ()

    def __post_init__(self):
        as_tuples(self)
        require_shares("ratio", (self.ratio,))
        if not 0 <= self.balance <= 1:
            raise ValueError(f"balance={self.balance}: a share lies between 0 and 1")
        require_positive("finetune_epochs", self.finetune_epochs)
        require_distinct("variants", self.variants, VARIANTS)


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """Figure 13: the pruning ratios (none leaves it out) and methods, and the folds to train on (empty takes all)."""

    ratios: tuple = ()
    methods: tuple = tuple(name for name in METHODS if name != "ensemble")
    folds: tuple = (0,)

    def __post_init__(self):
        as_tuples(self)
        require_shares("ratios", self.ratios)
        for name, known in {"ratios": None, "methods": METHODS, "folds": None}.items():
            require_distinct(name, getattr(self, name), known)


@dataclass(frozen=True, kw_only=True)
class Ablation:
    """Table 8: its seeds, each with searches of its own (none leaves it out), and what changes in stage 1's search."""

    seeds: tuple = (0, 1, 2)
    search: dict | None = None

    def __post_init__(self):
        as_tuples(self)
        require_distinct("ablation_seeds", self.seeds)
        changed(SearchSettings(), self.search, "ablation_search")


def changed(search, changes, name):
    """SearchSettings that differ from `search` in `changes`, a dict or None; an error calls it `name`."""
    known = [field.name for field in fields(SearchSettings)]
    if changes and (not isinstance(changes, dict) or set(changes) - set(known)):
        raise ValueError(f"{name}={changes!r}: expected a dict of some of the search's settings: {', '.join(known)}")
    return replace(search, **changes or {})


def as_tuples(settings):
    """Make the tuples of a frozen dataclass tuples: notebooks give lists."""
    for one in fields(settings):
        if one.type is tuple:
            object.__setattr__(settings, one.name, tuple(getattr(settings, one.name)))


def require_distinct(name, values, known=None):
    """ValueError where a setting names what is not known, or something twice: it would count twice in every mean."""
    if wrong := [value for value in values if known is not None and value not in known]:
        raise ValueError(f"{name}: {wrong} is not among {', '.join(known)}")
    if len(set(values)) < len(values):
        raise ValueError(f"{name}={values}: a value stands twice; name each once")


def require_shares(name, values):
    """ValueError where a setting is no share of channels that can be removed."""
    if wrong := [value for value in values if not 0 <= value < 1]:
        raise ValueError(f"{name}: {wrong}: a share of channels to remove lies in [0, 1)")


def require_positive(name, value):
    if value < 1:
        raise ValueError(f"{name}={value}: must be at least 1")
