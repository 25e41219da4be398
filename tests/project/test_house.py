"""The house: rooms in order, light doors, and sizes that one can read."""

import re
import subprocess
import sys

import house
import pytest

from sleepkit.execution.extras import EXTRAS
from sleepkit.execution.paths import ROOT

HEAVY = "torch mne matplotlib papermill"
PLACE = {room: number for number, room in enumerate(house.ROOMS)}


def rooms_of(path):
    """[(line, room)] that a module of the package imports."""
    names = [(line, name.split(".")) for line, name in house.imported(path)]
    return [(line, parts[1]) for line, parts in names if parts[0] == "sleepkit" and parts[1] in PLACE]


def test_every_room_is_known():
    assert set(house.modules()) == set(house.ROOMS)


@pytest.mark.parametrize("room", house.ROOMS)
def test_imports_go_one_way(room):
    upward = [
        f"{path.relative_to(ROOT)}:{line} imports {other}"
        for path in house.modules()[room]
        for line, other in rooms_of(path)
        if PLACE[other] > PLACE[room] or (other == "bench" and room not in ("bench", "__main__"))
    ]
    assert not upward


@pytest.mark.parametrize("folder", ["sleepkit", "tests", "notebooks"])
def test_what_is_imported_of_the_package_exists(folder):
    """An older copy of the package in the same environment would answer for a module that was moved."""
    missing = []
    for path in sorted((ROOT / folder).rglob("*.py")):
        for line, name in house.imported(path):
            parts = name.split(".")
            if parts[0] != "sleepkit" or len(parts) < 2:
                continue
            near = [house.PACKAGE.joinpath(*parts[1:end]) for end in (len(parts), len(parts) - 1)]
            if not any(place.with_suffix(".py").is_file() or (place / "__init__.py").is_file() for place in near):
                missing.append(f"{path.relative_to(ROOT)}:{line} {name}")
    assert not missing


def run(code, blocked=""):
    """What `code` prints in a process of its own, line by line; importing a blocked package fails."""
    code = f"import sys\nfor name in {blocked.split()}: sys.modules[name] = None\n{code}"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def everything(room):
    """Code that imports every module of a room."""
    names = [path.relative_to(ROOT).with_suffix("").parts for path in house.modules()[room]]
    return "\n".join(f"import {'.'.join(part for part in parts if part != '__init__')}" for parts in names)


# In one process, one after the other: what is not in memory after a door was not loaded by those before it either.
DOORS = {
    "import sleepkit.__main__; sleepkit.__main__.parser().format_help()": f"{HEAVY} sklearn pandas",
    "import sleepkit.paper": f"{HEAVY} sklearn pandas",
    "import sleepkit, sleepkit.scoring, sleepkit.recordings": HEAVY,
    "import sleepkit.paper.figures, sleepkit.paper.tables": "torch mne papermill sklearn",
    "from sleepkit import score, load_model, prepare, EpochSet, Genotype": "torch mne papermill",
    "import sleepkit.paper.items, sleepkit.paper.display, sleepkit.paper.html": "torch mne",
    "import sleepkit.results, sleepkit.evaluation.protocols, sleepkit.pruning.methods": "torch",
    everything("recordings") + "\n" + everything("paper"): "torch",
}


def test_doors_are_light():
    """From the help of the command line to the figures and recordings, which do without torch."""
    code = "".join(
        f"{door}\nprint(*(name for name in {without.split()} if name in sys.modules), sep=',')\n"
        for door, without in DOORS.items()
    )
    assert dict(zip(DOORS, run(code), strict=True)) == dict.fromkeys(DOORS, "")


def test_the_method_runs_on_a_bare_machine():
    """What folds on a cluster need, too: they count multiplications where nothing is exported."""
    code = "from sleepkit import SleepNet\n" + "\n".join(everything(room) for room in ("network", "pruning", "search"))
    code += "\nimport sleepkit.evaluation.training, sleepkit.experiments.cost"
    run(code, blocked="mne papermill matplotlib onnx onnxruntime edfio")


def test_the_face_of_the_package():
    run(
        """
import sleepkit
assert set(sleepkit.__all__) < set(dir(sleepkit)) and sleepkit.__version__ and not hasattr(sleepkit, "stage")
for name in sleepkit.__all__:
    try:
        getattr(sleepkit, name)
    except ImportError as error:
        assert name == "SleepNet" and "pip install 'sleepkit-companion[train]'" in str(error), error
    else:
        assert name != "SleepNet", "torch was blocked"
""",
        blocked="torch",
    )


def test_few_files_at_the_top():
    assert len(list(house.PACKAGE.glob("*.py"))) <= 6


def test_modules_and_functions_are_read_in_one_sitting():
    rooms, lengths, defined = house.sizes()
    assert not {name: n for name, n in lengths.items() if n > 300}
    assert not [f"{name} {n}" for n, name, reason in defined if n > 40 and not reason]
    assert sum(rooms[room] for room in house.CORE) <= 3_000
    assert sum(rooms.values()) - rooms["bench"] <= 13_670


def test_the_report_counts_what_there_is(tmp_path):
    (tmp_path / "room").mkdir()
    body = "    pass\n" * 41
    (tmp_path / "room" / "a.py").write_text(
        f"# long: a list\n@staticmethod\ndef f():\n{body}def g():\n{body}def h():  # long: so\n{body}"
    )
    rooms, lengths, defined = house.sizes(tmp_path)
    assert rooms == {"room": 128} and lengths == {"room/a.py": 128}
    assert {name: (n, reason) for n, name, reason in defined} == {
        "a.f": (42, True),
        "a.g": (42, False),
        "a.h": (42, True),
    }
    assert re.search(r"without bench [\d,]+, core [\d,]+", "\n".join(house.report()))


def test_extras_are_those_of_the_project():
    """Each extra that a message may name brings the packages for which it is named."""
    import tomllib

    distributions = {"sklearn": "scikit-learn", "IPython": "ipython", "yaml": "pyyaml"}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for extra, packages in EXTRAS.items():
        brought = [re.match(r"[\w.-]+", line)[0] for line in project["optional-dependencies"][extra]]
        assert {distributions.get(name, name) for name in packages} <= set(brought), extra
