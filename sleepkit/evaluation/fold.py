"""One fold: who is on which side, the job that trains and tests its network, and what is kept of it."""

import zipfile
import zlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
import torch

from sleepkit.epochs import STAGES, EpochSet
from sleepkit.evaluation.protocols import PROTOCOLS, Fold
from sleepkit.evaluation.training import TrainSettings, fit, predict_logits
from sleepkit.execution.checkpoint import Deadline, fingerprint
from sleepkit.execution.paths import written
from sleepkit.metrics import confusion, scores, softmax
from sleepkit.network.saved import save_network


@dataclass(frozen=True)
class FoldJob:
    """One fold of a plan, complete in itself.

    data : the epochs, or the folder that `share` wrote them to;  folder, key : of the plan's run
    targets : of the plan, see there
    """

    data: EpochSet | Path
    fold: Fold
    protocol: str
    start: Callable
    settings: TrainSettings
    folder: Path
    key: str
    config: dict
    device: str
    deadline: Deadline
    targets: Callable | None = None

    def __str__(self):
        return f"fold {self.fold.number} of {self.config}"


def run_fold(job):
    """Train and score one fold unless its result is there; False when its time was over first. The result is written
    last."""
    number = job.fold.number
    result = job.folder / f"fold{number}.npz"
    if (done := is_finished(job.folder, number)) or job.deadline.over():
        return done
    epochs, fold = shared(job.data), job.fold
    scale = PROTOCOLS[job.protocol].normalisation(epochs, fold)
    train, valid, test = ((scale(epochs.x[rows]), epochs.y[rows]) for rows in (fold.train, fold.valid, fold.test))
    torch.manual_seed(job.settings.seed * 1_009 + number)
    net = job.start(number)
    if job.targets:
        train = (train[0], job.targets(number, *train, job.device))
    work = job.folder / f"fold{number}.unfinished"
    key = fingerprint({"run": job.key, "fold": number}, fold.train, fold.valid, fold.test)
    curves = fit(net, train, valid, job.settings, work, key, job.deadline, job.device, label=f"fold {number}")
    if curves is None:
        return False
    facts = {"fs": epochs.fs, "samples": epochs.x.shape[1], "protocol": job.protocol, "fold": number}
    facts |= {"config": job.config, "device": job.device, "training": fold.subjects(epochs)}
    if job.protocol == "subjectwise":
        facts["normalisation"] = asdict(scale)
    net, sides = net.cpu(), {"valid": valid, "test": test}
    logits = {side: predict_logits(net, x) for side, (x, _) in sides.items()}
    facts["metrics"] = {side: scores(confusion(y, logits[side].argmax(axis=1))) for side, (_, y) in sides.items()}
    save_network(net, job.folder / f"fold{number}", facts)
    with written(job.folder / f"fold{number}.csv") as path:
        curves.to_csv(path, index=False)
    prob, valid_prob = softmax(logits["test"]), softmax(logits["valid"])
    with written(result) as path:
        np.savez_compressed(
            path, id=epochs.id[fold.test], prob=prob, valid_id=epochs.id[fold.valid], valid_prob=valid_prob
        )
    (work / "fit.pt").unlink(missing_ok=True)
    with suppress(OSError):  # not there, or it keeps a damaged checkpoint
        work.rmdir()
    return True


def is_finished(run, number):
    """Whether the folder of a run has all four files of a fold; who removes a damaged one gets the fold anew."""
    return all((Path(run) / f"fold{number}{end}").exists() for end in (".npz", ".csv", ".json", ".safetensors"))


def fold_probabilities(network):
    """What is kept of the fold of a saved network: id and prob of the epochs it tested, valid_id and valid_prob of
    those that validated, as a dict of arrays (see `carry_out`).

    network : path without ending;  ValueError when the file is missing or damaged
    """
    path = Path(network).with_name(Path(network).name + ".npz")
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as saved:
            kept = {name: saved[name] for name in ("id", "prob", "valid_id", "valid_prob")}
        for side in ("", "valid_"):
            n, prob = len(kept[f"{side}id"]), kept[f"{side}prob"]
            if prob.shape != (n, len(STAGES)) or not np.isfinite(prob).all():
                raise ValueError(f"{side}prob {prob.shape}: expected {len(STAGES)} numbers for each of {n} epochs")
        return kept
    except (KeyError, ValueError, EOFError, OSError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(
            f"{path}: not the probabilities of a fold ({error}); remove the file and run the fold again"
        ) from error


def share(epochs, folder):
    """Write epochs where jobs of other processes and machines can map them into memory; returns their folder."""
    names = [field.name for field in fields(epochs)]
    folder = Path(folder) / f"epochs-{epochs.content}"
    for name in names:
        if not (folder / f"{name}.npy").exists():
            with written(folder / f"{name}.npy") as path:
                np.save(path, getattr(epochs, name))
    return folder


def shared(data):
    """The EpochSet that `share` wrote, its signal mapped into memory; an EpochSet is returned as it is."""
    if isinstance(data, EpochSet):
        return data
    arrays = {
        field.name: np.load(data / f"{field.name}.npy", mmap_mode="c" if field.name == "x" else None)
        for field in fields(EpochSet)
    }
    return EpochSet(**arrays | {"fs": float(arrays["fs"])})
