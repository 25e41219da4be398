"""Cross-validation: a network is trained and tested on every fold, and what that leaves (method section 4)."""

import time
import zipfile
import zlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cached_property, partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from sleepkit.epochs import STAGES, EpochSet
from sleepkit.evaluation.protocols import PROTOCOLS
from sleepkit.evaluation.training import TrainSettings, fit, predict_logits, train_epoch
from sleepkit.execution import jobs
from sleepkit.execution.checkpoint import Deadline, fingerprint
from sleepkit.execution.outlook import FIRST, announce
from sleepkit.execution.paths import written
from sleepkit.execution.record import told
from sleepkit.metrics import confusion, scores, softmax
from sleepkit.network.saved import load_network, save_network
from sleepkit.network.size import count_macs, count_parameters
from sleepkit.results import NetworkKey

LONG = 10_000  # training steps from which on it is measured how long they take
ENDINGS = (".npz", ".csv", ".json", ".safetensors")  # of the files of a finished fold


@dataclass(frozen=True, eq=False)
class Plan:
    """A network that is to be trained and tested on every fold. `start` and `targets` are picklable."""

    key: NetworkKey
    data: EpochSet | Path  # or the folder that `share` wrote it to
    folds: tuple  # all of the protocol; they name the run even when only some of them are run
    start: Callable  # of a fold's number: the SleepNet to train, freshly made or pruned
    training: TrainSettings
    folder: Path  # where the folders of runs lie
    # What else names the run, as json can hold it: architecture, method, what tells one start or targets from another.
    facts: dict = field(default_factory=dict)
    only: tuple = ()  # numbers of the folds to run; empty runs all
    # Of a fold's number, training x and y, and device: (n, 5) probabilities to train towards; None: towards the stages.
    targets: Callable | None = None
    # Training windows (n, samples) in µV as another recorder would have them (experiments.augmentation), tensors.
    augment: Callable | None = None

    def __post_init__(self):
        numbers = [fold.number for fold in self.folds]
        if wrong := sorted(set(self.only) - set(numbers)):
            raise ValueError(f"there is no fold {wrong}; the folds are {numbers}")

    @property
    def chosen(self):
        """The folds to run."""
        return tuple(fold for fold in self.folds if not self.only or fold.number in self.only)

    @cached_property
    def run(self):
        """Folder of the run, named by its key, facts, settings, data and folds, in any order."""
        in_order = sorted(self.folds, key=lambda fold: fold.number)
        sides = [side for fold in in_order for side in (fold.train, fold.valid, fold.test)]
        facts = {"key": asdict(self.key), "facts": self.facts, "training": told(self.training)}
        return Path(self.folder).absolute() / fingerprint(facts | {"data": self.data.content}, *sides)


@dataclass(frozen=True, eq=False)
class CrossValidated:
    """A network that was trained and tested on every fold."""

    key: NetworkKey
    data: EpochSet
    folds: tuple
    networks: dict  # number of the fold -> path without ending
    training: TrainSettings

    @property
    def protocol(self):
        return PROTOCOLS[self.key.protocol]

    @cached_property
    def predictions(self):
        """Data frame of the test epochs, sorted by id: id, night, subject, y, fold, and the probabilities of STAGES.
        Raises ValueError for a fold whose file is damaged or of other epochs."""
        parts = []
        for fold in self.folds:
            path, known = self.networks[fold.number], self.data.subset(fold.test)
            kept = fold_probabilities(path)
            if not np.array_equal(kept["id"], known.id):
                problem = "of other epochs than the fold tests; remove the file and run the fold again"
                raise ValueError(f"{path}.npz: {problem}")
            facts = {name: getattr(known, name) for name in ("id", "night", "subject", "y")} | {"fold": fold.number}
            parts.append(pd.DataFrame(facts | dict(zip(STAGES, kept["prob"].T, strict=True))))
        return pd.concat(parts, ignore_index=True).sort_values("id", ignore_index=True)

    @cached_property
    def curves(self):
        """Data frame of the training curves with the column fold."""
        parts = [pd.read_csv(f"{self.networks[fold.number]}.csv").assign(fold=fold.number) for fold in self.folds]
        return pd.concat(parts, ignore_index=True)

    @cached_property
    def size(self):
        """(parameters, MACs, samples): mean over the folds, which differ where every fold has searched for itself."""
        samples = self.data.x.shape[1]
        nets = [load_network(path)[0] for path in self.networks.values()]
        if len({(net.genotype, net.widths) for net in nets}) == 1:
            nets = nets[:1]
        sizes = [(count_parameters(net), count_macs(net, samples)) for net in nets]
        return (*(round(value) for value in np.mean(sizes, axis=0)), samples)


