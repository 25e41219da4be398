"""What sleep stages are called: from the words of scoring programs to positions in STAGES."""

import re
from itertools import pairwise
from pathlib import Path

import numpy as np

from sleepkit.epochs import STAGES
from sleepkit.execution.extras import extras

UNSCORED, MOVEMENT, NO_STAGE = -1, -2, -3  # NO_STAGE is an event among the stages, such as lights off
# As `plain` leaves them. Stages 3 and 4 of Rechtschaffen and Kales are the AASM's N3; NREM alone is no class.
WORDS = {
    STAGES.index("W"): "w wk wake awake wakefulness 0 s0 n0",
    STAGES.index("N1"): "1 n1 s1 nrem1 nonrem1",
    STAGES.index("N2"): "2 n2 s2 nrem2 nonrem2",
    STAGES.index("N3"): "3 4 n3 n4 s3 s4 nrem3 nrem4 nonrem3 nonrem4 sws",
    STAGES.index("REM"): "5 r rem s5",
    MOVEMENT: "6 m mt movementtime",
    UNSCORED: "? u 9 uns unscored notscored unstaged unknown undefined no none na nan n nr nrem -1 -2",
}
NUMBER = re.compile(
    r"\s*[+-]?\d{1,3}(\.0*)?(e[+-]?0+)?\s*", re.ASCII | re.IGNORECASE
)  # "2", or "2.00e+00" as numpy writes it
NAMES = {word: label for label, words in WORDS.items() for word in words.split()}


def plain(text):
    """What is left of a name of a stage: "SLEEP-S0" is "s0", "Stage 2 sleep|2" and "2.0" are "2", "N 2 " is "n2"."""
    text = text.strip().casefold()
    if NUMBER.fullmatch(text):
        return str(int(float(text)))
    words = re.findall(r"[^\W_]+|\?", text.partition("|")[0])
    return "".join(word for word in words if word not in ("sleep", "stage"))


def names_of(stages=None):
    """The table of names, {as `plain` leaves it: label}, with a user's own in front, and those alone.

    stages : dict, or path of a yaml file, of {their name: one of the names above}; ValueError for an unknown one"""
    where, content = "stages: ", stages or {}
    if not isinstance(content, dict):
        with extras():
            import yaml
        where = f"{stages}: "
        try:
            content = yaml.safe_load(Path(stages).read_text(encoding="utf-8"))
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise ValueError(f"{where}no yaml file ({' '.join(str(error).split())[:200]})") from error
    own = {}
    for name, stage in content.items() if isinstance(content, dict) else [(None, content)]:
        if name is None or plain(str(stage)) not in NAMES:
            expected = f"{', '.join(STAGES)}, ? or 'movement time'"
            raise ValueError(f"{where}expected lines 'their name: stage', the stage one of {expected}; found {stage!r}")
        own[plain(str(name))] = NAMES[plain(str(stage))]
    return NAMES | own, own


def labels_of(texts, names, own):
    """Labels of the words of one hypnogram, in order of time.

    texts : (n,) str;  names, own : see `names_of`
    returns (n,) int, position in STAGES, UNSCORED, MOVEMENT or NO_STAGE, and notes"""
    words, notes = [plain(text) for text in texts], []
    if "4" not in own and all(map(NUMBER.fullmatch, texts)) and (rem := _four_is_rem(words)) is not None:
        stage, who = ("REM", "as YASA counts") if rem else ("N3", "as Rechtschaffen and Kales count")
        names = names | {"4": STAGES.index(stage)}
        notes = [f"its stages are numbers without a 5: 4 was read as {stage}, {who}; if it is not, say so (--stages)"]
    return np.array([names.get(word, NO_STAGE) for word in words], dtype=int), notes


def _four_is_rem(words):
    """Whether 4 is REM in a hypnogram of bare numbers; None where that is no question. By Rechtschaffen and Kales, 4 is
    the deepest sleep, which borders on 3, and 5 is REM; YASA and others have no 5, and REM borders on all but 3."""
    if "4" not in words or "5" in words:
        return None
    borders = [a if b == "4" else b for a, b in pairwise(words) if a != b and "4" in (a, b)]
    return 2 * borders.count("3") < len(borders)
