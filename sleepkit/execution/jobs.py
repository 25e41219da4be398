"""Where independent jobs run: one after the other in this process, in processes beside it, or on a Slurm cluster.

`where` is an argument, so that the same call runs on a laptop and on a cluster (through submitit, which is imported
only there). A job is a function of a module and one item of paths and settings; what it makes it writes to files, so
that jobs that are done are not done again.
"""

import os
import pickle
import shutil
import subprocess
import tempfile
import time
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from sleepkit.execution.checkpoint import TimeOver
from sleepkit.execution.paths import ROOT, progress

PLACES = ("inline", "local", "slurm")
LARGEST_ITEM = 16_000_000  # bytes: positions of epochs pass, signals do not
LONGEST_ARRAY = 1000  # jobs: where a cluster sets no MaxArraySize, Slurm refuses more at once
QUEUE_CHECK = 60  # seconds: also how long a shared folder may take to show the result of a job that has ended


class JobFailed(RuntimeError):
    """One or several jobs failed; the message names each item, what went wrong and the log file."""


def map(fn, items, where="inline", folder=None, gpus=0, minutes=24 * 60, partition=None, label="jobs"):
    """[fn(item) for item in items], every item an independent job; the results in the order of the items.

    fn : function of an importable module;  items : paths and settings, no signals
    where : "inline" one after the other in this process; "local" in processes of their own, as many at once as there
        are processors, one thread each; "slurm" as jobs of a cluster whose nodes share `folder`
    folder : where "local" and "slurm" keep logs and results; each call gets a folder of its own in it
    gpus : per job; "local" jobs share the first ones
    minutes, partition : limits of a Slurm job. Everything else (account, memory, constraint ...) is taken from the
        SBATCH_... variables that sbatch reads, which also override these two.
    Raises JobFailed when jobs failed, and TimeOver when the time of some was over, after all others have ended; inline an
    error goes to the caller at once.
    ValueError for an unknown place, a function that another process could not import, an item that is too large, or a
    machine without Slurm.
    """
    items = list(items)
    require_place(where)
    _require_importable(fn)
    if where == "inline":
        return [fn(item) for item in progress(items, desc=label, unit="job")]
    for item in items:
        if (size := len(pickle.dumps(item))) > LARGEST_ITEM:
            raise ValueError(f"an item of {size / 1e6:.0f} MB: pass the path of a file instead of what is in it")
    if not items:
        return []
    if folder is None:
        raise ValueError(f"where={where!r} needs a folder for logs and results that every job can reach")
    Path(folder).mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="jobs-", dir=folder)).absolute()
    jobs, lost = {}, set()
    try:
        with _environment(), progress(total=len(items), desc=label, unit="job") as bar:
            if where == "local":
                _run_local(fn, items, _local_executor(folder, gpus), jobs, bar)
            else:
                lost = _run_slurm(fn, items, _slurm_executor(folder, gpus, minutes, partition), jobs, bar)
    except BaseException:  # Ctrl-C too: what nobody waits for any more must not go on
        for job in jobs.values():
            job.cancel(check=False)
        while where == "local" and not all(job.done() for job in jobs.values()):
            time.sleep(0.1)
        raise
    return _results(items, jobs, folder, lost)


def require_place(where):
    """Raise ValueError unless `where` is one of PLACES."""
    if where not in PLACES:
        raise ValueError(f"where={where!r}: jobs run in one of {', '.join(PLACES)}")


def _require_importable(fn):
    """Another process imports the function by its name; what has none there would only fail on the cluster."""
    module, name = getattr(fn, "__module__", None), getattr(fn, "__qualname__", repr(fn))
    if module in (None, "__main__") or "<" in name:
        raise ValueError(
            f"{name} of {module}: a job's function must be importable; a lambda, a function inside a function and one "
            "of a script or notebook are not. Put it into a module"
        )


@contextmanager
def _environment():
    """Jobs inherit this process's variables: they find this package, and small networks lose time with more threads
    than one."""
    changed = {"OMP_NUM_THREADS": "1", "SLEEPKIT_QUIET": "1"}
    changed["PYTHONPATH"] = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    before = {name: os.environ.get(name) for name in changed}
    os.environ.update(changed)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name)
            else:
                os.environ[name] = value


