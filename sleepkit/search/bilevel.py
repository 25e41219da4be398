"""Stage 1: the bilevel search for an architecture, with data and operation pruning (method sections 1, 1a, 1b)."""

import math
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch.nn import functional as F

from sleepkit.epochs import STAGES
from sleepkit.execution.checkpoint import Deadline, fingerprint, load_checkpoint, save_checkpoint
from sleepkit.execution.outlook import FIRST, announce
from sleepkit.execution.paths import progress
from sleepkit.execution.precision import PRECISIONS
from sleepkit.execution.record import told
from sleepkit.genotype import OPERATION_NAMES, Genotype
from sleepkit.pruning.data import class_limits, prediction_errors, select_samples, variance_of_error
from sleepkit.pruning.operations import discretise, temperature, weak_operations
from sleepkit.results import COLUMNS
from sleepkit.search.supernet import KINDS, SuperNet

HALVES = ("train", "valid")
REMOVED_SAMPLES, REMOVED_OPERATIONS = COLUMNS["removed_samples.csv"], COLUMNS["removed_operations.csv"]
# What the checkpoint takes from a _Search, by kind; and voe.
LEARNERS, LISTS = ("net", "sgd", "adam"), ("history", "removed_samples", "removed_operations")
ARRAYS = ("kept", "allowance", "errors", "weights")


@dataclass(frozen=True)
class SearchResult:
    """What a search leaves behind."""

    genotype: Genotype
    history: pd.DataFrame  # a row per epoch
    removed_samples: pd.DataFrame  # a row per round, half and stage
    removed_operations: pd.DataFrame
    weights: dict  # epoch, temperature (T,), normal, reduce (T, edges, 10): operation weights as each epoch ends
    kept: dict  # half -> permanent ids of the samples that are left
    voe: pd.DataFrame  # a row per round and sample: its variance of error, and whether it was removed


@dataclass
class _Search:
    """A search under way: the network, its optimisers, the data on the device, and what is recorded so far."""

    net: SuperNet
    sgd: torch.optim.Optimizer  # of the weights
    adam: torch.optim.Optimizer  # of alpha
    x: torch.Tensor
    y: torch.Tensor
    kept: dict  # half -> positions of the samples that are left
    allowance: dict  # half -> (classes,) samples that each class may still lose
    errors: np.ndarray  # (n, epochs so far), NaN where a sample was not seen
    history: list = field(default_factory=list)
    removed_samples: list = field(default_factory=list)
    removed_operations: list = field(default_factory=list)
    weights: list = field(default_factory=list)
    voe: list = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)  # or was resumed
    steps: int = 0  # since then


def run_search(epochs, settings, folder, deadline=Deadline(), device="cpu"):
    """SearchResult of a search on an EpochSet; resumed from `folder`, which holds a checkpoint of the last whole epoch.

    Raises TimeOver when the deadline came first, FloatingPointError when the loss becomes NaN.
    """
    path, key, run = Path(folder) / "search.pt", search_key(epochs, settings), _start(epochs, settings, device)
    if (state := load_checkpoint(path, key, device)) is not None:
        _restore(run, state)
    first = len(run.history)
    bar = progress(range(first, settings.epochs), initial=first, total=settings.epochs, desc="search", unit="epoch")
    for epoch in bar:
        deadline.check()
        _search_epoch(run, epochs, settings, epoch, bar)
        save_checkpoint(path, key, _state(run))
    run.net.temperature = temperature(settings.epochs - 1)
    return _result(run, epochs)


def search_key(epochs, settings):
    """Name of a search: its settings and its data."""
    return fingerprint(told(settings) | {"data": epochs.content})


def split_halves(y, seed):
    """Positions of the training and the validation half, stratified by stage: (n,) -> two sorted (n / 2,) arrays."""
    from sklearn.model_selection import train_test_split  # here: it takes as long to import as PyTorch

    halves = train_test_split(np.arange(len(y)), test_size=0.5, stratify=y, random_state=seed)
    return dict(zip(HALVES, map(np.sort, halves), strict=True))


def _start(epochs, settings, device):
    torch.manual_seed(settings.seed)
    net = SuperNet(settings.channels, settings.cells, settings.nodes).to(device)
    halves, rounds = split_halves(epochs.y, settings.split_seed), len(settings.rounds)
    return _Search(
        net=net,
        sgd=torch.optim.SGD(net.weight_parameters(), settings.lr, momentum=0.9, weight_decay=3e-4, foreach=True),
        adam=torch.optim.Adam(net.arch_parameters(), settings.alpha_lr, betas=(0.5, 0.999), weight_decay=1e-3),
        x=torch.from_numpy(epochs.x).to(device),
        y=torch.from_numpy(epochs.y).to(device),
        kept=halves,
        allowance={half: class_limits(np.bincount(epochs.y[halves[half]], minlength=5), rounds) for half in HALVES},
        errors=np.full((len(epochs), 0), np.nan, dtype=np.float32),
    )


