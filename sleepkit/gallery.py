"""The gallery of a profile: every item drawn from the result files there are, saved, and shown."""

from IPython.display import Markdown

from sleepkit import figures, tables
from sleepkit.checks import checks
from sleepkit.items import ITEMS, item, write_index
from sleepkit.metrics import scores
from sleepkit.reference import SEARCH_SAMPLES, published, published_confusion, published_genotype
from sleepkit.results import command, find, gather, merge_crossval, provenance

CROSSVAL_FILES = ("crossval.csv", "per_class.csv", "parameters.csv")


def draw(profile, key):
    """Draw an item ("fig06") from the results of a profile and save it under figures/<profile>/.

    returns the figure, or the table; where there are no results to draw it from, a line that says which command makes
    them
    """
    drawn = _figure(profile, key) if key.startswith("fig") else _table(profile, key)
    if drawn is None:
        return Markdown(f"**{key}** is missing: `{command(profile, item(key).notebook)}` makes its results.")
    if key.startswith("fig"):
        saved = figures.save(drawn, profile, key)
    else:
        saved = tables.save(drawn, profile, key, _note(profile, key))
    print(f"{key}: {', '.join(file.name for file in saved)}")
    return drawn


def gallery_checks(profile):
    """Whether the published numbers agree with one another, and every item that was drawn is there and listed."""
    claims = []
    for dataset, total, layers in (("edf20", 34_951, 9), ("edf78", 167_321, 9)):
        matrix = published_confusion(f"{dataset}_L{layers}_full")
        rows = published("cv_results").query(
            "dataset == @dataset and layers == @layers and model == 'full' and fold == 'pooled'"
        )
        ours, theirs = scores(matrix), rows.iloc[0]
        claims.append(
            (f"epochs of {dataset} in the published confusion matrices", total, matrix.sum(), matrix.sum() == total)
        )
        for name in ("acc", "mf1"):
            same = abs(ours[name] - theirs[name]) < 5e-5
            claims.append(
                (
                    f"published {name} of {dataset}, L = {layers}, from its matrix",
                    f"{theirs[name]:.4f}",
                    f"{ours[name]:.4f}",
                    same,
                )
            )
    index = write_index(profile).read_text()
    listed = sum(f"| {entry.key} |" in index for entry in ITEMS)
    claims.append(("items in index.md", len(ITEMS), listed, listed == len(ITEMS)))
    parts = gather(profile, "crossval.csv")
    merged = 0 if parts is None else len(merge_crossval(profile))
    expected = 0 if parts is None else len(parts)
    claims.append(
        (
            "rows of the notebooks' crossval.csv in the merged one",
            "all",
            "all" if merged == expected else merged,
            merged == expected,
        )
    )
    return checks(*claims)


def _note(profile, key):
    """Which data, protocol and seeds made an item: those of its data set's stage 1."""
    return provenance(profile, f"stage1_{_dataset(key)}")


def _dataset(key):
    return "edf78" if "edf78" in item(key).slug else "edf20"


def _figure(profile, key):
    note, dataset = _note(profile, key), _dataset(key)
    if key == "fig01":
        return figures.plot_framework()
    if key in ("fig02", "fig03", "fig04", "fig05"):
        found = find(profile, f"stage1_{dataset}/genotype.json")
        return figures.plot_cells(
            published_genotype(dataset), found, "normal" if "normal" in item(key).slug else "reduce", note
        )
    if key == "fig06":
        return figures.plot_search(
            find(profile, "stage1_edf20/history.csv"), published("search_curve"), SEARCH_SAMPLES, note
        )
    if key in ("fig09", "fig10"):
        return figures.plot_confusion(dataset, gather(profile, "confusion.csv"), note)
    if key == "fig12":
        scores = find(profile, "stage2_prune/filters.csv")
        return None if scores is None else figures.plot_importance(scores, note)
    if key == "fig15":
        predictions = find(profile, "stage1_edf20/predictions.npz")
        return None if predictions is None else figures.plot_night(predictions, note=note)
    return None


def _table(profile, key):
    if key == "tab01":
        removed = {dataset: find(profile, f"stage1_{dataset}/removed_samples.csv") for dataset in ("edf20", "edf78")}
        return tables.table_epochs(find(profile, "nights.csv"), removed)
    if key == "tab02":
        found = {
            name: find(profile, f"stage1_{dataset}/settings.json")
            for name, dataset in (("EDF-20", "edf20"), ("EDF-78", "edf78"))
        }
        return tables.table_settings({name: settings for name, settings in found.items() if settings})
    if key in ("tab03", "tab04", "tab05", "tab06"):
        runs = [gather(profile, file) for file in CROSSVAL_FILES]
        return tables.table_stage("edf20" if key < "tab05" else "edf78", key in ("tab04", "tab06"), *runs)
    if key == "tab08":
        ablation = find(profile, "stage2_prune/ablation.csv")
        return None if ablation is None else tables.table_ablation(ablation)
    if key == "tab10":
        crossval = gather(profile, "crossval.csv")
        return None if crossval is None else tables.table_protocols(crossval, "edf20")
    return None