def _local_executor(folder, gpus):
    from submitit import LocalExecutor

    executor = LocalExecutor(folder)
    executor.update_parameters(timeout_min=60 * 24 * 365, gpus_per_node=gpus)
    return executor


def _slurm_executor(folder, gpus, minutes, partition):
    missing = [command for command in ("sbatch", "srun", "squeue") if shutil.which(command) is None]
    if missing:
        raise ValueError(
            f'where="slurm" needs {" and ".join(missing)}: run it on a login node of a cluster, or with where="local"'
        )
    from submitit import SlurmExecutor

    executor = SlurmExecutor(folder)
    optional = {"partition": partition, "gpus_per_node": gpus or None}
    executor.update_parameters(
        job_name="sleepkit", time=minutes, cpus_per_task=1, **{name: value for name, value in optional.items() if value}
    )
    return executor


def _run_local(fn, items, executor, jobs, bar):
    """submitit starts all local jobs at once; here a job starts when a processor is free."""
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    waiting, running = list(range(len(items))), []
    while waiting or running:
        while waiting and len(running) < processors:
            running.append(waiting.pop(0))
            jobs[running[-1]] = executor.submit(_outcome, fn, items[running[-1]])
        time.sleep(0.05)
        done = [number for number in running if jobs[number].done()]
        running = [number for number in running if number not in done]
        bar.update(len(done))


def _run_slurm(fn, items, executor, jobs, bar):
    """Submit all items and wait for them. Returns the numbers of those that left the queue without a result: where a
    cluster keeps no accounts, submitit would wait for them for ever."""
    for start in range(0, len(items), LONGEST_ARRAY):
        jobs.update(enumerate(executor.map_array(partial(_outcome, fn), items[start : start + LONGEST_ARRAY]), start))
    running, lost, gone, checked = list(jobs), set(), set(), time.monotonic()
    while running:
        time.sleep(1)
        done = {number for number in running if jobs[number].done()}
        if time.monotonic() - checked > QUEUE_CHECK and (queue := _queue()) is not None:
            before, gone = gone, {number for number in running if jobs[number].job_id not in queue} - done
            lost |= gone & before
            checked = time.monotonic()
        ended = done | lost & set(running)
        running = [number for number in running if number not in ended]
        bar.update(len(ended))
    return lost


def _queue():
    """Ids of this user's jobs that Slurm still has to run or to end; None where it does not answer."""
    done = subprocess.run(
        ["squeue", "--noheader", "--me", "--array", "--format=%i"], capture_output=True, text=True, check=False
    )
    return set(done.stdout.split()) if done.returncode == 0 else None


def _results(items, jobs, folder, lost=()):
    problems = {}
    for number, job in sorted(jobs.items()):
        error = "" if number in lost else job.exception()
        if error is not None:
            log = job.paths.stderr
            said = "left Slurm's queue without a result; its log ends: " * (number in lost) + _said(error, log)
            problems[number] = f"item {number}, {_short(items[number])}: {said} (log: {log})"
    if problems:
        lines = "\n".join(problems.values())
        raise JobFailed(
            f"{len(problems)} of {len(items)} jobs failed; what the others made is kept, in {folder} and where they "
            f"wrote it:\n{lines}"
        )
    results = [jobs[number].result() for number in range(len(items))]
    for over in (result for result in results if isinstance(result, TimeOver)):
        raise over
    return results


def _outcome(fn, item):
    """What a job returns: time that is over is no failure, and so comes back as a result."""
    try:
        return fn(item)
    except TimeOver as over:
        return over


def _short(item):
    text = str(item)
    return text if len(text) <= 200 else f"{text[:200]}..."


def _said(error, log):
    """What a job's traceback says of its error, all lines of it; of a job that was killed, the last line of its log."""
    trace = str(error).partition("trace:")[2].partition("You can check")[0]
    if not trace:
        lines = log.read_text(errors="replace").splitlines() if log.exists() else []
        lines = [line.strip() for line in lines if line.strip("- ")]
        return lines[-1] if lines else "ended without a result, as when it is killed or runs out of memory or time"
    lines = [line for line in trace.rpartition("(most recent call last):")[2].splitlines() if line.strip("- ")]
    while lines and lines[0].startswith(" "):  # where it came from
        lines.pop(0)
    return "\n".join(lines)
