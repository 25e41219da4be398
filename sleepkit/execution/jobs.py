"""Independent jobs, in this process, in others, or on a Slurm cluster (through submitit). A job is a module's function
and one item of paths and settings; it writes files: what is done is not done again."""

import ctypes
import os
import pickle
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from functools import partial
from itertools import dropwhile
from pathlib import Path

from sleepkit.execution import TimeOver, WorkFailed
from sleepkit.execution.extras import extras
from sleepkit.execution.paths import PACKAGE, progress

PLACES = ("inline", "local", "slurm")
LARGEST_ITEM = 16_000_000  # bytes: positions of epochs pass, signals do not
LONGEST_ARRAY = 1000  # jobs: where a cluster sets no MaxArraySize, Slurm refuses more at once
GONE = "left Slurm's queue without a result; its log ends: "
QUEUE_CHECK = 60  # seconds: also how long a shared folder may take to show the result of a job that has ended


class JobFailed(WorkFailed):
    """Jobs failed; the message names each item, what went wrong and the log file."""


def map(fn, items, where="inline", folder=None, gpus=0, minutes=24 * 60, label="jobs"):
    """[fn(item) for item in items], every item an independent job; the results in the order of the items.
    where : "inline", in this process; "local", in processes of one thread each, one a processor; "slurm", on a cluster
    folder : where "local" and "slurm" (whose nodes share it) keep logs and results, each call in a folder of its own
    gpus : per job; "local" jobs share the first ones
    minutes : limit of a Slurm job; the SBATCH_... variables override it and say the rest (partition, account ...)
    Raises JobFailed when jobs failed, and TimeOver when the time of some was over, after all others have ended; inline,
    the job's own error at once. ValueError for what cannot be carried out."""
    items = list(items)
    require_place(where)
    _require_importable(fn)
    if where == "inline":
        return [fn(item) for item in progress(items, desc=label, unit="job")]
    if (size := max((len(pickle.dumps(item)) for item in items), default=0)) > LARGEST_ITEM:
        raise ValueError(f"an item of {size / 1e6:.0f} MB: pass the path of a file instead of what is in it")
    if not items:
        return []
    if folder is None:
        raise ValueError(f"where={where!r} needs a folder for logs and results that every job can reach")
    Path(folder).mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="jobs-", dir=folder)).absolute()
    jobs, work = {}, partial(_outcome, fn)
    try:
        # small networks lose time with more threads than one
        with environment(here() | {"OMP_NUM_THREADS": "1"}), progress(total=len(items), desc=label, unit="job") as bar:
            executor = _executor(where, folder, gpus, minutes)
            lost = (_run_local if where == "local" else _run_slurm)(work, items, executor, jobs, bar)
    except BaseException:  # Ctrl-C too: what nobody waits for any more must not go on
        for job in jobs.values():
            job.cancel(check=False)
        while where == "local" and not all(job.done() for job in jobs.values()):
            time.sleep(0.1)
        raise
    return _results(items, jobs, folder, lost, GONE * (where == "slurm"))


def require_place(where):
    """Raise ValueError unless `where` is one of PLACES."""
    if where not in PLACES:
        raise ValueError(f"where={where!r}: jobs run in one of {', '.join(PLACES)}")


def _require_importable(fn):
    module, name = getattr(fn, "__module__", None), getattr(fn, "__qualname__", repr(fn))
    if module in (None, "__main__") or "<" in name:
        kinds = "a lambda, a function inside a function and one of a script or notebook are not"
        raise ValueError(f"{name} of {module}: a job's function must be importable; {kinds}. Put it into a module")


def here():
    """Variables for other processes: they find this package and show no progress."""
    path = os.pathsep.join(filter(None, (str(PACKAGE.parent), os.environ.get("PYTHONPATH"))))
    return {"PYTHONPATH": path, "SLEEPKIT_QUIET": "1"}


def settle():
    """Compute on one thread, unless OMP_NUM_THREADS says otherwise, and keep the memory that a training step frees."""
    # Threads that share a small network wait for one another: two may take five times as long as one.
    if os.environ.setdefault("OMP_NUM_THREADS", "1") == "1" and "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
    # glibc would give a step's memory back and take it anew for the next: a tenth of the time of a step.
    if hasattr(libc := ctypes.CDLL(None) if os.name == "posix" else None, "mallopt"):
        for parameter in (-1, -3):  # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of malloc.h
            libc.mallopt(parameter, 2**31 - 1)


