"""What the computing notebooks claim at their end: each claim beside what was measured (see sleepkit.checks)."""

import json

import numpy as np

from sleepkit.epochs import STAGES
from sleepkit.experiments.stage1 import size_of
from sleepkit.experiments.trained import load_pruned
from sleepkit.network.saved import load_network
from sleepkit.network.size import count_parameters
from sleepkit.pruning.data import class_limits
from sleepkit.pruning.filters import prune_filters, tied_sets
from sleepkit.results import checks
from sleepkit.search.bilevel import HALVES, split_halves

LOSS = 0.005  # of accuracy, as a share, that counts as next to none; the paper reports 0.001 to 0.002


def search_checks(found, epochs, settings):
    """Whether the search kept its own rules: sizes after every round, class limits, what is gone stays gone, one
    operation an edge."""
    rules, history = settings.search, found.history
    rounds = rules.rounds if rules.data_pruning else ()
    halves = split_halves(epochs.y, rules.split_seed)
    claims = []
    for half in HALVES:
        expected = len(halves[half])
        for _ in rounds:
            expected -= int(rules.data_fraction * expected)
        left = len(found.kept[half])
        claims.append((f"{half} half after {len(rounds)} rounds of data pruning", expected, left, expected == left))
        limits = class_limits(np.bincount(epochs.y[halves[half]], minlength=len(STAGES)), max(len(rounds), 1))
        lost = found.removed_samples.query("half == @half").groupby("stage").removed.sum().reindex(STAGES, fill_value=0)
        within = bool((lost.to_numpy() <= limits).all())
        claims.append(
            (
                f"no stage of the {half} half lost more than its limit",
                "within",
                "within" if within else "beyond",
                within,
            )
        )
    gone = found.voe[found.voe.removed.astype(bool)].id
    back = len(np.intersect1d(gone, np.concatenate(list(found.kept.values()))))
    claims.append(("removed samples never come back", 0, back, back == 0))
    final = np.concatenate([found.weights[kind][-1] for kind in ("normal", "reduce")])
    empty = int((final[:, 1:].max(axis=1) == 0).sum())
    claims.append(("edges without an operation other than none", 0, empty, empty == 0))
    ones = bool(np.allclose(final.sum(axis=1), 1, atol=1e-5))
    claims.append(("the survivors' weights of every edge sum to 1", True, ones, ones))
    fell = bool(history.train_loss.iloc[-1] < history.train_loss.iloc[0])
    claims.append(("the training loss fell", True, fell, fell))
    return checks(*claims)


def evaluation_checks(crossval_rows, epochs, settings):
    """Whether every epoch was tested once by a network that had not seen its subject, and better than by chance; where
    there are epochwise networks alone, the latter."""
    if "subjectwise" not in settings.protocols:
        return checks(_above_chance(crossval_rows.query("fold == 'pooled'")))
    folds = json.loads((settings.folder / "folds.json").read_text())
    apart = not any(set(side["test"]) & {*side["train"], *side["valid"]} for side in folds.values())
    chosen = [side for number, side in folds.items() if not settings.only_folds or int(number) in settings.only_folds]
    expected = int(np.isin(epochs.subject, [subject for side in chosen for subject in side["test"]]).sum())
    rows = crossval_rows.query("protocol == 'subjectwise' and fold == 'pooled'")
    per_context = sorted(rows.groupby("context").n.sum())
    tested = ", ".join(map(str, sorted(rows.n.unique())))
    return checks(
        ("no subject is on two sides of a fold", True, apart, apart),
        ("epochs of the test subjects, each tested once by every network", expected, tested, tested == str(expected)),
        _above_chance(rows),
        ("context, forward and both, scores the same epochs", "the same", *_same(per_context)),
    )


def _above_chance(rows):
    kappa = rows[rows.context == "none"].kappa.min()
    return "better than chance: kappa of the merged predictions", "above 0.1", f"above: {kappa > 0.1}", kappa > 0.1


def _same(values):
    """("the same", True) when the values are one, else the values and False."""
    same = len(set(values)) == 1
    return ("the same" if same else str(values)), same


def accuracy_claim(differences):
    """Whether pruning by importance cost at most LOSS of accuracy, a row per network, with its interval.

    differences : data frame as differences.csv

    Apart from `pruning_checks`, as what it says is a result: a run whose networks lose more has still done all it
    should.
    """
    rows = differences.query("metric == 'acc' and comparison == 'pruned - full'")
    return checks(
        *(
            (
                f"accuracy lost, {row.genotype}, L = {row.cells}",
                f"at most {100 * LOSS:g} points",
                f"{-100 * row.difference:.1f} points ({-100 * row.high:.1f} to {-100 * row.low:.1f})",
                -row.difference <= LOSS,
            )
            for row in rows.itertuples()
        )
    )


def pruning_checks(epochs, trained, crossval_rows, ablation, settings):
    """Whether pruning removed what it should, and whether what is left still stages sleep."""
    full = load_network(next(iter(trained[0].networks.values())))[0]
    pruned = prune_filters(full, settings.ratio, settings.balance)
    wanted = [max(1, int((1 - settings.ratio) * tied.width + 1e-9)) for tied in tied_sets(full)]
    widths = [tied.width for tied in tied_sets(pruned)]
    off = sum(width != want for width, want in zip(widths, wanted, strict=True))
    changed = _changed_sizes(trained, settings)
    sizes, small = size_of(full, epochs), size_of(pruned, epochs)
    kappa = crossval_rows.query("fold == 'pooled' and context == 'none'").kappa.min()
    rows = 11 * len(settings.ablation_seeds)
    return checks(
        (f"tied sets not pruned by ratio {settings.ratio:g}", 0, off, off == 0),
        ("the pruned network has fewer parameters", "below", f"below: {small[0] < sizes[0]}", small[0] < sizes[0]),
        ("and fewer multiplications", "below", f"below: {small[1] < sizes[1]}", small[1] < sizes[1]),
        ("networks that grew back in fine-tuning", 0, changed, changed == 0),
        ("better than chance: kappa of the pruned networks", "above 0", f"above: {kappa > 0}", bool(kappa > 0)),
        ("rows of the ablation: 11 variants, every seed", rows, len(ablation), len(ablation) == rows),
    )


def _changed_sizes(trained, settings):
    """How many pruned networks, as saved, have other sizes than pruning gives the full ones they came from."""
    changed = 0
    for full, pruned in zip(trained, load_pruned(settings), strict=True):
        net = load_network(full.networks[min(pruned.networks)])[0]  # the widths of one fold are those of all
        wanted = count_parameters(prune_filters(net, settings.ratio, settings.balance))
        changed += sum(count_parameters(load_network(path)[0]) != wanted for path in pruned.networks.values())
    return changed
