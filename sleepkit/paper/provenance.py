"""Which data, protocol and seeds made a table or figure: the line at its foot, from the fields of its `Item`."""

import pandas as pd

from sleepkit.evaluation.protocols import SUBJECTWISE
from sleepkit.execution import paths, record
from sleepkit.results import NETWORK, find, gather, of_stage_2, parts_of


def published_alone(profile, item):
    """Whether a profile has no run that an item could show, which then shows published numbers alone."""
    if not item.datasets or item.notebook == "prepare" and find(profile, "nights.csv") is not None:
        return False
    runs = _runs(profile, item)
    return not runs or item.networks.startswith("stage") and _networks(profile, item, runs).empty


def searched_on_all(genotypes, simulated):
    """Those of the genotypes (labels of crossval.csv), without their variants, whose search had the subjects that test
    their networks: what this run found on everybody and, on real nights, what is published."""
    seen = ("searched",) if simulated else ("searched", "published")
    parts = {parts_of(genotype)[:2] for genotype in genotypes}
    return sorted(f"{dataset}-{origin}" for dataset, origin in parts if origin in seen)


def seen_by_search(genotypes, simulated):
    """A sentence that names those of the genotypes that `searched_on_all` returns; empty without any."""
    seen = searched_on_all(genotypes, simulated)
    return f"Architecture has seen the test subjects: {', '.join(seen)}." if seen else ""


def first_family(rows):
    """Those rows of crossval.csv or a companion that are of the first subject-wise network (of the first one, where
    none is), each epoch for itself, with all its depths and seeds, full and pruned by importance."""
    plain = rows[(rows.context == "none") & (rows.variant == "")]
    plain = plain[plain.protocol == SUBJECTWISE.name] if (plain.protocol == SUBJECTWISE.name).any() else plain
    return plain.merge(plain.head(1)[["protocol", "genotype", "channels"]])


def provenance(profile, item):
    """The line at the foot of an item, with a warning where results are of two runs; empty where nobody's are shown."""
    if not item.datasets:
        return ""
    if published_alone(profile, item):
        return f"Published numbers; profile {profile} has no run of its own."
    return " ".join([_of_run(profile, item), *record.apart(profile)])


def _of_run(profile, item):
    runs, simulated = _runs(profile, item), find(profile, "preparation.json")["simulated"]
    text = f"This run: profile {profile}, {'simulated' if simulated else 'Sleep-EDF'} nights"
    own = find(profile, item.own) if item.own else None
    networks = _networks(profile, item, runs, own)
    for dataset, run in runs.items():
        text += f"; EDF-{dataset[3:]}: " if len(runs) > 1 else ", "
        text += _data(profile, item, run, networks, own)
        searched = item.networks == "none" or (networks.origin != "published").any()
        text += f"; search seed {run['seed']}" if searched and item.networks != "own" else ""
    if item.networks == "own":
        return text + (f"; subjectwise, search and training seed {_listed(own.seed)}." if own is not None else ".")
    if networks.empty:
        return f"{text}."
    protocols = " and ".join(sorted(networks.protocol.unique()))
    of_network = networks.groupby([name for name in NETWORK if name != "seed"]).seed.nunique()
    some = " (not all for every network)" if of_network.min() < networks.seed.nunique() else ""
    text = f"{text}; {protocols} folds, training seed {_listed(networks.seed)}{some}."
    return f"{text} {seen_by_search(networks[networks.protocol == SUBJECTWISE.name].genotype, simulated)}".rstrip()


def _data(profile, item, run, networks, own):
    """Whose epochs an item shows, in words: all, those of one fold's test subjects, or those behind one network."""
    length = f"epochs of {run['seconds']:g} s"
    if item.networks == "fold":
        text = f"the network of fold {networks.fold.iloc[0]}, trained on {length}"
        return (
            text
            if own is None
            else f"{text}; one thread of {own.get('processor', ['a processor that was not recorded'])[0]}"
        )
    if own is None or own.n.iloc[0] == run["n_epochs"]:
        return f"{run['n_subjects']} subjects, {run['n_epochs']:,} {length}"
    rows, n = gather(profile, "crossval.csv"), own.n.iloc[0]
    folds = rows[(rows.n == n) & (rows.protocol == SUBJECTWISE.name)].fold.unique()
    sides = find(profile, f"stage1_{run['dataset']}/folds.json") or {}
    whose = [f"fold {fold} alone, test subjects: {len(sides[fold]['test'])}, " for fold in folds if fold in sides]
    return f"{whose[0] if len(whose) == 1 else ''}{n:,} {length}"


def _runs(profile, item):
    """Settings of the searches that the profile has run, by data set, of those that an item shows. Where it shows
    networks, theirs must be trained: an interrupted run has a search alone, as has one that still goes on."""
    if find(profile, "preparation.json") is None:
        return {}
    needed = "settings.json" if item.networks == "none" else "crossval.csv"
    folders = {dataset: f"stage1_{dataset}" for dataset in item.datasets}
    ended = {name: folder for name, folder in folders.items() if (paths.results(profile) / folder / needed).exists()}
    runs = {dataset: find(profile, f"{folder}/settings.json") for dataset, folder in ended.items()}
    return {dataset: run for dataset, run in runs.items() if run is not None}


def _networks(profile, item, runs, own=None):
    """The rows of crossval.csv behind an item: of "all" networks, of "stage 1" or "stage 2", the "first" (with the
    seeds of the data frame `own` if it has any) or its first "fold", its "family" or the "shallowest" of that."""
    rows = None if item.networks == "none" else gather(profile, "crossval.csv")
    if rows is None:
        return pd.DataFrame(columns=NETWORK)
    rows = rows[rows.dataset.isin(runs)]
    if item.networks.startswith("stage"):
        return rows[of_stage_2(rows) == (item.networks == "stage 2")]
    if item.networks == "all":
        return rows
    if item.networks in ("family", "shallowest"):
        families = [first_family(rows[rows.dataset == dataset]) for dataset in runs]
        return pd.concat(rows[(rows.cells == rows.cells.iloc[0]) | (item.networks == "family")] for rows in families)
    first = rows[rows.protocol == SUBJECTWISE.name].head(1)
    if own is None or "seed" not in own:
        return first
    return first.drop(columns="seed").merge(own[["seed"]].drop_duplicates(), how="cross")


def _listed(seeds):
    return ", ".join(str(seed) for seed in sorted(seeds.unique()))
