"""What a profile's results were made with: a notebook leaves its parameters, and a hash of them and of the results that
it read, with what it writes, so that two runs never mix in silence."""

import hashlib
import json
from dataclasses import asdict, fields

from sleepkit.execution import paths

# Notebook -> those whose results it reads.
BEFORE = {"prepare": (), "stage1_edf20": ("prepare",), "stage1_edf78": ("prepare",)}
BEFORE |= {"stage2_prune": ("stage1_edf20", "stage1_edf78")}
NAME = "made_with.json"
QUIET = {"told": "where it is not the default"}
CURE = 'name a profile of your own: `-p profile mine`, or profile = "mine" in the notebook'


def told(settings):
    """A dataclass of settings as a dict of what a run's name and files tell of them.

    A field with the metadata QUIET is told only where it is not the default: names from before the field stay."""
    quiet = [
        one.name for one in fields(settings) if one.metadata == QUIET and getattr(settings, one.name) == one.default
    ]
    return {name: value for name, value in asdict(settings).items() if name not in quiet}


def read(profile, notebook):
    """The record of a notebook's results, a dict: hash, parameters, made_from (notebook -> hash); None without one."""
    path = _folder(profile, notebook) / NAME
    if not path.exists():
        return None
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        return {name: record[name] for name in ("hash", "parameters", "made_from")}
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: not the record of a run ({error!r}); remove it and run {notebook} again") from error


def hash_of(profile, notebook):
    """Twelve hex digits that name the settings behind a notebook's results; None where there is no record of them."""
    return (read(profile, notebook) or {}).get("hash")


def check(notebook, parameters, defined):
    """Raise ValueError where a notebook run with these parameters (a dict) would mix two runs under one profile.
    defined : those of the profile where the repository defines it, else an empty dict"""
    profile, folder = parameters["profile"], _folder(parameters["profile"], notebook)
    if changed := differences(parameters, defined):
        raise ValueError(f"{notebook}: profile {profile!r} is defined with other parameters: {changed}; {CURE}")
    if lines := apart(profile, BEFORE[notebook]):
        raise ValueError(" ".join(lines))
    results = [path for path in folder.glob("*") if path.is_file() and path.name != NAME]
    found, instead = read(profile, notebook), f"{CURE}. Or remove {folder} to put this run in its place"
    if found and results and (changed := differences(parameters, found["parameters"])):
        raise ValueError(f"{folder} has results of other parameters: {changed}; {instead}")
    if found and results and (others := _changed(profile, found)):
        raise ValueError(f"{folder} has results made from another run of {others}; {instead}")


def write(notebook, parameters):
    """Leave the record of a notebook that `check` has let pass."""
    profile, kept = parameters["profile"], {name: value for name, value in parameters.items() if name != "profile"}
    made_from = {earlier: made for earlier in BEFORE[notebook] if (made := hash_of(profile, earlier))}
    text = json.dumps([kept, made_from], sort_keys=True, default=str)
    facts = {"hash": hashlib.sha256(text.encode()).hexdigest()[:12], "parameters": kept, "made_from": made_from}
    with paths.written(_folder(profile, notebook) / NAME) as temporary:
        temporary.write_text(json.dumps(facts, indent=1, default=str) + "\n", encoding="utf-8")


def differences(parameters, others):
    """The parameters that two runs do not share, in words; empty where they agree."""
    here = json.loads(json.dumps(parameters, default=str))  # a tuple is a list, as in a record
    shared = [name for name in here if name in others and name != "profile"]
    return ", ".join(f"{name} = {others[name]!r}, here {here[name]!r}" for name in shared if here[name] != others[name])


def apart(profile, notebooks=tuple(BEFORE)):
    """Sentences, one for each notebook whose results were made from others than those that the profile has now."""
    found = {notebook: _changed(profile, record) for notebook in notebooks if (record := read(profile, notebook))}
    what = "was made from another run of {} than the one that is here; remove results/{}/{} and run it again."
    return [f"{name} {what.format(others, profile, name)}" for name, others in found.items() if others]


def _changed(profile, record):
    """Of the notebooks whose results a record was made from, those with other results now, in words."""
    made_from = record["made_from"].items()
    return " and ".join(name for name, made in made_from if hash_of(profile, name) not in (None, made))


def _folder(profile, notebook):
    return paths.results(profile) / notebook.removeprefix("prepare")
