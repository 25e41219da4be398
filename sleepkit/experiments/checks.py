"""The checks at a notebook's end: each claim with what was expected and what was measured."""

import json

import numpy as np

from sleepkit.epochs import STAGES
from sleepkit.evaluation.protocols import PROTOCOLS, SUBJECTWISE
from sleepkit.experiments.stage2 import load_pruned
from sleepkit.network.saved import load_network
from sleepkit.network.size import count_macs, count_parameters
from sleepkit.paper.answers import NEXT_TO_NONE
from sleepkit.paper.published import published
from sleepkit.pruning.data import class_limits
from sleepkit.pruning.filters import prune_filters, tied_sets
from sleepkit.results import checks
from sleepkit.search.bilevel import HALVES, split_halves


def preparation_checks(table, epochs, preparation):
    """Whether the nights are whole and, for real ones, have as many epochs as the authors counted."""
    failed, counts, total = table[table.status == "failed"], epochs.counts(), table.n_epochs.sum()
    amplitude, seconds = float(np.median(epochs.x.std(axis=1))), epochs.x.shape[1] / epochs.fs
    wanted = preparation.seconds
    claims = [
        ("every night could be prepared", "0 failed", f"{len(failed)} failed", failed.empty),
        ("the files hold the epochs of the table", total, len(epochs), total == len(epochs)),
        ("all five stages occur", "5 stages", f"{(counts > 0).sum()} stages", (counts > 0).all()),
        ("the signal is in µV", "median sd 5 to 50 µV", f"within: {5 < amplitude < 50}", 5 < amplitude < 50),
        (f"epochs keep {wanted:g} s", f"{wanted:g} s", f"{seconds:g} s", seconds == wanted),
    ]
    if not preparation.simulated:
        authors = published("epochs_per_recording").drop_duplicates("recording").set_index("recording").n_epochs
        known = table[table.night.isin(authors.index)]
        same = int((known.n_epochs.to_numpy() == authors[known.night].to_numpy()).sum())
        words = "epochs per night as the authors counted"
        claims.append((words, f"{len(known)} nights", f"{same} nights", same == len(known)))
    return checks(*claims)


def search_checks(found, epochs, search):
    """Whether the search kept its own rules."""
    rounds = search.rounds if search.data_pruning else ()
    halves, claims = split_halves(epochs.y, search.split_seed), []
    for half in HALVES:
        expected, left = len(halves[half]), len(found.kept[half])
        for _ in rounds:
            expected -= int(search.data_fraction * expected)
        claims.append((f"{half} half after {len(rounds)} rounds of data pruning", expected, left, expected == left))
        limits = class_limits(np.bincount(epochs.y[halves[half]], minlength=len(STAGES)), max(len(rounds), 1))
        lost = found.removed_samples.query("half == @half").groupby("stage").removed.sum().reindex(STAGES, fill_value=0)
        words = f"no stage of the {half} half lost more than its limit"
        within = bool((lost.to_numpy() <= limits).all())
        claims.append((words, "within", "within" if within else "beyond", within))
    gone = found.voe[found.voe.removed.astype(bool)].id
    back = len(np.intersect1d(gone, np.concatenate(list(found.kept.values()))))
    final = np.concatenate([found.weights[kind][-1] for kind in ("normal", "reduce")])
    empty, ones = int((final[:, 1:].max(axis=1) == 0).sum()), bool(np.allclose(final.sum(axis=1), 1, atol=1e-5))
    fell = bool(found.history.train_loss.iloc[-1] < found.history.train_loss.iloc[0])
    return checks(
        *claims,
        ("removed samples never come back", 0, back, back == 0),
        ("edges without an operation other than none", 0, empty, empty == 0),
        ("the survivors' weights of every edge sum to 1", True, ones, ones),
        ("the training loss fell", True, fell, fell),
    )


