"""How long work will take, said before it has taken that long."""

LONG = 30 * 60  # seconds from which on it is said
FIRST = 20  # steps that an estimate is made from
GO_ON = "Stop it at any time: finished epochs are kept, and the same call goes on. max_minutes = 60 stops it by itself."


def spoken(seconds):
    """A length of time in words: "40 s", "25 minutes", "3.2 hours", "4.5 days"."""
    for unit, size, digits in (("days", 86_400, 1), ("hours", 3_600, 1), ("minutes", 60, 0)):
        if seconds >= 1.5 * size:
            return f"{seconds / size:.{digits}f} {unit}"
    return f"{seconds:.0f} s"


def announce(what, seconds):
    """Print what is computed and how long that will take, where it is long."""
    if seconds >= LONG:
        print(f"{what}: about {spoken(seconds)}. {GO_ON}", flush=True)
