"""Hypnograms as text: tables with a header, MNE's annotations, Luna's .annot, one stage a line."""

import csv
import datetime
import math
import re

from sleepkit.epochs import EPOCH_SECONDS
from sleepkit.recordings.start import DAY, seconds_of_day, start_of

# Names of columns in the order in which they are looked for. Letters alone count: "Time [hh:mm:ss]" is "time".
ROLES = {
    "onset": ("onset", "start", "starttime", "begin", "onsettime", "timestamp", "datetime", "time"),
    "duration": ("duration", "length", "dur"),
    "stop": ("stop", "end", "endtime", "stoptime"),
    "epoch": ("epoch", "epochs", "epochnumber", "epochnr", "epochno"),
}
STAGE = ("stage", "stages", "trialtype", "stagehum", "staging", "hypnogram", "hypno", "description", "class", "event")
STAGE += ("annotation", "label", "name", "sleepstage", "sleepstages", "scoring", "value")
KNOWN = {*STAGE, *(name for names in ROLES.values() for name in names)}
LUNA = {3: ["class", "start", "stop"], 4: ["class", "instance", "start", "stop"]}
LUNA[6] = ["class", "instance", "channel", "start", "stop", "meta"]
PREAMBLE = 100  # lines in which a header is looked for
NUMBER = re.compile(r"[+-]?(\d+([.,]\d*)?|[.,]\d+)(e[+-]?\d+)?", re.IGNORECASE | re.ASCII)
CLOCK = re.compile(
    r"(?:(\S+)[T ] ?)?(\d\d?)([:.])(\d\d)\3(\d\d)(?:[.,](\d+))?(?: ?([ap])m)?(?:Z|[+-]\d\d:?\d\d)?", re.IGNORECASE
)
EPOCH = re.compile(r"e:(\d+)(?::(\d+(?:\.\d+)?))?(?::(\d+(?:\.\d+)?))?", re.ASCII)  # Luna's e:2, e:2:20, e:2:30:15


def read_table(text, is_stage):
    """Rows (onset in s, duration in s or None, text), the start, and notes. ValueError where no column has stages."""
    lines = [line for line in text.splitlines() if line.strip()]
    names, split, data = _header(lines, is_stage)
    table = [split(line) for line in data if not line.startswith("#")]
    if names is None and len(table) == 1 and len(table[0]) > 6:  # all in one line
        table = [[field] for field in table[0]]
    if names is None and len(table) > 1:  # a header in words that are not known here, or pandas' without a name
        known = [field for field in table[0] if is_stage(field) or NUMBER.fullmatch(field)]
        table = table if known and table[0][0] else table[1:]
    if not table:
        raise ValueError("no line of data in it; export the hypnogram again")
    names = names or _names_by_content(table, is_stage)
    columns = {
        role: next((names.index(name) for name in known if name in names), None) for role, known in ROLES.items()
    }
    stage = _stage_column(names, table, is_stage, set(columns.values()))
    notes = [f"its stages were read from column {names[stage]!r}"] * (names[stage] not in ("stage", "stages", ""))
    if columns["onset"] is None:
        if columns["epoch"] is None and {columns["duration"], columns["stop"]} != {None}:
            raise ValueError(f"no column of onsets in it (columns: {', '.join(names)}); name one onset, in seconds")
        rows = _list_of_epochs(table, stage, columns["epoch"])
        return rows, None, (*notes, f"it was read as one epoch of {EPOCH_SECONDS} s a line")
    rows, start = _events(table, stage, columns, is_stage)
    for line in lines[:PREAMBLE]:  # MNE writes the start as a comment
        if line.startswith("#") and line[1:].partition(":")[0].strip() == "orig_time":
            zero = _moment(line.partition(":")[2])
            start = start_of(zero.date(), zero.time()) if isinstance(zero, datetime.datetime) else start
    return rows, start, tuple(notes)


