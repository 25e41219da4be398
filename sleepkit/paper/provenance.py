"""Which data, protocol and seeds made a table or figure: the line at its foot."""

import pandas as pd

from sleepkit.paper.items import item
from sleepkit.results import NETWORK, find, gather, of_stage_2

NOBODYS = ("fig01", "tab11")  # the framework and the list of departures: no numbers of anybody's
SEARCH = ("fig02", "fig03", "fig04", "fig05", "fig06", "fig07", "fig08", "tab01", "tab02")  # no network is trained
FIRST = ("fig12", "fig13", "fig15", "fig16", "fig17", "tab09")  # of the first network, full or pruned
BOTH = ("fig11", "fig14", "tab01", "tab02", "tab07")  # of both data sets
STAGE_2 = {"tab03": False, "tab04": True, "tab05": False, "tab06": True}  # of one stage: whether of the second
SEEDED = {"tab08": "stage2_prune/ablation.csv", "fig13": "stage2_prune/sweep.csv"}  # with seeds of their own


def dataset_of(key):
    """The data set of an item ("fig06"): EDF-20 where it shows both."""
    return "edf78" if "edf78" in item(key).slug else "edf20"


def published_alone(profile, key):
    """Whether a profile has no run that an item could show, which then shows published numbers alone."""
    if key in NOBODYS or key == "tab01" and find(profile, "nights.csv") is not None:
        return False
    runs = _runs(profile, key)
    return not runs or key in STAGE_2 and _networks(profile, key, runs).empty


def searched_on_all(genotypes, simulated):
    """Those of the genotypes (labels of crossval.csv) whose search had the subjects that test their networks: what this
    run found on everybody and, on real nights, what is published; sorted, each without its way of training."""
    names = {"-".join(genotype.split("-")[:2]) for genotype in genotypes}  # edf20-published-hum is edf20-published
    return sorted(name for name in names if name.endswith("-searched") or name.endswith("-published") and not simulated)


def provenance(profile, key):
    """The line at the foot of an item; empty where nobody's numbers are shown."""
    if key in NOBODYS:
        return ""
    if published_alone(profile, key):
        return f"Published numbers; profile {profile} has no run of its own."
    runs, simulated = _runs(profile, key), find(profile, "preparation.json")["simulated"]
    text = f"This run: profile {profile}, {'simulated' if simulated else 'Sleep-EDF'} nights"
    own = find(profile, SEEDED[key]) if key in SEEDED else None
    searches = key != "tab08" or own is None  # table 8 has searches of its own
    for dataset, run in runs.items():
        text += f"; EDF-{dataset[3:]}: " if len(runs) > 1 else ", "
        text += f"{run['n_subjects']} subjects, {run['n_epochs']:,} epochs of {run['seconds']:g} s"
        text += f"; search seed {run['seed']}" if searches else ""
    if not searches:
        return f"{text}; subjectwise, search and training seed {_listed(own.seed)}."
    networks = _networks(profile, key, runs, own)
    if networks.empty:
        return f"{text}."
    protocols = " and ".join(sorted(networks.protocol.unique()))
    of_network = networks.groupby([name for name in NETWORK if name != "seed"]).seed.nunique()
    some = " (not all for every network)" if of_network.min() < networks.seed.nunique() else ""
    text = f"{text}; {protocols} folds, training seed {_listed(networks.seed)}{some}."
    seen = searched_on_all(networks[networks.protocol == "subjectwise"].genotype, simulated)
    return text + (f" Architecture has seen the test subjects: {', '.join(seen)}." if seen else "")


def _runs(profile, key):
    """Dict data set -> settings of its search, of those data sets that an item shows and the profile has run."""
    shown = ("edf20", "edf78") if key in BOTH else (dataset_of(key),)
    runs = {dataset: find(profile, f"stage1_{dataset}/settings.json") for dataset in shown}
    prepared = find(profile, "preparation.json") is not None
    return {dataset: run for dataset, run in runs.items() if run is not None and prepared}


def _networks(profile, key, runs, own=None):
    """The rows of crossval.csv behind an item.

    runs : of `_runs`;  own : data frame with the seeds of an item that has its own, or None
    """
    rows = None if key in SEARCH else gather(profile, "crossval.csv")
    if rows is None:
        return pd.DataFrame(columns=NETWORK)
    rows = rows[rows.genotype.str.startswith(tuple(runs))]
    if key in STAGE_2:
        return rows[of_stage_2(rows) == STAGE_2[key]]
    if key not in FIRST:
        return rows
    first = rows[rows.protocol == "subjectwise"].head(1)
    return first if own is None else first.drop(columns="seed").merge(own[["seed"]].drop_duplicates(), how="cross")


def _listed(seeds):
    return ", ".join(str(seed) for seed in sorted(seeds.unique()))
