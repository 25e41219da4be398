"""Every item of a profile, drawn from the result files there are, saved, shown, and listed in an index."""

from IPython.display import Image, Markdown

from sleepkit.execution import paths, record
from sleepkit.metrics import scores
from sleepkit.paper import figures, tables
from sleepkit.paper.items import ITEMS, item
from sleepkit.paper.provenance import provenance, published_alone, seen_by_search
from sleepkit.paper.published import published, published_confusion
from sleepkit.paper.tables.formats import HEADS, factor
from sleepkit.results import checks, command, find, gather, merge_crossval, with_subjects

ALONE = "published numbers alone"


def show(key, run):
    """Draw an item ("fig06") from the results of a profile, save it under figures/<profile>/ and return the picture or
    the table; without results, a line that says which command makes them.
    run : name of the profile, or an object with an attribute `profile`"""
    profile, entry = getattr(run, "profile", run), item(key)
    note = provenance(profile, entry)
    drawn = entry.draw(profile, note)
    if drawn is None:
        return Markdown(f"**{key}** is missing: `{command(profile, entry.notebook)}` makes its results.")
    if entry.is_figure:
        saved = figures.save(drawn, entry.stem(profile))
        if rest := entry.rest:
            saved += figures.save(rest.draw(profile, provenance(profile, rest)), rest.stem(profile))
        drawn = Image(saved[0].read_bytes(), format="png")
    else:
        remarks = entry.remarks(profile, drawn)
        saved = tables.save(drawn, entry.stem(profile), entry.title, " ".join(filter(None, [note, *remarks])))
        drawn = Markdown("\n\n".join([tables.markdown(drawn), *remarks]))
    print(f"{key}: {', '.join(file.name for file in saved)}")
    return drawn


def preview(key, run):
    """An item as `show` draws it, from the result files that a profile has so far; nothing is saved. For a data set of
    one's own the tables and confusion matrices are of that set, without published networks; other figures are None."""
    profile, dataset, entry = run.profile, run.dataset, item(key)
    if dataset in tables.DATASETS:
        drawn = entry.draw(profile, provenance(profile, entry))
        return drawn if entry.is_figure else as_table(drawn)
    if entry.is_figure:
        matrices = entry.function is figures.plot_confusion
        return figures.plot_confusion(dataset, gather(profile, "confusion.csv")) if matrices else None
    found = {
        name: gather(profile, f"{name}.csv") for name in ("crossval", "confusion", "confusion_by_night", "parameters")
    }
    nights = found["confusion_by_night"]
    found["confusion_by_night"] = None if nights is None else with_subjects(nights, profile, dataset)
    return as_table(tables.table_stage(dataset, entry.networks == "stage 2", *found.values()))


def as_table(frame):
    """A data frame as its readers see it: scores in per cent, rounded, a dash for what is missing."""
    scores = {key: factor(key) * frame[key] for key in HEADS if key in frame}
    return Markdown(tables.markdown(frame.assign(**scores).rename(columns=HEADS)))


def show_differences(profile):
    """Draw figures/<profile>/differences, of the network that was compared most often; None without results."""
    if (rows := find(profile, "stage2_prune/differences.csv")) is None:
        return None
    network = rows.value_counts(["genotype", "channels", "cells"]).index[0]
    rows = rows.set_index(["genotype", "channels", "cells"]).loc[[network]].reset_index()
    note = seen_by_search(rows.genotype, find(profile, "preparation.json")["simulated"])
    drawn = figures.plot_differences(rows, " ".join([f"Profile {profile}.", note, *record.apart(profile)]))
    return Image(figures.save(drawn, paths.figures(profile) / "differences")[0].read_bytes(), format="png")


def figure_checks(profile):
    """Whether the published numbers agree with one another, and every item that was drawn is there and listed."""
    claims, results = [], published("cv_results").query("layers == 9 and model == 'full' and fold == 'pooled'")
    for dataset, total in (("edf20", 34_951), ("edf78", 167_321)):
        matrix = published_confusion(f"{dataset}_L9_full")
        ours, theirs, n = scores(matrix), results[results.dataset == dataset].iloc[0], matrix.sum()
        claims.append((f"epochs of {dataset} in the published confusion matrices", total, n, n == total))
        for name in ("acc", "mf1"):
            claim, known, found = f"published {name} of {dataset}, L = 9, from its matrix", theirs[name], ours[name]
            claims.append((claim, f"{known:.4f}", f"{found:.4f}", abs(found - known) < 5e-5))
    index = write_index(profile).read_text()
    listed = sum(f"| {entry.key} |" in index for entry in ITEMS)
    claims.append(("items in index.md", len(ITEMS), listed, listed == len(ITEMS)))
    parts = gather(profile, "crossval.csv")
    merged = 0 if parts is None else len(merge_crossval(profile))
    same = parts is None or merged == len(parts)
    claims.append(("rows of the notebooks' crossval.csv in the merged one", "all", "all" if same else merged, same))
    return checks(*claims)


def write_index(profile):
    """Write figures/<profile>/index.md, with a row for each item, present or missing, and overview.png, a sheet of all
    figures, which it shows at the top; returns the path of the index."""
    folder = paths.figures(profile)
    captions = {f"{int(entry.key[3:])}  {entry.title}": entry.files(profile)[0] for entry in ITEMS if entry.is_figure}
    overview = figures.save_overview(f"Figures of the profile {profile}", captions, folder / "overview.png")
    rows = [_row(profile, entry) for entry in ITEMS]
    present = [row for row in rows if row[2] != "missing"]
    alone = sum(row[3] == ALONE for row in present)
    some = f", {alone} of them with {ALONE}" if alone else ""
    text = f"""# Tables and figures, profile `{profile}`

{len(present)} of {len(ITEMS)} items are here{some}. All are drawn by the notebook `figures` from result files \
(`{command(profile, "figures")}`); the table says which notebook computed their numbers. Figures are PNG and SVG, \
tables CSV, Markdown and LaTeX (booktabs).

"""
    text += "".join(f"**{line}**\n\n" for line in record.apart(profile))
    text += "![All figures of the profile](overview.png)\n\n" if overview else ""
    text += "| item | title | files | numbers from | command | last run took |\n|---|---|---|---|---|---|\n"
    text += "".join("| " + " | ".join(row) + " |\n" for row in rows)
    with paths.written(folder / "index.md") as temporary:
        temporary.write_text(text, encoding="utf-8")
    return folder / "index.md"


def _row(profile, entry):
    files, source = entry.files(profile), f"`{entry.notebook}`"
    if not all(file.exists() for file in files):
        return entry.key, entry.title, "missing", source, f"`make reproduce PROFILE={profile}`", ""
    links, time = ", ".join(f"[{file.name}]({file.name})" for file in files), paths.run_time(profile, entry.notebook)
    took = f"{float(time.read_text()):.0f} s" if time.exists() else ""
    source = ALONE if published_alone(profile, entry) else source
    return entry.key, entry.title, links, source, f"`{command(profile, entry.notebook)}`", took