def _search_epoch(run, epochs, settings, epoch, bar):
    """One pass over both halves, then validation curve, data pruning, operation pruning (method section 1)."""
    started, net = time.monotonic(), run.net
    net.temperature = temperature(epoch)
    for group in run.sgd.param_groups:
        group["lr"] = settings.lr * 0.5 * (1 + math.cos(math.pi * epoch / settings.epochs))
    operations, entropy = net.operations_left(), float(net.entropy().detach())
    row = {"epoch": epoch + 1, "temperature": net.temperature}
    row["train_loss"], row["train_acc"] = _bilevel_pass(run, settings, epoch, bar)
    row["valid_loss"], row["valid_acc"] = _evaluate(run, settings)
    # Weights that the epoch's last step has broken must not reach the checkpoint.
    _require_finite(row["valid_loss"], f"search epoch {epoch + 1}, after its last step: the validation loss", settings)
    row |= {f"n_{half}": len(run.kept[half]) for half in HALVES} | {"operations": operations, "entropy": entropy}
    run.weights.append({kind: net.operation_weights(kind).detach().cpu().numpy() for kind in KINDS})
    row |= dict.fromkeys(("removed_train", "removed_valid", "removed_operations"), 0)
    if epoch + 1 in settings.rounds:
        if settings.data_pruning:
            row |= {f"removed_{half}": _prune_data(run, epochs, settings, epoch + 1, half) for half in HALVES}
        if settings.operation_pruning:
            row["removed_operations"] = _prune_operations(run, epoch + 1)
    run.history.append(row | {"seconds": time.monotonic() - started})


def _bilevel_pass(run, settings, epoch, bar):
    """Steps of alpha on the validation half and of the weights on the training half, in turns, until the longer half is
    through; returns mean loss and accuracy of the training steps."""
    net, x, y = run.net, run.x, run.y
    order, batches = np.random.default_rng((settings.seed, epoch)), {}
    for half in HALVES:
        batches[half] = torch.from_numpy(order.permutation(run.kept[half])).to(x.device).split(settings.batch)
    steps = max(map(len, batches.values()))
    # Errors come from the logits that the two steps compute anyway; a sample seen twice counts with its last error.
    errors = torch.full((len(y),), torch.nan, device=x.device)
    exact = torch.float32 if x.device.type == "mps" else torch.float64  # which MPS has not
    total = torch.zeros(3, dtype=exact, device=x.device)
    net.train()
    for step in range(steps):
        for half, optimiser in (("valid", run.adam), ("train", run.sgd)):
            rows = batches[half][step % len(batches[half])]
            labels, logits = y[rows], net(x[rows].unsqueeze(1), PRECISIONS[settings.precision])
            loss = F.cross_entropy(logits, labels)
            objective = loss + settings.entropy_weight * net.entropy() if half == "valid" else loss
            where = f"search epoch {epoch + 1}, step {step + 1} of {steps} ({half} half): the loss"
            _require_finite(objective.item(), where, settings)
            _descend(objective, optimiser)
            errors[rows] = prediction_errors(logits.detach(), labels)
        correct = (logits.detach().argmax(1) == labels).sum()
        n = torch.tensor(len(labels), device=x.device)
        total += torch.stack([loss.detach() * n, correct, n]).to(exact)
        run.steps += 1
        hours = (time.monotonic() - run.began) / run.steps * ((settings.epochs - epoch) * steps - step - 1) / 3600
        if run.steps == FIRST:
            announce(f"search: {settings.epochs - epoch} epochs of {steps} steps on {x.device}", hours)
        if step % 10 == 0:
            left = f"{sum(map(len, run.kept.values()))} samples, {net.operations_left()} operations"
            loss, acc, _ = total / total[2]
            bar.set_postfix_str(f"step {step + 1}/{steps}, loss {loss:.3f}, acc {acc:.3f}, {left}, {hours:.1f} h to go")
    run.errors = np.column_stack([run.errors, errors.cpu().numpy()])
    return float(total[0] / total[2]), float(total[1] / total[2])


def _require_finite(loss, where, settings):
    if not math.isfinite(loss):
        advice = f"the epochs before it are kept. Lower lr ({settings.lr}) or look for extreme samples"
        raise FloatingPointError(f"{where} is {loss}; {advice}")