def _header(lines, is_stage):
    """Names of the columns (None without a header), how to split a line, and the lines of data."""
    for place, line in enumerate(lines[:PREAMBLE]):
        for split in _splitters(line):
            names = [_letters(name) for name in split(line.lstrip("# "))]
            known = sum(name in KNOWN for name in names)
            if known >= 2 or (len(names) == 1 and names[0] in STAGE and place == 0):
                return names, split, lines[place + 1 :]
    data = [line for line in lines if not line.startswith("#")]
    whole, *others = _splitters(data[0] if data else "")
    widths = {len(others[0](line)) for line in data} if others else {1}
    one = len(widths) > 1 or widths == {1} or 2 * sum(is_stage(line) for line in data) > len(data)
    return None, whole if one or not others else others[0], data


def _splitters(line):
    """The ways to take a line apart: by its delimiter, else as a whole or at its blanks."""
    if (delimiter := next((sign for sign in "\t;," if sign in line), None)) is None:
        return [lambda text: [text.strip().strip("\"'")], str.split]
    return [lambda text: [field.strip() for field in next(csv.reader([text], delimiter=delimiter), [""])]]


def _letters(name):
    """ "Start_time (s)" -> "starttime"; units other than seconds stay, and make a name unknown."""
    name = re.sub(r"[\[(].*?[\])]", "", name.casefold()).strip()
    return re.sub(r"[^a-z]", "", re.sub(r"[ _](s|secs?|seconds)$", "", name))


def _names_by_content(table, is_stage):
    """Names of the columns of a table without a header: Luna's, MNE's, number and stage, or stages alone."""
    width = max(map(len, table), default=0)
    staged = [sum(is_stage(field) for field in column) for column in zip(*table, strict=False)]
    first = [row[0] for row in table]
    if width in LUNA and not all(map(NUMBER.fullmatch, first)):
        return LUNA[width]
    if width == 3:
        return ["onset", "duration", "description"]
    if width == 2 and None not in (moments := [_moment(field) for field in first]):
        return ["epoch" if _consecutive(moments) else "onset", "stage"]
    if width != 1 or not staged[0]:
        raise ValueError(
            f"neither a table with a header of onset, duration and stage nor one stage a line; {width} columns"
        )
    return ["stage"]


def _consecutive(moments):
    pairs = zip(moments, moments[1:], strict=False)
    return all(isinstance(later, float) and isinstance(one, float) and later - one == 1 for one, later in pairs)


def _stage_column(names, table, is_stage, taken):
    """Position of the column that holds the stages: by its name, else the one in which most fields are stages."""
    counts = [sum(i < len(row) and is_stage(row[i]) for row in table) for i in range(len(names))]
    for name in STAGE:
        if name in names and counts[names.index(name)]:
            return names.index(name)
    rest = [i for i in range(len(names)) if i not in taken and 2 * counts[i] > len(table)]
    if not rest:
        raise ValueError(f"no column of sleep stages in it (columns: {', '.join(names)}); name them with --stages")
    return max(rest, key=lambda i: counts[i])


def _list_of_epochs(table, stage, epoch):
    """Rows of a list with a line for every epoch, in their order or by a column of their numbers, from 0 or 1 on."""
    numbers = range(len(table))
    if epoch is not None:
        numbers = [float(row[epoch]) if NUMBER.fullmatch(row[epoch]) else math.nan for row in table]
        if not all(number >= 0 and number % 1 == 0 for number in numbers):
            raise ValueError("its epochs have no whole numbers; correct the hypnogram")
        numbers = [number - (0 not in numbers) for number in numbers]
    texts = [row[stage] if stage < len(row) else "" for row in table]
    return [(EPOCH_SECONDS * i, EPOCH_SECONDS, text) for i, text in zip(numbers, texts, strict=True)]


