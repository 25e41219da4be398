"""The checks at a notebook's end: each claim with what was expected and what was measured."""

import json

import numpy as np

from sleepkit.epochs import STAGES
from sleepkit.evaluation.protocols import PROTOCOLS
from sleepkit.experiments.stage2 import load_pruned
from sleepkit.network.saved import load_network
from sleepkit.network.size import count_macs, count_parameters
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
        ("standard deviation of the median epoch, µV", "5 to 50", f"{amplitude:.0f}", 5 < amplitude < 50),
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
        beyond = int((lost.to_numpy() > limits).sum())
        claims.append((f"stages of the {half} half that lost more than their limit", 0, beyond, beyond == 0))
    gone = found.voe[found.voe.removed.astype(bool)].id
    back = len(np.intersect1d(gone, np.concatenate(list(found.kept.values()))))
    final = np.concatenate([found.weights[kind][-1] for kind in ("normal", "reduce")])
    empty, off = int((final[:, 1:].max(axis=1) == 0).sum()), int((np.abs(final.sum(axis=1) - 1) > 1e-5).sum())
    return checks(
        *claims,
        ("removed samples never come back", 0, back, back == 0),
        ("edges without an operation other than none", 0, empty, empty == 0),
        ("edges whose weights do not sum to 1", 0, off, off == 0),
    )


def evaluation_checks(rows, epochs, networks, run):
    """Whether every epoch was tested once, by a network new to its subject where the protocol is subjectwise.
    rows : crossval.csv"""
    pooled, claims = rows[rows.fold == "pooled"], []
    for protocol, tested in pooled.groupby("protocol", sort=False):
        counts, expected = sorted(tested.n.unique()), tested.n.iloc[0]
        if PROTOCOLS[protocol].by_subject:
            folds = json.loads((run.results(run.stage1) / "folds.json").read_text())
            shared = sum(len(set(side["test"]) & {*side["train"], *side["valid"]}) for side in folds.values())
            claims.append(("subjects who test a fold that they also train or validate", 0, shared, shared == 0))
            expected = int(np.isin(epochs.subject, [one for side in folds.values() for one in side["test"]]).sum())
            scored = sorted(set(tested.groupby("context").n.sum()))
            words = "epochs scored with and without context, all networks"
            claims.append((words, scored[0], ", ".join(map(str, scored)), len(scored) == 1))
        words = f"epochs that test every network once, {protocol}"
        claims.append((words, expected, ", ".join(map(str, counts)), counts == [expected]))
    return checks(*claims)


def pruning_checks(networks, table_8, *, pruning, ablation, run):
    """Whether pruning removed what it should, and whether what is gone stays gone.
    networks : of stage 1;  table_8 : ablation.csv"""
    full = load_network(next(iter(networks[0].networks.values())))[0]
    pruned, samples = prune_filters(full, pruning.ratio, pruning.balance), networks[0].data.x.shape[1]
    wanted = [max(1, int((1 - pruning.ratio) * tied.width + 1e-9)) for tied in tied_sets(full)]
    off = sum(tied.width != want for tied, want in zip(tied_sets(pruned), wanted, strict=True))
    params = [count_parameters(net) for net in (full, pruned)]
    macs = [count_macs(net, samples) for net in (full, pruned)]
    grown = 0  # how many pruned networks, as saved, have other sizes than pruning gives the full ones they came from
    for one, small in zip(networks, load_pruned(run), strict=True):
        net = load_network(one.networks[min(small.networks)])[0]  # the widths of one fold are those of all
        size = count_parameters(prune_filters(net, pruning.ratio, pruning.balance))
        grown += sum(count_parameters(load_network(path)[0]) != size for path in small.networks.values())
    variants = 11 * len(ablation.seeds)
    return checks(
        (f"tied sets not pruned by ratio {pruning.ratio:g}", 0, off, off == 0),
        ("parameters of the pruned network", f"below {params[0]:,}", f"{params[1]:,}", params[1] < params[0]),
        ("multiply-adds of the pruned network", f"below {macs[0]:,}", f"{macs[1]:,}", macs[1] < macs[0]),
        ("networks that grew back in fine-tuning", 0, grown, grown == 0),
        ("rows of the ablation: 11 variants, every seed", variants, len(table_8), len(table_8) == variants),
    )
