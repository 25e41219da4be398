"""The gallery of a profile: every item drawn from the result files there are, saved, shown, and listed in an index."""

import io

from IPython.display import Image, Markdown
from PIL import Image as Picture

from sleepkit.execution import paths
from sleepkit.metrics import scores
from sleepkit.paper import figures, items, tables
from sleepkit.paper.items import ITEMS, item
from sleepkit.paper.provenance import dataset_of, provenance, published_alone
from sleepkit.paper.published import SEARCH_SAMPLES, published, published_confusion, published_genotype
from sleepkit.results import checks, command, find, gather, merge_crossval, read

DRAWN = (
    "All are drawn by the notebook `figures` from result files (`{}`); the table says which notebook computed their "
    "numbers. Figures are PNG (300 dpi) and SVG, tables CSV, Markdown and LaTeX (booktabs)."
)
ALONE = "published numbers alone"
DOTS = 120  # per inch, on a screen
CROSSVAL_FILES = ("crossval.csv", "per_class.csv", "parameters.csv")


def draw(profile, key):
    """Draw an item ("fig06") from the results of a profile and save it under figures/<profile>/.

    returns what a notebook shows: the saved picture at the size of a screen (arranging and drawing the figure once
        more would take as long as saving it), or the table; where there are no results to draw it from, a line that says
        which command makes them
    """
    drawn = plot(profile, key) if key.startswith("fig") else _table(profile, key)
    if drawn is None:
        return Markdown(f"**{key}** is missing: `{command(profile, item(key).notebook)}` makes its results.")
    if key.startswith("fig"):
        saved = figures.save(drawn, profile, key)
        drawn = _on_screen(saved[0])
    else:
        note = provenance(profile, key)
        if key == "tab08":
            note = f"{note} {tables.ablation_note(read(profile, 'stage2_prune/ablation.json'))}"
        if key == "tab10":
            if (drawn["context"] != "none").any():
                note = f"{note} {tables.CONTEXT_NOTE}"
            if gap := _gap(profile):
                note = f"{note} {gap}"
                print(gap)
        saved = tables.save(drawn, profile, key, note)
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


def write_index(profile):
    """Write figures/<profile>/index.md with a row for each of the 28 items, and overview.png, a sheet of all figures,
    which it shows at the top; returns the path of the index.

    An item that has files links to them, with the notebook its numbers come from (or that they are published ones
    alone), the command and the run time of that notebook where it is on record; one that has none is listed as missing.
    """
    overview = figures.save_overview(profile)
    rows = [_row(profile, entry) for entry in ITEMS]
    present = [row for row in rows if "missing" not in row[2]]
    alone = sum(row[3] == ALONE for row in present)
    some = f", {alone} of them with {ALONE}" if alone else ""
    lines = [
        f"# Tables and figures, profile `{profile}`",
        "",
        f"{len(present)} of {len(ITEMS)} items are here{some}. {DRAWN.format(command(profile, 'figures'))}",
        "",
        *(["![All figures of the profile](overview.png)", ""] if overview else []),
        "| item | title | files | numbers from | command | last run took |",
        "|---|---|---|---|---|---|",
        *("| " + " | ".join(row) + " |" for row in rows),
    ]
    target = paths.figures(profile) / "index.md"
    with paths.written(target) as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return target


def _row(profile, entry):
    endings = ("png", "svg") if entry.key.startswith("fig") else ("csv", "md", "tex")
    files = [items.path(profile, entry.key, ending) for ending in endings]
    made = f"`{command(profile, entry.notebook)}`"
    if all(file.exists() for file in files):
        shown = ", ".join(f"[{file.name}]({file.name})" for file in files)
        time, alone = _run_time(profile, entry.notebook), published_alone(profile, entry.key)
    else:
        shown, made, time, alone = "missing", f"`make reproduce PROFILE={profile}`", "", False
    source = ALONE if alone else f"`{entry.notebook}`"
    return entry.key, entry.title, shown, source, made, time


def _run_time(profile, notebook):
    """How long the notebook ran when it was last called, or nothing where that is not on record."""
    file = paths.run_time(profile, notebook)
    return f"{float(file.read_text()):.0f} s" if file.exists() else ""


def _gap(profile):
    """What separates the protocols of table 10, in words."""
    predictions, kept = (find(profile, f"stage1_edf20/{name}.npz") for name in ("predictions", "kept"))
    return tables.protocol_gap(gather(profile, "crossval.csv"), "edf20", predictions, kept)


def _on_screen(path):
    """A saved picture, fewer dots of it, for IPython to show."""
    with Picture.open(path, formats=["PNG"]) as picture:
        share, content = DOTS / picture.info["dpi"][0], io.BytesIO()
        size = [round(side * share) for side in picture.size]
        small = picture.convert("RGB").resize(size, Picture.Resampling.HAMMING)
        small.quantize(256, dither=Picture.Dither.NONE).save(content, "PNG")  # a third of the size
    return Image(content.getvalue(), format="png")


def plot(profile, key):
    """The matplotlib figure of an item ("fig06") from the results of a profile, not saved; None where it has none."""
    note, dataset = provenance(profile, key), dataset_of(key)
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
    if key == "fig07":
        names = ("weights.npz", "removed_operations.csv", "history.csv", "genotype.json")
        found = [find(profile, f"stage1_edf20/{name}") for name in names]
        return None if found[0] is None else figures.plot_sharpening(*found, note)
    if key == "fig08":
        # Both come from one run of the notebook; results without examples are older than this figure.
        voe, examples = (find(profile, f"stage1_edf20/{name}.npz") for name in ("voe", "examples"))
        return None if examples is None else figures.plot_removed(voe, examples, note)
    if key in ("fig09", "fig10"):
        return figures.plot_confusion(dataset, gather(profile, "confusion.csv"), note)
    if key == "fig11":
        return figures.plot_training(gather(profile, "training_curves.csv"), published("training_curves"), note)
    if key == "fig12":
        scores = find(profile, "stage2_prune/filters.csv")
        return None if scores is None else figures.plot_importance(scores, note)
    if key == "fig14":
        return figures.plot_tradeoff(gather(profile, "crossval.csv"), gather(profile, "parameters.csv"), note)
    if key == "fig15":
        predictions = find(profile, "stage1_edf20/predictions.npz")
        return None if predictions is None else figures.plot_night(predictions, note=note)
    if key in ("fig13", "fig16", "fig17"):
        name, plot = {
            "fig13": ("sweep", figures.plot_sweep),
            "fig16": ("calibration", figures.plot_calibration),
            "fig17": ("cost", figures.plot_latency),
        }[key]
        frame = find(profile, f"stage2_prune/{name}.csv")
        return None if frame is None else plot(frame, note)
    return None


def show_table(profile, key):
    """The table of an item ("tab04") from the results of a profile as its readers see it, not saved."""
    return Markdown(tables.markdown(_table(profile, key)))


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
    if key == "tab07":
        return tables.table_state_of_the_art(gather(profile, "crossval.csv"), gather(profile, "parameters.csv"))
    if key == "tab08":
        ablation = find(profile, "stage2_prune/ablation.csv")
        return None if ablation is None else tables.table_ablation(ablation)
    if key == "tab09":
        cost = find(profile, "stage2_prune/cost.csv")
        return None if cost is None else tables.table_cost(cost)
    if key == "tab10":
        return tables.table_protocols(gather(profile, "crossval.csv"), "edf20")
    if key == "tab11":
        return tables.table_departures()
    return None
