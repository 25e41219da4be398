"""State of an unfinished run on disk: whole, bound to one configuration, and safe to load."""

import hashlib
import json
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from sleepkit.execution import TimeOver
from sleepkit.execution.paths import written


def fingerprint(*parts):
    """Twelve hex digits that name a configuration and its data: dicts that json can hold, and numpy arrays."""
    digest = hashlib.sha256()
    for part in parts:
        array = isinstance(part, np.ndarray)
        # An array comes with its type and shape: where one ends and the next begins tells folds apart.
        digest.update(json.dumps([part.dtype.str, part.shape] if array else part, sort_keys=True).encode())
        if array:
            digest.update(np.ascontiguousarray(part).view(np.uint8))
    return digest.hexdigest()[:12]


def save_checkpoint(path, key, state):
    """Write `state` (tensors and plain Python values) under the configuration `key`."""
    with written(path) as temporary:
        torch.save({"key": key, "state": state}, temporary)


def load_checkpoint(path, key, device="cpu"):
    """The state saved under `path`; None when there is none, or a damaged one, which is set aside as NAME.damaged."""
    if not (path := Path(path)).exists():
        return None
    try:
        saved = torch.load(path, map_location=device, weights_only=True)
        saved_key, state = saved["key"], saved["state"]
    except Exception as error:  # a cut or altered file makes torch raise one of a dozen kinds
        aside = path.replace(path.with_name(path.name + ".damaged")).name
        print(f"{path}: damaged checkpoint ({type(error).__name__}), set aside as {aside}; starting this part anew")
        return None
    if saved_key != key:
        what = f"checkpoint of another configuration ({saved_key}, expected {key})"
        raise ValueError(f"{path}: {what}; remove it or choose another folder")
    return state


@dataclass(frozen=True)
class Deadline:
    """When to stop, in seconds since 1970, so that jobs can take it along to other processes; None never."""

    end: float | None = None

    @classmethod
    def after(cls, minutes):
        """The deadline in so many minutes; None never."""
        return cls(None if minutes is None else time.time() + 60 * minutes)

    def check(self):
        """Raise TimeOver when it has passed."""
        if self.end is not None and time.time() >= self.end:
            raise TimeOver("the minutes are over (--max-minutes); what is done is kept, run again to go on from there")
