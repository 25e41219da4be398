"""When a recording begins: the time of its first sample, as far as its file tells it. One rule for every format."""

import datetime
import re

DAY = 86_400  # s
UNKNOWN = datetime.date(1985, 1, 1)  # EDF+'s date where it is not known, whatever the clock says
# Midnights that stand where a start was removed: edfio's `anonymize`, MNE's, and a clock that was never set.
REMOVED = (None, UNKNOWN, datetime.date(2000, 1, 1), datetime.date(1970, 1, 1))
SEPARATED = re.compile(r"(\d\d)[.:/ -](\d\d)[.:/ -](\d\d)")
STARTDATE = re.compile(r"Startdate (?:X|(\d\d)-([A-Z]{3})-(\d{4}))(?: |$)", re.IGNORECASE)  # of EDF+
MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")


def start_of(date, clock, later=0.0):
    """The time of the first sample, taken `later` seconds after a header's `date` and `clock` (None: it has none):
    a datetime; a time where the date is a placeholder; None where both are. Times have no zone."""
    if clock is None or (clock == datetime.time() and date in REMOVED):
        return None
    dated = date not in (None, UNKNOWN)
    try:
        first = datetime.datetime.combine(date if dated else UNKNOWN, clock) + datetime.timedelta(seconds=later)
    except OverflowError:  # an onset beyond all calendars
        return None
    return first if dated else first.time()


def edf_start(date, clock, recording="", later=0.0):
    """The same by the texts of an EDF header: "24.04.89" (1985 to 2084), "16.13.00", and the field of the recording,
    whose `Startdate X` says that the date is none, and whose `Startdate 24-APR-1989` stands in for one that is none.

    later : onset of the first data record in s (EDF+ 2.2.4)"""
    said, day, time = STARTDATE.match(recording), SEPARATED.fullmatch(date), SEPARATED.fullmatch(clock)
    day = day and _made(datetime.date, int(day[3]) + (1900 if int(day[3]) >= 85 else 2000), int(day[2]), int(day[1]))
    if said and (not said[1] or day in (None, UNKNOWN)):
        day = said[1] and _made(datetime.date, int(said[3]), _month(said[2]), int(said[1]))
    return start_of(day or None, time and _made(datetime.time, *map(int, time.groups())), later)


def seconds_of_day(clock):
    """Seconds after midnight of a time or datetime."""
    return clock.hour * 3600 + clock.minute * 60 + clock.second + clock.microsecond / 1e6


def shown(start):
    """A start as text: "1989-04-24 16:13:00", "16:13:00", "at a time that is not known"."""
    if start is None:
        return "at a time that is not known"
    return f"{start:%Y-%m-%d %H:%M:%S}" if isinstance(start, datetime.datetime) else f"{start:%H:%M:%S}"


def _month(name):
    return MONTHS.index(name.upper()) + 1 if name.upper() in MONTHS else 0


def _made(kind, *parts):
    try:
        return kind(*parts)
    except ValueError:
        return None
