"""Fit one network: Adam, early stopping on validation macro-F1, and a checkpoint that costs at most one epoch."""

import copy
import math
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch.nn import functional as F

from sleepkit.execution.checkpoint import Deadline, load_checkpoint, save_checkpoint
from sleepkit.execution.paths import progress
from sleepkit.execution.precision import PRECISIONS, choose
from sleepkit.execution.record import QUIET
from sleepkit.metrics import confusion, scores

CHOICES = {"schedule": ("constant", "cosine"), "select_by": ("acc", "mf1")}


@dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """Settings of one fit; the defaults are those of the authors' code (method section 2)."""

    lr: float = 0.0055  # Adam
    schedule: str = "constant"  # "cosine": the learning rate falls to zero along half a cosine, over all epochs
    batch: int = 64
    epochs: int = 50
    patience: int = 15  # epochs without a better score on the validation epochs
    select_by: str = "mf1"  # score on the validation epochs that chooses the epoch: subjectwise mf1, epochwise acc
    seed: int = 42
    precision: str = field(default="float32", metadata=QUIET)  # of activations in training: "bfloat16", or "auto"

    def __post_init__(self):
        object.__setattr__(self, "precision", choose(self.precision))
        if not self.lr > 0:
            raise ValueError(f"lr={self.lr}: a learning rate is above 0")
        for name in ("batch", "epochs", "patience"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}: a training needs at least 1")
        for name, known in CHOICES.items():
            if getattr(self, name) not in known:
                raise ValueError(f"{name}={getattr(self, name)!r}: expected one of {', '.join(known)}")

    def rate(self, progress):
        """Learning rate after the share `progress`, 0 to 1, of all epochs."""
        return self.lr if self.schedule == "constant" else self.lr * (1 + math.cos(math.pi * progress)) / 2


def fit(net, train, valid, settings, folder, key, deadline=Deadline(), device="cpu", label="train", augment=None):
    """Train `net` in place and leave it, in eval mode, with the weights of its best epoch on `valid`.

    train, valid : pairs (x (n, samples) float32 as normalised, y (n,) int64 stages, in `train` or (n, 5) float32)
    folder : where the checkpoint of the unfinished fit lies;  key : names configuration and data
    augment : what the network sees of a batch of training windows, drawn anew every time; x in `train` is its input
    returns the curves as a data frame: epoch, train_loss, valid_loss, valid_acc, valid_mf1
    Raises TimeOver when the deadline came first, FloatingPointError when the loss becomes NaN."""
    optimiser = torch.optim.Adam(net.to(device).parameters(), settings.lr, fused=True)
    x, y = (torch.from_numpy(array).to(device) for array in train)
    path, chosen_by = Path(folder) / "fit.pt", f"valid_{settings.select_by}"
    curves, best = [], None
    if (state := load_checkpoint(path, key, device)) is not None:
        net.load_state_dict(state["net"])
        optimiser.load_state_dict(state["optimiser"])
        curves, best = state["curves"], state["best"]
    bar = progress(total=settings.epochs, initial=len(curves), desc=label, unit="epoch", leave=False)
    while len(curves) < settings.epochs and not _exhausted([row[chosen_by] for row in curves], settings.patience):
        deadline.check()
        loss = train_epoch(net, optimiser, x, y, settings, len(curves), augment)
        row = {"epoch": len(curves) + 1, "train_loss": loss} | _validate(net, *valid, device)
        if not np.isfinite(both := loss + row["valid_loss"]):  # broken weights must not reach the checkpoint
            advice = f"the epochs before it are kept. Lower lr ({settings.lr}) or look for extreme samples"
            raise FloatingPointError(f"training epoch {row['epoch']}: the loss is {both}; {advice}")
        if all(row[chosen_by] > earlier[chosen_by] for earlier in curves):
            best = copy.deepcopy(net.state_dict())
        curves.append(row)
        state = {"net": net.state_dict(), "optimiser": optimiser.state_dict(), "curves": curves, "best": best}
        save_checkpoint(path, key, state)
        bar.update()
        bar.set_postfix_str(f"loss {loss:.3f}, validation macro-F1 {row['valid_mf1']:.3f}")
    bar.close()
    net.load_state_dict(best)
    net.eval()
    return pd.DataFrame(curves)


def _validate(net, x, y, device):
    logits = predict_logits(net, x, device)
    score = scores(confusion(y, logits.argmax(1)))
    loss = float(F.cross_entropy(torch.from_numpy(logits), torch.from_numpy(y)))
    return {"valid_loss": loss, "valid_acc": float(score["acc"]), "valid_mf1": float(score["mf1"])}


def _exhausted(values, patience):
    return bool(values) and len(values) - 1 - int(np.argmax(values)) >= patience


@torch.no_grad()
def predict_logits(net, x, device="cpu", batch=512):
    """Logits of a network in eval mode: (n, samples) float32 -> (n, 5) float32 array."""
    net.eval()
    parts = [net(torch.from_numpy(x[i : i + batch]).unsqueeze(1).to(device)).cpu() for i in range(0, len(x), batch)]
    return torch.cat(parts).numpy()


def train_epoch(net, optimiser, x, y, settings, epoch, augment=None):
    """One pass over the training epochs, x (n, samples) and y (n,) or (n, 5) tensors; returns the mean loss."""
    # Order, dropout and augmentation depend on seed and epoch alone: a resumed fit repeats the uninterrupted one.
    torch.manual_seed(settings.seed * 10_007 + epoch)
    batches, activations = torch.randperm(len(y)).to(x.device).split(settings.batch), PRECISIONS[settings.precision]
    exact = torch.float32 if x.device.type == "mps" else torch.float64  # which MPS has not
    total = torch.zeros((), dtype=exact, device=x.device)
    net.train()
    for step, rows in enumerate(batches):
        optimiser.param_groups[0]["lr"] = settings.rate((epoch + step / len(batches)) / settings.epochs)
        seen = x[rows] if augment is None else augment(x[rows])
        loss = F.cross_entropy(net(seen.unsqueeze(1), activations), y[rows])
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        total += loss.detach() * len(rows)
    return float(total / len(y))
