"""Folds, protocols, and the predictions that they merge into (method section 4)."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from sleepkit.epochs import STAGES, EpochSet
from sleepkit.evaluation.context import POWERS, WEIGHTS, fit_context, fit_powers, smooth_nights
from sleepkit.evaluation.fold import FoldJob, fold_probabilities, is_finished, run_fold, share
from sleepkit.evaluation.training import TrainSettings
from sleepkit.execution import jobs
from sleepkit.execution.checkpoint import Deadline, TimeOver, fingerprint
from sleepkit.metrics import CELLS, confusion, group_confusions, per_class, scores
from sleepkit.results import COLUMNS

# What is used of a night's other epochs (none, those before, all, and all where it is chosen how far a stage's rarity
# counts) -> first letter of the predictions' columns.
CONTEXTS = {"none": "p", "forward": "f", "both": "c", "both+rarity": "r"}


@dataclass(frozen=True, eq=False)
class Plan:
    """A network that is to be trained and tested on every fold.

    folds : all folds of the protocol: they belong to the run's identity even when only some of them are run
    start : picklable function of a fold's number (functools.partial of a module's function) that returns the SleepNet
        to train, freshly made or pruned
    folder : where the folders of runs lie
    config : dict that json can hold and that tells networks apart; with protocol, settings, data and folds it names
        the run's folder
    only : numbers of the folds to run; empty runs all
    targets : picklable function of a fold's number, its training pair x and y, and a device that returns what to train
        towards in place of y, (n, 5) probabilities; None trains towards the stages. Like `start` it is not part of
        the run's name: `config` must tell it apart
    """

    epochs: EpochSet
    folds: list
    protocol: str
    start: Callable
    settings: TrainSettings
    folder: Path
    config: dict
    only: tuple = ()
    targets: Callable | None = None

    def __post_init__(self):
        numbers = [fold.number for fold in self.folds]
        if wrong := sorted(set(self.only) - set(numbers)):
            raise ValueError(f"there is no fold {wrong}; the folds are {numbers}")

    def chosen(self):
        return [fold for fold in self.folds if not self.only or fold.number in self.only]

    def key(self):
        """Name of the run: its configuration, settings, data and folds, in whatever order those stand."""
        in_order = sorted(self.folds, key=lambda fold: fold.number)
        sides = [side for fold in in_order for side in (fold.train, fold.valid, fold.test)]
        facts = {"protocol": self.protocol, "config": self.config, "settings": asdict(self.settings)}
        return fingerprint(facts | {"data": self.epochs.content}, *sides)


def cross_validate(
    epochs,
    folds,
    protocol,
    start,
    settings,
    folder,
    config,
    device="cpu",
    deadline=Deadline(),
    where="inline",
    only=(),
):
    """Train a network on every fold and score its test epochs: one `Plan`, carried out (see both).

    returns (predictions, curves, paths of the networks), or None when the deadline came first
    """
    plan = Plan(epochs, folds, protocol, start, settings, folder, config, tuple(only))
    results = carry_out([plan], device, deadline, where)
    return None if results is None else results[0]


def carry_out(plans, device="cpu", deadline=Deadline(), where="inline"):
    """Run the folds of all plans as independent jobs (`sleepkit.execution.jobs`); finished folds are skipped, an unfinished one
    is resumed.

    A run's folder, named by `Plan.key`, holds per fold k: fold<k>.safetensors and .json (the network), fold<k>.csv
    (curves) and, written last, fold<k>.npz: id and prob of the test epochs, valid_id and valid_prob of those that
    validated, with int64 (n,) permanent ids and float32 (n, 5) probabilities.

    returns one (predictions, curves, paths of the networks) per plan, or None when the deadline came first:
    what is done is kept, call again to go on. `predictions` is a data frame with id, night, subject, y, fold, the
    probabilities p_W ... p_REM and, under `subjectwise`, f_W ..., c_W ... and r_W ..., smoothed by context (CONTEXTS).
    """
    runs = [Path(plan.folder).absolute() / plan.key() for plan in plans]
    todo = {}  # by run and fold: two plans may be one run
    for plan, run in zip(plans, runs, strict=True):
        missing = [fold for fold in plan.chosen() if not is_finished(run, fold.number)]
        if missing:
            data = plan.epochs if where == "inline" else share(plan.epochs, Path(plan.folder).absolute())
            of_run = (
                plan.protocol,
                plan.start,
                plan.settings,
                run,
                run.name,
                plan.config,
                device,
                deadline,
                plan.targets,
            )
            todo |= {(run, fold.number): FoldJob(data, fold, *of_run) for fold in missing}
    gpus, folder = int(device.startswith("cuda")), Path(plans[0].folder) / "jobs"
    if not all(jobs.map(run_fold, todo.values(), where, folder, gpus=gpus, label="folds")):
        return None
    return [_read_run(plan, run) for plan, run in zip(plans, runs, strict=True)]


def finished(result, max_minutes):
    """The result of a run that may take `max_minutes`; TimeOver where it is None, because they were over first."""
    if result is None:
        raise TimeOver(f"max_minutes={max_minutes:g} are over; what is done is kept, call again to go on from there")
    return result


def score_rows(predictions, keys):
    """Rows of crossval.csv: per context and fold, and pooled over folds. `keys` holds the columns protocol ... seed."""
    rows = []
    for context, predicted in _staged(predictions):
        for fold in [*sorted(predictions["fold"].unique()), "pooled"]:
            chosen = np.full(len(predictions), True) if fold == "pooled" else (predictions["fold"] == fold).to_numpy()
            matrix = confusion(predictions["y"][chosen], predicted[chosen])
            rows.append(keys | {"context": context, "fold": fold} | scores(matrix) | {"n": int(chosen.sum())})
    return pd.DataFrame(rows)[COLUMNS["crossval.csv"]]


def night_rows(predictions, keys):
    """Rows of confusion_by_night.csv, per context and night: what it takes to compare networks paired by subject."""
    nights, y = predictions["night"].to_numpy(str), predictions["y"].to_numpy()
    frames = []
    for context, predicted in _staged(predictions):
        cells = pd.DataFrame(group_confusions(y, predicted, nights).reshape(-1, len(CELLS)), columns=CELLS)
        cells.insert(0, "night", np.unique(nights))
        names = pd.DataFrame([keys | {"context": context}] * len(cells))
        frames.append(pd.concat([names, cells], axis=1))
    return pd.concat(frames, ignore_index=True)


def _staged(predictions):
    """Pairs (context, (n,) stages as predicted with it) of the contexts that the predictions have."""
    for context, letter in CONTEXTS.items():
        if f"{letter}_W" in predictions:
            yield context, predictions[[f"{letter}_{stage}" for stage in STAGES]].to_numpy().argmax(1)


def pooled_confusion(predictions):
    """(5, 5) confusion matrix of all folds' predictions, each epoch for itself."""
    _, predicted = next(_staged(predictions))
    return confusion(predictions["y"], predicted)