def _events(table, stage, columns, is_stage):
    """Rows by the columns of their times, and the start where the times are clocks or dates."""
    rows, zero, last = [], None, None
    for fields in table:
        text, onset, duration, stop = (
            fields[i] if i is not None and i < len(fields) else "" for i in (stage, *list(columns.values())[:3])
        )
        moment = _moment(onset)
        if moment is None or (rows and isinstance(moment, float) != (zero is None)):
            if is_stage(text):
                expected = "expected seconds, clocks or dates, of one kind throughout"
                raise ValueError(f"stage {text!r} at {onset!r}; {expected}: correct the hypnogram")
            continue
        if not rows:
            zero = _zero(moment)
        seconds = last = _seconds(moment, zero, last)
        rows.append([seconds, _lasts(duration, stop, onset, seconds, zero), text])
    for row, later in zip(rows, rows[1:], strict=False):
        if row[1] == "...":  # Luna's sign for: until the next row
            row[1] = later[0] - row[0]
    rows = [(onset, None if duration == "..." else duration, text) for onset, duration, text in rows]
    if isinstance(zero, datetime.datetime):
        return rows, start_of(zero.date(), zero.time())
    return rows, start_of(None, zero)


def _lasts(duration, stop, onset, seconds, zero):
    """Seconds of a row by its duration or its stop, None where it has neither."""
    if stop == "..." or stop.startswith("+"):
        return "..." if stop == "..." else _number(stop[1:])
    if (end := _moment(stop, after=True)) is not None and isinstance(end, float) == (zero is None):
        return _seconds(end, zero, seconds) - seconds
    if match := EPOCH.fullmatch(onset):
        return float(match[2] or EPOCH_SECONDS)
    return _number(duration)


def _number(text):
    return float(text.replace(",", ".")) if NUMBER.fullmatch(text) else None


def _moment(text, after=False):
    """What a field says about time: seconds, a time of day, a datetime; None where it says nothing that is known.
    after : whether Luna's epochs stand for their end"""
    text = text.strip()
    if (seconds := _number(text)) is not None:
        return seconds if math.isfinite(seconds) else None
    if match := EPOCH.fullmatch(text):
        length = float(match[2] or EPOCH_SECONDS)
        return (int(match[1]) - 1) * float(match[3] or length) + after * length
    elapsed = text.startswith("0+")
    if not (match := CLOCK.fullmatch(text.removeprefix("0+"))):
        return None
    date, hours, _, minutes, seconds, fraction, half = match.groups()
    hours = int(hours) % 12 + 12 * (half in ("p", "P")) if half else int(hours)
    if elapsed:
        return hours * 3600.0 + int(minutes) * 60 + float(f"{seconds}.{fraction or 0}")
    try:
        clock = datetime.time(hours, int(minutes), int(seconds), int(f"{fraction or 0:0<6}"[:6]))
        return datetime.datetime.combine(_date(date), clock) if date and _date(date) else clock
    except ValueError:
        return None


def _date(text):
    """A date that is one without doubt: 1989-04-24 or 24.04.1989; None otherwise, and the clock counts alone."""
    if match := re.fullmatch(r"(\d{4})-(\d\d)-(\d\d)", text):
        return datetime.date(*map(int, match.groups()))
    match = re.fullmatch(r"(\d\d)\.(\d\d)\.(\d{4})", text)
    return match and datetime.date(*map(int, match.groups()[::-1]))


def _zero(moment):
    """The moment from which onsets count, by that of the first row: its clock, its date; None for seconds. A table that
    begins at 00:00:00 counts from its start, and MNE counts from 1970 where no start is known."""
    if moment == datetime.time():
        return datetime.time()
    if isinstance(moment, datetime.datetime) and moment.date() == datetime.date(1970, 1, 1):
        return datetime.datetime(1970, 1, 1)
    return None if isinstance(moment, float) else moment


def _seconds(moment, zero, last):
    """Seconds from `zero`. Clocks go on over midnight: each is the one nearest to the `last` onset."""
    if zero is None:
        return moment
    if isinstance(moment, datetime.datetime) and isinstance(zero, datetime.datetime):
        return (moment - zero).total_seconds()
    after = seconds_of_day(moment) - seconds_of_day(zero) - (last or 0.0)
    return (last or 0.0) + (after + DAY / 2) % DAY - DAY / 2