def evaluation_checks(rows, epochs, networks, run):
    """Whether every epoch was tested once by a network new to its subject (subjectwise), and better than by chance;
    rows : crossval.csv"""
    pooled, claims = rows[rows.fold == "pooled"], []
    if any(PROTOCOLS[name].by_subject for name in networks.protocols):
        folds = json.loads((run.results(run.stage1) / "folds.json").read_text())
        apart = not any(set(side["test"]) & {*side["train"], *side["valid"]} for side in folds.values())
        expected = int(np.isin(epochs.subject, [one for side in folds.values() for one in side["test"]]).sum())
        pooled = pooled[pooled.protocol == SUBJECTWISE.name]
        tested, scored = ", ".join(map(str, sorted(pooled.n.unique()))), sorted(set(pooled.groupby("context").n.sum()))
        words, same = "epochs of the test subjects, each tested once by every network", len(scored) == 1
        claims.append(("no subject is on two sides of a fold", True, apart, apart))
        claims.append((words, expected, tested, tested == str(expected)))
        words = "context, forward and both, scores the same epochs"
        claims.append((words, "the same", "the same" if same else scored, same))
    kappa, words = pooled[pooled.context == "none"].kappa.min(), "better than chance: kappa of the merged predictions"
    claims.insert(2, (words, "above 0.1", f"above: {kappa > 0.1}", kappa > 0.1))
    return checks(*claims)


def accuracy_claim(differences):
    """Whether pruning by importance cost next to no accuracy, a row per network: a result, no check of the run.
    differences : as differences.csv"""
    claims = []
    for row in differences.query("metric == 'acc' and comparison == 'pruned - full'").itertuples():
        lost = f"{-100 * row.difference:.1f} points ({-100 * row.high:.1f} to {-100 * row.low:.1f})"
        words, expected = f"accuracy lost, {row.genotype}, L = {row.cells}", f"at most {NEXT_TO_NONE:g} points"
        claims.append((words, expected, lost, -row.difference <= NEXT_TO_NONE / 100))
    return checks(*claims)


def pruning_checks(networks, rows, table_8, *, pruning, ablation, run):
    """Whether pruning removed what it should, and whether what is left still stages sleep.
    networks : of stage 1;  rows : crossval.csv of stage 2;  table_8 : ablation.csv"""
    full = load_network(next(iter(networks[0].networks.values())))[0]
    pruned, samples = prune_filters(full, pruning.ratio, pruning.balance), networks[0].data.x.shape[1]
    wanted = [max(1, int((1 - pruning.ratio) * tied.width + 1e-9)) for tied in tied_sets(full)]
    off = sum(tied.width != want for tied, want in zip(tied_sets(pruned), wanted, strict=True))
    fewer = count_parameters(pruned) < count_parameters(full)
    faster = count_macs(pruned, samples) < count_macs(full, samples)
    grown = 0  # how many pruned networks, as saved, have other sizes than pruning gives the full ones they came from
    for one, small in zip(networks, load_pruned(run), strict=True):
        net = load_network(one.networks[min(small.networks)])[0]  # the widths of one fold are those of all
        size = count_parameters(prune_filters(net, pruning.ratio, pruning.balance))
        grown += sum(count_parameters(load_network(path)[0]) != size for path in small.networks.values())
    kappa, variants = rows.query("fold == 'pooled' and context == 'none'").kappa.min(), 11 * len(ablation.seeds)
    return checks(
        (f"tied sets not pruned by ratio {pruning.ratio:g}", 0, off, off == 0),
        ("the pruned network has fewer parameters", "below", f"below: {fewer}", fewer),
        ("and fewer multiplications", "below", f"below: {faster}", faster),
        ("networks that grew back in fine-tuning", 0, grown, grown == 0),
        ("better than chance: kappa of the pruned networks", "above 0", f"above: {kappa > 0}", bool(kappa > 0)),
        ("rows of the ablation: 11 variants, every seed", variants, len(table_8), len(table_8) == variants),
    )
