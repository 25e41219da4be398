"""Where things are, names that lead nowhere else, and optional packages that are missing."""

import pytest

from sleepkit.execution import paths
from sleepkit.execution.extras import MissingExtra, extras


@pytest.mark.parametrize("place", [paths.runs, paths.results, paths.figures])
def test_a_profile_is_a_plain_name(place):
    assert place("first5s-cpu.2_x").name == "first5s-cpu.2_x"
    for name in ("../../etc", "a/b", "..", ".hidden", "", "a b", "é", "a\n", "/tmp"):
        with pytest.raises(ValueError, match="profile .* no dot in front"):
            place(name)


def test_variables_move_runs_and_recordings(tmp_path, monkeypatch):
    monkeypatch.setenv("SLEEPKIT_RUNS", str(tmp_path / "r"))
    monkeypatch.setenv("SLEEPKIT_DATA", str(tmp_path / "d"))
    assert (paths.runs("x"), paths.data()) == (tmp_path / "r" / "x", tmp_path / "d")
    monkeypatch.delenv("SLEEPKIT_RUNS")
    monkeypatch.delenv("SLEEPKIT_DATA")
    assert (paths.runs("x"), paths.data()) == (paths.ROOT / "runs" / "x", paths.ROOT / "data")


@pytest.mark.parametrize(
    "name, extra", [("torch.nn", "train"), ("mne", "formats"), ("pooch", "fetch"), ("yaml", "notebooks")]
)
def test_a_missing_package_is_named_with_its_extra(name, extra):
    with pytest.raises(MissingExtra, match=rf"pip install 'sleepkit-companion\[{extra}\]'") as caught, extras():
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)
    assert isinstance(caught.value, ImportError) and isinstance(caught.value, ValueError)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("error", [ModuleNotFoundError("x", name="sleepkit.typo"), ImportError("y"), KeyError("z")])
def test_any_other_error_is_left_as_it_is(error):
    with pytest.raises(type(error)) as caught, extras():
        raise error
    assert caught.value is error


def test_extras_within_extras_say_it_once():
    with pytest.raises(MissingExtra, match="^this needs mne, which is not installed: pip install"), extras(), extras():
        raise ModuleNotFoundError("No module named 'mne'", name="mne")
