"""Where jobs run: the same results in every place, and failures that say which item and where to look."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tqdm import tqdm

from sleepkit.execution import jobs
from sleepkit.execution.paths import ROOT

MODULE = """
import os, signal, time

def describe(item):
    print("working on", item)
    time.sleep(0.3)
    return item * 10, os.environ["OMP_NUM_THREADS"], os.getpid()

def fussy(item):
    with open(f"{item['folder']}/{item['number']}", "w") as file:
        file.write("done")
    if item["number"] == 1:
        raise ValueError("no subject 99")
    if item["number"] == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return item["number"]

def long_winded(item):
    raise ValueError(f"{item} is damaged\\n  expected: 5 columns\\nfetch it again")

def slow(item):
    time.sleep(600)
"""


@pytest.fixture
def work(tmp_path, monkeypatch):
    """A module that another process can import, too."""
    (tmp_path / "module_of_jobs.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.delitem(sys.modules, "module_of_jobs", raising=False)
    import module_of_jobs

    return module_of_jobs


def test_inline_runs_here_in_order_and_without_submitit(work, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setitem(sys.modules, "submitit", None)
    assert jobs.map(work.describe, [3, 1, 2]) == [
        (30, "1", os.getpid()),
        (10, "1", os.getpid()),
        (20, "1", os.getpid()),
    ]


def test_importing_jobs_does_not_import_what_only_a_cluster_needs():
    code = "import sys, sleepkit.execution.jobs; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert not {"submitit", "torch", "mne", "papermill"} & set(done.stdout.split())


def test_local_jobs_are_processes_with_one_thread_and_results_in_order(work, tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    results = jobs.map(work.describe, [3, 1, 2, 5], "local", tmp_path / "jobs")
    assert [value for value, _, _ in results] == [30, 10, 20, 50]
    assert {threads for _, threads, _ in results} == {"1"}
    processes = {process for _, _, process in results}
    assert len(processes) == 4 and os.getpid() not in processes
    assert (os.environ["OMP_NUM_THREADS"], os.environ["PYTHONPATH"]) == ("7", str(tmp_path)), "as they were"


def test_an_error_of_several_lines_is_told_whole(work, tmp_path):
    with pytest.raises(jobs.JobFailed, match="1 of 1 jobs failed") as caught:
        jobs.map(work.long_winded, ["night.npz"], "local", tmp_path / "jobs")
    assert "item 0, night.npz: ValueError: night.npz is damaged\n  expected: 5 columns\nfetch it again (log: " in str(
        caught.value
    )


def test_a_failed_job_is_named_with_its_log_and_the_others_are_done(work, tmp_path):
    items = [{"number": number, "folder": str(tmp_path)} for number in range(4)]
    with pytest.raises(jobs.JobFailed, match="2 of 4 jobs failed; what the others made is kept") as caught:
        jobs.map(work.fussy, items, "local", tmp_path / "jobs")
    message = str(caught.value)
    raised, killed = message.splitlines()[1:]
    assert raised.startswith("item 1, {'number': 1") and "ValueError: no subject 99 (log: " in raised
    assert killed.startswith("item 2, {'number': 2") and "ended without a result" in killed
    log = raised.partition("(log: ")[2].rstrip(")")
    assert "no subject 99" in Path(log).read_text()
    assert all((tmp_path / str(number)).exists() for number in range(4))


def test_an_error_inline_is_the_function_s_own(work, tmp_path):
    with pytest.raises(ValueError, match="no subject 99"):
        jobs.map(work.fussy, [{"number": 1, "folder": str(tmp_path)}])


def test_interrupted_local_jobs_are_stopped(work, tmp_path, monkeypatch):
    """Ctrl-C while waiting: nothing goes on behind the user's back."""
    real, started = time.sleep, []

    def interrupt(seconds):
        real(seconds)
        begun = list((tmp_path / "jobs").rglob("*_log.out"))
        if not started and len(begun) == min(2, len(os.sched_getaffinity(0))):
            started.extend(begun)
            raise KeyboardInterrupt

    # Started in the background of a script these tests ignore Ctrl-C, and so would the jobs, which inherit that.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with monkeypatch.context() as patched:
            patched.setattr(jobs.time, "sleep", interrupt)
            with pytest.raises(KeyboardInterrupt):
                jobs.map(work.slow, [1, 2], "local", tmp_path / "jobs")
    finally:
        signal.signal(signal.SIGINT, before)
    assert started
    folder = str(tmp_path / "jobs")
    assert folder not in subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout


def test_more_jobs_than_an_array_of_slurm_may_have_go_into_several():
    class Job(int):
        def done(self):
            return True

    class Executor:
        sizes = []

        def map_array(self, fn, items):
            self.sizes.append(len(items))
            return [Job(item) for item in items]

    found = {}
    assert jobs._run_slurm(len, list(range(2500)), Executor(), found, tqdm(disable=True)) == set()
    assert Executor.sizes == [1000, 1000, 500]
    assert found == {number: number for number in range(2500)}


