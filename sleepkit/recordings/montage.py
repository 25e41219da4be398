"""Which channel is meant: by its name, a pattern, or as the difference of two others."""

import re
from fnmatch import fnmatchcase

DEFAULT = "Fpz-Cz"  # of Sleep-EDF, on which the networks are trained


def find_channel(labels, wanted=None):
    """Position of the channel that is wanted, or positions of the two whose difference it is.

    labels : what the recording has;  wanted : a label ("EEG Fpz-Cz"; case, a leading EEG and a trailing -Ref do not
        matter), a pattern that fits one label ("*Fpz*"), or a derivation ("Fpz - Cz"); None is Fpz-Cz or, in a
        recording of one channel, that one
    returns (i,) or (i, j), the channel being i minus j; of equal labels the first counts
    Raises ValueError that lists the channels when there is none, or the ones that fit a pattern when there are several.
    """
    name = DEFAULT if wanted is None else wanted
    found = _position(labels, name)
    if found is not None:
        return (found,)
    for parts in (re.split(r"\s+-\s+", name), re.split(r"\s*-\s*", name)):
        if len(parts) == 2 and all(parts):
            pair = tuple(_position(labels, part) for part in parts)
            if None not in pair and pair[0] != pair[1]:
                return pair
    if wanted is None and len(labels) == 1:
        return (0,)
    there = ", ".join(labels) or "none"
    raise ValueError(f"no channel {name!r}; there are: {there}. Name one of these, or two of them as 'A - B'")


def _position(labels, name):
    """Position of the one label that `name` is or fits; None where there is none."""
    if name in labels:
        return labels.index(name)
    plain = [_plain(label) for label in labels]
    if _plain(name) in plain:
        return plain.index(_plain(name))
    if not set(name) & set("*?["):
        return None
    pattern = name.casefold()
    fits = [i for i, label in enumerate(labels) if fnmatchcase(label.casefold(), pattern)]
    if len(fits) > 1:
        raise ValueError(f"{len(fits)} channels fit {name!r}: {', '.join(labels[i] for i in fits)}. Name one of them")
    return fits[0] if fits else None


def _plain(label):
    """ "EEG Fpz - Cz" and "FPZ-CZ" are one channel, and so are "EEG C3-Ref" and "C3"."""
    text = re.sub(r"\s*-\s*", "-", " ".join(label.casefold().split()))
    return re.sub(r"^eeg[ :_]?(?=.)|-ref$", "", text).strip()
