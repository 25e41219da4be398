"""Results of two runs never mix in silence: what a notebook leaves with its results, and what it refuses."""

import json
import os
import shutil

import pytest
import torch

from sleepkit.execution import jobs, notebooks, paths, record

RESULTS = {"prepare": "nights.csv", "stage1_edf20": "crossval.csv", "stage1_edf78": "crossval.csv"}
RESULTS |= {"stage2_prune": "crossval.csv"}


@pytest.fixture
def begin(tmp_path, monkeypatch):
    """Calls `begin` as a notebook does, below an empty folder, and leaves a result there; returns what it printed."""
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    monkeypatch.setattr(notebooks, "settle", lambda: None)  # what it sets stays set for other tests

    def call(name, profile="mine", **changed):
        variables = {"np": None, **notebooks.default_parameters(name), "profile": profile, **changed}
        notebooks.begin(name, variables)
        if name in RESULTS:
            record._folder(profile, name).joinpath(RESULTS[name]).touch()

    return call


def test_every_notebook_says_where_its_results_go(begin, capsys):
    for name in notebooks.NAMES:
        begin(name, "demo")
    lines = [f"Profile demo: results go to results/demo/{name}." for name in notebooks.NAMES[1:4]]
    lines = ["Profile demo: results go to results/demo.", *lines, "Profile demo: results go to figures/demo."]
    assert capsys.readouterr().out.splitlines() == lines


@pytest.mark.parametrize("profile", ["demo", "smoke"])
def test_a_profile_of_the_repository_keeps_its_parameters(begin, profile):
    own = notebooks.profile_parameters("stage1_edf20", profile)
    begin("stage1_edf20", **own)
    with pytest.raises(
        ValueError, match=rf"'{profile}' is defined with other .*: folds = \d, here 7; .*-p profile mine"
    ):
        begin("stage1_edf20", **own | {"folds": 7})
    with pytest.raises(ValueError, match="folds = 4, here 7"):
        notebooks.run("stage1_edf20", parameters={"folds": 7})
    begin("stage1_edf20", **own | {"folds": 7, "profile": "mine"})


def test_a_second_run_with_other_parameters_is_refused(begin):
    begin("stage1_edf20", lr=(0.01,))
    kept = record.read("mine", "stage1_edf20")
    begin("stage1_edf20", lr=[0.01])
    assert record.read("mine", "stage1_edf20") == kept
    with pytest.raises(
        ValueError, match=r"results/mine/stage1_edf20 has results of other parameters: lr = \[0.01\], here"
    ):
        begin("stage1_edf20", lr=[0.02])
    assert record.read("mine", "stage1_edf20") == kept
    begin("stage1_edf20", "other", lr=[0.02])
    assert record.hash_of("other", "stage1_edf20") != kept["hash"]
    (record._folder("mine", "stage1_edf20") / "crossval.csv").unlink()  # a run that has left nothing yet
    begin("stage1_edf20", lr=[0.02])
    assert record.hash_of("mine", "stage1_edf20") == record.hash_of("other", "stage1_edf20")


def test_what_was_made_from_another_run_is_refused_and_named(begin, capsys):
    for name in notebooks.NAMES[:4]:
        begin(name)
    assert record.apart("mine") == []
    assert set(record.read("mine", "stage2_prune")["made_from"]) == {"stage1_edf20", "stage1_edf78"}
    shutil.rmtree(paths.results("mine") / "stage1_edf78")
    begin("stage1_edf78", folds=3)
    line = "stage2_prune was made from another run of stage1_edf78 than the one that is here; remove results/mine/"
    assert [found.partition("stage2_prune and")[0] for found in record.apart("mine")] == [line]
    with pytest.raises(
        ValueError, match="stage2_prune has results made from another run of stage1_edf78; name a profile"
    ):
        begin("stage2_prune")
    capsys.readouterr()
    begin("figures")
    assert line in capsys.readouterr().out
    (paths.results("mine") / "nights.csv").unlink()
    begin("prepare", seconds=30.0)
    with pytest.raises(ValueError, match="stage1_edf20 was made from another run of prepare .* stage1_edf78 was made"):
        begin("stage2_prune", "mine")


def test_a_stage_that_came_later_is_no_other_run(begin):
    begin("stage1_edf20")
    begin("stage2_prune")
    begin("stage1_edf78")
    begin("stage2_prune")
    assert record.apart("mine") == []


@pytest.mark.parametrize("text", ["", "[]", '{"hash": "1"}'])
def test_a_damaged_record_is_named(begin, text):
    begin("prepare")
    (paths.results("mine") / record.NAME).write_text(text)
    with pytest.raises(ValueError, match="made_with.json: not the record of a run .*remove it and run prepare again"):
        begin("stage1_edf20")


def test_figures_refuse_a_profile_without_results(begin):
    begin("prepare")
    begin("figures")
    for typo in ("mien", "dmeo"):
        with pytest.raises(
            ValueError, match=f"'{typo}' has no results; did you mean '(mine|demo)'.*there are demo, first5s"
        ):
            begin("figures", typo)
        with pytest.raises(ValueError, match="did you mean"):
            notebooks.run("figures", parameters={"profile": typo})
    assert not (paths.ROOT / "results" / "dmeo").exists()


def test_a_record_holds_parameters_and_their_hash(begin):
    begin("prepare")
    found = json.loads((paths.results("mine") / record.NAME).read_text())
    assert found["parameters"] == {
        name: value for name, value in notebooks.default_parameters("prepare").items() if name != "profile"
    }
    assert len(found["hash"]) == 12 and found["made_from"] == {}


def test_one_thread_unless_somebody_says_otherwise(monkeypatch):
    threads = torch.get_num_threads()
    for given, expected in (({}, 1), ({"OMP_NUM_THREADS": "3"}, 3), ({"OMP_NUM_THREADS": "1"}, 1)):
        monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
        for name, value in given.items():
            monkeypatch.setenv(name, value)
        torch.set_num_threads(3)
        jobs.settle()
        assert torch.get_num_threads() == expected
        assert os.environ["OMP_NUM_THREADS"] == str(expected)
    torch.set_num_threads(threads)