def test_a_job_that_leaves_the_queue_of_slurm_without_a_result_is_not_waited_for(monkeypatch):
    """As when it is killed where no accounts are kept (item 1); one whose result comes a look later is (item 0)."""
    looks = [("7_0", False), (None, False), ("7_0", False), ("", False), ("", True)]  # queue; whether 0 has a result
    queues, results = (iter(column) for column in zip(*looks, strict=True))

    class Job:
        def __init__(self, item):
            self.job_id = f"7_{item}"

        def done(self):
            return self.job_id == "7_0" and next(results)

    class Executor:
        def map_array(self, fn, items):
            return [Job(item) for item in items]

    def queue():
        answer = next(queues)
        return None if answer is None else set(answer.split())

    monkeypatch.setattr(jobs, "QUEUE_CHECK", -1)
    monkeypatch.setattr(jobs.time, "sleep", lambda seconds: None)
    monkeypatch.setattr(jobs, "_queue", queue)
    assert jobs._run_slurm(len, [0, 1], Executor(), {}, tqdm(disable=True)) == {1}


def inside():
    def function(item):
        return item

    return function


@pytest.mark.parametrize("fn", [lambda item: item, inside()], ids=["lambda", "inner"])
def test_a_function_that_another_process_cannot_import_is_refused(fn, tmp_path):
    with pytest.raises(ValueError, match="a job's function must be importable.*Put it into a module"):
        jobs.map(fn, [1])


def test_a_function_of_a_script_is_refused():
    code = "from sleepkit.execution import jobs\ndef f(x): return x\njobs.map(f, [1])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "f of __main__: a job's function must be importable" in done.stderr


def test_unclear_orders_are_refused(work, tmp_path):
    with pytest.raises(ValueError, match="where='cloud': jobs run in one of inline, local, slurm"):
        jobs.map(work.describe, [1], "cloud", tmp_path)
    with pytest.raises(ValueError, match="needs a folder"):
        jobs.map(work.describe, [1], "local")
    with pytest.raises(ValueError, match="an item of 32 MB: pass the path"):
        jobs.map(work.describe, [np.zeros(4_000_000)], "local", tmp_path)


def test_no_jobs_no_processes(tmp_path):
    assert jobs.map(time.sleep, [], "local", tmp_path / "jobs") == []
    assert not (tmp_path / "jobs").exists()


def test_a_machine_without_slurm_says_so(work, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ValueError, match='where="slurm" needs sbatch and srun and squeue.*where="local"'):
        jobs.map(work.describe, [1], "slurm", tmp_path / "jobs")


# A real Slurm


@pytest.fixture
def slurm():
    if not all(map(shutil.which, ("sinfo", "sbatch", "srun"))):
        pytest.skip("no Slurm here: sinfo, sbatch and srun are not on the PATH (Debian: slurm-wlm)")
    idle = subprocess.run(["sinfo", "-h", "-o", "%T"], capture_output=True, text=True, check=False)
    if not {"idle", "mixed"} & set(idle.stdout.split()):
        pytest.skip(f"Slurm has no node for a job: sinfo says {(idle.stdout + idle.stderr).strip()!r}")


@pytest.mark.slow
def test_folds_on_a_real_slurm(slurm, work, tmp_path, monkeypatch):
    """Results and failures as in processes, and folds of a cross-validation as inline."""
    from toy import validate

    results = jobs.map(work.describe, [3, 1, 2], "slurm", tmp_path / "jobs", minutes=5)
    assert [value for value, _, _ in results] == [30, 10, 20]
    assert {threads for _, threads, _ in results} == {"1"}
    scripts = [path.read_text() for path in (tmp_path / "jobs").rglob("*_submission.sh")]
    assert len(scripts) == 1 and "#SBATCH --array=0-2" in scripts[0], "one array of independent jobs"

    items = [{"number": number, "folder": str(tmp_path)} for number in range(4)]
    monkeypatch.setattr(jobs, "QUEUE_CHECK", 3)
    with pytest.raises(jobs.JobFailed, match="2 of 4 jobs failed.*") as caught:
        jobs.map(work.fussy, items, "slurm", tmp_path / "jobs", minutes=5)
    assert "item 1, {'number': 1" in str(caught.value) and "ValueError: no subject 99 (log: " in str(caught.value)
    assert "}: left Slurm's queue without a result" in str(caught.value), (
        "one that is killed is told, with or without accounting"
    )

    inline, cluster = validate(tmp_path / "inline"), validate(tmp_path / "cluster", where="slurm")
    pd.testing.assert_frame_equal(cluster[0], inline[0], check_exact=True)
    pd.testing.assert_frame_equal(cluster[1], inline[1], check_exact=True)
