"""Hypnograms of every kind, written by hand: a name of each epoch in, a file out."""

import datetime
from itertools import groupby

import numpy as np
from edf_files import DAY, START
from recording_files import write_annotations

NAMES = ("W", "N1", "N2", "N3", "R")
PROFUSION = {"W": "0", "N1": "1", "N2": "2", "N3": "3", "R": "5", "?": "9"}
NSRR = {"W": "Wake|0", "N1": "Stage 1 sleep|1", "N2": "Stage 2 sleep|2", "N3": "Stage 3 sleep|3", "R": "REM sleep|5"}
NSRR["?"] = "Unscored|9"
BEGIN = datetime.datetime.combine(DAY, START)


def bouts(stages):
    """(onset, duration, name) of every run of equal names."""
    at = 0
    for name, run in groupby(stages):
        length = 30 * len(list(run))
        yield at, length, name
        at += length


def edf(path, stages):
    return write_annotations(path, [(on, lasts, f"Sleep stage {name}") for on, lasts, name in bouts(stages)])


def edf_without_durations(path, stages):
    return write_annotations(path, [(30 * i, None, f"Sleep stage {name}") for i, name in enumerate(stages)])


def edf_record_per_epoch(path, stages):
    rows = [(30 * i, 30, f"SLEEP-{name}") for i, name in enumerate(stages)]
    return write_annotations(path, rows, one_record=False, keepers=False)


def night_csv(path, stages):
    lines = ["onset,stage,W,N1,N2,N3,REM", *(f"{30 * i},{s.replace('R', 'REM')},,,,," for i, s in enumerate(stages))]
    return written(path, lines)


def bids(path, stages):
    rows = [f"{on}\t{lasts}\t{name}\tn/a" for on, lasts, name in bouts(stages)]
    rows.insert(1, "7.5\tn/a\tspindle\tn/a")
    return written(path, ["onset\tduration\ttrial_type\tvalue", *rows])


def semicolons(path, stages):
    """Clocks, decimal commas, a header that says little, as an office program saves them."""
    rows = [f"{BEGIN + datetime.timedelta(seconds=30 * i):%H:%M:%S};30,0;{s}" for i, s in enumerate(stages)]
    return written(path, ["Start Time;Duration (s);Scorer A", *rows], "latin-1")


def one_a_line(path, stages):
    return written(path, stages)


def numbers(path, stages):
    np.savetxt(path, [int(PROFUSION[name]) for name in stages] + [5])
    return path


def numbered(path, stages):
    return written(path, ["Epoch,Stage", *(f"{i},{name}" for i, name in enumerate(stages, 1))])


def cap(path, stages):
    """RemLogic's report: a page of text in front, events of other kinds among the stages."""
    rows = [f"{s}\tSupine\t{clock(30 * i)}\tSLEEP-{s}\t30\tROC-LOC" for i, s in enumerate(stages)]
    rows.insert(1, f"N2\tSupine\t{clock(20)}\tMCAP-A1\t40\tFp2-F4")
    head = [
        "RemLogic Event Export",
        "Patient:\tX",
        "",
        "Sleep Stage\tPosition\tTime [hh:mm:ss]\tEvent\tDuration[s]\tLocation",
    ]
    return written(path, head + rows)


def annot(path, stages):
    rows = [f"{name}\t.\t.\t{on:.4f}\t{on + lasts:.4f}\t." for on, lasts, name in bouts(stages)]
    head = [
        "# N1 | a stage",
        "# arousal",
        "class\tinstance\tchannel\tstart\tstop\tmeta",
        "duration_sec\t900\t.\t.\t.\t.",
    ]
    return written(path, [*head, "arousal\t.\tC3\t31.2\t+4\t.", *rows])


def annot_clocks(path, stages):
    return written(path, [f"{name}\t{clock(on)}\t..." for on, _, name in bouts([*stages, "?"])])


def annot_epochs(path, stages):
    return written(path, [f"{name} e:{i} ." for i, name in enumerate(stages, 1)])


def profusion(path, stages):
    body = "".join(f"<SleepStage>{PROFUSION[name]}</SleepStage>\n" for name in stages)
    head = '<?xml version="1.0"?><CMPStudyConfig><EpochLength>30</EpochLength><SleepStages>'
    return written(path, [f"{head}{body}</SleepStages></CMPStudyConfig>"])


def nsrr(path, stages):
    events = [
        f"<EventConcept>Recording Start Time</EventConcept><Start>0</Start><Duration>{30 * len(stages)}</Duration>"
    ]
    events[0] += f"<ClockTime>00.00.00 {BEGIN:%H.%M.%S}</ClockTime>"
    events += ["<EventConcept>Arousal|Arousal ()</EventConcept><Start>31.2</Start><Duration>4.5</Duration>"]
    for on, lasts, name in bouts(stages):
        events.append(f"<EventType>Stages|Stages</EventType><EventConcept>{NSRR[name]}</EventConcept>")
        events[-1] += f"<Start>{on}</Start><Duration>{lasts}.0</Duration>"
    body = "".join(f"<ScoredEvent>{event}</ScoredEvent>" for event in events)
    head = '<?xml version="1.0" encoding="UTF-8"?>\n<PSGAnnotation><EpochLength>30</EpochLength>'
    return written(path, [f"{head}<ScoredEvents>{body}</ScoredEvents></PSGAnnotation>"])


def luna_xml(path, stages):
    rows = [
        (f"<Instance><Class>{name}</Class><Name>.</Name><Start>{on}</Start>", lasts)
        for on, lasts, name in bouts(stages)
    ]
    body = "".join(f"{row}<Duration>{lasts}</Duration></Instance>" for row, lasts in rows)
    return written(
        path,
        [f"<Annotations><Classes><Class><Name>N1</Name></Class></Classes><Instances>{body}</Instances></Annotations>"],
    )


def mne_txt(path, stages):
    rows = [f"{on:.18e},{lasts:.18e},Sleep stage {name}" for on, lasts, name in bouts(stages)]
    return written(path, ["# MNE-Annotations", f"# orig_time : {BEGIN}", "# onset, duration, description", *rows])


def mne_csv(path, stages):
    rows = [f"{BEGIN + datetime.timedelta(seconds=on)},{lasts}.0,{name}" for on, lasts, name in bouts(stages)]
    return written(path, ["onset,duration,description", *rows])


def clock(seconds):
    return f"{BEGIN + datetime.timedelta(seconds=seconds):%H:%M:%S}"


def written(path, lines, encoding="utf-8"):
    path.write_bytes(("\n".join(lines) + "\n").encode(encoding))
    return path


WRITERS = {f.__name__: f for f in (
    edf, edf_without_durations, edf_record_per_epoch, night_csv, bids, semicolons, one_a_line, numbers, numbered, cap,
    annot, annot_clocks, annot_epochs, profusion, nsrr, luna_xml, mne_txt, mne_csv,
)}  # fmt: skip