def cross_validate(plans, device="cpu", where="inline", deadline=Deadline()):
    """Carry out plans, as a list of CrossValidated. Finished folds are skipped, an unfinished one is resumed.

    A run's folder holds per fold k: fold<k>.safetensors and .json (the network), fold<k>.csv (curves) and, written
    last, fold<k>.npz: id (n,) and prob (n, 5) of the test epochs, valid_id and valid_prob of those that validated.
    where : how folds are run, as independent jobs (`sleepkit.execution.jobs`). After TimeOver what is done is kept"""
    todo = {}  # by run and fold: two plans may be one run
    for plan in plans:
        missing = [fold for fold in plan.chosen if not is_finished(plan.run, fold.number)]
        if missing:
            data = plan.data if where == "inline" else share(plan.data, Path(plan.folder).absolute())
            alone = [replace(plan, data=data, folds=(fold,), only=()) for fold in missing]
            todo |= {(plan.run, one.folds[0].number): FoldJob(one, plan.run, device, deadline) for one in alone}
    gpus, folder = int(device.startswith("cuda")), Path(plans[0].folder) / "jobs"
    jobs.map(run_fold, todo.values(), where, folder, gpus=gpus, label=outlook(list(todo.values())))
    networks = [{fold.number: plan.run / f"fold{fold.number}" for fold in plan.chosen} for plan in plans]
    done = zip(plans, networks, strict=True)
    return [CrossValidated(plan.key, plan.data, plan.chosen, paths, plan.training) for plan, paths in done]