def class_rows(predictions, keys):
    """Rows of per_class.csv: the pooled figures of each stage, without context."""
    frame = per_class(pooled_confusion(predictions))
    return pd.concat([pd.DataFrame([keys] * len(frame)), frame], axis=1)


def confusion_rows(predictions, keys):
    """Rows of confusion.csv: 25 per network, pooled, without context."""
    matrix = pooled_confusion(predictions)
    cells = [{"true": STAGES[i], "predicted": STAGES[j], "n": int(matrix[i, j])} for i in range(5) for j in range(5)]
    return pd.DataFrame([keys | cell for cell in cells])


def fold_context(epochs, fold, kept, powers=WEIGHTS):
    """The context of a fold, fitted on its training subjects' stages; those that validate choose its powers, as its
    network stages them.

    kept : of `fold_probabilities`;  powers : as `fit_powers`
    ValueError where the validation epochs of `kept` are not the fold's
    """
    if not np.array_equal(kept["valid_id"], epochs.id[fold.valid]):
        raise ValueError(f"fold {fold.number}: its network was validated on other epochs than these; train it again")
    # Whole nights, also where data pruning took epochs out of the training: what it left are no neighbours.
    whole = np.isin(epochs.subject, epochs.subject[fold.train])
    context = fit_context(epochs.y[whole], epochs.night[whole])
    return fit_powers(context, kept["valid_prob"], epochs.y[fold.valid], epochs.night[fold.valid], powers)


def _read_run(plan, run):
    folds = plan.chosen()
    parts = [_read_fold(plan.epochs, fold, run, plan.protocol) for fold in folds]
    curves = pd.concat([pd.read_csv(run / f"fold{fold.number}.csv").assign(fold=fold.number) for fold in folds])
    predictions = pd.concat(parts, ignore_index=True).sort_values("id", ignore_index=True)
    return predictions, curves.reset_index(drop=True), [run / f"fold{fold.number}" for fold in folds]


def _read_fold(epochs, fold, folder, protocol):
    kept = fold_probabilities(folder / f"fold{fold.number}")
    prob = kept["prob"]
    known = epochs.subset(fold.test)
    if not np.array_equal(kept["id"], known.id):
        raise ValueError(
            f"{folder / f'fold{fold.number}.npz'}: of other epochs than the fold tests; remove the file and run the fold "
            "again"
        )
    frame = pd.DataFrame(
        {"id": known.id, "night": known.night, "subject": known.subject, "y": known.y, "fold": fold.number}
    )
    columns = {"p": prob}
    if protocol == "subjectwise":
        context = fold_context(epochs, fold, kept)
        columns |= {
            "f": smooth_nights(prob, known.night, context, forward_only=True),
            "c": smooth_nights(prob, known.night, context),
            "r": smooth_nights(prob, known.night, fold_context(epochs, fold, kept, POWERS)),
        }
    for letter, values in columns.items():
        frame[[f"{letter}_{stage}" for stage in STAGES]] = values
    return frame
