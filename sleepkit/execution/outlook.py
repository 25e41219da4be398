"""How long work will take, said before it has taken that long."""

LONG = 0.5  # hours from which on it is said
FIRST = 20  # steps that an estimate is made from
GO_ON = "Stop it at any time: finished epochs are kept, and the same call goes on. --max-minutes 60 stops it by itself."


def announce(what, hours):
    """Print what is computed and how long that will take, where it is long."""
    if hours >= LONG:
        print(f"{what}: about {hours:.1f} hours. {GO_ON}", flush=True)