def outlook(todo):
    """Label of the progress bar of these jobs. Where they have many steps, a few of the first job are timed, the label
    has the time that all take at most, one at a time, and where that is long it is printed before they begin."""
    steps = sum(job.plan.training.epochs * -(-len(job.plan.folds[0].train) // job.plan.training.batch) for job in todo)
    if steps < LONG:
        return "folds"
    hours = steps * seconds_per_step(todo[0]) / 3600
    announce(f"training: {len(todo)} folds one at a time, at most {steps:,} steps on {todo[0].device}", hours)
    return f"folds, at most {hours:.1f} h"


def seconds_per_step(job):
    """How long a step of a job's training takes: FIRST steps of a network that is thrown away, after as many others."""
    plan, (fold,) = job.plan, job.plan.folds
    epochs, rows = shared(plan.data), fold.train[: FIRST * plan.training.batch]
    net = plan.start(fold.number).to(job.device)
    optimiser = torch.optim.Adam(net.parameters(), plan.training.lr, fused=True)
    x, y = (torch.from_numpy(array[rows]).to(job.device) for array in (epochs.x, epochs.y))
    for _ in range(2):
        start = time.monotonic()
        train_epoch(net, optimiser, x / x.std(), y, plan.training, 0)
    return (time.monotonic() - start) / -(-len(rows) // plan.training.batch)


@dataclass(frozen=True, eq=False)
class FoldJob:
    """One fold of a plan, complete in itself; run : the folder of the whole plan's run."""

    plan: Plan
    run: Path
    device: str
    deadline: Deadline

    def __str__(self):
        return f"fold {self.plan.folds[0].number} of {self.plan.key}"


def run_fold(job):
    """Train and score one fold unless its result is there. The result is written last. Raises TimeOver."""
    plan, (fold,) = job.plan, job.plan.folds
    number = fold.number
    if is_finished(job.run, number):
        return
    job.deadline.check()
    epochs = shared(plan.data)
    scale = PROTOCOLS[plan.key.protocol].normalisation(epochs, fold)
    train, valid, test = ((scale(epochs.x[rows]), epochs.y[rows]) for rows in (fold.train, fold.valid, fold.test))
    torch.manual_seed(plan.training.seed * 1_009 + number)
    net = plan.start(number)
    if plan.targets:
        train = (train[0], plan.targets(number, *train, job.device))
    chosen_on, augment = valid, None
    if plan.augment:
        augment = partial(_seen, plan.augment, scale)
        torch.manual_seed(number)
        disturbed = augment(torch.from_numpy(epochs.x[fold.valid])).numpy()
        train = (epochs.x[fold.train], train[1])
        chosen_on = (np.concatenate([valid[0], disturbed]), np.tile(valid[1], 2))
    work = job.run / f"fold{number}.unfinished"
    key = fingerprint({"run": job.run.name, "fold": number}, fold.train, fold.valid, fold.test)
    how = {"deadline": job.deadline, "device": job.device, "label": f"fold {number}", "augment": augment}
    curves = fit(net, train, chosen_on, plan.training, work, key, **how)
    _save_fold(job, net.cpu(), curves, scale, valid, test)
    (work / "fit.pt").unlink(missing_ok=True)
    with suppress(OSError):  # not there, or it keeps a damaged checkpoint
        work.rmdir()


def _seen(augment, scale, x):
    """What a network sees of augmented windows, (n, samples) tensors: `scale`, as for arrays."""
    return ((augment(x) - scale.mean) / scale.sd).clamp(-3, 3) / 3


def _save_fold(job, net, curves, scale, valid, test):
    """Write the four files of a fold; valid, test : pairs (x as normalised, y)."""
    plan, (fold,) = job.plan, job.plan.folds
    epochs, sides, target = shared(plan.data), {"valid": valid, "test": test}, job.run / f"fold{fold.number}"
    logits = {side: predict_logits(net, x) for side, (x, _) in sides.items()}
    facts = {"fs": epochs.fs, "samples": epochs.x.shape[1], "protocol": plan.key.protocol, "fold": fold.number}
    facts |= {"config": plan.key.columns() | plan.facts, "device": job.device, "training": fold.subjects(epochs)}
    if PROTOCOLS[plan.key.protocol].by_subject:
        facts["normalisation"] = asdict(scale)
    facts["metrics"] = {side: scores(confusion(y, logits[side].argmax(axis=1))) for side, (_, y) in sides.items()}
    save_network(net, target, facts)
    with written(f"{target}.csv") as path:
        curves.to_csv(path, index=False)
    kept = {"id": epochs.id[fold.test], "prob": softmax(logits["test"])}
    kept |= {"valid_id": epochs.id[fold.valid], "valid_prob": softmax(logits["valid"])}
    with written(f"{target}.npz") as path:
        np.savez_compressed(path, **kept)


def is_finished(run, number):
    """Whether the folder of a run has all files of a fold; who removes a damaged one gets the fold anew."""
    return all((Path(run) / f"fold{number}{end}").exists() for end in ENDINGS)


def fold_probabilities(network):
    """What fold<k>.npz of a saved network holds (see `cross_validate`), as a dict of arrays.
    network : path without ending;  ValueError when the file is missing or damaged"""
    path = f"{network}.npz"
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as saved:
            kept = {name: saved[name] for name in ("id", "prob", "valid_id", "valid_prob")}
        for side in ("", "valid_"):
            n, prob = len(kept[f"{side}id"]), kept[f"{side}prob"]
            if prob.shape != (n, len(STAGES)) or not np.isfinite(prob).all():
                raise ValueError(f"{side}prob {prob.shape}: expected {len(STAGES)} numbers for each of {n} epochs")
        return kept
    except (KeyError, ValueError, EOFError, OSError, zipfile.BadZipFile, zlib.error) as error:
        problem = f"not the probabilities of a fold ({error}); remove the file and run the fold again"
        raise ValueError(f"{path}: {problem}") from error


def share(epochs, folder):
    """Write epochs where jobs of other processes and machines can map them into memory; returns their folder."""
    folder = Path(folder) / f"epochs-{epochs.content}"
    for name in (f.name for f in fields(epochs)):
        if not (folder / f"{name}.npy").exists():
            with written(folder / f"{name}.npy") as path:
                np.save(path, getattr(epochs, name))
    return folder


def shared(data):
    """The EpochSet that `share` wrote, its signal mapped into memory; an EpochSet is returned as it is."""
    if isinstance(data, EpochSet):
        return data
    arrays = {f.name: np.load(data / f"{f.name}.npy") for f in fields(EpochSet) if f.name != "x"}
    x = np.load(data / "x.npy", mmap_mode="c")  # copy on write: PyTorch warns of arrays that it must not write to
    return EpochSet(x, **arrays | {"fs": float(arrays["fs"])})