@contextmanager
def environment(variables):
    """`os.environ` with these variables; as it was afterwards."""
    before = dict(os.environ)
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _executor(where, folder, gpus, minutes):
    missing = " and ".join(command for command in ("sbatch", "srun", "squeue") if not shutil.which(command))
    if where == "slurm" and missing:
        raise ValueError(f'where="slurm" needs {missing}: run it on a login node of a cluster, or with where="local"')
    with extras():
        import submitit
    if where == "local":
        executor, wanted = submitit.LocalExecutor(folder), {"timeout_min": 60 * 24 * 365, "gpus_per_node": gpus}
    else:
        executor, wanted = submitit.SlurmExecutor(folder), {"job_name": "sleepkit", "time": minutes, "cpus_per_task": 1}
        wanted |= {"gpus_per_node": gpus} if gpus else {}
    executor.update_parameters(**wanted)
    return executor


def _run_local(work, items, executor, jobs, bar):
    """submitit starts all local jobs at once; here a job starts when a processor is free. Returns the
    numbers of jobs that left no result (submitit would look for it for a quarter of a minute)."""
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    running = set()
    while len(jobs) < len(items) or running:
        while len(jobs) < len(items) and len(running) < processors:
            running.add(number := len(jobs))
            jobs[number] = executor.submit(work, items[number])
        time.sleep(0.05)
        done = {number for number in running if jobs[number].done()}
        running -= done
        bar.update(len(done))
    return {number for number, job in jobs.items() if not job.paths.result_pickle.exists()}


def _run_slurm(work, items, executor, jobs, bar):
    """Submit, wait, return the numbers of jobs that left the queue without a result (submitit may wait for ever)."""
    for start in range(0, len(items), LONGEST_ARRAY):
        jobs.update(enumerate(executor.map_array(work, items[start : start + LONGEST_ARRAY]), start))
    running, lost, gone, checked = set(jobs), set(), set(), time.monotonic()
    while running:
        time.sleep(1)
        ended = {number for number in running if jobs[number].done()}
        if time.monotonic() - checked > QUEUE_CHECK and (queue := _queue()) is not None:
            before, gone = gone, {number for number in running if jobs[number].job_id not in queue} - ended
            lost, checked = lost | gone & before, time.monotonic()
        ended |= running & lost
        running -= ended
        bar.update(len(ended))
    return lost


def _queue():
    """Ids of this user's jobs that Slurm still has to run or to end; None where it does not answer."""
    command = ["squeue", "--noheader", "--me", "--array", "--format=%i"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return set(done.stdout.split()) if done.returncode == 0 else None


def _results(items, jobs, folder, lost, gone):
    problems = []
    for number, job in sorted(jobs.items()):
        error = "" if number in lost else job.exception()
        if error is not None:
            item, log = str(items[number]), job.paths.stderr
            said = gone * (number in lost) + _said(error, log)
            problems.append(f"item {number}, {item[:200]}{'...' * (len(item) > 200)}: {said} (log: {log})")
    if problems:
        kept = f"what the others made is kept, in {folder} and where they wrote it"
        raise JobFailed(f"{len(problems)} of {len(items)} jobs failed; {kept}:\n" + "\n".join(problems))
    results = [jobs[number].result() for number in range(len(items))]
    if over := [result for result in results if isinstance(result, TimeOver)]:
        raise over[0]
    return results


def _outcome(fn, item):
    """What a job returns: time that is over is no failure, and so comes back as a result."""
    try:
        return fn(item)
    except TimeOver as over:
        return over


def _said(error, log):
    """All lines that a job's traceback says of its error; of a job that was killed, the last line of its log."""
    trace = str(error).partition("trace:")[2].partition("You can check")[0]
    if not trace:
        text = log.read_text(errors="replace") if log.exists() else ""
        lines = [line.strip() for line in text.splitlines() if line.strip("- ")]
        return lines[-1] if lines else "ended without a result, as when it is killed or runs out of memory or time"
    lines = [line for line in trace.rpartition("(most recent call last):")[2].splitlines() if line.strip("- ")]
    return "\n".join(dropwhile(lambda line: line.startswith(" "), lines))  # those say where it came from
