"""Every command in README.md is run as a reader would run it, or stands in NOT_RUN with the reason why not.

A command is a line of a code block (```, ```sh, ```bash or ```python), or what stands between backticks in the text
and begins with `make`, `sleepkit` or `python -m sleepkit`. The files that it names are made for it: nights, networks,
parameters. What needs nothing of a shell is run in this process, which has the package loaded.
"""

import contextlib
import io
import os
import re
import shlex
import shutil
import subprocess
import sys
from types import SimpleNamespace

import pytest
import yaml
from recording_files import save_tiny

from sleepkit import recordings, results
from sleepkit.__main__ import main, parser
from sleepkit.epochs import STAGES
from sleepkit.execution import notebooks
from sleepkit.execution.paths import ROOT
from sleepkit.network.saved import load_network, save_network
from sleepkit.recordings.simulation import simulate_night

PAGES = ("README.md", "docs/notebooks.md", "docs/cluster.md", "docs/speed.md", "results/first5s-cpu/README.md")
README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCS = "\n\n".join((ROOT / page).read_text(encoding="utf-8") for page in PAGES)
MAKE = "make: tests/project/test_project.py plans it, `make test` and whoever works here run it"
MINUTES = "takes minutes"
DOWNLOAD = "downloads"
CLUSTER = "needs Slurm: tests/execution/test_jobs.py runs folds on one where there is one"
PATTERN = "says how a command is written, with words to be replaced"
NOT_RUN = {
    "git clone --depth 1 <this repository> sleepkit": DOWNLOAD,
    "cd sleepkit": "the commands run in a copy of the repository already",
    "pip install .": "as above: tests/project/test_wheel.py installs the wheel and scores a night",
    "make lab": "opens a browser",
    "python -m sleepkit fetch --dataset edf20": DOWNLOAD,
    "make reproduce": MAKE,
    "make reproduce PROFILE=first5s-mini": MAKE,
    "make figures PROFILE=first5s-mini": MAKE,
    "make reproduce PROFILE=paper": MAKE,
    "make reproduce PROFILE=first5s": MAKE,
    "make reproduce PROFILE=first5s-cpu": MAKE,
    "make html": MAKE,
    "make test": MAKE,
    "python -m sleepkit run all": MINUTES,
    "python -m sleepkit run prepare -p profile mine": MINUTES,
    "python -m sleepkit run stage1_edf20 -p profile mine -p search_epochs 8": MINUTES,
    "python -m sleepkit run stage2_prune -p profile mine": MINUTES,
    "python -m sleepkit run figures -p profile mine": MINUTES,
    "export SBATCH_PARTITION=gpu SBATCH_ACCOUNT=sleep": CLUSTER,
    "srun -p gpu -A sleep --gpus=1 python -m sleepkit run stage1_edf20 --profile first5s --where slurm": CLUSTER,
    "srun -p gpu -A sleep --gpus=1 python -m sleepkit run stage2_prune --profile first5s --where slurm": CLUSTER,
    "python -m sleepkit bench prepare": MINUTES,
    "python -m sleepkit bench search": MINUTES,
    "python -m sleepkit bench train": MINUTES,
    "python -m sleepkit bench prune": MINUTES,
    "python -m sleepkit bench infer": MINUTES,
}
SHELL, PYTHON, SHOWN = ("", "sh", "bash"), ("python",), ("text", "bibtex", "csv", "json", "yaml")
LEFT = {
    "simulate": "*-PSG.edf",
    "prepare": "*.npz",
    "score": "*.csv",
    "export": "*.onnx",
}  # by a command, in its output
SECONDS = 300  # that a command may take; one that takes longer belongs into NOT_RUN


def commands(text):
    """The commands of a README, each once, in their order; that of a Python block is the whole block."""
    found = []
    blocks = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
    for language, body in blocks.findall(text):
        if language in SHELL:
            for line in body.replace("\\\n", " ").splitlines():
                parts = re.split(r"\s&&\s", re.sub(r"(^|\s)#.*", "", line))
                found += [" ".join(part.split()) for part in parts]
        elif language in PYTHON:
            found.append(body)
        else:
            assert language in SHOWN, f"README.md: a code block of {language!r}: commands, or something to look at?"
    inline = re.findall(r"`([^`]+)`", blocks.sub("", text))
    found += [
        " ".join(span.split()) for span in inline if re.match(r"(make|python -m sleepkit|sleepkit \S+)(\s|$)", span)
    ]
    found = [re.sub(r"(^|\| )sleepkit ", r"\1python -m sleepkit ", command) for command in found]  # the same
    return [command for command in dict.fromkeys(found) if command]


