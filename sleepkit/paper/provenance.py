"""Which data, protocol and seeds made a table or figure: the line at its foot, from the fields of its `Item`."""

import pandas as pd

from sleepkit.evaluation.protocols import SUBJECTWISE
from sleepkit.execution import record
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
    own = find(profile, item.seeds) if item.seeds else None
    for dataset, run in runs.items():
        text += f"; EDF-{dataset[3:]}: " if len(runs) > 1 else ", "
        text += f"{run['n_subjects']} subjects, {run['n_epochs']:,} epochs of {run['seconds']:g} s"
        text += f"; search seed {run['seed']}" if item.networks != "own" else ""
    if item.networks == "own":
        return text + (f"; subjectwise, search and training seed {_listed(own.seed)}." if own is not None else ".")
    networks = _networks(profile, item, runs, own)
    if networks.empty:
        return f"{text}."
    protocols = " and ".join(sorted(networks.protocol.unique()))
    of_network = networks.groupby([name for name in NETWORK if name != "seed"]).seed.nunique()
    some = " (not all for every network)" if of_network.min() < networks.seed.nunique() else ""
    text = f"{text}; {protocols} folds, training seed {_listed(networks.seed)}{some}."
    return f"{text} {seen_by_search(networks[networks.protocol == SUBJECTWISE.name].genotype, simulated)}".rstrip()


def _runs(profile, item):
    """Settings of the searches that the profile has run, by data set, of those that an item shows."""
    if find(profile, "preparation.json") is None:
        return {}
    runs = {dataset: find(profile, f"stage1_{dataset}/settings.json") for dataset in item.datasets}
    return {dataset: run for dataset, run in runs.items() if run is not None}


def _networks(profile, item, runs, own=None):
    """The rows of crossval.csv behind an item, with the seeds of the data frame `own` where it has its own."""
    rows = None if item.networks == "none" else gather(profile, "crossval.csv")
    if rows is None:
        return pd.DataFrame(columns=NETWORK)
    rows = rows[rows.dataset.isin(runs)]
    if item.networks.startswith("stage"):
        return rows[of_stage_2(rows) == (item.networks == "stage 2")]
    if item.networks == "all":
        return rows
    first = rows[rows.protocol == SUBJECTWISE.name].head(1)
    return first if own is None else first.drop(columns="seed").merge(own[["seed"]].drop_duplicates(), how="cross")


def _listed(seeds):
    return ", ".join(str(seed) for seed in sorted(seeds.unique()))