def _descend(objective, optimiser):
    """One step of an optimiser on its own parameters; gradients of the others are not computed."""
    parameters = [parameter for group in optimiser.param_groups for parameter in group["params"]]
    gradients = torch.autograd.grad(objective, parameters, allow_unused=True)
    # The weights of a pruned operation take no part: their gradient stays None and the optimiser leaves them alone.
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = gradient
    optimiser.step()


@torch.no_grad()
def _evaluate(run, settings):
    """Loss and accuracy on the validation half."""
    run.net.eval()
    rows = torch.from_numpy(run.kept["valid"]).to(run.x.device)
    activations = PRECISIONS[settings.precision]
    logits = torch.cat([run.net(run.x[part].unsqueeze(1), activations) for part in rows.split(4 * settings.batch)])
    y = run.y[rows]
    return float(F.cross_entropy(logits, y)), int((logits.argmax(1) == y).sum()) / len(y)


def _prune_data(run, epochs, settings, epoch, half):
    """A round of data pruning on one half; returns how many samples went."""
    rows = run.kept[half]
    y, ids = epochs.y[rows], epochs.id[rows]
    voe = variance_of_error(run.errors[rows], settings.prune_every)
    removed = select_samples(voe, y, ids, settings.data_fraction, half == "train", run.allowance[half])
    gone = np.isin(np.arange(len(rows)), removed)
    columns = {"epoch": epoch, "half": half, "id": ids, "voe": voe.astype(float), "removed": gone}
    run.voe.append(pd.DataFrame(columns))
    run.kept[half] = rows[~gone]
    lost, left = (np.bincount(y[chosen], minlength=len(STAGES)) for chosen in (gone, ~gone))
    run.allowance[half] = run.allowance[half] - lost
    for values in zip(STAGES, lost.tolist(), left.tolist(), strict=True):
        run.removed_samples.append(dict(zip(REMOVED_SAMPLES, (epoch, half, *values), strict=True)))
    return len(removed)


def _prune_operations(run, epoch):
    """A round of operation pruning; returns how many operations went."""
    net, before = run.net, len(run.removed_operations)
    for kind in KINDS:
        weights, alive = run.weights[-1][kind], net.alive(kind)
        weak = weak_operations(weights, alive.cpu().numpy())
        alive &= ~torch.from_numpy(weak).to(alive.device)
        for edge, column in np.argwhere(weak):
            node, source = net.cells[0].edges[edge]
            values = epoch, kind, int(edge), source, node, OPERATION_NAMES[column], float(weights[edge, column])
            run.removed_operations.append(dict(zip(REMOVED_OPERATIONS, values, strict=True)))
    return len(run.removed_operations) - before


def _state(run):
    """The search as tensors and plain values; the voe frames become columns of lists."""
    state = {name: getattr(run, name).state_dict() for name in LEARNERS} | {name: getattr(run, name) for name in LISTS}
    state |= {name: _each(torch.from_numpy, getattr(run, name)) for name in ARRAYS}
    return state | {"voe": [frame.to_dict("list") for frame in run.voe]}


def _restore(run, state):
    for name in LEARNERS:
        getattr(run, name).load_state_dict(state[name])
    for name in LISTS:
        setattr(run, name, state[name])
    for name in ARRAYS:
        setattr(run, name, _each(lambda tensor: tensor.cpu().numpy(), state[name]))
    run.voe = [pd.DataFrame(columns) for columns in state["voe"]]


def _each(change, values):
    """`change` applied to every array in dicts and lists."""
    if isinstance(values, dict):
        return {name: _each(change, value) for name, value in values.items()}
    return [_each(change, value) for value in values] if isinstance(values, list) else change(values)


@torch.no_grad()
def _result(run, epochs):
    history = pd.DataFrame(run.history)
    voe = run.voe or [pd.DataFrame(columns=["epoch", "half", "id", "voe", "removed"])]
    weights = {name: history[name].to_numpy() for name in ("epoch", "temperature")}
    weights |= {kind: np.stack([by_kind[kind] for by_kind in run.weights]) for kind in KINDS}
    return SearchResult(
        genotype=discretise(*(run.net.operation_weights(kind).cpu().numpy() for kind in KINDS)),
        history=history,
        removed_samples=pd.DataFrame(run.removed_samples, columns=REMOVED_SAMPLES),
        removed_operations=pd.DataFrame(run.removed_operations, columns=REMOVED_OPERATIONS),
        weights=weights,
        kept={half: epochs.id[rows] for half, rows in run.kept.items()},
        voe=pd.concat(voe, ignore_index=True),
    )