def parsed(command):
    """What `python -m sleepkit` understands of a command; None for another, or where it only prints help."""
    for part in command.split(" | "):
        words = shlex.split(part)
        if words[:3] == ["python", "-m", "sleepkit"]:
            stop = next((at for at, word in enumerate(words) if word[0] in "<>"), len(words))
            try:
                return parser().parse_args(words[3:stop])
            except SystemExit as left:
                assert left.code == 0, f"`{command}` is not understood"
    return None


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    """A checkout with nothing but a copy of the package, a home folder, and one simulated night to copy from."""
    folder = tmp_path_factory.mktemp("reader")
    copy = folder / "sleepkit"
    copy.mkdir()
    shutil.copytree(ROOT / "sleepkit", copy / "sleepkit", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", copy)
    (folder / "home").mkdir()
    psg, hypnogram = simulate_night(folder / "night", 1, hours=0.9)
    return SimpleNamespace(copy=copy, home=folder / "home", psg=psg, hypnogram=hypnogram)


def place(desk, name):
    """Where a file that a command names lies: in the copy of the repository, or in the reader's home."""
    base, rest = (desk.home, name[2:]) if name.startswith("~/") else (desk.copy, name)
    path = (base / rest).resolve()
    assert path.is_relative_to(base.resolve()), f"{name} is a place of nobody's"
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def lay_out(desk, arguments):
    """Make the files that a command reads, where they are not there yet; skip what needs a network that is not."""
    names = "recording", "hypnogram", "folder", "source", "nights", "model"
    given = {name: None for name in names} | vars(arguments)
    command = arguments.command.__name__
    assert command != "run", "notebooks take minutes: put the command into NOT_RUN"
    if command in ("score", "export") or given.get("name") == "infer":
        provide_model(desk, given["model"])
    for name in filter(None, (given["recording"], given["source"], given["folder"])):
        path = place(desk, name)
        if path.suffix and not path.exists():
            shutil.copy(desk.psg, path)
        elif not path.suffix and not path.exists():
            shutil.copytree(desk.psg.parent, path)
    if given["hypnogram"]:
        shutil.copy(desk.hypnogram, place(desk, given["hypnogram"]))
    if command == "export" and given["nights"]:
        recordings.prepare(desk.psg.parent, place(desk, given["nights"]), seconds=5, jobs=1)


def provide_model(desk, name):
    """A small network under the name that a command gives; the package's own comes with it, or the test is skipped."""
    from sleepkit.scoring.model import DEFAULT

    if name is None:
        if not DEFAULT.with_name(f"{DEFAULT.name}.safetensors").exists():
            pytest.skip(f"needs the network of the package, sleepkit/weights/{DEFAULT.name}, which is not there yet")
        return
    assert not name.endswith(".onnx"), "a command that reads an .onnx file needs one that `export` left"
    net, about = load_network(save_tiny(place(desk, name)))
    # `export` compares what floats and integers stage: of an untrained network a matter of rounding, unless it is sure.
    net.classifier.weight.data *= 0.01
    net.classifier.bias.data[STAGES.index("N2")] += 20
    save_network(net, place(desk, name), about)


def carry_out(desk, command):
    """Run a command in the copy of the repository; AssertionError where it fails or leaves nothing behind."""
    python_block = "\n" in command
    arguments = None if python_block else parsed(command)
    if arguments:
        lay_out(desk, arguments)
    for name in re.findall(r"[\"']([^\"'\s]+\.edf)[\"']", command) if python_block else ():
        shutil.copy(desk.psg, place(desk, name))
        provide_model(desk, None)
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("SLEEPKIT_")]:
            patch.delenv(name)
        patch.setenv("HOME", str(desk.home))
        patch.setenv("PATH", os.path.dirname(sys.executable), prepend=os.pathsep)
        patch.chdir(desk.copy)
        if re.fullmatch(r"python -m sleepkit [^|<>~$*?;&\n]*", command):
            patch.setenv("SLEEPKIT_RUNS", str(desk.copy / "runs"))
            done = run_here(shlex.split(command)[3:])
        else:
            words = [sys.executable, "-c", command] if python_block else ["sh", "-c", command]
            done = subprocess.run(words, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert done.returncode == 0, f"{command}\nleft with status {done.returncode}\n{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stderr
    if arguments:
        name = arguments.command.__name__
        if name in LEFT and not getattr(arguments, "stream", None):
            folder = arguments.output or os.path.dirname(arguments.recording)
            folder = desk.copy / "runs" / "exported" if os.path.isabs(folder) else place(desk, folder)
            assert list(folder.glob(LEFT[name])), f"{command}\nleft no {LEFT[name]} in {folder}"
    return done


def run_here(words):
    """`python -m sleepkit` with these words, in this process, as `subprocess.run` returns it."""
    out, error = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(error):
        try:
            status = main(words)
        except SystemExit as left:
            status = left.code
    return SimpleNamespace(returncode=status, stdout=out.getvalue(), stderr=error.getvalue())


@pytest.mark.parametrize("command", [command for command in commands(DOCS) if command not in NOT_RUN])
def test_command_of_the_readme(command, desk):
    known = "\n" in command or re.search(r"(^| \| )python -m sleepkit ", command)
    assert known, f"README.md: `{command}` is not a command of sleepkit: put it into NOT_RUN with the reason"
    carry_out(desk, command)


@pytest.mark.parametrize("command", [command for command in commands(DOCS) if command in NOT_RUN])
def test_a_command_that_is_not_run_is_spelled_right(command):
    if command.startswith("make"):
        makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
        targets = re.search(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)[1].split()
        words = [word for word in command.split()[1:] if not word.startswith("-")]
        profiles = [word.partition("=")[2] for word in words if word.startswith("PROFILE=")]
        assert all("=" in word or word in targets for word in words)
        assert all(profile == "demo" or (ROOT / "notebooks" / "profiles" / profile).is_dir() for profile in profiles)
    elif NOT_RUN[command] != PATTERN:
        arguments = parsed(command)
        if arguments and arguments.command.__name__ == "run" and arguments.notebook != "all":
            defaults = notebooks.default_parameters(arguments.notebook)
            chosen = {name: yaml.safe_load(value) for name, value in arguments.parameters}
            notebooks.check_parameters(arguments.notebook, chosen, defaults)


@pytest.mark.parametrize("page", [*PAGES, "docs/method.md", "docs/design.md", "docs/own_data.md", "CONTRIBUTING.md"])
def test_every_file_that_a_page_shows_or_links_to_is_there(page):
    folder = (ROOT / page).parent
    linked = re.findall(r"\]\(([^)#]+)[^)]*\)", (ROOT / page).read_text(encoding="utf-8"))
    assert [name for name in linked if "://" not in name and not (folder / name).exists()] == []


@pytest.mark.parametrize("page", ["README.md", "results/first5s-cpu/README.md"])
def test_a_paragraph_has_at_most_two_measured_numbers(page):
    """Answers, tables and code apart; a number with a decimal or a thousand is a measured one."""
    text = re.sub(r"^```.*?^```", "", (ROOT / page).read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    for paragraph in text.split("\n\n"):
        if not paragraph.strip().startswith(("|", "- **", "#", "!")):
            words = re.sub(r"\[[^]]*\]\([^)]*\)|`[^`]*`", "", paragraph)
            assert len(re.findall(r"\d+\.\d+|\d{1,3},\d{3}", words)) <= 2, paragraph


def measured():
    """What cross-validation says of the networks of first5s-cpu, as cells of a Markdown table."""
    rows = results.gather("first5s-cpu", "crossval.csv").query("fold == 'pooled'")
    sizes = results.gather("first5s-cpu", "parameters.csv")
    rows = rows.merge(sizes, on=["genotype", "channels", "cells", "pruned"])
    cells = set()
    for _, seeds in rows.groupby([name for name in results.NETWORK if name != "seed"]):
        texts = []
        for name, unit, digits in (("acc", " %", 2), ("mf1", " %", 2), ("kappa", "", 3)):
            values = seeds[name] * (100 if unit else 1)
            spread = f" ± {values.std():.{digits}f}" if len(values) > 1 else ""
            texts.append(f"{values.mean():.{digits}f}{spread}{unit}")
        cells.add((*texts, f"{seeds.params.iloc[0]:,}"))
    return cells


@pytest.mark.parametrize("page", ["README.md", "results/first5s-cpu/README.md"])
def test_scores_in_the_tables_are_those_of_the_committed_results(page):
    """Published rows, those of AttnSleep, and sizes that are a mean aside."""
    lines = (ROOT / page).read_text(encoding="utf-8").splitlines()
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in lines if re.match(r"\|.* % \| 0\.\d{3}", line)
    ]
    ours = [row for row in rows if not row[0].startswith(("published, ", "AttnSleep"))]
    assert len(ours) >= 2
    known = measured()
    assert [row for row in ours if (*row[-4:-1], row[-1].partition(", mean")[0]) not in known] == []


@pytest.mark.parametrize("page", ["README.md", "results/first5s-cpu/README.md"])
def test_differences_with_intervals_are_those_of_the_committed_results(page):
    """ "+0.2 (−0.5 to +0.9)" or "+0.2 points (−0.5 to +0.9)", in points, of any comparison."""
    text = (ROOT / page).read_text(encoding="utf-8").replace("−", "-")
    found = re.findall(r"([-+]?\d\.\d)(?: points(?: of accuracy)?)? \(([-+]?\d\.\d) to ([-+]?\d\.\d)\)", text)
    rows = results.read("first5s-cpu", "stage2_prune/differences.csv")
    known = {
        tuple(round(100 * row[name], 1) + 0.0 for name in ("difference", "low", "high")) for _, row in rows.iterrows()
    }
    known |= {tuple(-value + 0.0 for value in (mean, high, low)) for mean, low, high in known}  # what is lost
    assert found
    assert [one for one in found if tuple(float(value) + 0.0 for value in one) not in known] == []


# ---- the mechanism itself


def test_commands_are_found():
    text = (
        "# A `make test` and\n```\nmake reproduce   # five notebooks\ncd a && \\\n  ls b\n\n```\n`x = 1` or\n"
        "`python -m sleepkit score\nnight.edf`\n```python\na = 1\nb = '#'\n```\n```text\nls\n```\n"
        "```sh\nls b#c\ncat x | sleepkit score\n```\n`sleepkit` and `sleepkit fetch here` and `sleepkit/weights`"
    )
    shell, ours = ["make reproduce", "cd a", "ls b"], "python -m sleepkit"
    inline = ["make test", f"{ours} score night.edf", f"{ours} fetch here"]
    assert commands(text) == [*shell, "a = 1\nb = '#'\n", "ls b#c", f"cat x | {ours} score", *inline]
    with pytest.raises(AssertionError, match="a code block of 'ruby'"):
        commands("```ruby\nputs\n```\n")


def test_the_readme_has_commands_of_both_kinds():
    found = commands(DOCS)
    assert set(NOT_RUN) <= set(found), "NOT_RUN holds a command that no page has"
    assert set(found) & set(NOT_RUN) and set(found) - set(NOT_RUN)
    assert {"make reproduce", "make test"} <= set(found)


@pytest.mark.parametrize(
    "command",
    [
        "python -m sleepkit simulate ~/edf --subjects 1 --hours 0.5",
        "python -m sleepkit prepare recordings epochs --seconds 5 --jobs 1",
        "python -m sleepkit score mine --output all --model nets/small --no-context",
        "head -c 12000 /dev/zero | python -m sleepkit score --stream --model nets/small",
        "python -m sleepkit export nets/small --output exported --nights prepared",
        "python -m sleepkit score --help",
        "from sleepkit.metrics import scores\nprint(scores([[3, 1], [0, 2]])['acc'])\n",
    ],
)
def test_commands_are_carried_out_with_the_files_they_name(command, desk):
    carry_out(desk, command)


@pytest.mark.parametrize(
    "command, words",
    [
        ("python -m sleepkit prepare recordings epochs2 --channel Nowhere", "left with status 1"),
        ("python -m sleepkit scores night.edf", "is not understood"),
        ("python -m sleepkit simulate out --night 1 --hours 0", "left with status 2"),
        ("python -m sleepkit score /etc/night.edf --model nets/small", "a place of nobody's"),
        ("raise SystemExit(3)\n", "left with status 3"),
    ],
)
def test_a_command_that_fails_fails(command, words, desk):
    with pytest.raises(AssertionError, match=words):
        carry_out(desk, command)


def test_a_command_in_neither_list_fails(desk):
    with pytest.raises(AssertionError, match="put the command into NOT_RUN"):
        carry_out(desk, "python -m sleepkit run prepare -f mine.yaml")
    with pytest.raises(AssertionError, match="put it into NOT_RUN"):
        test_command_of_the_readme("rm -rf build", desk)
