"""What a scored night leaves on disk, and the scoring of a whole folder."""

import datetime
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from sleepkit.epochs import STAGES
from sleepkit.execution import WorkFailed
from sleepkit.execution.paths import progress, written
from sleepkit.metrics import confusion, scores
from sleepkit.recordings.dataset import hypnogram_of, recordings_in
from sleepkit.recordings.start import shown
from sleepkit.scoring.model import describe, load_model
from sleepkit.scoring.sleep_statistics import as_text
from sleepkit.scoring.staging import edf_texts, score

ENDINGS = (".csv", ".network.csv", ".hypnogram.edf", ".events.tsv", ".png", ".txt")
HEADER = ",".join(("onset", "stage", *STAGES))
BEGINS = {".csv": HEADER.encode(), ".tsv": b"onset\tduration\ttrial_type\n"}  # of the tables that are written here
MARK = b"sleepkit"  # stands in every other file that is


class NightsFailed(WorkFailed):
    """Some nights of a folder could not be scored; the others are."""


def score_files(source, output=None, model=None, channel=None, context=True, hypnogram=None, show=print, **about):
    """Score a recording, or every recording of a folder, and write the files of ENDINGS for each: night.csv, ...
    output : folder; None is that of the recording;  show : called with the summary of each night
    hypnogram : an expert's; with a folder, that of their hypnograms (NAME-Hypnogram.edf to NAME.edf)
    about : stages, lights_off, lights_on, adapt, see `score`
    Raises NightsFailed after all nights of a folder were tried, naming those that failed."""
    source, model, failed = Path(source), load_model(model), []
    several = source.is_dir()
    paths = recordings_in(source) if several else [source]
    for path in progress(paths, desc="nights", unit="night") if several else paths:
        try:
            if clash := [other.name for other in paths if other != path and other.stem == path.stem]:
                raise ValueError(f"{path}: {clash[0]} would be written to the same files; move one to another folder")
            expert = hypnogram_of(path, Path(hypnogram)) if several and hypnogram else hypnogram
            scoring, folder = score(path, model, channel, context, expert, **about), Path(output or path.parent)
            if hypnogram and not expert:
                missing = f"no hypnogram in {hypnogram} has the name of this recording: it was not compared"
                scoring = replace(scoring, notes=(*scoring.notes, missing))
            text = summary(scoring)
            write(scoring, folder, text)
            show(f"{text}\nwritten: {folder / path.stem}{{{','.join(ENDINGS)}}}" + "\n" * several)
        except Exception as error:
            if not several:
                raise
            known = isinstance(error, (ValueError, OSError))
            failed.append(str(error) if known else f"{path}: {type(error).__name__}: {error}; please report it")
    if failed:
        begin = f"{len(failed)} of {len(paths)} nights of {source} were not scored:"
        raise NightsFailed("\n  ".join([begin, *failed]))


def summary(scoring):
    """All that a reader should know about a scored night, as lines of text."""
    night = scoring.night
    began = f", begun {shown(night.start)}" if night.start else ""
    epochs = f"{len(night.x)} epochs of 30 s, {night.scored.sum()} scored"
    lines = [f"{scoring.path.name}: channel {night.channel}{began}; {epochs}", *describe(scoring.model)]
    lines += ["", as_text(scoring.statistics, *["time in bed"] * (scoring.in_bed is not None))]
    if scoring.in_bed is None:
        lines.append("lights off and on are not known: the whole recording counts as time in bed")
    lines += ["", *_agreement(scoring)] if scoring.labels is not None else []
    lines += ["", *(f"note: {note}" for note in scoring.notes)] if scoring.notes else []
    return "\n".join([*lines, "", "scored by sleepkit; not for diagnosis"])


def write(scoring, folder, text):
    """Write the files of ENDINGS into `folder`, all or none; ValueError where one stands there of another origin."""
    targets = [Path(folder) / f"{scoring.path.stem}{ending}" for ending in ENDINGS]
    for target in filter(Path.exists, targets):
        with target.open("rb") as file:
            begin = file.read(1 << 20 if target.suffix == ".txt" else 1024)  # the summary ends with the mark
        if not (begin.startswith(BEGINS[target.suffix]) if target.suffix in BEGINS else MARK in begin):
            raise ValueError(f"{target}: was not written here and is left as it is; move it or change --output")
    # They move into place in the reverse order, night.csv last: who sees it sees the others, too.
    with ExitStack() as stack:
        csv, network, hypnogram, tsv, png, txt = (stack.enter_context(written(target)) for target in targets)
        scoring.epochs.to_csv(csv, index=False, float_format="%.4f")
        scoring.network.to_csv(network, index=False, float_format="%.4f")
        _write_hypnogram(scoring, hypnogram)
        scoring.to_events().to_csv(tsv, sep="\t", index=False)
        _write_picture(scoring, png)
        txt.write_text(text + "\n", encoding="utf-8", errors="backslashreplace")


def _agreement(scoring):
    """Accuracy, kappa and confusion over the epochs that both have scored, as lines of text."""
    if not (both := (scoring.labels >= 0) & (scoring.stages >= 0)).any():
        return ["agreement with the expert: no epoch that both have scored"]
    matrix = confusion(scoring.labels[both], scoring.stages[both])
    alone = confusion(scoring.labels[both], scoring.network[list(STAGES)].to_numpy()[both].argmax(axis=1))

    def shown(matrix):
        found = scores(matrix)
        one_stage = matrix.sum(axis=0).max() == matrix.sum(axis=1).max() == matrix.sum()  # chance agrees, too
        return f"accuracy {100 * found['acc']:.1f} %, kappa {'-' if one_stage else format(found['kappa'], '.3f')}"

    first = f"agreement with the expert over {both.sum()} epochs: {shown(matrix)} (the network alone: {shown(alone)})"
    rows = zip(["", *STAGES], [STAGES, *matrix], strict=True)
    table = [f"{name:>6}" + "".join(f"{value:>7}" for value in row) for name, row in rows]
    return [first, "rows the expert's stage, columns as scored:", *table]


def _write_hypnogram(scoring, path):
    """An EDF+ file of annotations alone, one a bout, with the start of the recording."""
    import edfio

    events, start = scoring.to_events(), scoring.night.start
    times = zip(events["onset"].tolist(), events["duration"].tolist(), edf_texts(events["trial_type"]), strict=True)
    annotations = [edfio.EdfAnnotation(*bout) for bout in times]
    dated = isinstance(start, datetime.datetime)
    date = start.date() if dated and 1985 <= start.year <= 2084 else None  # what the format can say
    clock = start.time() if dated else start
    recording = edfio.Recording(startdate=date, equipment_code="sleepkit")
    edfio.Edf([], annotations=annotations, starttime=clock, recording=recording).write(path)


def _write_picture(scoring, path):
    from sleepkit.paper.figures.nights import plot_scored
    from sleepkit.paper.figures.style import arrange, styled

    night, note = scoring.night, "; ".join([*describe(scoring.model), *scoring.notes])
    name = scoring.path.name.encode(errors="backslashreplace").decode()  # it may be in another encoding
    x, title = night.x.reshape(len(night.x), -1), f"{name}, {night.channel}"
    figure = plot_scored(scoring.epochs, x, night.fs, scoring.labels, title=title, note=note)
    figure.set_dpi(150)
    styled(arrange)(figure)
    styled(figure.savefig)(path, dpi=150, metadata={"Software": "sleepkit"})
