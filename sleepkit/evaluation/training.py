"""Fit one network: Adam, early stopping on validation macro-F1, and a checkpoint that costs at most one epoch."""

import copy
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch.nn import functional as F

from sleepkit.execution.checkpoint import Deadline, load_checkpoint, save_checkpoint
from sleepkit.execution.paths import progress
from sleepkit.metrics import confusion, scores

SCHEDULES = ("constant", "cosine")
SELECT_BY = ("acc", "mf1")  # scores on the validation epochs, of which the highest chooses the epoch


@dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """Settings of one fit; the defaults are those of the authors' code (method section 2)."""

    lr: float = 0.0055  # Adam
    schedule: str = "constant"  # "cosine": the learning rate falls to zero along half a cosine, over all epochs
    batch: int = 64
    epochs: int = 50
    patience: int = 15  # epochs without a better score on the validation epochs
    select_by: str = "mf1"  # score that chooses the epoch: subjectwise macro-F1, epochwise acc
    seed: int = 42

    def __post_init__(self):
        if not self.lr > 0:
            raise ValueError(f"lr={self.lr}: a learning rate is above 0")
        for name in ("batch", "epochs", "patience"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}: a training needs at least 1")
        for name, known in (("schedule", SCHEDULES), ("select_by", SELECT_BY)):
            if getattr(self, name) not in known:
                raise ValueError(f"{name}={getattr(self, name)!r}: expected one of {', '.join(known)}")

    def rate(self, progress):
        """Learning rate after the share `progress`, 0 to 1, of all epochs."""
        return self.lr if self.schedule == "constant" else self.lr * (1 + math.cos(math.pi * progress)) / 2


def fit(net, train, valid, settings, folder, key, deadline=Deadline(), device="cpu", label="train"):
    """Train `net` in place and leave it, in eval mode, with the weights of its best epoch on `valid`.

    train, valid : pairs (x (n, samples) float32 as normalised, y (n,) int64 stages); those to train on may be (n, 5)
        float32 probabilities instead
    folder : where the checkpoint of the unfinished fit lies;  key : names configuration and data
    returns the curves as a data frame: epoch, train_loss, valid_loss, valid_acc, valid_mf1
    Raises TimeOver when the deadline came first, FloatingPointError when the loss becomes NaN, ValueError for a
    checkpoint of another configuration.
    """
    net.to(device)
    optimiser = torch.optim.Adam(net.parameters(), settings.lr, fused=True)
    x, y = (torch.from_numpy(array).to(device) for array in train)
    path = Path(folder) / "fit.pt"
    curves, best = [], None
    state = load_checkpoint(path, key, device)
    if state is not None:
        net.load_state_dict(state["net"])
        optimiser.load_state_dict(state["optimiser"])
        curves, best = state["curves"], state["best"]
    bar = progress(total=settings.epochs, initial=len(curves), desc=label, unit="epoch", leave=False)
    while len(curves) < settings.epochs and not _exhausted(curves, settings):
        deadline.check()
        loss = train_epoch(net, optimiser, x, y, settings, len(curves))
        logits = predict_logits(net, valid[0], device)
        valid_loss = float(F.cross_entropy(torch.from_numpy(logits), torch.from_numpy(valid[1])))
        score = scores(confusion(valid[1], logits.argmax(1)))
        _require_finite(loss + valid_loss, len(curves), settings)
        row = {"epoch": len(curves) + 1, "train_loss": loss, "valid_loss": valid_loss}
        row |= {"valid_acc": float(score["acc"]), "valid_mf1": float(score["mf1"])}
        if not curves or row[f"valid_{settings.select_by}"] > max(old[f"valid_{settings.select_by}"] for old in curves):
            best = copy.deepcopy(net.state_dict())
        curves.append(row)
        save_checkpoint(
            path, key, {"net": net.state_dict(), "optimiser": optimiser.state_dict(), "curves": curves, "best": best}
        )
        bar.update()
        bar.set_postfix_str(f"loss {loss:.3f}, validation macro-F1 {row['valid_mf1']:.3f}")
    bar.close()
    net.load_state_dict(best)
    net.eval()
    return pd.DataFrame(curves)


@torch.no_grad()
def predict_logits(net, x, device="cpu", batch=512):
    """Logits of a network in eval mode: (n, samples) float32 -> (n, 5) float32 array."""
    net.eval()
    parts = [net(torch.from_numpy(x[i : i + batch]).unsqueeze(1).to(device)).cpu() for i in range(0, len(x), batch)]
    return torch.cat(parts).numpy()


def train_epoch(net, optimiser, x, y, settings, epoch):
    """One pass over the training epochs, x (n, samples) and y (n,) or (n, 5) tensors; returns the mean loss."""
    # Order and dropout depend on seed and epoch alone, so that a resumed fit repeats the uninterrupted one.
    torch.manual_seed(settings.seed * 10_007 + epoch)
    order = torch.randperm(len(y)).to(x.device)
    total = torch.zeros((), dtype=torch.float64, device=x.device)
    net.train()
    batches = order.split(settings.batch)
    for step, rows in enumerate(batches):
        optimiser.param_groups[0]["lr"] = settings.rate((epoch + step / len(batches)) / settings.epochs)
        loss = F.cross_entropy(net(x[rows].unsqueeze(1)), y[rows])
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        total += loss.detach() * len(rows)
    return float(total / len(y))


def _require_finite(loss, epoch, settings):
    """Weights that a step has broken must not reach the checkpoint."""
    if not np.isfinite(loss):
        raise FloatingPointError(
            f"training epoch {epoch + 1}: the loss is {loss}; the epochs before it are kept. "
            f"Lower lr ({settings.lr}) or look for extreme samples"
        )


def _exhausted(curves, settings):
    values = [row[f"valid_{settings.select_by}"] for row in curves]
    return bool(values) and len(values) - 1 - int(np.argmax(values)) >= settings.patience
